"""``python tools/make_reference.py docs/reference.md`` writes the page of every config key and every metric.

Keys come from the config classes with the ranges of their fields, options from the files of conf/, metrics from the
table in tracking/metrics.py; where a metric is logged stands here and is compared with a real run by a test.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from envgen_exp.commands.compose import CONF, compose_run
from envgen_exp.commands.explain import groups_of
from envgen_exp.commands.help import chosen_options, docs_of, gloss, value_text
from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError
from envgen_exp.guard.frozen import frozen_twin, schema
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners.learner import Metric
from envgen_exp.run.identity import NOT_IDENTITY
from envgen_exp.run.loop import WINDOW_STEPS
from envgen_exp.run.schemas import register
from envgen_exp.tracking.metrics import METRICS

_UPDATE = "training: each update"
_WINDOW = f"training: every {WINDOW_STEPS:,} steps and at a phase's end, if an episode ended"

WHEN: tuple[tuple[str, frozenset[str], str], ...] = (
    ("score/training_last_phase|return/training_last_phase", frozenset({"report"}), "the report evaluation"),
    ("(skill|return|length|episodes)/designed.*", frozenset({"designed"}), _WINDOW),
    ("(skill|return|length|episodes)/original.*", frozenset({"original"}), _WINDOW),
    ("steps/designed", frozenset({"designed"}), _UPDATE),
    ("steps/original", frozenset({"original"}), _UPDATE),
    ("steps/validation", frozenset({"design"}), "each design phase"),
    ("updates", frozenset({"designed", "original"}), _UPDATE),
    (r"\w+/feedback.*", frozenset({"feedback"}), "each feedback evaluation"),
    (r"\w+/midway.*", frozenset({"midway"}), "each evaluation of `evaluation.report_at`"),
    (r"\w+/report.*", frozenset({"report"}), "the report evaluation"),
    (
        "aux/.*|loss/(matching|prediction|policy_distance|value_distance)",
        frozenset({"designed", "original"}),
        "training with `ppo.aux_freq`: each auxiliary phase",
    ),
    ("seconds/aux", frozenset({"designed", "original"}), "training with `ppo.aux_freq`: each update"),
    ("loss/.*|speed/.*|seconds/(env|inference|update)", frozenset({"designed", "original"}), _UPDATE),
    ("(llm|designs)/.*", frozenset({"design"}), "each design phase"),
    (
        "seconds/visual",
        frozenset({"design", "designed", "original", "feedback", "report"}),
        "the end of each phase",
    ),
    (
        "seconds/checkpoint|checkpoint/bytes",
        frozenset({"design", "designed", "original", "feedback", "report"}),
        "each checkpoint",
    ),
)
"""Pattern of a metric's name, the kinds of phases (`plan.PlannedPhase.kind`) that log it, and when, in words."""

_TYPES = {int: "whole number", float: "number", bool: "true, false", str: "text"}


def main(argv: Sequence[str]) -> int:
    """Write the page, or print it where no file is named."""
    text = reference()
    if argv:
        write_atomic(Path(argv[0]), text.encode())
    else:
        print(text, end="")
    return 0


def reference() -> str:
    """docs/reference.md."""
    return "\n".join([*_introduction(), *_groups(), *_all_keys(), *_metrics()]) + "\n"


def when(metric: Metric) -> tuple[frozenset[str], str]:
    """The kinds of phases that log a metric, and when in words; LookupError where `WHEN` does not say."""
    for pattern, kinds, words in WHEN:
        if re.fullmatch(pattern, metric.name):
            return kinds, words
    raise LookupError(f"make_reference.WHEN does not say when {metric.name} is logged")


def _introduction() -> list[str]:
    return [
        "# Reference",
        "",
        "Written by `make reference` from the schema (`src/envgen_exp/config.py`), the files of `conf/` and the table",
        "of metrics (`src/envgen_exp/tracking/metrics.py`); a test fails where it is not up to date.",
        "",
        "- [Groups](#groups): what `GROUP=OPTION` chooses",
        "- [Keys](#keys): what `KEY=VALUE` sets",
        "- [Metrics](#metrics): what a run writes down",
    ]


def _groups() -> Iterator[str]:
    taken = chosen_options(CONF)
    yield from ("", "## Groups", "", "In bold what is taken if nothing is typed.", "", "| | is |", "|---|---|")
    for group in groups_of(CONF):
        for file in sorted((CONF / group).glob("*.yaml")):
            option = f"`{group}={file.stem}`"
            yield f"| {f'**{option}**' if taken.get(group) == file.stem else option} | {_cell(gloss(file))} |"


