"""Preview: what a design's worlds look like and allow, in the terminal and as a page, before anything is trained."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
from rich.console import Console
from test_report_html import Page, outside

from envgen_exp.commands.inputs import enclose
from envgen_exp.commands.preview import Shown, blocks, main, print_design
from envgen_exp.designers import Proposal
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.typed import parse_designs, read_design
from envgen_exp.llm.prompt import Wording
from envgen_exp.llm.reply import parse_reply
from envgen_exp.reporting.designs import amount
from envgen_exp.run import plan
from envgen_exp.run.folder import RunFolder

MOUNTAIN = "target_biome: mountain, starting_wood: 3"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_design_may_be_longer_than_a_file_s_name(capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_family(CrafterConfig()).design_model(starting_wood=3).settings()
    text = ", ".join(f"{name}: {value}" for name, value in settings.items())
    assert len(text) > 255
    assert main([text, "--worlds", "1"]) == 0
    assert "starting_wood: 3" in capsys.readouterr().out


def test_a_design_is_shown_with_counts_findings_and_worlds(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main([MOUNTAIN, "--worlds", "2"]) == 0
    family = make_family(CrafterConfig())
    design = family.design_model(target_biome="mountain", starting_wood=3)
    check = family.check(design)
    printed = capsys.readouterr().out
    made = Page((here / "preview.html").read_text())
    for name, mean in check.counts.items():
        assert re.search(rf"^ {name} +{re.escape(amount(mean))} ", printed, re.MULTILINE)
        assert f"{amount(mean)} (" in made.text
    for finding in check.findings:
        assert f"- {finding}\n" in printed
        assert finding in made.text
    assert "target_biome: mountain" in printed
    assert "starting_wood: 3" in made.text
    assert made.row("target_biome")[1:3] == ["mountain", "natural"]
    maps = [a["alt"] or "" for tag, a in made.elements if tag == "img" and (a["alt"] or "").startswith("Map")]
    assert maps == [f"Map of sampled world {n} of {who}" for who in ("Design", "the original") for n in (1, 2)]
    assert outside(made) == []
    assert f"playable: {22 - len(check.impossible)} of 22" in printed


def test_the_terminal_shows_the_world_in_colours_where_it_has_some() -> None:
    family = make_family(CrafterConfig())
    design = family.design_model(target_biome="grassland")
    shown = Shown("Design", design, family.check(design))
    for colours, pictured in (("truecolor", True), (None, False)):
        console = Console(file=io.StringIO(), width=100, color_system=colours, force_terminal=True)  # type: ignore[arg-type]
        print_design(shown, family, {}, console)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        assert (text.count("▀") == 64 * 32) is pictured
        assert ("▀" in text) is pictured


def test_a_character_is_two_pixels() -> None:
    pixels = np.zeros((4, 2, 3), np.uint8)
    pixels[0, 0] = 255, 0, 0
    pixels[1, 0] = 0, 0, 255
    text = blocks(pixels, 2)
    style = text.spans[0].style
    assert text.plain == "▀▀\n▀▀\n"
    assert str(style) == "#ff0000 on #0000ff"


@pytest.mark.parametrize("form", ["json", "yaml", "list"])
def test_a_file_of_one_design_or_several(form: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"purpose": "</p><script>x</script>", "targets": ["collect_wood"], "target_biome": "grassland"}
    text = {
        "json": json.dumps({"designs": [settings, {"starting_iron": 2}]}),
        "yaml": "target_biome: grassland\npurpose: </p><script>x</script>\n",
        "list": "- {target_biome: grassland, purpose: </p><script>x</script>}\n- {starting_iron: 2}\n",
    }[form]
    (here / "designs").write_text(text)
    assert main(["designs", "--out", "out/page.html", "--worlds", "1"]) == 0
    page = (here / "out" / "page.html").read_text()
    assert "<script" not in page
    assert "“</p><script>x</script>”" in Page(page).text
    printed = capsys.readouterr().out
    assert printed.count("target_biome: grassland") == 1
    assert printed.count("starting_iron: 2") == (form != "yaml")


PAPER = [
    {"environment_settings": {"target_biome": "Mountain"}, "inventory_settings": {"wood": 3, "stone_pickaxe": True}},
    {"environment_settings": {"coal_rarity": "very_common"}},
]


@pytest.mark.parametrize(
    "written",
    [PAPER, {"designs": PAPER}, {"Environment 1": PAPER[0], "Environment 2": PAPER[1]}, {"environments": PAPER}],
    ids=["list", "designs", "numbered", "environments"],
)
def test_all_entrances_read_the_same_forms(written: Any, here: Path) -> None:
    """A model's reply, the file of designer=human, preview's and play's text, and the dicts of gymnasium.make."""
    family = make_family(CrafterConfig())
    wanted = (
        family.design_model(target_biome="mountain", starting_wood=3, starting_stone_pickaxe=1),
        family.design_model(coal_rarity="very common"),
    )
    text = json.dumps(written)
    (here / "designs.json").write_text(text)
    reply = parse_reply(text, Wording.plain(family.vocabulary), family.design_model, family.skills, 2)
    assert reply.designs == wanted
    assert not reply.problems
    assert tuple(parse_designs("designs.json", family)) == wanted
    words = ["arm=human", "designer.file=designs.json", "designer.num_designs=2"]
    sets = enclose(runs.composed(*words)).designer.sets
    assert [tuple(read_design(raw, family) for raw in designs) for designs in sets] == [wanted] * len(sets)
    assert tuple(read_design(raw, family) for raw in PAPER) == wanted


