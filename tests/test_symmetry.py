"""Which symmetries Crafter's rules have, shown on the engines, and the network that has them too.

Every mirrored game is the mirror image of the game, bit for bit, but for three things, each of which is shown here: the
order of the four ways that a creature draws from, the chunks in which creatures come and go, and what is near a player
at the world's left or upper edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from batch import Batch
from crafter_players import ACTION, ITEM, LOOK, MATERIAL, Fighter, Gardener, Miner, Settler, Walker
from test_rl_agent import NUM_ACTIONS, SYMBOLS, observations, shake

from envgen_exp.config import Observe
from envgen_exp.errors import ConfigError
from envgen_exp.families.crafter import upstream
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import CrafterDesign
from envgen_exp.families.crafter.engine import NativeVector
from envgen_exp.families.crafter.observation import SYMMETRY, observation_spec
from envgen_exp.families.crafter.ordered import OrderedEnv
from envgen_exp.families.crafter.state import CHUNK_ROW, KINDS, SlotState, decode, encode
from envgen_exp.families.symmetry import FLIPS, Symmetry, images, ways
from envgen_exp.families.vector import ArraySpec
from envgen_exp.learners.ppo.agent import Agent
from envgen_exp.learners.ppo.config import PPOConfig
from envgen_exp.learners.ppo.ppo import PPO, make_agent
from envgen_exp.learners.ppo.tiles import _different
from envgen_exp.seeding import WorldSet

Flip = tuple[int, int]
CONFIG = CrafterConfig(observation=Observe.symbolic, num_threads=1)
PICTURES = observation_spec(Observe.pixels)
BALANCE = 10
"""Creatures come and go in every tenth step."""


def mirrored_view(view: np.ndarray, flip: Flip) -> np.ndarray:
    """Maps (..., 2, X, Y) of ids as the mirrored game shows them."""
    materials, objects = view[..., 0, :: flip[0], :: flip[1]], view[..., 1, :: flip[0], :: flip[1]]
    return np.stack([materials, np.array(images(SYMMETRY.maps["view"][1], flip), np.uint8)[objects]], axis=-3)


def mirrored(state: SlotState, flip: Flip) -> SlotState:
    """The state of the mirrored game with the same random stream; its creatures are sorted into the chunks anew."""
    assert state.game is not None
    game, objects = state.game.copy(), state.objects.copy()
    game["materials"] = state.game["materials"][:: flip[0], :: flip[1]]
    game["facing"] = state.game["facing"] * flip
    objects["facing"] = state.objects["facing"] * flip
    objects["pos"] = np.where(np.array(flip) < 0, 63 - state.objects["pos"], state.objects["pos"])
    return with_objects(dataclasses.replace(state, game=game), objects)


def with_objects(state: SlotState, objects: np.ndarray) -> SlotState:
    """The state with these objects, sorted into chunks."""
    chunks: dict[tuple[int, ...], list[int]] = {}
    for row in objects:
        chunks.setdefault(tuple(row["pos"] // 12 * 12), []).append(int(row["place"]))
    rows = np.array([(corner, len(members)) for corner, members in chunks.items()], CHUNK_ROW)
    members = np.array([place for each in chunks.values() for place in each], np.uint32)
    return dataclasses.replace(state, objects=objects, chunks=rows, members=members)


def same(first: SlotState, second: SlotState) -> bool:
    """Whether two games are one, bit for bit and with their random streams; chunks are not compared."""
    assert first.game is not None
    assert second.game is not None
    return first.game.tobytes() == second.game.tobytes() and first.objects.tobytes() == second.objects.tobytes()


@pytest.fixture(scope="module")
def states() -> list[tuple[Walker, SlotState]]:
    """Games in full swing, each with its player: by day and by night, on grass and in caves."""
    players: list[Walker] = [Settler(), Miner(), Fighter(), Gardener()]
    env = NativeVector(CONFIG, [None] * 3 + [CrafterDesign(starting_sapling=2)], [1, 2, 3, 4], WorldSet.VALIDATION)
    batch, rng, found = Batch(env).reset(), np.random.default_rng(0), []
    for step in range(400):
        if step % 50 == 0:
            found += [(player, decode(state)) for player, state in zip(players, batch.states(), strict=True)]
        view, inventory = batch.obs["view"], batch.obs["inventory"]
        batch.step([player.act(view[i], inventory[i], rng) for i, player in enumerate(players)])
    kinds = {KINDS[row["kind"]] for _, state in found for row in state.objects}
    assert kinds >= {"Player", "Cow", "Zombie", "Skeleton", "Arrow", "Plant"}
    return found


def played(state: SlotState) -> OrderedEnv:
    env = OrderedEnv(Observe.symbolic)
    env.load(state, 10_000)
    return env


def saved(env: OrderedEnv, state: SlotState) -> SlotState:
    game, objects, chunks, members = env.save()
    return dataclasses.replace(state, game=game, objects=objects, chunks=chunks, members=members)


def until_balance(state: SlotState) -> Iterator[int]:
    """The steps until creatures come and go."""
    assert state.game is not None
    yield from range(BALANCE - 1 - int(state.game["step"]) % BALANCE)


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Callable[[OrderedEnv, Flip], None]:
    """Makes a game's creatures go the mirrored way of the one that they drew."""
    drawn = upstream.objects.Object.random_dir

    def random_dir(self: object) -> tuple[int, ...]:
        return tuple(np.multiply(drawn(self), getattr(self.world, "flip", (1, 1))))  # type: ignore[attr-defined]

    monkeypatch.setattr(upstream.objects.Object, "random_dir", random_dir)
    return lambda env, flip: setattr(env._world, "flip", flip)


