"""A run packed into one file: what is in it, that it serves as the folder does, and what is refused of a stranger's."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import make_models as models
import pytest
from llm_server import NO_RULES, LLMServer
from runs import SMOKE, quick, rows, summary
from test_hostile_folder import THINGS

from envgen_exp.__main__ import main
from envgen_exp.commands import cli
from envgen_exp.commands.compose import compose_run
from envgen_exp.config import LLMConfig, LLMKind, Prompt
from envgen_exp.errors import ReplayError, RunFolderError
from envgen_exp.families.crafter.brief import skill_rules
from envgen_exp.guard.reading import read_json
from envgen_exp.llm import ledger, recording
from envgen_exp.llm.client import check_ready, make_client
from envgen_exp.llm.offline import answer
from envgen_exp.llm.recording import open_recording

RULES = skill_rules()
KEY = "token-of-my-server-42"
KEYS = ("designs", "source", "repairs")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two cycles that asked a server, one repair among its calls, in which the server quotes the key."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    serve = LLMServer(lambda messages: answer(messages, RULES))
    with serve as server, pytest.MonkeyPatch.context() as patch, quick():
        patch.setenv("MY_SERVER_KEY", KEY)
        server.script("echo-reply", "broken", "ok")
        local = ("llm=local", f"llm.api_base={server.url}", "llm.key_variable=MY_SERVER_KEY", "llm.temperature=0.5")
        assert cli.main([*SMOKE, *local, f"folder={folder}", "cycles=2"]) == 0
        assert len(server.seen) == 3
    return folder


@pytest.fixture(scope="module")
def packed(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("packed") / "deep" / "run.json"
    assert main(["transcript", str(recorded), str(file)]) == 0
    return file


def test_a_replay_of_the_file_has_the_same_designs_and_scores(recorded: Path, packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    with quick():
        assert cli.main([*SMOKE, "cycles=2", "llm=replay", f"llm.from={packed}", f"folder={folder}"]) == 0
    for name in ("000-cycle1-design.json", "004-cycle2-design.json"):
        ours, theirs = (read_json(one / "phases" / name)["proposal"] for one in (folder, recorded))
        assert ours == theirs
    assert (folder / "episodes.jsonl").read_bytes() == (recorded / "episodes.jsonl").read_bytes()
    assert summary(folder).score == summary(recorded).score
    assert rows(folder / "llm" / "ledger.jsonl")[0]["max_repairs"] == 2
    # A replay is a recorded run too.
    assert main(["transcript", str(folder), str(tmp_path / "again.json")]) == 0
    assert read_json(tmp_path / "again.json")["designs"] == read_json(packed)["designs"]


def test_it_holds_what_was_asked_answered_and_designed_each_text_once(recorded: Path, packed: Path) -> None:
    value = read_json(packed)
    assert (value["format"], value["model"], value["max_repairs"]) == (1, "openai/default", 2)
    assert value["run"]["identity"]
    assert value["run"]["started"]
    assert (value["run"]["llm"], value["run"]["designer"]) == ("local", "adaptive")
    for number, name in enumerate(("000-cycle1-design.json", "004-cycle2-design.json")):
        proposal = read_json(recorded / "phases" / name)["proposal"]
        assert value["designs"][number] == {"cycle": number + 1, **{key: proposal[key] for key in KEYS}}
    sent = [event for event in ledger.read(recorded / "llm") if event["event"] == "sent"]
    for call, event in zip(value["calls"], sent, strict=True):
        assert {name: call[name] for name in ("cycle", "purpose", "position", "request", "at")} == {
            name: event[name] for name in ("cycle", "purpose", "position", "request", "at")
        }
    contents = [text["content"] for text in value["texts"].values()]
    assert len(set(contents)) == len(contents)
    record = read_json(recorded / "llm" / ledger.read(recorded / "llm")[2]["file"])
    assert record["answer"]["text"] in contents
    assert "[MY_SERVER_KEY]" in packed.read_text()
    assert packed.stat().st_size < 60_000


def test_no_secret_and_no_place_goes_along(recorded: Path, packed: Path, tmp_path: Path, monkeypatch: Any) -> None:
    assert KEY not in packed.read_text()
    assert str(recorded.parent) not in packed.read_text()
    # Also not one of this machine's that a folder from elsewhere holds.
    word = read_json(packed)["calls"][0]["model"]
    monkeypatch.setenv("OTHER_API_KEY", f"{word}")
    assert main(["transcript", str(recorded), str(tmp_path / "t.json")]) == 0
    assert word not in (tmp_path / "t.json").read_text()


def line_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["transcript", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_can_t_be_packed_is_one_line(
    recorded: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = packed.read_bytes()
    assert "is there already" in line_of([str(recorded), str(packed)], capsys)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "is there already" in line_of([str(recorded), str(tmp_path / "dangling")], capsys)
    assert packed.read_bytes() == before
    assert "is not a folder" in line_of([str(tmp_path / "none"), str(tmp_path / "t")], capsys)
    asked_nobody = tmp_path / "original"
    asked_nobody.mkdir()
    (asked_nobody / "config.yaml").write_bytes((recorded / "config.yaml").read_bytes())
    assert "no answered request to a language model to pack" in line_of(
        [str(asked_nobody), str(tmp_path / "t")], capsys
    )
    monkeypatch.setattr(recording, "MAX_JSON", 10_000)
    assert "is too large: allowed are" in line_of([str(recorded), str(tmp_path / "t")], capsys)
    assert not (tmp_path / "t").exists()


def changed(*path: str | int, value: Any, hashed: bool = False) -> Callable[[dict[str, Any]], object]:
    """One value set to another one; `hashed` where its author knows how the hash is made."""

    def change(whole: dict[str, Any]) -> None:
        node: Any = whole
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        if hashed:
            whole["hash"] = ledger.digest({name: part for name, part in whole.items() if name != "hash"})

    return change


def forge_text(whole: dict[str, Any]) -> None:
    name = whole["calls"][0]["answer"]["text"]
    changed("texts", name, "content", value="forged", hashed=True)(whole)


def nest(whole: dict[str, Any]) -> None:
    value: Any = 1
    for _ in range(900):
        value = [value]
    changed("run", "name", value=value, hashed=True)(whole)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "format": (changed("format", value=2), "in format 2; this version reads format 1"),
    "format of another kind": (changed("format", value=[[]]), "is no transcript of a run"),
    "no texts": (lambda whole: whole.pop("texts"), "is no transcript of a run"),
    "no hash": (lambda whole: whole.pop("hash"), "is no whole transcript: hash: Field required"),
    "no calls": (changed("calls", value=[], hashed=True), "calls: List should have at least 1 item"),
    "a new key": (changed("calls", 0, "exec", value="x", hashed=True), "calls.0.exec: Extra inputs"),
    "a count": (changed("calls", 0, "answer", "prompt_tokens", value=-1, hashed=True), "prompt_tokens"),
    "a number as a text": (changed("calls", 0, "cycle", value="1", hashed=True), "calls.0.cycle: Input should be a va"),
    "a role": (changed("texts", "0" * 24, value={"role": "tool", "content": ""}, hashed=True), "role: Input should be"),
    "a text that is not there": (changed("calls", 0, "messages", value=["0" * 24], hashed=True), "is not in it"),
    "a text under another's hash": (forge_text, "was changed since it was packed: the text"),
    "a design": (changed("designs", 0, "source", value="forged"), "its content does not fit its hash"),
    "nested": (nest, "is no whole transcript: run.name.list.0"),
    "not a number": (changed("calls", 0, "answer", "cost", value=float("nan"), hashed=True), "finite number"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_changed_transcript_is_one_line(bad: str, packed: Path, tmp_path: Path) -> None:
    whole = read_json(packed)
    change, words = BAD[bad]
    change(whole)
    file = tmp_path / "t.json"
    file.write_text(json.dumps(whole))
    asked = LLMConfig(name="replay", kind=LLMKind.replay, replay_from=str(file))
    with pytest.raises(RunFolderError) as caught:
        check_ready(asked)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("thing", [*THINGS, "half"])
def test_whatever_lies_in_its_place_is_one_line(thing: str, packed: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(packed.read_bytes())
    begun = time.process_time()
    if thing == "half":
        os.truncate(file, file.stat().st_size // 2)
    else:
        THINGS[thing](file)
    with pytest.raises(RunFolderError) as caught:
        open_recording(file)
    assert "\n" not in str(caught.value)
    assert time.process_time() - begun < 10


def test_a_request_that_differs_is_refused_with_the_file_s_name(packed: Path, tmp_path: Path) -> None:
    asked = LLMConfig(name="replay", kind=LLMKind.replay, replay_from=str(packed))
    client = make_client(asked, tmp_path / "llm", NO_RULES, run="replay")  # type: ignore[arg-type]
    with pytest.raises(ReplayError, match=r"cycle 1 design 0 asks something else than .*run\.json did: message 1 line"):
        client.complete([{"role": "system", "content": "else"}], cycle=1)
    with pytest.raises(ReplayError, match=r"run\.json has no answer for cycle 9 design 0; it has cycle 1 design 0, "):
        client.complete([{"role": "system", "content": "else"}], cycle=9)


# Those that are shipped


@pytest.mark.parametrize("file", sorted(models.TRANSCRIPTS.glob("*.json")), ids=lambda file: file.stem)
def test_a_shipped_one_has_no_secret_and_no_place(file: Path) -> None:
    assert open_recording(file).calls
    text = file.read_text()
    assert not re.search(r'"/(?:home|root|tmp|work)', text)
    assert f"`{file.stem}`" in models.PAGE.read_text() or "-first-" in file.stem


def test_a_shipped_set_of_designs_serves_a_run(tmp_path: Path) -> None:
    file = models.TRANSCRIPTS / "claude-first-4.json"
    words = ("designer=fixed", "designer.prompt=rich", "llm=replay", f"llm.from={file}", f"folder={tmp_path / 'run'}")
    with quick():
        assert cli.main([*SMOKE, *words]) == 0
    (phase,) = (tmp_path / "run" / "phases").glob("*-cycle1-design.json")
    assert read_json(phase)["proposal"]["designs"] == json.loads(file.read_text())["designs"][0]["designs"]


@pytest.mark.parametrize(
    ("name", "prompt"), [("embedded-crafter-1", Prompt.compact), ("claude-crafter-1", Prompt.rich)]
)
def test_a_replay_asks_as_the_recorded_model_was_asked(name: str, prompt: Prompt) -> None:
    file = models.TRANSCRIPTS / f"{name}.json"
    assert compose_run(["llm=replay", f"llm.from={file}"]).designer.prompt is prompt


@pytest.mark.long
def test_the_page_of_models_is_up_to_date() -> None:
    assert "\n".join(models.tables()) in models.PAGE.read_text()
