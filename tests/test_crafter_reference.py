"""The reference engine is the crafter package's game, made deterministic."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from batch import Batch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from envgen_exp.config import Engine, Observe
from envgen_exp.errors import EngineError, StateError
from envgen_exp.families.crafter import ordered, upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.observation import OBJECTS
from envgen_exp.families.crafter.ordered import OrderedEnv
from envgen_exp.families.crafter.picture import draw_map
from envgen_exp.families.crafter.reference import ReferenceVector
from envgen_exp.seeding import world_seed

CONFIG = CrafterConfig(engine=Engine.reference)
SYMBOLIC = CrafterConfig(engine=Engine.reference, observation=Observe.symbolic)
RICH = CrafterDesign(
    target_biome="mountain",
    tree_rarity="very common",
    starting_sapling=9,
    starting_wood=9,
    starting_stone=9,
    starting_coal=9,
    starting_iron=9,
    starting_iron_sword=1,
)
"""A world with something of everything to do, so that random play reaches most of the rules."""
GREEN = CrafterDesign(target_biome="grassland", starting_sapling=9)


def play(seed: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, len(upstream.ACTIONS), count)


class Upstream(upstream.env.Env):
    """crafter.Env without its one disorderly thing, the balancing of chunks."""

    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        pass


class Unbalanced(OrderedEnv):
    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        pass


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 2])
def test_episodes_are_those_of_the_package(seed: int) -> None:
    """Frames, rewards and worlds from the first frame to the first balancing, which draws creatures from a set."""
    batch = Batch(ReferenceVector(CONFIG, [None], [seed]))
    theirs = upstream.env.Env(seed=seed)
    for _ in range(2):
        np.testing.assert_array_equal(batch.reset().obs["pixels"][0], theirs.reset())
        for action in play(seed, 9):
            frame, reward, done, info = theirs.step(action)
            batch.step([action])
            assert not done
            np.testing.assert_array_equal(batch.obs["pixels"][0], frame)
            assert batch.rewards[0] == np.float32(reward)
            np.testing.assert_array_equal(batch.env.semantic()[0], info["semantic"])
            assert batch.env.inventory()[0].tolist() == list(info["inventory"].values())
            assert batch.env.achievements()[0].tolist() == list(info["achievements"].values())
            assert batch.env.positions()[0].tolist() == info["player_pos"].tolist()


def test_without_balancing_the_whole_episode_is_the_packages() -> None:
    """By day and by night, asleep and awake, to the death of the player."""
    seed = 2
    ours, theirs = Unbalanced(Observe.pixels), Upstream(seed=seed)
    first = theirs.reset()
    np.testing.assert_array_equal(ours.start(world_seed(seed, 1), None, 10_000)["pixels"], first)
    rng, done, steps = np.random.default_rng(seed), False, 0
    while not done and steps < 700:
        action = rng.choice([1, 2, 3, 4, 5, 5, 6, 10])
        frame, reward, done, info = theirs.step(action)
        mine, my_reward, my_done, my_info = ours.step(action)
        np.testing.assert_array_equal(mine["pixels"], frame)
        assert (my_reward, my_done, my_info["inventory"]) == (reward, done, info["inventory"])
        steps += 1
    assert steps > 300  # a whole day and its night


def test_order_of_chunks_is_the_order_of_coming() -> None:
    env = OrderedEnv(Observe.symbolic)
    env.start(1, None, 10_000)
    chunk = next(members for members in env._world._chunks.values() if len(members) > 2)
    members = list(chunk)
    chunk.remove(members[0])
    chunk.add(members[0])
    assert list(chunk) == [*members[1:], members[0]]


SCRIPT = """
import hashlib, sys
import numpy as np
from envgen_exp.config import Engine
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.reference import ReferenceVector
from envgen_exp.families.vector import Buffers
junk = [object() for _ in range(int(sys.argv[1]))]  # other addresses
env = ReferenceVector(CrafterConfig(engine=Engine.reference), [None], [3])
out = Buffers.zeros(env.observation_spec, 1)
digest = hashlib.sha256()
env.reset(out.obs)
for action in np.random.default_rng(3).integers(0, 17, 250):
    env.step(np.array([action]), out)
    digest.update(out.obs["pixels"].tobytes() + out.rewards.tobytes())
