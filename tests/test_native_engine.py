"""The native engine beside the game itself: threads, background steps, failures, states, noise, memory, bad calls."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import importlib
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import opensimplex
import pytest
from batch import Batch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.errors import EngineError, EngineFailure, EnvGenError, StateError
from envgen_exp.families.crafter import _crafter, upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import BIOMES, CrafterDesign
from envgen_exp.families.crafter.engine import NativeVector, make_world
from envgen_exp.families.crafter.reference import ReferenceVector
from envgen_exp.families.crafter.state import MAGIC, SLOT, VERSION
from envgen_exp.families.design import Design
from envgen_exp.families.vector import Buffers, EpisodeRecord
from envgen_exp.seeding import WorldSet

NATIVE = Path(__file__).parents[1] / "native"
PIXELS = CrafterConfig(designed_length=90, original_length=120, num_threads=1)
SYMBOLIC = CrafterConfig(observation=Observe.symbolic, designed_length=90, original_length=120, num_threads=1)
RICH = CrafterDesign(
    target_biome="mountain",
    starting_sapling=9,
    starting_wood=9,
    starting_stone=9,
    starting_coal=9,
    starting_iron=9,
)
DESIGNS: list[Design | None] = [None, RICH, *(CrafterDesign(target_biome=biome) for biome in BIOMES)]
NUM_ACTIONS = len(upstream.ACTIONS)


def play(seed: int, steps: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, NUM_ACTIONS, (steps, count))


def vector(config: CrafterConfig = PIXELS, count: int = 2, first: int = 0) -> NativeVector:
    return NativeVector(config, [DESIGNS[slot % len(DESIGNS)] for slot in range(count)], range(first, first + count))


def with_threads(config: CrafterConfig, threads: int) -> CrafterConfig:
    return CrafterConfig(
        observation=config.observation,
        designed_length=config.designed_length,
        original_length=config.original_length,
        num_threads=threads,
    )


def compiled(folder: Path, source: str, *options: str) -> ctypes.CDLL:
    """A library made of this source, and of what the options name."""
    file, library = folder / "source.cc", folder / "library.so"
    file.write_text(source)
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++17", "-shared", "-fPIC", *options, "-o", library, file], check=True)
    return ctypes.CDLL(str(library))


# Noise

NOISE = """
#include "dispatch.h"
#include "noise.h"

