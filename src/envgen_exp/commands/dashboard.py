"""``python -m envgen_exp dashboard`` writes the project's W&B workspace: score, skills, designs, LLM cost, speed.

The panels come from the metrics' own table, so that a new metric has its place as soon as it is logged. Without a key
for W&B, or with --json, the definition goes to a file: what W&B would be sent.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from envgen_exp.commands.compose import compose_run
from envgen_exp.commands.failure import told
from envgen_exp.config import TrackerConfig, TrackerKind
from envgen_exp.errors import ConfigError
from envgen_exp.families import make_family
from envgen_exp.guard.redaction import redact
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners import GROUPS
from envgen_exp.run.pasted import typed
from envgen_exp.tracking import media
from envgen_exp.tracking.metrics import METRICS
from envgen_exp.tracking.wandb import resolve_mode

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

NAME = "EnvGen"
"""What the workspace is called."""

MEDIA: Mapping[str, tuple[str, ...]] = {
    "Designs": (media.DESIGNS, media.MAPS, media.VIEWS),
    "Films": (media.FILMS,),
    "Skills": (media.SKILLS,),
    "LLM cost": (media.LLM_CALLS,),
}
"""Tables, pictures and films that stand first in a section."""

ROOMS: Mapping[str, tuple[str, ...]] = {
    "Score": ("score", "return", "length"),
    "Designs": ("designs",),
    "Films": (),
    "LLM cost": ("llm",),
    "Learning": ("loss",),
    "Auxiliary phases": ("aux",),
    "Speed": ("speed", "seconds", "checkpoint"),
    "Steps and episodes": ("steps", "episodes", "updates"),
}
"""The sections beside the skills', and the first words of the metrics in each.

A word is a panel; where a section has one word alone, each of its metrics is one.
"""


@told
def main(argv: Sequence[str]) -> int:
    """Write the workspace, to W&B or a file, and return the exit status: 2 with one line where that can't be."""
    asked = _parser().parse_args(argv)
    run = compose_run([f"env={asked.env}"])
    tracker = run.tracker
    workspace = make_workspace(make_family(run.env).skills, asked.project or tracker.project, asked.entity or "")
    online = resolve_mode(TrackerConfig(kind=TrackerKind.wandb, mode=tracker.mode)) == "online"
    if asked.json is not None or not online:
        path = asked.json or Path("dashboard.json")
        write_atomic(path, definition(workspace).encode())
        why = "" if asked.json else "to write it to W&B, set WANDB_API_KEY or run `wandb login`; "
        print(f"{why}the workspace's definition is in {path}")
    else:
        print(f"the workspace is at {save(workspace)}")
    return 0


def make_workspace(skills: Sequence[str], project: str, entity: str = "") -> Workspace:
    """The workspace of a project whose runs are of a family with these skills; ConfigError without wandb-workspaces."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own, of pydantic
            import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ConfigError(
            f"the dashboard needs the package wandb-workspaces: pip install '.[dashboard]' in its clone ({error})"
        ) from None
    rooms = {name: _section(name, _panels(words)) for name, words in ROOMS.items()}
    skill_panels = [[m.name.replace("<skill>", skill) for m in METRICS if "<skill>" in m.name] for skill in skills]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            rooms.pop("Score"),
            _section("Skills", skill_panels, titles=skills),
            *rooms.values(),
        ],
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=20),
        # A group is an arm of a sweep, or of single runs of one budget: its seeds are one line with a band.
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Metric("Group")],
            pinned_columns=[
                "run:displayName",
                *(f"config:{name}.value" for name in ("family", "arm", "seed", "sweep")),
                *(f"config:{name}.value.name" for name in ("llm", *(group for group, *_ in GROUPS))),
                "summary:score/report",
                "summary:llm/cost_dollars",
            ],
        ),
    )


def definition(workspace: Workspace) -> str:
    """The workspace as JSON: its project, its name, and the specification as W&B is sent it."""
    view = workspace._to_model()
    spec = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    return json.dumps({"project": view.project, "name": view.display_name, "spec": spec}, indent=1) + "\n"


def save(workspace: Workspace) -> str:
    """Write the workspace to W&B and return its address; ConfigError where W&B refuses."""
    import wandb

    try:
        if not workspace.entity:
            workspace.entity = wandb.Api().default_entity or ""
        workspace.save()  # type: ignore[no-untyped-call]
        return str(workspace.url)
    except Exception as error:  # W&B raises what it likes
        line = redact(" ".join(str(error).split()))[:300]
        raise ConfigError(f"W&B did not take the workspace of {workspace.project}: {line}") from error


def _section(name: str, panels: Iterable[Sequence[str]], titles: Sequence[str] = ()) -> Section:
    """A section with its tables, pictures and films, then a line plot for each group of metrics."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.reports.v2.interface import LinePlot, MediaBrowser, WeavePanelSummaryTable

    made: list[Any] = []
    for key in MEDIA.get(name, ()):
        if key.startswith("table_"):
            made.append(WeavePanelSummaryTable(table_name=key))
        else:
            made.append(MediaBrowser(title=key, media_keys=[key], num_columns=4))
    for index, metrics in enumerate(panels):
        title = titles[index] if titles else metrics[0] if len(metrics) == 1 else metrics[0].split("/")[0]
        made.append(LinePlot(title=title, x="step", y=list(metrics), groupby="Group", groupby_rangefunc="stddev"))
    rows = min(4, math.ceil(len(made) / 3))
    layout = ws.SectionLayoutSettings(columns=3, rows=rows)
    return ws.Section(name=name, panels=made, is_open=name in ("Score", "Skills"), layout_settings=layout)


def _panels(words: Sequence[str]) -> list[list[str]]:
    """The metrics of each panel of a section."""
    found = [[m.name for m in METRICS if m.name.split("/")[0] == word] for word in words]
    return found if len(found) != 1 else [[name] for name in found[0]]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"dashboard: {message}; --help lists what there is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=typed("python -m envgen_exp dashboard"), description=__doc__, allow_abbrev=False)
    parser.add_argument("--project", help="W&B's project [that of tracker.project]")
    parser.add_argument("--entity", help="W&B's user or team [that of the key]")
    parser.add_argument("--env", default="crafter", help="whose skills have panels [crafter]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the definition there and nothing to W&B")
    return parser
