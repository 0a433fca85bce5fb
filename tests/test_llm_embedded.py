"""What is known of the embedded model before it runs: processor, memory, weights, and how its progress is shown."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import tiny_gguf
from runs import composed

from envgen_exp.config import LLMConfig, LLMKind
from envgen_exp.errors import ConfigError, UnavailableError
from envgen_exp.llm.client import check_ready
from envgen_exp.llm.embedded import machine, server, source, weights
from envgen_exp.llm.source import RequestFailed, Writing
from envgen_exp.run.identity import identity
from envgen_exp.tracking.answer import AnswerProgress
from envgen_exp.tracking.progress import PlainProgress

GIB = 2**30


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("weights") / "tiny.gguf")


def test_a_processor_that_cant_run_it_is_named(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags : fpu avx f16c fma\n")
    with pytest.raises(UnavailableError, match="this processor lacks avx2, which"):
        machine.check_processor(cpuinfo)
    with pytest.raises(UnavailableError, match="lacks avx2, fma, f16c"):  # another kind of processor
        machine.check_processor(tmp_path / "missing")
    cpuinfo.write_text("processor : 0\nflags : fpu avx avx2 f16c fma\n")
    machine.check_processor(cpuinfo)


def test_memory_that_is_short_is_said_in_numbers_before_loading(tiny: Path) -> None:
    needed = machine.memory_needed(tiny, 4096)
    machine.check_memory(tiny, 4096, available=needed)
    with pytest.raises(UnavailableError, match=r"llm.context=4096 needs about 0.3 GB .* 0.2 GB are free"):
        machine.check_memory(tiny, 4096, available=200_000_000)


def test_memory_that_another_model_has_now_is_not_missed(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The runs of a sweep begin while one of them asks: each waits for its turn, and looks at the memory then."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "check_processor", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(machine, "memory_available", lambda: 0)
    config = LLMConfig(name="embedded", kind=LLMKind.embedded, model="tiny", weights=str(tiny))
    with pytest.raises(UnavailableError, match=r"0\.0 GB are free"):
        check_ready(config)
    turn = machine.take_turn(tmp_path / "envgen")
    check_ready(config)
    os.close(turn)
    with pytest.raises(UnavailableError, match=r"0\.0 GB are free"):
        check_ready(config)


def test_a_model_that_is_killed_while_it_loads_gives_its_turn_back(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the kernel does where memory runs out: it is said, and may go better the next time."""
    (tmp_path / "killed.py").write_text("import os, sys\nsys.stdin.readline()\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(server, "child", SimpleNamespace(__name__="killed"))
    with pytest.raises(RequestFailed, match="ended by SIGKILL: memory may have run out") as caught:
        server.Server(tiny, context=64, threads=1, cache=tmp_path)
    assert caught.value.again
    assert not machine.is_busy(tmp_path)


def test_whatever_a_model_writes_an_event_is_one_line() -> None:
    """The server sends separators of lines within a text as they are."""
    events = [{"content": "a\u2028b\u0085c\x1cd"}, {"content": "\n"}]
    told = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
    sent = httpx.MockTransport(lambda request: httpx.Response(200, content=f"{told}data: [DONE]\n\n".encode()))
    with httpx.Client(transport=sent, base_url="http://model") as client:
        assert list(source._events(client, {})) == events


def test_the_context_s_memory_follows_from_the_header(tiny: Path) -> None:
    a_token = machine.memory_needed(tiny, 2) - machine.memory_needed(tiny, 1)
    assert a_token == 2 * 2 * tiny_gguf.WIDTH  # keys and values in 16 bits, one layer


def test_a_damaged_header_is_no_error_here(tiny: Path, tmp_path: Path) -> None:
    data = tiny.read_bytes()
    damaged = tmp_path / "damaged.gguf"
    for end in (0, 3, 20, 30, 100, 5000):
        damaged.write_bytes(data[:end])
        machine.read_header(damaged)
        assert machine.memory_needed(damaged, 1) > 0
    damaged.write_bytes(data[:24] + b"\xff" * 200)
    assert machine.read_header(damaged) == {}
    nested = struct.pack("<4sIQQQ1sI", b"GGUF", 3, 0, 1, 1, b"a", 9) + struct.pack("<IQ", 9, 1) * 5000
    damaged.write_bytes(nested)  # lists in lists, deeper than Python goes
    assert machine.read_header(damaged) == {}


@pytest.mark.parametrize(
    ("line", "files", "free"),
    [
        ("0::/", {}, 8 * GIB),
        ("0::/a/b", {"a/memory.max": f"{4 * GIB}", "a/memory.current": f"{GIB}"}, 3 * GIB),
        ("0::/a/b", {"a/b/memory.max": "max", "a/b/memory.current": "1"}, 8 * GIB),
        (
            "0::/a",
            {"a/memory.max": f"{4 * GIB}", "a/memory.current": f"{3 * GIB}", "a/memory.stat": f"inactive_file {GIB}"},
            2 * GIB,
        ),
        (
            "4:memory:/a",
            {"memory/a/memory.limit_in_bytes": f"{2 * GIB}", "memory/a/memory.usage_in_bytes": f"{GIB}"},
            GIB,
        ),
        ("3:cpu:/a", {"memory/a/memory.limit_in_bytes": "1", "memory/a/memory.usage_in_bytes": "1"}, 8 * GIB),
    ],
)
def test_free_memory_is_the_machine_s_or_the_control_group_s(
    line: str, files: dict[str, str], free: int, tmp_path: Path
) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    (proc / "self" / "cgroup").write_text(line + "\n")
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    assert machine.memory_available(proc, groups) == free


def test_weights_of_ones_own_are_named_with_their_hash(tiny: Path) -> None:
    config = composed("llm=embedded", f"llm.weights={tiny}")
    assert config.llm.model == f"tiny.gguf {weights.sha256(tiny)[:12]}"
    assert config.llm.kind.is_model
    assert identity(config) != identity(composed("llm=embedded"))


def test_the_same_weights_elsewhere_are_the_same_experiment(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny.gguf"
    copy.write_bytes(tiny.read_bytes())
    here, there = (composed("llm=embedded", f"llm.weights={path}") for path in (tiny, copy))
    assert identity(here) == identity(there)


def test_weights_that_are_none(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ConfigError, match="is no GGUF file"):
        composed("llm=embedded", f"llm.weights={tmp_path}/text.gguf")
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        composed("llm=embedded", f"llm.weights={tmp_path}/nothing.gguf")
    with pytest.raises(ConfigError, match="only llm=embedded runs weights"):
        composed("llm=offline", f"llm.weights={tiny}")


def test_the_pinned_weights_are_looked_for_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = composed("llm=embedded").llm
    assert config.model == weights.LABEL
    with pytest.raises(UnavailableError, match=r"are not in .*/envgen: `make model` fetches them once \(1\.1 GB\)"):
        weights.weights_of(config)
    (tmp_path / "envgen").mkdir()
    (tmp_path / "envgen" / weights.FILE).write_bytes(b"GGUF")
    with pytest.raises(UnavailableError, match="has 4 bytes, not 1,117,320,768"):
        weights.weights_of(config)
    with pytest.raises(ConfigError, match="names its model"):
        weights.weights_of(composed("llm=embedded", "llm.model=other").llm)


def test_without_its_package_one_line_says_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "check_processor", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="package xllamacpp is missing: `make model`"):
        check_ready(LLMConfig(name="embedded", kind=LLMKind.embedded, model="tiny", weights=str(tiny)))


def test_tokens_their_speed_and_the_end_are_shown() -> None:
    lines: list[str] = []
    now = 0.0
    show = AnswerProgress(PlainProgress(lines.append, lambda: now))
    for second in range(40):
        now = float(second)
        show("cycle1-design", 1, Writing(min(100 * second, 1000), 1000, max(0, 5 * (second - 10)), 200))
    assert lines == [
        "cycle1-design  0/1,000 tokens read",
        "cycle1-design  1,000/1,000 tokens read  100 tokens read/s",
        "cycle1-design  0/200 tokens",
        "cycle1-design  55/200 tokens  5.5 tokens/s  26 s left",
        "cycle1-design  105/200 tokens  5.2 tokens/s  18 s left",
    ]
    show("cycle1-design", 1, Writing(0, 1200, 0, 145))
    show("cycle1-design", 1, Writing(1200, 1200, 1, 145))
    assert lines[-1] == "cycle1-design  0/145 tokens"
