"""A plug-in of another package has settings of its own, and no file of ours knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envgen_exp.commands.compose import compose_run
from envgen_exp.commands.help import usage_of
from envgen_exp.config import freeze, plain
from envgen_exp.errors import ConfigError
from envgen_exp.run.stored import structured

SOURCE = '''
from dataclasses import dataclass
from envgen_exp.config import AgentConfig, DesignerConfig, EnvConfig, between, ranged
from envgen_exp.designers.original import Original

@dataclass(frozen=True)
class CaveConfig(EnvConfig):
    """A cave."""

    depth: int = ranged(3, between(1, 9))
    """How deep the cave is."""

class Cave:
    Config = CaveConfig

@dataclass(frozen=True)
class LazyConfig(DesignerConfig):
    """One that rests."""

    naps: int = ranged(2, between(0, 5))
    """Naps between two designs."""

class Lazy(Original):
    Config = LazyConfig

@dataclass(frozen=True)
class TableConfig(AgentConfig):
    """A table of values."""

    cells: int = ranged(10, between(1, 50))
    """Cells of the table."""

class Table:
    Config = TableConfig
'''
POINTS = """[envgen_exp.families]
cave = strange_cave:Cave
broken = no_such_module:Cave
[envgen_exp.designers]
lazy = strange_cave:Lazy
[envgen_exp.learners]
table = strange_cave:Table
"""
CHOSEN = ["env=cave", "designer=lazy", "agent=table", "tracker=none"]


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    metadata = site / "strange_cave-1.dist-info"
    metadata.mkdir(parents=True)
    (site / "strange_cave.py").write_text(SOURCE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-cave\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(site))


def test_its_settings_are_typed_like_ours() -> None:
    config = compose_run([*CHOSEN, "env.depth=7", "designer.naps=1", "agent.cells=4"])
    values = plain(config)
    assert (values["env"]["name"], values["env"]["depth"]) == ("cave", 7)
    assert (values["designer"]["naps"], values["agent"]["cells"]) == (1, 4)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("env.depht=7", "did you mean env.depth?"),
        ("designer.nap=1", "did you mean designer.naps?"),
        ("agent.cell=1", "did you mean agent.cells?"),
        ("env.depth=10", "env.depth=10: allowed is from 1 to 9"),
        ("designer.naps=many", "a whole number"),
        ("agent.cells=0", "agent.cells=0: allowed is from 1 to 50"),
    ],
)
def test_a_wrong_word_gets_one_line(typed: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run([*CHOSEN, typed])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_has_its_keys_with_their_lines() -> None:
    text = usage_of("env", compose_run(CHOSEN))
    assert "env.depth=3" in text
    assert "How deep the cave is." in text


def test_what_a_folder_keeps_of_it_is_read_again(tmp_path: Path) -> None:
    config = compose_run([*CHOSEN, "env.depth=7", "agent.cells=4"])
    assert freeze(structured(plain(config), tmp_path)) == config
