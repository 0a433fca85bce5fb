"""What a run's folder says is data: no text in it is interpreted, and none decides which key is sent where."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envgen_exp.commands.compose import compose_run
from envgen_exp.config import RunConfig
from envgen_exp.designers.config import HumanConfig
from envgen_exp.errors import ConfigError
from envgen_exp.guard.frozen import plain
from envgen_exp.guard.reading import dump_yaml, load_yaml
from envgen_exp.run.folder import RunFolder
from envgen_exp.run.record import RunRecord
from envgen_exp.run.stored import resume_command

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(
        st.sampled_from(["${", "}", "seed", "oc.env:PLANTED", "\\", "???", "'", '"', "\0", "24", " ", ":"]), max_size=8
    ).map("".join),
)


@pytest.fixture(scope="module")
def base() -> RunConfig:
    return compose_run(["debug=smoke"])


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "from-the-environment")


def stored(config: RunConfig, folder: Path, **changes: Any) -> Path:
    """A folder of a run with this config, as somebody else may have made it."""
    RunFolder.create(
        dataclasses.replace(config, folder=str(folder)), command="python run.py ${seed}", versions={}, chosen={}
    ).close()
    file = folder / "config.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["llm"] |= changes
    file.write_text(yaml.safe_dump(document))
    return folder


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
@example("${seed}", "${oc.env:PLANTED}", "???")
@example("${", "\\${seed}", "\0" + "24" + "\0")
def test_any_text_comes_back_as_it_was_stored(base: RunConfig, arm: str, purpose: str, tag: str) -> None:
    sets = [[{"purpose": purpose, arm: [tag]}]]
    config = dataclasses.replace(
        base,
        arm=arm,
        contrasts=[purpose],
        designer=HumanConfig(name="human", file=tag, sets=sets),
        tracker=dataclasses.replace(base.tracker, tags=[tag], group=purpose),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = RunRecord(stored(config, Path(folder) / "run")).config
    assert plain(found) == plain(config) | {"folder": found.folder}


@pytest.mark.parametrize("text", ["${seed}", "${oc.env:PLANTED}", "a${b", "\\${seed}"])
def test_a_text_typed_in_hydras_way_stays_through_store_and_resume(text: str, tmp_path: Path) -> None:
    typed = text.replace("\\", "\\\\").replace("${", "\\${")
    config = compose_run(["debug=smoke", f"tracker.group='{typed}'"])
    assert config.tracker.group == text
    again = compose_run([f"resume={stored(config, tmp_path / 'run')}", "tracker.project=p"])
    assert (again.tracker.group, again.tracker.project) == (text, "p")


def test_a_strangers_folder_reads_no_environment(base: RunConfig, tmp_path: Path) -> None:
    folder = stored(base, tmp_path / "run", api_base="http://127.0.0.1:1/${oc.env:PLANTED}")
    assert RunRecord(folder).config.llm.api_base == "http://127.0.0.1:1/${oc.env:PLANTED}"
    assert compose_run([f"resume={folder}"]).llm.api_base == "http://127.0.0.1:1/${oc.env:PLANTED}"


FOREIGN = "http://192.0.2.1:8000/v1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api_base": FOREIGN, "key_variable": "OPENAI_API_KEY"}, "llm.api_base={} llm.key_variable=OPENAI_API_KEY"),
        ({"api_base": FOREIGN, "model": "vertex_ai/gemini"}, "llm.api_base={}"),
        ({"model": "huggingface/http://192.0.2.1"}, "llm.model=huggingface/http://192.0.2.1"),
        ({"key_variable": "AWS_SECRET_ACCESS_KEY"}, "llm.key_variable=AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_which_key_goes_where_is_typed_again(
    changes: dict[str, str], words: str, base: RunConfig, tmp_path: Path
) -> None:
    words = words.format(FOREIGN)
    model = {"kind": "litellm", "model": "openai/x", **changes}
    folder = stored(base, tmp_path / "a run, ${seed}", **model)
    config = RunRecord(folder).config
    command = resume_command(folder, config.llm)
    _, _, resume, *further = shlex.split(command)
    assert " ".join(further) == words
    assert compose_run([resume, *further]).llm == config.llm
    for missing in range(len(further)):
        with pytest.raises(ConfigError) as caught:
            compose_run([resume, *further[:missing], *further[missing + 1 :]])
        assert str(caught.value).endswith(f"add {words}")
    if len(further) > 1:  # an option of one's own conf
        assert compose_run([resume, "llm=offline"]).llm.name == "offline"


@pytest.mark.parametrize("changes", [{}, {"api_base": FOREIGN}])
def test_a_providers_own_key_and_a_server_without_one_need_no_word(
    changes: dict[str, str], base: RunConfig, tmp_path: Path
) -> None:
    folder = stored(base, tmp_path / "run", kind="litellm", model="openai/x", **changes)
    assert compose_run([f"resume={folder}"]).llm.model == "openai/x"


def test_numbers_are_hydras_and_hashes_stay_text() -> None:
    assert load_yaml("{a: 1e-08, b: -3E5, c: 1.5e-07}") == {"a": 1e-8, "b": -3e5, "c": 1.5e-7}
    assert load_yaml("identity: 174489e723326110") == {"identity": "174489e723326110"}
    for value in (1e-8, "1e-08", "3E5", "174489e723326110"):
        assert load_yaml(dump_yaml({"a": value})) == {"a": value}
