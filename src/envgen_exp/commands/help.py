"""What `python run.py --help` prints, made from conf/ and from the doc lines of config classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from envgen_exp.commands.explain import groups_of
from envgen_exp.config import RunConfig
from envgen_exp.errors import ConfigError
from envgen_exp.registry import nearest
from envgen_exp.run.pasted import typed
from envgen_exp.run.schemas import PLUG_INS

_COMMANDS = """\
usage: python run.py [KEY=VALUE | GROUP=OPTION ...] [-m] [--cfg job] [--config-dir FOLDER] [--help [SECTION ...]]

A language model designs environments for a small agent, sees where it is weak, and designs new ones for that.

  python run.py                                          a full run with the defaults of conf/config.yaml
  python run.py llm=gpt4 env=crafter cycles=4            use a language model (set its API key in the environment)
  python run.py experiment=demo                          a small run that shows everything once
  python run.py resume=FOLDER                            continue a run that was stopped or killed
  python run.py -m designer=adaptive,original seed=0,1   run every combination, into multirun/<time>/
  python run.py ... --cfg job                            print the config and do not run
  python run.py --config-dir=FOLDER llm=mine             options of your own too, here FOLDER/llm/mine.yaml
  python run.py --help ppo                               list the keys of a section"""


def usage(config: RunConfig, conf: Path, *own: Path) -> str:
    """Commands, groups with a line for each option, and the keys with their values in `config`.

    `own` are the searched config folders beside conf/, whose options are listed too.
    """
    chosen = chosen_options(conf)
    lines = [typed(_COMMANDS), "", "Groups (GROUP=OPTION; * is taken if nothing is typed)"]
    for group in groups_of(conf):
        lines += [f"  {group}", *_options(group, chosen, conf, *own)]
    lines += ["", "Keys (KEY=VALUE; the values shown are those taken if nothing is typed)"]
    groups = [f.name for f in dataclasses.fields(config) if f.name != "arm" and (conf / f.name).is_dir()]
    lines += _keys(config, "", leave_out=groups)
    lines += [
        "",
        f"Sections with keys of their own: {', '.join(groups)}; e.g. {typed('python run.py')} --help {groups[0]}",
    ]
    return "\n".join(lines)


def _options(group: str, chosen: dict[str, Any], *conf: Path) -> Iterator[str]:
    found = {file.stem: file for folder in reversed(conf) for file in (folder / group).glob("*.yaml")}
    for _, file in sorted(found.items()):
        mark = "*" if chosen.get(group) == file.stem else " "
        yield f"  {mark} {file.stem:<16} {gloss(file)}"
    installed = (name for of, all_, _ in PLUG_INS if of == group for name in all_.names if not all_.is_built_in(name))
    yield from (f"    {name:<16} (an installed package's)" for name in installed)


def usage_of(section: str, config: RunConfig, conf: Path, *own: Path) -> str:
    """A section's keys with their values in `config`, or a group's options where it is none; else ConfigError."""
    groups = groups_of(conf)
    sections = {f.name for f in dataclasses.fields(config) if dataclasses.is_dataclass(getattr(config, f.name))}
    if section not in sections:
        if section in groups:
            return "\n".join([f"{section}=OPTION", *_options(section, chosen_options(conf), conf, *own)])
        names = sorted({*sections, *groups})
        raise ConfigError(f"--help {section}: no such section{nearest(section, names)}; allowed: {' | '.join(names)}")
    return "\n".join(_keys(getattr(config, section), f"{section}."))


def gloss(file: Path) -> str:
    """The first comment line of a file of conf/ that is not its command."""
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if text and not text.startswith(("python run.py", "@package")):
            return text
    return ""


def chosen_options(conf: Path) -> dict[str, Any]:
    """The option of each group that is taken if nothing is typed."""
    entries = yaml.safe_load((conf / "config.yaml").read_text())["defaults"]
    return {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}


def _keys(section: Any, prefix: str, leave_out: list[str] | None = None) -> Iterator[str]:
    docs = docs_of(type(section))
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if field.name in (leave_out or ()):
            continue
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{field.name}.")
            continue
        doc = docs.get(field.name, "")
        shown = f"{prefix}{field.name}={value_text(value)}"
        names = type(value).__members__ if isinstance(value, Enum) else ()
        names = field.metadata["registry"].names if "registry" in field.metadata else names
        yield f"  {shown:<34} {doc}" + (f" ({' | '.join(names)})" if names else "")


def value_text(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, Enum):
        return value.name
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def docs_of(section: type) -> dict[str, str]:
    """For each field of a config class the string that stands below it in the source."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(body, ast.ClassDef)
        for statement, below in zip(body.body, body.body[1:], strict=False):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    found[name] = " ".join(doc.split())
    return found
