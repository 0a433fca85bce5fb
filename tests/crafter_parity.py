"""Games that compare the engines: who plays, in which worlds, and the digest of everything that happens.

`python tests/crafter_parity.py` has the reference engine play round 0 and writes its digests to crafter_parity.json
(minutes); `make test` has the native engine play the same games and compares.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from batch import Batch
from crafter_players import PLAYERS
from numpy.typing import NDArray

from envgen_exp.config import Observe
from envgen_exp.families.crafter.config import CrafterConfig
from envgen_exp.families.crafter.design import BIOMES, RARITIES, CrafterDesign
from envgen_exp.families.crafter.observation import NIGHT_BELOW
from envgen_exp.families.crafter.reference import ReferenceVector
from envgen_exp.families.crafter.state import decode, encode
from envgen_exp.families.design import Design
from envgen_exp.families.vector import EpisodeRecord

TRACE = Path(__file__).with_suffix(".json")
SLOTS = 30
"""Games side by side in each of the two observations."""
STEPS = 5_000
"""Steps of each game in one round: 2 x 30 x 5,000 = 300,000 together."""
BLOCK = 500
"""Steps for each digest."""
RICH: dict[str, Any] = {f"starting_{item}": 9 for item in ("sapling", "wood", "stone", "coal", "iron")}
TOOLED: dict[str, Any] = {"starting_iron_pickaxe": 1, "starting_iron_sword": 1, "starting_sapling": 3}


def designs() -> list[Design | None]:
    """Half of the games are the original; the others have every biome with every rarity, poor and rich."""
    made: list[Design | None] = []
    for index, biome in enumerate(BIOMES):
        for number, rarity in enumerate(RARITIES["coal"]):
            rarities = {f"{resource}_rarity": rarity for resource in RARITIES}
            items = (RICH, TOOLED, {})[(index + number) % 3]
            made += [CrafterDesign(target_biome=biome, **rarities, **items), None]
    return made


class Games:
    """One engine's games of a round, all or some, played by the same players as any other engine's."""

    def __init__(
        self, make: Callable[..., Any], observe: Observe, round_: int, games: Sequence[int] = range(SLOTS)
    ) -> None:
        config = CrafterConfig(observation=observe, designed_length=700, original_length=2_000, num_threads=1)
        every = designs()
        worlds = [every[game % len(every)] for game in games]
        first = 1_000 * round_ + 100 * (observe is Observe.symbolic)
        self.batch = Batch(make(config, worlds, [first + game for game in games]))
        # 24 designs and 9 players share the factor 3: in the next round everyone is somewhere else.
        self._players = [PLAYERS[(game + round_) % len(PLAYERS)]() for game in games]
        self._rngs = [np.random.default_rng([round_, game]) for game in games]
        self.batch.reset()

    def step(self) -> list[EpisodeRecord]:
        """Every player takes an action; those who are watched over get what they need to live on."""
        env = self.batch.env
        views, inventory = self._views(), env.inventory()
        actions = [
            player.act(views[slot], inventory[slot], rng)
            for slot, (player, rng) in enumerate(zip(self._players, self._rngs, strict=True))
        ]
        records = self.batch.step(actions)
        weak = env.inventory()[:, :4].min(axis=1) < 4
        for slot in range(3, env.num_envs, 4):
            if weak[slot]:
                _restore(env, slot)
        return records

    def _views(self) -> NDArray[np.uint8]:
        if "view" in self.batch.obs:
            return self.batch.obs["view"]
        env = self.batch.env
        padded = np.pad(env.maps(), ((0, 0), (0, 0), (4, 4), (3, 3)))
        return np.stack([padded[slot, :, x : x + 9, y : y + 7] for slot, (x, y) in enumerate(env.positions())])

    def state(self) -> list[NDArray[Any]]:
        """Everything but light that a step leaves behind, (SLOTS, ...) each; equal on every machine."""
        env, batch = self.batch.env, self.batch
        arrays = [batch.rewards, batch.terminations, batch.truncations, env.inventory(), env.achievements()]
        arrays += [env.positions(), env.semantic()]
        return arrays + ([batch.obs["view"]] if "view" in batch.obs else [])

    def light(self) -> list[NDArray[Any]]:
        """What depends on the daylight, so on the last bit of this machine's cosine."""
        names = ("pixels", "daylight")
        obs = [arrays[name] for arrays in (self.batch.obs, self.batch.final_obs) for name in names if name in arrays]
        return [*obs, self.batch.env.daylight()]


def _restore(env: Any, slot: int) -> None:
    """Fill a player's vital items through the state, which goes from engine to engine."""
    found = decode(env.get_state(slot))
    assert found.game is not None
    found.game["inventory"][:4] = 9
    env.set_state(slot, encode(found))


def digests(games: Games, steps: int) -> Iterator[tuple[list[str], list[str], list[EpisodeRecord]]]:
    """For each block of steps: a digest of each slot's states, one of its light, and the episodes that ended."""
    for _ in range(0, steps, BLOCK):
        state, light = ([hashlib.blake2b(digest_size=8) for _ in range(games.batch.env.num_envs)] for _ in range(2))
        ended: list[EpisodeRecord] = []
        for _ in range(BLOCK):
            records = games.step()
            ended += records
            for record in records:
                state[record.slot].update(repr(record).replace(", trials=()", "").encode())  # the digests are older
            for arrays, hashes in ((games.state(), state), (games.light(), light)):
                parts = [np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8) for array in arrays]
                for row, digest in zip(np.concatenate(parts, axis=1), hashes, strict=True):
                    digest.update(row)
        yield [digest.hexdigest() for digest in state], [digest.hexdigest() for digest in light], ended


def light_tables() -> str:
    """A digest of this machine's daylight and vignette: where it is another, frames are others in their last bits."""
    env = Batch(ReferenceVector(CrafterConfig(), [None], [0])).env._slots[0].env
    digest = hashlib.blake2b(env._local_view._vignette((63, 49, 3), 0.5).tobytes(), digest_size=8)
    for env._step in range(1_000):
        env._update_time()
        digest.update(np.float64(env._world.daylight).tobytes())
    return digest.hexdigest()


class Coverage:
    """What games went through, so that a comparison can't pass for want of events."""

    def __init__(self) -> None:
        self.skills: set[str] = set()
        self.deaths = self.timeouts = self.by_night = self.by_day = self.days_lived = 0

    def add(self, games: Games, records: Sequence[EpisodeRecord]) -> None:
        for record in records:
            self.skills |= {name for name, count in zip(games.batch.env.skills, record.skills, strict=True) if count}
            self.timeouts += record.truncated
            self.deaths += not record.truncated
            self.days_lived = max(self.days_lived, record.length // 300)
        dark = games.batch.env.daylight() < NIGHT_BELOW
        self.by_night += int(dark.sum())
        self.by_day += int((~dark).sum())


def main() -> None:
    rounds: dict[str, Any] = {"light_tables": light_tables()}
    for observe in Observe:
        games = Games(ReferenceVector, observe, 0)
        blocks = []
        for number, (state, light, _) in enumerate(digests(games, STEPS)):
            blocks.append({"state": state, "light": light})
            print(f"{observe.value}: {(number + 1) * BLOCK * SLOTS:,} steps", file=sys.stderr)
        rounds[observe.value] = blocks
    TRACE.write_text(json.dumps(rounds, indent=0) + "\n")


if __name__ == "__main__":
    main()