@pytest.mark.parametrize("flip", FLIPS[1:])
def test_a_mirrored_game_is_the_games_mirror_image(
    flip: Flip, states: list[tuple[Walker, SlotState]], draws: Callable[[OrderedEnv, Flip], None]
) -> None:
    steps, parted, action_images = 0, 0, images(SYMMETRY.actions, flip)
    for player, state in states[FLIPS.index(flip) - 1 :: 3]:
        rng = np.random.default_rng(5)
        env, other, unmirrored = played(state), played(mirrored(state, flip)), played(mirrored(state, flip))
        draws(other, flip)
        obs, others = env._obs(), other._obs()
        unmirrored._obs()
        for _ in until_balance(state):
            action = player.act(obs["view"], obs["inventory"], rng)
            obs, reward, done, _ = env.step(action)
            others, other_reward, other_done, _ = other.step(action_images[action])
            unmirrored.step(action_images[action])
            assert (reward, done) == (other_reward, other_done)
            np.testing.assert_array_equal(mirrored_view(obs["view"], flip), others["view"])
            np.testing.assert_array_equal(obs["inventory"], others["inventory"])
            assert same(mirrored(saved(env, state), flip), saved(other, state))
            steps += 1
            if done:
                break
        parted += not same(saved(other, state), saved(unmirrored, state))
    assert steps > 60
    assert parted > 2  # what is drawn must be mirrored too


@pytest.mark.parametrize("flip", FLIPS[1:])
def test_without_creatures_the_native_engine_needs_nothing_mirrored_but_the_state(
    flip: Flip, states: list[tuple[Walker, SlotState]]
) -> None:
    creatures = [KINDS.index(kind) for kind in ("Cow", "Zombie", "Skeleton")]
    quiet = [
        with_objects(s, s.objects[~np.isin(s.objects["kind"], creatures)])
        for _, s in states
        if len([*until_balance(s)]) == BALANCE - 1
    ]
    assert len(quiet) > 10
    both = [*quiet, *(mirrored(state, flip) for state in quiet)]
    batch = Batch(NativeVector(CONFIG, [None] * len(both), range(len(both)), WorldSet.VALIDATION)).reset()
    for slot, state in enumerate(both):
        batch.env.set_state(slot, encode(dataclasses.replace(state, slot=both[0].slot)))
    rng, action_images = np.random.default_rng(1), np.array(images(SYMMETRY.actions, flip))
    for _ in range(BALANCE - 1):
        actions = rng.integers(0, NUM_ACTIONS, len(quiet))
        batch.step(np.concatenate([actions, action_images[actions]]))
        view, other_view = np.split(batch.obs["view"], 2)
        np.testing.assert_array_equal(mirrored_view(view, flip), other_view)
        for array in (batch.rewards, batch.terminations, batch.obs["inventory"], batch.obs["daylight"]):
            np.testing.assert_array_equal(*np.split(array, 2))
        games = [decode(state) for state in batch.states()]
        for game, other in zip(games[: len(quiet)], games[len(quiet) :], strict=True):
            assert same(mirrored(game, flip), other)


@pytest.mark.parametrize(("corner", "found"), [((0, 40), False), ((63, 40), True), ((40, 0), False), ((40, 63), True)])
def test_at_the_left_and_upper_edge_nothing_is_near(
    corner: tuple[int, int], found: bool, states: list[tuple[Walker, SlotState]]
) -> None:
    state = states[0][1]
    assert state.game is not None
    game, player = state.game.copy(), state.objects[:1].copy()
    player["pos"] = corner
    game["inventory"][ITEM["wood"]] = 1
    game["sleeping"] = 0
    game["materials"] = MATERIAL["table"]
    batch = Batch(NativeVector(CONFIG, [None], [0], WorldSet.VALIDATION)).reset()
    batch.env.set_state(0, encode(with_objects(dataclasses.replace(state, game=game), player)))
    batch.step([ACTION["make_wood_pickaxe"]])
    assert bool(batch.obs["inventory"][0, ITEM["wood_pickaxe"]]) == found