def _all_keys() -> Iterator[str]:
    register()
    config = compose_run([])
    yield from (
        "",
        "## Keys",
        "",
        "Typed as `KEY=VALUE`; the value shown is taken if nothing is typed. A ✓ may change on resume: it changes no",
        "result. `null` stands for none.",
    )
    sections = [f.name for f in dataclasses.fields(config) if dataclasses.is_dataclass(getattr(config, f.name))]
    plain = [f.name for f in dataclasses.fields(config) if f.name not in sections]
    yield from _table("Run", schema(RunConfig), "", plain, dataclasses.asdict(config))
    for name in sections:
        values = {f.name: getattr(getattr(config, name), f.name) for f in dataclasses.fields(getattr(config, name))}
        hint = _common_schema(name) or typing.get_type_hints(schema(RunConfig))[name]
        common = [f.name for f in dataclasses.fields(hint)]
        yield from _table(name, hint, f"{name}.", common, values)
        for option, twin in _own_schemas(name, hint):
            own = [f for f in dataclasses.fields(twin) if f.name not in common]
            defaults = {f.name: f.default for f in own}
            yield from _table(f"{name}={option}", twin, f"{name}.", [f.name for f in own], defaults)


def _common_schema(group: str) -> type | None:
    store = ConfigStore.instance()
    named = group in store.repo and f"schema_{group}.yaml" in store.list(group)
    return OmegaConf.get_type(store.load(f"{group}/schema_{group}.yaml").node) if named else None


def _own_schemas(group: str, common: type) -> Iterator[tuple[str, type]]:
    """The classes of a group with keys of their own, each with the option that has them."""
    store = ConfigStore.instance()
    if group not in store.repo:
        return
    for file in sorted(store.list(group)):
        twin = OmegaConf.get_type(store.load(f"{group}/{file}").node)
        if twin is not None and len(dataclasses.fields(twin)) > len(dataclasses.fields(common)):
            yield file.removesuffix(".yaml").removeprefix("schema_"), twin


def _table(title: str, twin: type, prefix: str, names: Iterable[str], values: Mapping[str, Any]) -> Iterator[str]:
    docs, hints = docs_of(frozen_twin(twin)), typing.get_type_hints(twin)
    ranges = {f.name: f.metadata["allowed"].words for f in dataclasses.fields(twin) if "allowed" in f.metadata} | {
        f.name: ", ".join(f"`{name}`" for name in f.metadata["registry"].names)
        for f in dataclasses.fields(twin)
        if "registry" in f.metadata
    }
    yield from ("", f"### {title}", "", "| key | value | allowed | what it is | |", "|---|---|---|---|---|")
    for name in names:
        doc = docs.get(name, "")
        if not doc:
            raise ConfigError(f"{twin.__name__}.{name} has no doc line")
        key = prefix + name
        mark = "✓" if key in NOT_IDENTITY or key.split(".")[0] in NOT_IDENTITY else ""
        value = values[name]
        shown = "" if value is dataclasses.MISSING else f"`{value_text(value)}`"
        yield f"| `{key}` | {shown} | {_cell(_allowed(hints[name], ranges.get(name, '')))} | {_cell(doc)} | {mark} |"


def _allowed(hint: Any, rule: str) -> str:
    options = [item for item in typing.get_args(hint) if item is not type(None)]
    optional = type(None) in typing.get_args(hint)
    inner = options[0] if optional else hint
    if isinstance(inner, type) and issubclass(inner, Enum):
        words = ", ".join(f"`{name}`" for name in inner.__members__)
    elif typing.get_origin(inner) is list:
        words = "list, `[a,b]`"
    else:
        words = _TYPES[inner]
    if rule:
        words = rule if inner is str else f"{words}, {rule}"
    return words + (", or `null`" if optional else "")


def _metrics() -> Iterator[str]:
    yield from (
        "",
        "## Metrics",
        "",
        "Every row of `metrics.jsonl` and `timings.jsonl` has `step` (training steps of the whole run, designed and",
        "original together), `phase` and `cycle`, then some of the names below. W&B shows them against `step`.",
        "`metrics.jsonl` holds no clock reading: a run that is killed and resumed writes it byte for byte the same.",
        "`null` is a number that does not exist, such as the explained variance of constant returns.",
        "",
        "`episodes.jsonl` has a line for each finished episode: the three keys above, then the fields of",
        "`envgen_exp.families.vector.EpisodeRecord`; `skills` counts how often each skill was shown, in the family's",
        "order.",
    )
    for title, clock in (("metrics.jsonl", False), ("timings.jsonl", True)):
        yield from ("", f"### {title}", "", "| name | unit | what it is | logged in |", "|---|---|---|---|")
        yield from (f"| `{m.name}` | {m.unit} | {_cell(m.doc)} | {when(m)[1]} |" for m in METRICS if m.clock is clock)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