print(digest.hexdigest(), hashlib.sha256(env.get_state(0)).hexdigest())
"""


def test_every_process_plays_the_same_game(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for number in (1, 2):
        monkeypatch.setenv("PYTHONHASHSEED", str(number))
        command = [sys.executable, "-c", SCRIPT, str(number * 1001)]
        runs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == 2


def test_one_seed_is_one_game_in_both_observations() -> None:
    """Through the night too, whose noise a symbolic observation draws without showing it."""
    pixels, symbolic = (Batch(ReferenceVector(c, [None, RICH], [7, 8])).reset() for c in (CONFIG, SYMBOLIC))
    darkest = 1.0
    for row in np.random.default_rng(7).integers(0, 17, (320, 2)):
        assert pixels.step(row) == symbolic.step(row)
        darkest = min(darkest, symbolic.env.daylight().min())
    assert darkest < 0.1
    assert pixels.states() == symbolic.states()


def test_symbolic_view_is_the_world_around_the_player() -> None:
    """Against the package's semantic view, the player's position and the inventory."""
    batch = Batch(ReferenceVector(SYMBOLIC, [GREEN], [9])).reset()
    env = batch.env
    kinds = {"player": 13, "cow": 14, "zombie": 15, "skeleton": 16, "arrow": 17, "plant": 18}
    seen = set()
    for step, action in enumerate(play(9, 200)):
        if step == 150:
            player = env._slots[0].env._player
            player.world.move(player, (1, 2))
        batch.step([action])
        (x, y), semantic = env.positions()[0], env.semantic()[0]
        view = batch.obs["view"][0]
        for i in range(9):
            for j in range(7):
                cell = x + i - 4, y + j - 3
                if not (0 <= cell[0] < 64 and 0 <= cell[1] < 64):
                    assert view[:, i, j].tolist() == [0, 0]
                    seen.add("outside")
                elif view[1, i, j]:
                    texture = OBJECTS[view[1, i, j] - 1]
                    seen.add(texture)
                    assert kinds[texture.split("-")[0]] == semantic[cell]
                else:
                    assert view[0, i, j] == semantic[cell]
        assert view[1, 4, 3] in range(1, 6)
        np.testing.assert_array_equal(batch.obs["inventory"][0], env.inventory()[0])
        assert batch.obs["daylight"][0, 0] == np.float32(env.daylight()[0])
    assert {"player-left", "player-right", "plant", "cow", "zombie", "outside"} <= seen


def test_facing_and_sleep_show_in_the_symbolic_view() -> None:
    batch = Batch(ReferenceVector(SYMBOLIC, [None], [1])).reset()
    for action in range(1, 5):
        batch.step([action])
        assert OBJECTS[batch.obs["view"][0, 1, 4, 3] - 1] == "player-" + upstream.ACTIONS[action].split("_")[1]
    while batch.obs["inventory"][0, 3] == 9:
        batch.step([0])
    batch.step([upstream.ACTIONS.index("sleep")])
    assert OBJECTS[batch.obs["view"][0, 1, 4, 3] - 1] == "player-sleep"


def test_every_object_texture_has_an_id() -> None:
    names = set(upstream.engine.Textures(upstream.constants.root / "assets")._originals)
    assert set(OBJECTS) <= names
    assert len(set(OBJECTS)) == len(OBJECTS)
    assert set(ordered.OBJECT_IDS.values()) == set(range(1, len(OBJECTS) + 1))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 2),
    before=st.integers(0, 200),
    moves=st.lists(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16]), min_size=20, max_size=60),
)
def test_states_hold_all_of_a_game(seed: int, before: int, moves: list[int]) -> None:
    here = Batch(ReferenceVector(SYMBOLIC, [RICH], [seed])).reset()
    for action in play(seed, before):
        here.step([action])
    there = Batch(ReferenceVector(SYMBOLIC, [None], [0]))
    there.env.set_state(0, here.env.get_state(0))
    assert there.env.get_state(0) == here.env.get_state(0)
    for mine, theirs in ((here.env.maps(), there.env.maps()), (here.env.semantic(), there.env.semantic())):
        np.testing.assert_array_equal(mine, theirs)
    for action in moves * 2:
        assert here.step([action]) == there.step([action])
        assert here.seen() == there.seen()
    assert there.env.get_state(0) == here.env.get_state(0)
    # Beyond what the layout stores: the very objects that the package keeps.
    mine, theirs = here.env._slots[0].env, there.env._slots[0].env
    assert [type(o) for o in mine._world._objects] == [type(o) for o in theirs._world._objects]
    assert [str(k) for k in mine._world._chunks] == [str(k) for k in theirs._world._chunks]
    for one, other in zip(mine._world.objects, theirs._world.objects, strict=True):
        assert {k: str(v) for k, v in plain(one).items()} == {k: str(v) for k, v in plain(other).items()}


def plain(thing: Any) -> dict[str, Any]:
    """An object's numbers; of the package's counters some are int here and float there, which plays the same."""
    numbers = {k: v for k, v in vars(thing).items() if k not in ("world", "random", "player", "action")}
    return {k: float(v) if isinstance(v, int | float) else np.asarray(v).tolist() for k, v in numbers.items()}


def test_states_of_other_episode_lengths_are_refused() -> None:
    env = ReferenceVector(CONFIG, [None], [1])
    Batch(env).reset()
    other = ReferenceVector(CrafterConfig(engine=Engine.reference, original_length=5), [None], [1])
    with pytest.raises(StateError, match="its original_length is 10000, that of these environments 5"):
        other.set_state(0, env.get_state(0))


@pytest.fixture(scope="module")
def death() -> tuple[int, NDArray[np.int64]]:
    """A seed and the actions that bring its first episode to the player's death."""
    actions = np.random.default_rng(0).choice([1, 2, 3, 4, 6], 1000)
    for seed in range(20):
        batch = Batch(ReferenceVector(SYMBOLIC, [None], [seed])).reset()
        for step, action in enumerate(actions[:400]):
            if batch.step([action]):
                assert batch.terminations[0]
                return seed, actions[: step + 1]
    raise AssertionError("nobody died")


