"""The W&B workspace as code: every metric has its panel, and what W&B is sent is what the file says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb_server

from envgen_exp.commands.dashboard import MEDIA, definition, main, make_workspace
from envgen_exp.config import Engine
from envgen_exp.families import make_family
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.tracking.metrics import METRICS

SKILLS = make_family(CrafterConfig(engine=Engine.reference)).skills
KEY = "0123456789abcdef" * 2 + "fedcba98"


def sections(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {one["name"]: one["panels"] for one in spec["section"]["panelBankConfig"]["sections"]}


def plotted(panels: list[dict[str, Any]]) -> list[str]:
    return [name for panel in panels for name in panel["config"].get("metrics", [])]


def test_every_metric_has_one_panel_against_training_steps() -> None:
    document = json.loads(definition(make_workspace(SKILLS, "mine")))
    assert document["project"] == "mine"
    found = sections(document["spec"])
    assert list(found)[:2] == ["Score", "Skills"]
    wanted = [m.name.replace("<skill>", skill) for m in METRICS for skill in (SKILLS if "<skill>" in m.name else [""])]
    assert sorted(name for panels in found.values() for name in plotted(panels)) == sorted(wanted)
    assert [panel["config"]["chartTitle"] for panel in found["Skills"][1:]] == list(SKILLS)
    assert "score/report" in plotted(found["Score"])
    assert plotted(found["LLM cost"]) == [m.name for m in METRICS if m.name.startswith("llm/")]
    assert "speed/steps_per_second" in plotted(found["Speed"])
    kinds = {name: [panel["viewType"] for panel in panels] for name, panels in found.items()}
    assert kinds["Designs"][:3] == ["Weave", "Media Browser", "Media Browser"]
    assert kinds["Films"] == ["Media Browser"]
    for name, keys in MEDIA.items():
        for panel, key in zip(found[name], keys, strict=False):
            assert key in json.dumps(panel)
    axes = {panel["config"]["xAxis"] for panels in found.values() for panel in panels if "xAxis" in panel["config"]}
    assert axes == {"step"}
    (runs,) = document["spec"]["section"]["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]
    assert {f"config:{key}.value" for key in ("family", "arm", "seed")} <= set(runs["runFeed"]["columnOrder"])


def test_without_a_key_the_definition_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE")
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "WANDB_API_KEY" in printed
    assert "dashboard.json" in printed
    written = json.loads((tmp_path / "dashboard.json").read_text())
    assert written["project"] == "envgen"
    assert main(["--json", "other.json", "--project", "mine"]) == 0
    assert json.loads((tmp_path / "other.json").read_text())["project"] == "mine"


def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, says in (["--env", "craftre"], "craftre"), (["--colour"], "unrecognized arguments: --colour"):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("envgen: error: ")
        assert error.count("\n") == 1
        assert says in error
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert main([]) == 2
    assert "pip install '.[dashboard]'" in capsys.readouterr().err


class Handler(wandb_server.Handler):
    """Takes views too."""

    views: list[dict[str, Any]]

    def _answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "UpsertView2" in query:
            self.views.append(variables)
            return {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}
        return super()._answer(query, variables)


def test_what_wandb_is_sent_is_what_the_file_says(tmp_path: Path) -> None:
    views: list[dict[str, Any]] = []
    with wandb_server.wandb_server() as server:
        server.RequestHandlerClass = type("Taking", (Handler,), {"views": views})
        command = [sys.executable, "-m", "envgen_exp", "dashboard", "--project", "mine", "--entity", "us"]
        own = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online", "HOME": str(tmp_path)}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **own}, timeout=100
        )
    assert done.returncode == 0, done.stderr
    (sent,) = views
    assert (sent["entityName"], sent["projectName"], sent["type"]) == ("us", "mine", "project-view")
    ours = json.loads(definition(make_workspace(SKILLS, "mine", "us")))["spec"]

    def named(spec: dict[str, Any]) -> Any:
        return {name: [panel["config"] for panel in panels] for name, panels in sections(spec).items()}

    assert named(json.loads(sent["spec"])) == named(ours)
    assert "us/mine" in done.stdout
    assert not list(tmp_path.glob("*.json"))
