"""report.html: what it shows is what the run's files hold, it needs no network, and LLM text stays text."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import io
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import runs
import yaml
from PIL import Image

from envgen_exp.commands.report import main
from envgen_exp.errors import RunFolderError
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig, OriginalGame
from envgen_exp.reporting.designs import amount
from envgen_exp.reporting.page import escape, png, table
from envgen_exp.reporting.plots import Series, line_chart, short, ticks
from envgen_exp.reporting.references import levels
from envgen_exp.reporting.run import conversation, films
from envgen_exp.reporting.run import page_of_run as report
from envgen_exp.reporting.run.page_of_run import make_report, render, write_report
from envgen_exp.reporting.run.page_of_two import make_page_of_two
from envgen_exp.reporting.run.skills import by_tree, change
from envgen_exp.reporting.run.terminal import percent
from envgen_exp.reporting.statistics import difference
from envgen_exp.reporting.study.collect import collect
from envgen_exp.reporting.study.tables import spread
from envgen_exp.run.identity import identity_of
from envgen_exp.run.pasted import pasted
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Successes

FAILED = "could not be made"

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A parsed page: balanced tags, every address in it, texts of its table cells, elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.rows and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row[:1] == [first])

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(runs.smoke(tmp_path_factory), tmp_path_factory.mktemp("report") / "a run")


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("videos", "checkpoints"))


@pytest.fixture(scope="session")
def page(run: Path) -> Page:
    return Page(make_report(run).read_text())


def phases(folder: Path) -> list[Path]:
    return sorted((folder / "phases").iterdir())


def edit(file: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


# Content against the run's files


def test_the_headline_is_the_summary(run: Path, page: Page) -> None:
    summary = runs.summary(run)
    assert FAILED not in page.text
    assert "Not finished" not in page.text
    interval = f"95 % interval {summary.score_low:.2f} to {summary.score_high:.2f}"
    for words in (
        f"{summary.score:.2f} %",
        interval,
        f"{summary.reward:.2f}",
        "designed 400 + original 700 = 1,100",
    ):
        assert words in page.text
    assert "llm=offline (not an LLM)" in page.text


def test_the_heat_map_is_the_evaluations(run: Path, page: Page) -> None:
    summary = runs.summary(run)
    columns = [*summary.feedback, summary.report]
    for skill in summary.skills:
        cells = next(row for row in page.rows if row[:1] == [skill] and len(row) == len(columns) + 1)
        shown = [re.match(r"[\d.]+", cell.strip()) for cell in cells[1:]]
        assert [match and match[0] for match in shown] == [percent(column.rate(skill)) for column in columns]
    assert page.row("score")[1:] == [f"{s:.2f}" for s in (*summary.feedback_scores, summary.score)]


def test_each_design_stands_with_its_purpose_its_claims_its_worlds_and_its_counts(run: Path, page: Page) -> None:
    designs = 0
    for file in phases(run):
        for design, check in zip(
            *(json.loads(file.read_text()).get("proposal", {}).get(key, []) for key in ("designs", "checks")),
            strict=True,
        ):
            designs += 1
            assert f"“{design['purpose']}”" in page.text
            assert all(target in page.text for target in design["targets"])
            assert all(f"{amount(mean)} (" in page.text for mean in check["counts"].values())
            assert all(finding in page.text for finding in check["findings"])
    assert designs == 8
    alts = [attributes["alt"] or "" for tag, attributes in page.elements if tag == "img"]
    for cycle in (1, 2):
        for number in (1, 2, 3, 4):
            name = f"cycle {cycle}, design {number}"
            assert sum(alt.endswith(name) and alt.startswith("Map of sampled world") for alt in alts) in (0, 2)
    assert sum(alt.startswith("Map") for alt in alts) == 2 * (designs + 1)


def test_what_was_asked_and_answered_is_there_once(run: Path, page: Page) -> None:
    for file in (run / "llm" / "calls").iterdir():
        record = json.loads(file.read_text())
        answer = " ".join(record["answer"]["text"].split())
        assert page.text.count(answer) == 1
        assert " ".join(record["request"]["messages"][0]["content"].split()) in page.text


def test_of_very_many_requests_the_first_are_shown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "CALLS", 1)
    text = conversation.conversation(RunRecord(run))
    assert "Call 1: " in text
    assert "Call 2: " not in text
    assert "1 further requests lie in llm/ alone." in text


def test_command_versions_and_config_are_there(run: Path, page: Page) -> None:
    document = yaml.safe_load((run / "config.yaml").read_text())
    assert document["command"] in page.text
    assert str(document["versions"]["torch"]) in page.text
    assert "num_minibatches: 2" in page.text
    assert document["identity"] in page.text


def test_training_and_evaluation_curves_end_where_the_metrics_do(run: Path, page: Page) -> None:
    titles = [
        attributes["aria-label"] or "" for tag, attributes in page.elements if tag == "svg" and "role" in attributes
    ]
    data = RunRecord(run)
    last = [row["loss/entropy"] for row in data.rows if "loss/entropy" in row][-1]
    assert any(title.startswith("Entropy") and f"to {last:.3g}" in title for title in titles)
    assert sum(title.split()[0] in data.skills for title in titles) == len(data.skills)
    assert all(titles)


def test_claims_are_read_against_what_happened(run: Path, page: Page) -> None:
    data = RunRecord(run)
    claimed = {target for design in data.proposals[2].designs if design for target in design.targets}
    before, after = data.feedback[1].counts, data.feedback[2].counts
    for skill in claimed:
        row = next(row for row in page.rows if row[:1] == [skill] and len(row) == 6)
        low, high = difference(*((c.successes[skill], c.episodes) for c in (before, after)))
        assert row[2:4] == [percent(before.rate(skill)), percent(after.rate(skill))]
        assert row[4].endswith(f"[{100 * low:+.1f}, {100 * high:+.1f}]")
        assert row[5] == ("▲ rose" if low > 0 else "▼ fell" if high < 0 else "≈ within noise")


def test_the_gap_is_that_of_the_training_episodes(copied: Path) -> None:
    data = RunRecord(copied)
    skills, targets = list(data.skills), {t for d in data.proposals[1].designs if d for t in d.targets}
    columns = [skills.index(target) for target in targets]
    rows = []
    for kind, shown in (("designed", 3), ("original", 1)):
        for number in range(40):
            counts = [0] * len(skills)
            for column in columns[: shown if number % 2 else 0]:
                counts[column] = 2
            rows.append(
                {
                    "step": 200,
                    "phase": f"cycle1-train-{kind}",
                    "cycle": 1,
                    "slot": 0,
                    "episode": 1,
                    "world_seed": 1,
                    "design": "original" if kind == "original" else "0123456789ab",
                    "length": 10,
                    "episode_return": 1.0,
                    "truncated": False,
                    "skills": counts,
                }
            )
    (copied / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    row = Page(render(RunRecord(copied))).row("cycle 1")
    assert row[1:3] == [str(len(columns)), "40"]
    assert float(row[4].split()[0]) == pytest.approx(100 * 1.5 / len(columns), abs=0.051)
    assert float(row[7].split()[0]) == pytest.approx(100 * 0.5 / len(columns), abs=0.051)
    assert float(row[8].split()[0]) == pytest.approx(100 / len(columns), abs=0.051)


@pytest.mark.parametrize(
    ("costs", "shown"),
    [
        ((0.125, 0.125), "Dollars 0.25 of the calls so far"),
        ((0.0, 0.0), "Dollars 0.00 of"),
        ((None, None), "Dollars ? price"),
        ((None, 0.5), "Dollars ≥ 0.50 of some calls"),
    ],
)
def test_what_an_llm_cost_so_far_or_that_it_is_not_known(
    copied: Path, costs: tuple[float | None, ...], shown: str
) -> None:
    document = yaml.safe_load((copied / "config.yaml").read_text())
    document["config"]["llm"] |= {"name": "gpt4", "kind": "litellm", "model": "openai/gpt-4"}
    (copied / "config.yaml").write_text(yaml.safe_dump(document))
    (copied / "summary.json").unlink()
    events = runs.rows(copied / "llm" / "ledger.jsonl")
    for event in events:
        event |= {"client": "litellm"} if event["event"] == "sent" else {}
        event |= {"cost": costs[event["call"] - 1]} if event["event"] == "answered" else {}
    (copied / "llm" / "ledger.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    text = render(RunRecord(copied))
    tiles = " ".join(
        re.sub(r"<[^>]+>", " ", text[text.index('class="tiles"') : text.index("</ul>", text.index('"tiles"'))]).split()
    )
    assert "LLM calls 2 to openai/gpt-4" in tiles
    assert shown in tiles


def test_changes_within_noise_look_so() -> None:
    few, many = Successes(10, {"x": 2}), Successes(10, {"x": 3})
    assert "noise" in change("x", few, many)
    assert "≈ +10.0" in change("x", few, many)
    few, many = Successes(1000, {"x": 200}), Successes(1000, {"x": 300})
    assert "noise" not in change("x", few, many)
    assert "▲ +10.0" in change("x", few, many)
    assert "▼ -10.0" in change("x", many, few)


def test_skills_can_be_ordered_by_change(run: Path, page: Page) -> None:
    data = RunRecord(run)
    assert data.report is not None
    first, last = data.feedback[1].counts, data.report.counts
    wanted = [round(100 * (last.rate(skill) - first.rate(skill)), 4) for skill in by_tree(data)]
    for tag in ("tr", "div"):
        found = [float(a["data-change"] or "") for name, a in page.elements if name == tag and "data-change" in a]
        assert found == pytest.approx(wanted, abs=1e-4)
    controls = [a for _, a in page.elements if a.get("data-control") == "order"]
    assert len(controls) == 2
    assert all("hidden" in a for a in controls)  # shown by the script alone


# Two runs


@pytest.fixture
def other(copied: Path) -> Path:
    """A run of another designer, which showed more of one skill."""
    document = yaml.safe_load((copied / "config.yaml").read_text())
    document["config"]["designer"] |= {"name": "fixed"}
    (copied / "config.yaml").write_text(yaml.safe_dump({**document, "identity": identity_of(document["config"])}))
    report = RunRecord(copied).report
    assert report is not None

    def better(value: Any) -> None:
        place = value["skills"]["skills"].index("collect_wood")
        for successes, episodes in zip(value["skills"]["successes"], value["skills"]["episodes"], strict=True):
            successes[place] = episodes
        value["values"] |= {"score/report": 40.0, "score/report_low": 35.0, "score/report_high": 46.0}

    edit(phases(copied)[-1], better)
    return copied


def test_two_runs_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    leave = shutil.ignore_patterns("checkpoints", "videos")
    first, second = (shutil.copytree(run, tmp_path / place / "run", ignore=leave) for place in ("x", "y"))
    made = make_page_of_two(first, second)
    assert made == first / "beside-y-run.html"
    assert "x/run beside y/run" in made.read_text()


def test_two_runs_stand_side_by_side(
    run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = shutil.copytree(run, tmp_path / "first", ignore=shutil.ignore_patterns("checkpoints"))
    kept = (first / "report.html").read_bytes()
    assert main([str(first), str(other)]) == 0
    path = first / "beside-copy.html"
    assert f"  {path}\n" in capsys.readouterr().out
    made = Page(path.read_text())
    assert FAILED not in made.text
    assert outside(made) == []
    assert {"report.html", "../copy/report.html"} <= set(made.addresses)
    a, b = RunRecord(first), RunRecord(other)
    assert a.report is not None
    assert b.report is not None
    assert made.row("designer.name")[1:] == ["adaptive", "fixed"]
    score, low, high = (a.report.values[f"score/report{end}"] for end in ("", "_low", "_high"))
    assert made.row("A: first")[1] == f"{score:.2f} [{low:.2f}, {high:.2f}]"
    wide = 40 - score + np.hypot(6, score - low), 40 - score - np.hypot(5, high - score)
    assert f"B - A: {40 - score:+.2f} [{wide[1]:+.2f}, {wide[0]:+.2f}] points of score (B is higher)" in made.text
    one, more = a.report.counts, b.report.counts
    low, high = difference(*((c.successes["collect_wood"], c.episodes) for c in (one, more)))
    row = made.row("collect_wood")
    assert row[1:3] == [percent(one.rate("collect_wood")), "100"]
    assert row[3].endswith(f"[{100 * low:+.1f}, {100 * high:+.1f}]")
    assert row[4] == ("B is higher" if low > 0 else "within noise")
    assert (first / "report.html").read_bytes() == kept


def test_two_runs_of_which_one_is_not_finished(run: Path, other: Path, tmp_path: Path) -> None:
    (other / "summary.json").unlink()
    phases(other)[-1].unlink()
    text = Page(make_page_of_two(other, run, tmp_path / "page.html").read_text()).text
    assert FAILED not in text
    assert "Not finished: copy." in text
    assert "feedback evaluation of cycle 2" in text
    assert "points of score" not in text


def test_runs_of_two_games_do_not_stand_side_by_side(run: Path, other: Path) -> None:
    document = yaml.safe_load((other / "config.yaml").read_text())
    document["config"]["env"]["name"] = "heist"
    (other / "config.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(RunFolderError, match=r"are runs of crafter and heist: side by side stand runs of one game"):
        make_page_of_two(run, other)


# Other scores


def test_scores_of_others_are_lines_where_the_steps_are_the_same_and_rows_everywhere(run: Path, page: Page) -> None:
    found = RunRecord(run).family.references  # type: ignore[attr-defined]
    names = {
        steps: [name.partition(":")[0] for _, name in levels(found, [steps])] for steps in (1_100, 10**6, 1_960_000)
    }
    assert names == {
        1_100: ["random actions"],
        10**6: ["random actions", "PPO, 1 M steps"],
        1_960_000: ["random actions", "PPO", "PPO with EnvGen"],
    }
    assert page.row("PPO with EnvGen")[1:4] == ["32.2 ± 0.6", "1,960,000", "pixels"]
    assert page.row("this run")[1].startswith(f"{runs.summary(run).score:.2f} [")
    assert "random actions: 1.5 %" in page.text
    assert make_family(CrafterConfig(original=OriginalGame.fork)).references == ()  # type: ignore[attr-defined]


# Safety


@pytest.fixture
def hostile(copied: Path) -> Path:
    """A run whose LLM wrote markup wherever it can write."""
    attack = '</pre></details><script>alert("1")</script><img src=https://evil.example/x onerror="alert(2)">${x} $title'

    def poison(value: Any) -> None:
        for design in value["proposal"]["designs"]:
            design["purpose"] = attack
            design["targets"] = [attack]
        value["proposal"]["notes"] = [attack]
        value["proposal"]["checks"][0]["findings"] = [attack]
        value["proposal"]["checks"][0]["counts"] = {attack: 1.0}

    for file in phases(copied):
        if "design" in file.name and "train" not in file.name:
            edit(file, poison)
    for file in (copied / "llm" / "calls").iterdir():
        edit(file, lambda value: value["answer"].update(text=attack))
        edit(file, lambda value: value["request"]["messages"][-1].update(content=attack))
    (copied / "videos").mkdir()
    (copied / "videos" / '"><script>.mp4').write_bytes(b"video")
    return copied


def test_llm_text_is_only_ever_text(hostile: Path) -> None:
    text = make_report(hostile).read_text()
    made = Page(text)
    assert FAILED not in text
    tags = {tag for tag, _ in made.elements}
    assert not tags & {"iframe", "object", "form", "base"}
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script == (Path(report.__file__).parents[1] / "templates" / "page.js").read_text()
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}';" in text  # no other script may run
    assert not any(name.startswith("on") for _, attributes in made.elements for name in attributes)
    assert made.text.count('<script>alert("1")</script>') >= 8
    assert "${x} $title" in made.text
    assert outside(made) == []


def outside(made: Page) -> list[str]:
    """Addresses that are neither inside the page nor relative to its folder."""
    return [a for a in made.addresses if not (a.startswith(("data:", "#")) or re.fullmatch(r"[\w%./-]+", a))]


def test_nothing_is_loaded_from_outside(page: Page, run: Path) -> None:
    assert outside(page) == []
    assert sum(address.startswith("data:image/png") for address in page.addresses) > 10
    style = re.search(r"<style>(.*?)</style>", (run / "report.html").read_text(), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "default-src 'none'" in next(a["content"] or "" for _, a in page.elements if "http-equiv" in a)


def test_pictures_of_worlds_lose_nothing() -> None:
    family = make_family(CrafterConfig())
    for design in (None, family.design_model(target_biome="mountain", diamond_rarity="very common")):
        pixels = family.picture(design, 3, unit=4)
        data = base64.b64decode(png(pixels).removeprefix("data:image/png;base64,"))
        assert (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) == pixels).all()


def test_escaping() -> None:
    assert escape('<a href="x">\'&') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;"
    assert escape(escape("<")) == "&lt;"
    assert "<b>" not in table("<b>", ["<b>"], [["<b>", "<b>"]])


def test_pictures_tables_and_folds_can_be_read_without_eyes_or_mouse(page: Page) -> None:
    for tag, attributes in page.elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
    counts = {name: sum(tag == name for tag, _ in page.elements) for name in ("table", "caption", "h1", "main", "nav")}
    assert counts["table"] == counts["caption"] > 3
    assert (counts["h1"], counts["main"], counts["nav"]) == (1, 1, 1)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    anchors = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(anchors) == len(set(anchors))
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(anchors)


# Runs that are not finished, or broken


@pytest.mark.parametrize("done", [0, 1, 3, 4, 8, 9])
def test_a_run_shows_what_there_is_so_far(copied: Path, done: int) -> None:
    (copied / "summary.json").unlink()
    kept = [file.name[4:-5] for file in phases(copied)[:done]]
    for file in phases(copied)[done:]:
        file.unlink()
    for name in ("metrics.jsonl", "timings.jsonl", "episodes.jsonl"):
        lines = [line for line in (copied / name).read_text().splitlines(True) if json.loads(line)["phase"] in kept]
        (copied / name).write_text("".join(lines) + '{"step": 1, "torn')
    if done == 0:
        shutil.rmtree(copied / "llm")
    text = make_report(copied).read_text()
    assert FAILED not in text
    assert f"Not finished: {done} of 10 phases" in text
    assert pasted(f"python run.py resume={copied}") in Page(text).text
    evaluated = sum(name.endswith("-evaluate") for name in kept)
    assert ("none yet" in text) is (evaluated == 0)
    if evaluated:
        assert f"Feedback score, cycle {evaluated}" in text


def test_a_broken_part_leaves_the_others(copied: Path) -> None:
    (copied / "timings.jsonl").write_text("no json\n")
    text = make_report(copied).read_text()
    assert text.count(FAILED) == 1
    assert "timings.jsonl, line 1: not a row of JSON" in text
    assert "Skills by cycle" in text


def test_a_report_never_ends_a_run(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "report.html").unlink()
    (copied / "report.html").mkdir()
    assert write_report(copied) == copied / "report.html"
    assert write_report(copied / "nowhere") == copied / "nowhere" / "report.html"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("report.html could not be made: " in line for line in lines)


def test_the_command_reports_an_unfinished_run(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "summary.json").unlink()
    assert main([str(copied)]) == 0
    output = capsys.readouterr().out
    assert f"to go on: {pasted(f'python run.py resume={copied}')}" in output
    assert f"  {copied / 'report.html'}\n" in output
    assert (copied / "report.html").exists()


def test_a_run_without_designs(tmp_path: Path) -> None:
    folder = runs.run(tmp_path / "original", "tracker=none", "designer=original")
    text = make_report(folder).read_text()
    assert FAILED not in text
    assert "designs nothing: all training is in the original" in text


def test_videos_are_in_the_page_as_far_as_there_is_room(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "videos").mkdir()
    (copied / "videos" / "a.mp4").write_bytes(b"12345")
    (copied / "videos" / "b c.mp4").write_bytes(b"123456")
    monkeypatch.setattr(films, "Room", functools.partial(films.Room, 8))
    made = Page(render(RunRecord(copied)))
    assert "data:video/mp4;base64,MTIzNDU=" in made.addresses
    assert "videos/b%20c.mp4" in made.addresses


def test_a_finished_run_without_films_says_what_makes_some(copied: Path) -> None:
    made = Page(render(RunRecord(copied)))
    assert "The run kept no films" in made.text
    assert any(word.endswith(f"-m envgen_exp play {copied}") for word in made.words)
    (copied / "summary.json").unlink()
    assert "The run kept no films" not in Page(render(RunRecord(copied))).text


def test_a_film_is_told_in_words(copied: Path) -> None:
    (copied / "videos").mkdir()
    for name in ("play-original-s0-1", "cycle2-evaluate-1", "cycle1-evaluate-1"):
        (copied / "videos" / f"{name}.mp4").write_bytes(b"12345")
    film = {"title": "original, world 7", "steps": 1234, "episode_return": 2.1, "whole": False}
    told = {**film, "unlocked": {"collect_wood": 14, "wake_up": 1000}}
    (copied / "videos" / "cycle2-evaluate-1.json").write_text(json.dumps(told))
    made = Page(render(RunRecord(copied)))
    assert FAILED not in made.text
    assert "original, world 7: 1,234 steps (cut there), return 2.1; 2 of 22 skills" in made.text
    assert {"collect_wood 0:00", "wake_up 1:06"} <= set(made.words)
    names = [a["aria-label"] for tag, a in made.elements if tag == "video"]
    assert names == ["Video cycle1-evaluate-1", "Video cycle2-evaluate-1", "Video play-original-s0-1"]


def test_a_resumed_run_has_a_page_from_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"

    def cut(self: object, *args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("envgen_exp.run.loop.Run.evaluate", cut)
        with pytest.raises(KeyboardInterrupt):
            runs.run(folder, "tracker=none")
        assert not (folder / "report.html").exists()
        with pytest.raises(KeyboardInterrupt):
            runs.run(folder)
    text = Page((folder / "report.html").read_text()).text
    assert "Not finished: 3 of 10 phases" in text
    (purpose, *_) = (d["purpose"] for d in json.loads(phases(folder)[0].read_text())["proposal"]["designs"])
    assert f"“{purpose}”" in text


def test_a_full_run_takes_less_than_20_seconds(copied: Path) -> None:
    for name, count in (("metrics.jsonl", 2000), ("timings.jsonl", 2000), ("episodes.jsonl", 10_000)):
        rows = runs.rows(copied / name)
        made = []
        for number in range(count):
            row = copy.copy(rows[number * len(rows) // count])
            row["step"] = number * 980
            made.append(json.dumps(row))
        (copied / name).write_text("\n".join(made) + "\n")
    start = time.monotonic()
    path = make_report(copied)
    assert time.monotonic() - start < 20
    assert FAILED not in path.read_text()
    assert path.stat().st_size < 3_000_000


# Plots


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 100, 4) == [0, 25, 50, 75, 100]
    assert ticks(0.2, 1.1, 4) == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [short(value) for value in (0, 1_960_000, 240_000, 12.5, 0.0003)] == ["0", "1.96M", "240k", "12.5", "3e-4"]


def test_a_line_goes_through_its_points_and_breaks_at_gaps() -> None:
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, None), (3.0, 0.0), (4.0, 1.0)]
    text = line_chart("x", [Series("s", points)], alt="a", y_range=(0, 1), size=(160, 138))
    # 100 x 100 units of room, 50 from the left and 8 from the top
    assert re.findall(r'<polyline points="([^"]+)"', text) == ["50,108 75,8", "125,108 150,8"]


def test_a_long_series_keeps_its_mean() -> None:
    points = [(float(x), float(x % 7)) for x in range(5000)]
    text = line_chart("x", [Series("s", points)], alt="a", y_range=(0, 6), size=(160, 138))
    drawn = [float(p.split(",")[1]) for p in re.findall(r'<polyline points="([^"]+)"', text)[0].split()]
    assert len(drawn) == 240
    assert sum(drawn) / 240 == pytest.approx(58, abs=0.5)


# Sweeps


@pytest.fixture(scope="module")
def study_folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms of 60 runs each, with scores around 5 and 7."""
    folder = tmp_path_factory.mktemp("sweep")
    document = yaml.safe_load((run / "config.yaml").read_text())
    *others, last = phases(run)
    report = json.loads(last.read_text())
    for arm, epochs in enumerate((1, 2)):
        config = {**document["config"], "ppo": {**document["config"]["ppo"], "update_epochs": epochs}}
        text = yaml.safe_dump({**document, "config": config})  # once: it takes long
        for seed in range(60):
            there = folder / f"{arm}-{seed}"
            (there / "phases").mkdir(parents=True)
            for name in (*(f"phases/{other.name}" for other in others), "summary.json"):
                (there / name).symlink_to(run / name)
            edited = text.replace("\n  seed: 0\n", f"\n  seed: {seed}\n")
            edited = edited.replace(document["identity"], identity_of({**config, "seed": seed}))
            (there / "config.yaml").write_text(edited)
            score = 5 + 2 * arm + seed / 100
            ends = {"score/report": score, "score/report_low": score - 1, "score/report_high": score + 1}
            (there / "phases" / last.name).write_text(json.dumps({**report, "values": {**report["values"], **ends}}))
    (folder / "1-59" / "summary.json").unlink()
    (folder / "0-0" / "report.html").write_text("")
    return folder