@pytest.mark.parametrize(("spare", "truncated"), [(1, False), (0, False), (-1, True)])
def test_death_ends_and_time_truncates(death: tuple[int, NDArray[np.int64]], spare: int, truncated: bool) -> None:
    """Death in the very last step is a termination; one step fewer, and the time limit alone ends the episode."""
    seed, actions = death
    limit = len(actions) + spare
    config = CrafterConfig(engine=Engine.reference, observation=Observe.symbolic, original_length=limit)
    batch = Batch(ReferenceVector(config, [None], [seed])).reset()
    for step, action in enumerate(actions[:limit], start=1):
        records = batch.step([action])
        assert bool(records) == (step == min(limit, len(actions)))
    assert records[0].length == step
    assert records[0].truncated is truncated
    assert batch.truncations[0] == truncated
    assert batch.terminations[0] != truncated


def test_designed_and_original_episodes_have_their_own_lengths() -> None:
    config = CrafterConfig(engine=Engine.reference, designed_length=5, original_length=8)
    batch = Batch(ReferenceVector(config, [None, CrafterDesign()], [1, 1])).reset()
    lengths = [(r.slot, r.length) for _ in range(8) for r in batch.step([0, 0])]
    assert lengths == [(1, 5), (0, 8)]


def test_rewards_and_records_count_skills() -> None:
    """A sapling at hand: placing it once earns 1, twice is counted twice and earns 1."""
    config = CrafterConfig(engine=Engine.reference, designed_length=9)
    design = CrafterDesign(target_biome="grassland", starting_sapling=2)
    batch = Batch(ReferenceVector(config, [design], [3])).reset()
    place, left, down = (upstream.ACTIONS.index(name) for name in ("place_plant", "move_left", "move_down"))
    rewards = []
    for action in (place, left, place, 0, 0, 0, 0, 0, down):
        records = batch.step([action])
        rewards.append(batch.rewards[0])
    assert rewards[0] == 1
    assert sum(rewards) == records[0].episode_return == 1
    assert records[0].skills[upstream.SKILLS.index("place_plant")] == 2
    assert sum(records[0].skills) == 2


def test_pictures_change_nothing() -> None:
    env = ReferenceVector(CONFIG, [None], [4])
    batch = Batch(env).reset()
    for _ in range(600):
        batch.step([0])
        if env.daylight()[0] < 0.4:
            break
    else:
        raise AssertionError("no night")
    before = env.get_state(0)
    assert env.picture(0, unit=7).shape == (448, 448, 3)
    assert env.frame(0, (180, 270)).shape == (180, 270, 3)
    assert env.get_state(0) == before
    with pytest.raises(EngineError, match="unit"):
        env.picture(0, unit=0)
    with pytest.raises(EngineError, match="size"):
        env.frame(0, (3, 3))
    np.testing.assert_array_equal(env.frame(0), env.frame(0))


def test_a_frame_by_day_is_the_observation() -> None:
    env = ReferenceVector(CONFIG, [RICH], [4])
    batch = Batch(env).reset()
    for action in play(4, 20):
        batch.step([action])
        np.testing.assert_array_equal(env.frame(0), batch.obs["pixels"][0])


def test_a_picture_shows_what_a_frame_shows_by_day() -> None:
    """The package's own drawing of the view at full light, cut out of the whole map."""
    env = OrderedEnv(Observe.pixels)
    env.start(12, RICH, 100)
    env._world.daylight = 1.0
    view = env._local_view(env._player, np.array([7, 7])).astype(np.uint8).transpose(1, 0, 2)
    whole = draw_map(env._world.map(), 7)
    x, y = env._player.pos
    np.testing.assert_array_equal(whole[(y - 3) * 7 : (y + 4) * 7, (x - 4) * 7 : (x + 5) * 7], view)


def test_reward_is_paid_once_per_skill_and_health() -> None:
    """Returns of whole episodes are what the package's rule says of their records."""
    config = CrafterConfig(engine=Engine.reference, observation=Observe.symbolic, designed_length=150)
    batch = Batch(ReferenceVector(config, [RICH], [5])).reset()
    records = [record for action in play(5, 450) for record in batch.step([action])]
    assert len(records) >= 3
    for record in records:
        unlocked = sum(count > 0 for count in record.skills)
        lost = unlocked - record.episode_return
        assert -1e-9 <= lost <= 0.9 + 1e-9
        assert record.truncated or lost == pytest.approx(0.9)
    assert all(one.episode + 1 == two.episode for one, two in pairwise(records))