def test_the_chunks_are_not_mirrored() -> None:
    world = OrderedEnv(Observe.symbolic)._world
    assert world.chunk_key((63, 0)) == (60, 64, 0, 12)  # four cells wide
    assert world.chunk_key((0, 0)) == (0, 12, 0, 12)


def test_images() -> None:
    names = ("noop", "move_left", "move_right", "arrow-up", "arrow-down", "upright")
    assert images(names, (-1, 1)) == [0, 2, 1, 3, 4, 5]
    assert images(names, (-1, -1)) == [0, 2, 1, 4, 3, 5]
    assert ways(names) == [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)]


# The network


def made(seed: int = 0) -> Agent:
    generator = torch.Generator().manual_seed(seed)
    return make_agent(PPOConfig(network="symmetric"), SYMBOLS, NUM_ACTIONS, generator, SYMMETRY)


@pytest.mark.parametrize("flip", FLIPS)
def test_a_mirrored_observation_gives_the_mirrored_policy_and_the_same_value(flip: Flip) -> None:
    agent = made()
    shake(agent)
    obs = observations(SYMBOLS, 64)
    other = obs | {"view": torch.from_numpy(mirrored_view(obs["view"].numpy(), flip).copy())}
    with torch.inference_mode():
        (logits, values), (other_logits, other_values) = agent(obs), agent(other)
    assert logits.std(dim=1).min() > 0.01
    assert logits[:, 1].sub(logits[:, 2]).abs().mean() > 0.01
    torch.testing.assert_close(other_logits[:, images(SYMMETRY.actions, flip)], logits, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(other_values, values, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("way", "beside"), [("left", (3, 3)), ("right", (5, 3)), ("up", (4, 2)), ("down", (4, 4))])
def test_the_cell_that_the_player_faces_is_read_by_itself(way: str, beside: tuple[int, int]) -> None:
    agent = made()
    with torch.no_grad():
        agent.encoder.cells["view"].zero_()  # type: ignore[operator, index]
    obs = observations(SYMBOLS, 1)
    obs["view"][0, :, 4, 3] = torch.tensor([2, LOOK[f"player-{way}"]])
    read = set()
    for x, y in [(x, y) for x in range(9) for y in range(7) if (x, y) != (4, 3)]:
        other = obs["view"].clone()
        other[0, 0, x, y] = (other[0, 0, x, y] + 1) % 13
        if not torch.equal(agent(obs)[1], agent(obs | {"view": other})[1]):
            read.add((x, y))
    assert read == {beside}


def test_the_weights_of_the_symmetric_network() -> None:
    agent = made()
    assert sum(parameter.numel() for parameter in agent.parameters()) == 156_768
    weight = (agent.actor.basis @ agent.actor.weight).flatten(1)
    torch.testing.assert_close(weight @ weight.T, 0.01**2 * torch.eye(NUM_ACTIONS), rtol=1e-4, atol=1e-9)


def test_a_game_that_does_not_say_how_it_is_mirrored_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.network=symmetric needs a game.*what fits: ppo\.network=symbolic"):
        make_agent(PPOConfig(network="symmetric"), SYMBOLS, NUM_ACTIONS, torch.Generator())


# The same for pictures


class Told(torch.nn.Module):
    """Stands in for what the network has learned of the player's picture: it is told the way."""

    def __init__(self, facing: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.ways = torch.tensor([[(-1, 0), (1, 0), (0, -1), (0, 1)].index(way) for way in facing])

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return 1e4 * torch.nn.functional.one_hot(self.ways, 5).float()


def tiled(seed: int = 0) -> Agent:
    generator = torch.Generator().manual_seed(seed)
    return make_agent(PPOConfig(network="tiles"), PICTURES, NUM_ACTIONS, generator, SYMMETRY)


def shown(state: SlotState, env: NativeVector) -> np.ndarray | None:
    """The picture of a game; None by night, whose noise is not mirrored, and while the player sleeps."""
    env.set_state(0, encode(state))
    assert state.game is not None
    return None if env.daylight()[0] < 0.5 or state.game["sleeping"] else env.frame(0)


@pytest.mark.parametrize("flip", FLIPS)
def test_a_mirrored_games_picture_gives_the_mirrored_policy_and_the_same_value(
    flip: Flip, states: list[tuple[Walker, SlotState]]
) -> None:
    env = NativeVector(CrafterConfig(num_threads=1), [None], [1], WorldSet.VALIDATION)
    by_day = [(state, picture) for _, state in states[::3] if (picture := shown(state, env)) is not None]
    images_of = [(other := mirrored(state, flip), shown(other, env)) for state, _ in by_day]
    pictures, others = (np.stack([picture for _, picture in each]) for each in (by_day, images_of))
    agent, given = tiled(), []
    shake(agent)
    for seen, each in ((pictures, by_day), (others, images_of)):
        agent.encoder.way2 = Told([tuple(map(int, state.game["facing"])) for state, _ in each])  # type: ignore[index]
        with torch.inference_mode():
            given.append(agent({"pixels": torch.from_numpy(seen)}))
    (logits, values), (other_logits, other_values) = given
    assert (pictures != others).any() or flip == (1, 1)
    assert logits[:, 1].sub(logits[:, 2]).abs().mean() > 1e-3
    torch.testing.assert_close(other_logits[:, images(SYMMETRY.actions, flip)], logits, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(other_values, values, rtol=1e-5, atol=2e-5)


def tile(x: int, y: int) -> tuple[slice, slice, slice]:
    """The pixels of a tile in a batch of pictures."""
    return np.s_[:, 7 * y : 7 * y + 7, 7 * x : 7 * x + 7]


@pytest.mark.parametrize(("way", "beside"), [((-1, 0), (3, 3)), ((1, 0), (5, 3)), ((0, -1), (4, 2)), ((0, 1), (4, 4))])
def test_the_tile_that_the_player_faces_is_read_by_itself(way: tuple[int, int], beside: tuple[int, int]) -> None:
    agent = tiled()
    agent.encoder.way2 = Told([way])
    with torch.no_grad():
        agent.encoder.cell2.weight.zero_()  # type: ignore[union-attr, operator]
    seen = observations(PICTURES, 1)["pixels"]
    read = set()
    for x, y in [(x, y) for x in range(9) for y in range(7)]:
        other = seen.clone()
        other[tile(x, y)] = 255 - other[tile(x, y)]
        if not torch.equal(agent({"pixels": seen})[1], agent({"pixels": other})[1]):
            read.add((x, y))
    assert read == {beside}


def test_where_a_thing_lies_in_the_inventory_does_not_matter() -> None:
    agent, seen = tiled(), observations(PICTURES, 1)["pixels"]
    other, third = seen.clone(), seen.clone()
    other[tile(0, 7)], other[tile(5, 8)] = seen[tile(5, 8)], seen[tile(0, 7)]
    third[tile(0, 7)] = 255 - seen[tile(0, 7)]
    logits, swapped, changed = (agent({"pixels": each})[0] for each in (seen, other, third))
    torch.testing.assert_close(swapped, logits)
    assert not torch.allclose(changed, logits, rtol=1e-5, atol=1e-6)


def test_things_that_look_alike_are_read_once_and_count_as_often_as_they_are_there() -> None:
    agent = tiled()
    generator = torch.Generator().manual_seed(5)
    kinds = torch.randint(0, 256, (4, 147), generator=generator, dtype=torch.uint8)
    kinds[1] = kinds[0]
    kinds[1, 146] ^= 1
    tiles = kinds[torch.randint(0, 4, (6, 18), generator=generator)]
    different, often = _different(tiles, agent.encoder.digits)  # type: ignore[arg-type]
    assert len(different) == 4
    for picture, counts in zip(tiles, often, strict=True):
        assert [int((picture == kind).all(1).sum()) for kind in different] == counts.tolist()


def test_the_weights_of_the_network_for_tiles() -> None:
    assert sum(parameter.numel() for parameter in tiled().parameters()) == 249_061


@pytest.mark.parametrize(
    ("spec", "symmetry", "network"),
    [
        (PICTURES, SYMMETRY, "tiles"),
        (SYMBOLS, SYMMETRY, "symmetric"),
        (PICTURES, None, "nature"),
        (SYMBOLS, None, "symbolic"),
        ({"inventory": SYMBOLS["inventory"]}, SYMMETRY, "symbolic"),
        (PICTURES, dataclasses.replace(SYMMETRY, tiles={}), "nature"),
    ],
)
def test_a_network_is_chosen_by_what_is_observed(
    spec: dict[str, ArraySpec], symmetry: Symmetry | None, network: str
) -> None:
    config = PPOConfig(network="auto")
    chosen, named = (
        PPO.create(each, spec, NUM_ACTIONS, 0, torch.device("cpu"), 1, symmetry)
        for each in (config, dataclasses.replace(config, network=network))
    )
    assert chosen.describe() == named.describe()
    assert chosen.describe()["network"] == network
    named.load_state_dict(chosen.state_dict())


def test_pictures_that_are_not_said_to_be_of_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.network=tiles needs pictures.*what fits: ppo\.network=nature"):
        make_agent(PPOConfig(network="tiles"), PICTURES, NUM_ACTIONS, torch.Generator())