def test_the_latest_designs_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run"
    family = make_family(CrafterConfig())
    with RunFolder.create(runs.composed(f"folder={path}"), command="", versions={}, chosen={}) as folder:
        assert main([str(path)]) == 2
        assert "has no designs to show" in capsys.readouterr().err
        for cycle, settings in ((1, {"starting_coal": 1}), (2, {"starting_coal": 2})):
            designs = (family.design_model(purpose=f"cycle {cycle}", **settings), None)
            result = {"cycle": cycle, "proposal": Proposal(designs).to_json()}
            for index, phase in enumerate(plan.phases(runs.composed())):
                if phase.cycle == cycle and phase.kind != "report":
                    folder.finish_phase(index, phase.name, result if phase.kind == "design" else {})
    assert main([str(path), "--worlds", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" of crafter, ") == 1
    assert "Cycle 2, design 1 of crafter" in printed
    assert "starting_coal: 2" in printed
    assert main([str(path), "--family", "heist"]) == 2
    assert "plays crafter" in capsys.readouterr().err


def test_heist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maze_size: 7x7, locks: two", "--family", "heist", "--worlds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "collect_key_3, open_lock_3" in printed
    assert re.search(r"^ locks +2 ", printed, re.MULTILINE)


def test_a_family_of_pictures(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main(["event: pedestrian, weather: fog", "--family", "driving", "--worlds", "2"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^ events +0\.\d ", printed, re.MULTILINE)
    assert "weather: fog" in printed
    made = Page((here / "preview.html").read_text())
    pictures = [a["alt"] or "" for tag, a in made.elements if tag == "img"]
    assert [alt for alt in pictures if alt.startswith("Map")] == pictures  # nobody acts there: no agent's view
    assert len(pictures) == 4
    assert outside(made) == []
    assert main(["event: pedestrian, second_event: stalled_car", "--family", "driving"]) == 1
    assert "the report keeps this pair for itself" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["target_biome: montain"], ["'montain'", "grassland | mountain | beaches", "did you mean mountain?"]),
        (["target_bione: mountain"], ["target_bione", "coal_rarity", "did you mean target_biome?"]),
        (["starting_wood: 12"], ["starting_wood=12", "whole number from 0 to 9"]),
        (["starting_wood: 1.5"], ["starting_wood=1.5", "whole number from 0 to 9"]),
        (["nosuch"], ["'nosuch' is neither a file nor settings"]),
        (["empty"], ["is not a run's folder"]),
        (["bad.json"], ["needs a list of designs"]),
        (["alias"], ["aliases", "write it out"]),
        (["twice"], ["starting_wood stands there twice", "line 2"]),
        (["large"], ["large", "200,001", "200,000"]),
        (["digits"], ["digits"]),
        (["pipe"], ["is a named pipe, not a file"]),
        (["/dev/zero"], ["is a device, not a file"]),
        (["do_not_use: {starting_wood: 9}"], ["'do_not_use' is no group of settings", "inventory_settings"]),
        (["inventory_settings: {axe: 1}"], ["there is no setting 'axe'", "starting_wood"]),
        (["targets: [fly]"], ["'fly' is not a skill", "collect_coal"]),
        (["target_biome: {{"], ["design:"]),
        ([MOUNTAIN, "--family", "heits"], ["heits", "crafter, driving, heist", "did you mean heist?"]),
        ([MOUNTAIN, "--worlds", "0"], ["--worlds 0: allowed are 1 to 16"]),
    ],
)
def test_what_is_no_design_is_one_line_and_exit_status_2(
    arguments: list[str], words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    (here / "bad.json").write_text('{"designs": [1, 2]}')
    (here / "alias").write_text("- &a {starting_wood: 1}\n- *a\n")
    (here / "twice").write_text("starting_wood: 1\nstarting_wood: 2\n")
    (here / "large").write_text("#" * 200_001)
    (here / "digits").write_text(f"starting_wood: {'1' * 5000}")
    os.mkfifo(here / "pipe")
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("envgen: error: ")
    assert output.err.count("\n") == 1
    assert all(word in output.err for word in words)
    assert not (here / "preview.html").exists()


def test_the_command(here: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "envgen_exp", "preview", "target_biome: desert"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "target_biome='desert', allowed: grassland" in done.stderr