def test_the_page_of_a_sweep_has_its_tables(study_folder: Path) -> None:
    assert main([str(study_folder)]) == 0
    made = Page((study_folder / "report.html").read_text())
    study = collect(study_folder)
    assert [len(arm.runs) for arm in study.arms] == [60, 59]
    for arm in study.arms:
        assert arm.label.endswith(("update_epochs=1", "update_epochs=2"))
        assert made.row(arm.label)[1:3] == [str(len(arm.runs)), spread(arm.values(lambda s: s.score))]
    assert "Unfinished runs: 1; they count in no number" in made.text
    assert "resume=" in made.text
    assert "0-0/report.html" in made.addresses
    assert outside(made) == []
    assert sum(row[:1] == ["1-3"] for row in made.rows) == 1
    dots = sum(tag == "circle" and "cx" in a and a.get("cx") != "12" for tag, a in made.elements)
    assert dots == 119


# In a browser


def test_in_a_browser(hostile: Path, tmp_path: Path) -> None:
    """Three widths, light and dark: nothing in the console, no request, nothing wider than the window; folds open."""
    command = browser.find()
    if command is None:
        pytest.skip("not run: no browser (chromium or chrome) on this machine")
    url = make_report(hostile).as_uri()
    with browser.browser(command, tmp_path / "profile") as window:
        pages = set()
        for width in (360, 800, 1400):
            for dark in (False, True):
                window.open(url, width, dark=dark)
                assert window.evaluate("document.documentElement.scrollWidth") <= width
                picture = tmp_path / f"{width}-{dark}.png"
                window.screenshot(picture)
                pages.add((width, dark, window.evaluate("getComputedStyle(document.body).backgroundColor")))
        assert len({colour for _, dark, colour in pages if dark} | {c for _, dark, c in pages if not dark}) == 2
        assert window.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert not window.evaluate("document.querySelector('#conversation details').open")
        window.click("#conversation summary")
        assert window.evaluate("document.querySelector('#conversation details').open")
        shown = "[...document.querySelectorAll('#skills tbody tr')].map(row => row.firstChild.textContent)"
        by_need = window.evaluate(shown)
        choose = "s => { s.value = '%s'; s.dispatchEvent(new Event('change')); }"
        window.evaluate(f"({choose % 'change'})(document.querySelector('#skills select'))")
        moved = window.evaluate("[...document.querySelectorAll('#skills [data-change]')].map(r => +r.dataset.change)")
        assert moved == sorted(moved, reverse=True)
        assert window.evaluate(shown)[-1] == "score"
        window.evaluate(f"({choose % 'tree'})(document.querySelector('#skills select'))")
        assert window.evaluate(shown) == by_need
        window.click("#videos button")
        window.click("#videos button + button")
        assert window.evaluate("[...document.querySelectorAll('video')].map(v => [v.loop, v.playbackRate])") == [
            [False, 2]
        ]
        window.open(url, 1400)
        window.press("Tab", 9)
        assert window.evaluate("document.activeElement.className") == "skip"
        window.press("Tab", 9)
        assert window.evaluate("document.activeElement.hash") == "#headline"
        assert window.console == []
        assert window.errors == []
        assert {request.split(":")[0] for request in window.requests} <= {"file", "data"}
        assert sum(request.startswith("file:") for request in window.requests) == 7