extern "C" void noise(int64_t seed, const double* x, const double* y, double z, size_t count, double* out) {
  crafter::kernels().noise3(crafter::permutation(seed), x, y, z, count, out);
}
extern "C" void rough_noise(int64_t seed, const float* x, const float* y, float z, size_t count, float* out) {
  crafter::kernels().rough_noise3(crafter::permutation(seed), x, y, z, count, out);
}
"""

Noise = Callable[[int, NDArray[Any], NDArray[Any], float], NDArray[Any]]


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> tuple[Noise, Noise]:
    """The engine's noise of points, in float64 and in float32."""
    sources = [str(NATIVE / name) for name in ("noise.cc", "kernels.cc", "dispatch.cc")]
    exact = ["-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]  # as in native/CMakeLists.txt
    options = [*exact, "-DCRAFTER_VARIANT=generic", f"-I{NATIVE}", *sources]
    library = compiled(tmp_path_factory.mktemp("noise"), NOISE, *options)

    def of(name: str, real: type[np.floating], number: type) -> Noise:
        array, function = np.ctypeslib.ndpointer(real, flags="C"), library[name]
        function.argtypes = ctypes.c_int64, array, array, number, ctypes.c_size_t, array

        def noise(seed: int, x: NDArray[Any], y: NDArray[Any], z: float) -> NDArray[Any]:
            out = np.empty(len(x), real)
            function(seed, np.ascontiguousarray(x, real), np.ascontiguousarray(y, real), z, len(x), out)
            return out

        return noise

    both = of("noise", np.float64, ctypes.c_double), of("rough_noise", np.float32, ctypes.c_float)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ENVGEN_CRAFTER_KERNELS", raising=False)  # the library has the plain variant alone
        for one in both:  # which is chosen with the first call
            one(0, np.zeros(1), np.zeros(1), 0.0)
    return both


def layers() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Coordinates of every noise that a world is made of: all points at which the engine ever asks for noise."""
    cells = np.arange(64, dtype=np.float64)
    x, y = (axis.ravel() for axis in np.meshgrid(cells, cells, indexing="ij"))
    for size, z in ((3, 8), (15, 3), (5, 3), (15, 0), (5, 0), (7, 6), (8, 1), (6, 2), (5, 6), (9, 4), (7, 5)):
        yield x / size, y / size, z
    yield 2 * x / 3, y / 5 / 3, 7
    yield x / 5 / 3, 2 * y / 3, 7


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 2, 2**63 - 1, -(2**63)])
def test_noise_is_opensimplex(noises: tuple[Noise, Noise], seed: int) -> None:
    noise, _ = noises
    package = opensimplex.OpenSimplex(seed=seed)
    rng = np.random.default_rng(1)
    points = [(x[::97], y[::97], z) for x, y, z in layers()]
    points += [(rng.uniform(-40, 40, 500), rng.uniform(-40, 40, 500), z) for z in rng.uniform(-9, 9, 4)]
    # On the borders between the regions of a lattice cell.
    grid = np.array(np.meshgrid(*[np.arange(-2, 2, 0.25)] * 3)).reshape(3, -1)
    points += [(grid[0][grid[2] == z], grid[1][grid[2] == z], z) for z in np.unique(grid[2])]
    for x, y, z in points:
        expected = [package.noise3(a, b, z) for a, b in zip(x, y, strict=True)]
        np.testing.assert_array_equal(noise(seed, x, y, float(z)), expected)


def test_rough_noise_is_twice_as_near_as_it_must_be(noises: tuple[Noise, Noise]) -> None:
    """The generator trusts float32 beyond 5e-4 of a threshold, and that noise is below 1."""
    worst = highest = 0.0
    for x, y, z in layers():
        for seed in range(40):
            exact, rough = (noise(seed, x, y, z) for noise in noises)
            worst = max(worst, np.abs(exact - rough).max())
            highest = max(highest, np.abs(exact).max())
    assert worst < 2.5e-4
    assert highest < 1


def bits() -> str:
    """A digest of worlds, days, nights and sleep."""
    digest = hashlib.sha256()
    for design in DESIGNS:
        digest.update(b"".join(make_world(design, seed).tobytes() for seed in range(20)))
    batch = Batch(vector(PIXELS, 12)).reset()
    rng = np.random.default_rng(0)
    for row in play(0, 260, 12):
        batch.step(np.where(rng.random(12) < 0.7, 0, row))
        digest.update(b"".join(batch.seen()))
    return f"{_crafter.kernels()} {digest.hexdigest()}"


def test_every_instruction_set_gives_the_same_bits() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run(f"import {_crafter.__name__}", environment={**os.environ, "ENVGEN_CRAFTER_KERNELS": "mmx"})
    names = refused.value.stderr.rpartition("this processor can't run mmx, allowed are ")[2].split("\n")[0].split(", ")
    ours, expected = bits().split()
    assert ours in names
    for name in names:
        if name != ours:
            script = "import sys; sys.path.insert(0, 'tests'); import test_native_engine as t; print(t.bits())"
            environment = {**os.environ, "ENVGEN_CRAFTER_KERNELS": name}
            assert run(script, environment=environment).split() == [name, expected]


def run(script: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """What a script prints in a Python of its own."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout


# Threads


def history(env: NativeVector, seed: int, steps: int) -> list[object]:
    """Everything that a long run gives, while designs change, states are put back and some slots rest."""
    batch, rng, seen = Batch(env).reset(), np.random.default_rng(seed), []
    for step, row in enumerate(play(seed, steps, env.num_envs)):
        active = rng.random(env.num_envs) < 0.9
        records = batch.step(row, active)
        seen.append((batch.seen(), records, [array.tobytes() for array in batch.final_obs.values()]))
        if step % 7 == 0:
            env.set_design(int(rng.integers(env.num_envs)), DESIGNS[rng.integers(len(DESIGNS))])
        if step % 31 == 0:
            slot = int(rng.integers(env.num_envs))
            env.set_state(slot, env.get_state(slot))
        if step % 97 == 96:
            batch.reset()
            seen.append((batch.seen(), [], []))
    return [*seen, *batch.states(), env.semantic().tobytes()]


@pytest.mark.parametrize("config", [PIXELS, SYMBOLIC], ids=["pixels", "symbolic"])
def test_threads_change_nothing(config: CrafterConfig) -> None:
    one = history(vector(with_threads(config, 1), 13), 1, 200)
    for threads in (2, 4):
        assert history(vector(with_threads(config, threads), 13), 1, 200) == one


def test_slots_are_the_same_in_any_company() -> None:
    together = Batch(vector(with_threads(PIXELS, 3), 9)).reset()
    alone = [Batch(NativeVector(PIXELS, [DESIGNS[slot % len(DESIGNS)]], [slot])).reset() for slot in range(9)]
    for row in play(2, 130, 9):
        together.step(row)
        for slot, batch in enumerate(alone):
            batch.step(row[slot : slot + 1])
            np.testing.assert_array_equal(batch.obs["pixels"][0], together.obs["pixels"][slot])


def test_one_thread_at_a_time() -> None:
    """Two threads that share an instance get an error, never a damaged game."""
    env = vector(PIXELS, 8)
    Batch(env).reset()
    outcomes: list[str] = []

    def step() -> None:
        batch = Batch(env)
        for row in play(3, 150, 8):
            try:
                batch.step(row)
                outcomes.append("stepped")
            except EngineError as error:
                outcomes.append(str(error))

    threads = [threading.Thread(target=step) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "stepped" in outcomes
    assert {*outcomes} <= {"stepped", "the environments are in use by another thread"}
    Batch(env).step(np.zeros(8))


FORK = """
import os, sys
sys.path.insert(0, "tests")
from test_native_engine import PIXELS, Batch, vector, with_threads
batch = Batch(vector(with_threads(PIXELS, 3), 4)).reset()
child = os.fork()
if child == 0:
    try:
        batch.step([0] * 4)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    del batch
    sys.exit(0)
print(os.waitpid(child, 0)[1])
batch.step([0] * 4)
"""


def test_a_forked_child_is_told() -> None:
    assert run(FORK).splitlines() == [
        "EngineError the environments were made in another process; make them after the fork",
        "0",
    ]


# Background steps


def gather(env: NativeVector, steps: int, size: int, moves: NDArray[np.int64]) -> list[list[object]]:
    """Play each slot `steps` times by send and recv; what each slot saw, in its own order."""
    count = env.num_envs
    Batch(env).reset()
    seen: list[list[object]] = [[] for _ in range(count)]
    env.send(moves[0])
    in_flight = count
    while in_flight:
        batch = min(size, in_flight)
        out = Buffers.zeros(env.observation_spec, batch)
        slots, records = env.recv(out)
        assert len({*slots.tolist()}) == batch
        again = []
        for row, slot in enumerate(slots):
            arrays = [array[row].tobytes() for array in out.obs.values()]
            ended = [record for record in records if record.slot == slot]
            seen[slot].append((*arrays, out.rewards[row], out.terminations[row], out.truncations[row], ended))
            if len(seen[slot]) < steps:
                again.append(slot)
        env.send(np.array([moves[len(seen[slot]), slot] for slot in again], np.int64), again)
        in_flight += len(again) - batch
    return seen


@pytest.mark.parametrize("config", [PIXELS, SYMBOLIC], ids=["pixels", "symbolic"])
@pytest.mark.parametrize("threads", [1, 3])
def test_background_steps_are_the_same_games(config: CrafterConfig, threads: int) -> None:
    moves = play(4, 130, 8)
    sent = gather(vector(with_threads(config, threads), 8), 130, 4, moves)
    batch = Batch(vector(config, 8)).reset()
    for step, row in enumerate(moves):
        records = batch.step(row)
        for slot in range(8):
            arrays = [array[slot].tobytes() for array in batch.obs.values()]
            ended = [record for record in records if record.slot == slot]
            flags = batch.rewards[slot], batch.terminations[slot], batch.truncations[slot]
            assert sent[slot][step] == (*arrays, *flags, ended)


def test_the_example_overlaps_what_it_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """How much is gained depends on what else the machine does; that both ways play is what is tested."""
    monkeypatch.syspath_prepend(str(NATIVE.parent / "examples"))
    overlap = importlib.import_module("overlap")
    monkeypatch.setattr(overlap, "GAMES", 8)
    monkeypatch.setattr(overlap, "ROUNDS", 3)
    overlap.main()
    assert "times as fast" in capsys.readouterr().out


def test_wrong_background_calls() -> None:
    env = vector(PIXELS, 3)
    batch = Batch(env).reset()
    out, two = (Buffers.zeros(env.observation_spec, rows) for rows in (3, 2))
    with pytest.raises(EngineError, match="3 slots are asked for, 0 are being stepped"):
        env.recv(out)
    for actions, slots in (
        ([0], [0, 1]),
        ([0], [3]),
        ([17], [0]),
        ([0, 0], [1, 1]),
        (["a"], [0]),
        (None, None),
        ([0], [[0], [1, 2]]),
    ):
        with pytest.raises(EngineError):
            env.send(actions if actions is None else np.array(actions), slots)  # type: ignore[arg-type]
    env.send(np.zeros(2, np.int64), [0, 1])
    for call in (
        lambda: env.send(np.zeros(1, np.int64), [1]),
        lambda: batch.step([0, 0, 0]),
        batch.reset,
        lambda: env.get_state(0),
        lambda: env.set_state(0, batch.env.get_state(2)),
        lambda: env.set_design(0, None),
        env.semantic,
        lambda: env.recv(out),
        lambda: env.recv(dataclasses.replace(two, obs={})),
        lambda: env.recv(dataclasses.replace(two, final_obs=batch.final_obs)),
    ):
        with pytest.raises(EngineError):
            call()
    batch.step([0, 0, 0], np.array([False, False, True]))
    slots, _ = env.recv(two)
    assert sorted(slots.tolist()) == [0, 1]
    batch.step([0, 0, 0])
    env.send(np.zeros(3, np.int64))
    env.close()


# Failures


def refuses_everything(env: NativeVector, batch: Batch) -> bool:
    """Whether every call but close says in one line that the engine has failed."""
    out = Buffers.zeros(env.observation_spec, 1)
    told = set()
    for call in (
        batch.reset,
        lambda: batch.step([0] * env.num_envs),
        lambda: env.send(np.zeros(1, np.int64), [0]),
        lambda: env.recv(out),
        lambda: env.get_state(0),
        lambda: env.set_design(0, None),
        env.maps,
    ):
        with pytest.raises(EngineFailure) as caught:
            call()
        told.add(str(caught.value))
    env.close()
    return len(told) == 1 and "\n" not in told.pop()


DENIER = r"""
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <stdexcept>

static std::atomic<std::size_t> denied{SIZE_MAX};
static std::atomic<bool> no_memory{false};

extern "C" void deny(std::size_t size, bool memory) {
  no_memory = memory;
  denied = size;
}
void* operator new(std::size_t size) {
  if (size == denied && no_memory) throw std::bad_alloc();
  if (size == denied) throw std::runtime_error("a test asked for it");
  if (void* made = std::malloc(size)) return made;
  throw std::bad_alloc();
}
void operator delete(void* made) noexcept { std::free(made); }
void operator delete(void* made, std::size_t) noexcept { std::free(made); }
"""
"""C++'s allocation, which refuses one size of memory; whatever is loaded after it takes this one."""

DENIED = """
import ctypes, re, sys
sys.path.insert(0, "tests")
deny = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL).deny
deny.argtypes = ctypes.c_size_t, ctypes.c_bool
import dataclasses
import numpy as np
from test_native_engine import SYMBOLIC, Batch, Buffers, EngineFailure, refuses_everything, vector, with_threads
ENDED, CHUNK = 152, 1  # bytes of the first episode to end in a step, and of the first chunk of a new world
SHORT = dataclasses.replace(SYMBOLIC, designed_length=1, original_length=1)
vector(SHORT, 1)  # rules and pictures are made

def tell(batch, size, memory, call, *arguments):
    deny(size, memory)
    try:
        call(*arguments)
    except (MemoryError, EngineFailure) as error:
        assert isinstance(error, MemoryError) == memory, error
        print(re.sub(r"[0-9]+", "N", str(error).partition(";")[0]))
    finally:
        deny(2**63, False)
    assert refuses_everything(batch.env, batch)
"""


@pytest.fixture(scope="module")
def denied(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """What a script prints that has C++ refuse memory: `tell` says how a call failed, what the engine says after it."""
    library = compiled(tmp_path_factory.mktemp("denied"), DENIER)
    return lambda script: run(DENIED + script, library._name).splitlines()


FAILED = "the Crafter engine failed in slot N while"


def test_a_failure_in_any_thread_is_the_callers(denied: Callable[[str], list[str]]) -> None:
    script = """
for memory in (False, True):
    for threads in [1, 4] * 5:  # which thread meets it first is chance
        batch = Batch(vector(with_threads(SHORT, threads), 64)).reset()
        tell(batch, ENDED, memory, batch.step, [0] * 64)
"""
    whys = ["a test asked for it"] * 10 + ["no memory left"] * 10
    assert denied(script) == [f"{FAILED} being stepped ({why})" for why in whys]


def test_a_failure_in_the_background_is_told_by_recv(denied: Callable[[str], list[str]]) -> None:
    script = """
batch = Batch(vector(with_threads(SHORT, 1), 5)).reset()
deny(CHUNK, False)
batch.env.send(np.zeros(5, np.int64))
tell(batch, CHUNK, False, batch.env.recv, Buffers.zeros(batch.env.observation_spec, 5))
"""
    assert denied(script) == [f"{FAILED} making its next world (a test asked for it)"]


def test_a_world_that_could_not_be_made_fails_when_it_is_needed(denied: Callable[[str], list[str]]) -> None:
    script = """
for threads in (1, 2):
    deny(CHUNK, False)
    batch = Batch(vector(with_threads(SHORT, threads), 2))  # a plan, whose world an idle thread makes if there is one
    tell(batch, CHUNK, False, batch.reset)
"""
    assert denied(script) == [f"{FAILED} making its next world (a test asked for it)"] * 2


CROWD = """
import resource, sys
sys.path.insert(0, "tests")
from test_native_engine import PIXELS, Batch, EngineError, vector, with_threads
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))
try:
    vector(with_threads(PIXELS, 1000), 2)
except EngineError as error:
    print(error)
Batch(vector(with_threads(PIXELS, 2), 2)).reset().step([0, 0])
"""


def test_more_threads_than_the_machine_gives_are_refused() -> None:
    assert run(CROWD).startswith("num_threads: 1000 can't be started (")


# States


@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    design=st.sampled_from(DESIGNS),
    next_design=st.sampled_from(DESIGNS),
    worlds=st.sampled_from([None, *WorldSet]),
    before=st.lists(st.integers(0, NUM_ACTIONS - 1), max_size=150),
    after=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_states_play_on_exactly(
    seed: int, design: Design | None, next_design: Design | None, worlds: WorldSet | None, before: list[int], after: int
) -> None:
    here = Batch(NativeVector(PIXELS, [design], [seed], worlds)).reset()
    for action in before:
        here.step([action])
    here.env.set_design(0, next_design)
    state = here.env.get_state(0)
    there = Batch(NativeVector(PIXELS, [None], [0]))
    there.env.set_state(0, state)
    assert there.env.get_state(0) == state
    for row in play(after, 100, 1):
        assert here.step(row) == there.step(row)
        assert here.seen() == there.seen()
    assert there.states() == here.states()


def test_states_go_from_engine_to_engine() -> None:
    moves = play(5, 160, 4)
    designs = [None, RICH, DESIGNS[3], None]
    native = Batch(NativeVector(SYMBOLIC, designs, [1, 2, 3, 4], WorldSet.TRAIN)).reset()
    reference = Batch(ReferenceVector(SYMBOLIC, [None] * 4, [0] * 4))
    for row in moves[:60]:
        native.step(row)
    for slot, state in enumerate(native.states()):
        reference.env.set_state(slot, state)
    back = Batch(NativeVector(SYMBOLIC, [None] * 4, [0] * 4))
    for step, row in enumerate(moves[60:]):
        assert native.step(row) == reference.step(row)
        assert native.seen() == reference.seen()
        if step == 40:
            for slot, state in enumerate(reference.states()):
                back.env.set_state(slot, state)
        if step > 40:
            back.step(row)
            assert back.seen() == native.seen()


@pytest.fixture(scope="module")
def some_states() -> list[bytes]:
    batch = Batch(vector(PIXELS, len(DESIGNS))).reset()
    for row in play(6, 80, len(DESIGNS)):
        batch.step(row)
    return batch.states()


HEADER = struct.calcsize("<4sHII")


def forged(payload: bytes) -> bytes:
    """A payload with a header and a checksum that are right."""
    return struct.pack("<4sHII", MAGIC, VERSION, len(payload), zlib.crc32(payload)) + payload


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_forged_states_are_refused_or_play(some_states: list[bytes], data: st.DataObject) -> None:
    """Whoever mends the checksum of damaged bytes gets an error or a game, never a crash."""
    payload = bytearray(data.draw(st.sampled_from(some_states))[HEADER:])
    for _ in range(data.draw(st.integers(1, 4))):
        # The materials and the stream's key are most of a state; the rest is where damage is interesting.
        place = data.draw(st.one_of(st.integers(0, len(payload) - 1), st.integers(6_700, len(payload) - 1)))
        payload[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    env = vector(PIXELS, 1)
    batch = Batch(env).reset()
    before = env.get_state(0)
    try:
        env.set_state(0, forged(bytes(payload)))
    except StateError:
        assert env.get_state(0) == before
        return
    for row in play(7, 60, 1):
        batch.step(row)
    env.maps()


WRONG_SLOTS = (
    {"next_world": 2**31 - 1},
    {"next_world": -2},
    {"next_world": 4 * 17 + WorldSet.REPORT},  # of another set
    {"world_seed": 2**40},
    {"world_seed": -1},
    {"worlds": 9},
    {"episode": 2**62},
    {"episode": -1},
)


@pytest.mark.parametrize("wrong", WRONG_SLOTS, ids=str)
def test_a_state_whose_next_episode_could_not_begin_is_refused(wrong: dict[str, int]) -> None:
    env = NativeVector(PIXELS, [None], [0], WorldSet.TRAIN)
    batch = Batch(env).reset()
    before = env.get_state(0)
    payload = bytearray(before[HEADER:])
    row = np.frombuffer(payload, SLOT, count=1)
    for name, value in wrong.items():
        row[name] = value
    with pytest.raises(StateError):
        env.set_state(0, forged(bytes(payload)))
    assert env.get_state(0) == before
    batch.step([0])
    row[...] = np.frombuffer(before[HEADER:], SLOT, count=1)
    row["next_world"] = 4 * 17 + WorldSet.TRAIN
    env.set_state(0, forged(bytes(payload)))
    assert env.get_state(0) == forged(bytes(payload))


# Pictures


def test_pictures_change_nothing() -> None:
    batch = Batch(vector(PIXELS, 4)).reset()
    for row in play(8, 60, 4):
        batch.step(row)
    before = batch.states()
    for slot in range(4):
        np.testing.assert_array_equal(batch.env.frame(slot), batch.obs["pixels"][slot])  # by day there is no noise
        assert batch.env.frame(slot, (300, 400)).shape == (300, 400, 3)
        assert batch.env.picture(slot, 3).shape == (192, 192, 3)
    assert batch.states() == before
    for size in ((0, 5), (8, 64), (64, 10**6)):
        with pytest.raises(EngineError, match="size"):
            batch.env.frame(0, size)


def test_a_night_frame_has_a_noise_of_its_own() -> None:
    batch = Batch(vector(CrafterConfig(num_threads=1), 1)).reset()
    for _ in range(165):
        batch.step([6])
        if batch.env.daylight()[0] < 0.5:
            break
    before = batch.states()
    one, two = batch.env.frame(0), batch.env.frame(0)
    np.testing.assert_array_equal(one, two)
    assert batch.states() == before


# Memory

MEMORY = """
import sys
sys.path.insert(0, "tests")
from test_native_engine import SYMBOLIC, Batch, NativeVector, with_threads
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4
batch = Batch(NativeVector(with_threads(SYMBOLIC, 2), [None] * 4, range(4))).reset()
before = resident()
many = Batch(NativeVector(with_threads(SYMBOLIC, 2), [None] * 512, range(512))).reset()
for _ in range(150):
    many.step([0] * 512)
print((resident() - before) / 512)
"""


def test_memory_of_an_environment() -> None:
    assert float(run(MEMORY)) < 64, "KiB for each environment, its next world included"


# Bad calls


def odd_values(env: NativeVector, rng: np.random.Generator) -> list[Any]:
    """Values of which hardly any fits where it is put."""
    count = env.num_envs
    numbers = [-1, 0, 1, count, 2**31, 2**63, -(2**63) - 1, 1.5, float("nan"), True, None, "0", b"1", [], {}, object()]
    shapes = [(), (0,), (count,), (count + 1,), (count, 1), (count, 64, 64, 3), (count, 2, 9, 7), (count, 16)]
    kinds = [
        np.int64,
        np.int32,
        np.uint8,
        np.bool_,
        np.float32,
        np.float64,
        np.complex64,
        np.dtype(">i8"),
        object,
        "S3",
    ]
    arrays = [np.zeros(shapes[rng.integers(len(shapes))], kinds[rng.integers(len(kinds))]) for _ in range(6)]
    whole = np.zeros((count, 64, 64, 3), np.uint8)
    arrays += [whole[:, ::-1], whole[:, :, ::2], whole.transpose(0, 2, 1, 3), np.asfortranarray(whole)]
    arrays.append(np.lib.stride_tricks.as_strided(np.zeros(64, np.float32), (count,), (0,)))
    read_only = np.zeros(count, np.float32)
    read_only.flags.writeable = False
    maps = [{"pixels": array} for array in arrays[:8]] + [{"pixels": None}, {"view": whole}, {1: 2}]
    states = [b"", bytes(100), MAGIC + bytes(9_000), rng.bytes(50), forged(rng.bytes(300))]
    return [*numbers, *arrays, read_only, *maps, *states]


def test_an_array_of_another_shape_is_refused_though_it_has_room() -> None:
    for config in (PIXELS, SYMBOLIC):
        env = vector(config, 2)
        batch = Batch(env).reset()
        for name, array in batch.obs.items():
            for shape in ((2, array[0].size), (2, *array.shape[:0:-1]), (*array.shape, 1), (2, 1, *array.shape[1:])):
                if shape != array.shape:
                    with pytest.raises(EngineError, match=name):
                        env.reset({**batch.obs, name: array.reshape(shape)})


def test_10_000_bad_calls() -> None:
    """Errors of this package alone, each in one line, and no game that has changed."""
    rng = np.random.default_rng(9)
    env = vector(PIXELS, 3)
    batch = Batch(env).reset()
    before = batch.states()
    fields = [batch.obs, batch.rewards, batch.terminations, batch.truncations]
    good: dict[str, list[Any]] = {
        "step": [np.zeros(3, np.int64), *fields],
        "reset": [batch.obs],
        "send": [np.zeros(2, np.int64), [0, 1]],
        "recv": fields,
        "get_state": [0],
        "set_state": [0, before[0]],
        "set_design": [0, None],
        "picture": [0, 1],
        "frame": [0, (64, 64)],
    }
    refused = 0
    while refused < 10_000:
        name = list(good)[rng.integers(len(good))]
        arguments, odd = list(good[name]), odd_values(env, rng)
        for place in rng.choice(len(arguments), rng.integers(1, len(arguments) + 1), replace=False):
            arguments[place] = odd[rng.integers(len(odd))]
        try:
            if name in ("step", "recv"):
                arguments[-4:] = [Buffers(*arguments[-4:]) if rng.random() < 0.9 else odd[rng.integers(len(odd))]]
            getattr(env, name)(*arguments)
        except EnvGenError as error:
            refused += "\n" not in str(error)
            if refused % 10 == 0:
                assert [env.get_state(slot) for slot in range(3)] == before, (name, arguments)
        else:  # it fitted after all
            env = vector(PIXELS, 3)
            Batch(env).reset()
            before = [env.get_state(slot) for slot in range(3)]


def test_records_are_whole_after_many_episodes() -> None:
    batch = Batch(vector(SYMBOLIC, 6)).reset()
    records: list[EpisodeRecord] = []
    for row in play(10, 600, 6):
        records += batch.step(row)
    for slot in range(6):
        episodes = [record.episode for record in records if record.slot == slot]
        assert episodes == list(range(1, len(episodes) + 1))
        assert len(episodes) >= 4
