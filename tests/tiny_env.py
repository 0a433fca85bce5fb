"""A tiny family with the whole batch contract, for tests: walk along a corridor to a door whose side is in view.

A world is a corridor of `CELLS` cells with the player in the middle and a door at its left or right end, as the world's
seed chose. Actions: 0 stays, 1 goes left, 2 goes right. Reaching the door pays 1 and ends the episode, walking into the
other end pays -1 and ends it; every step costs 0.01. After `length` steps an episode is truncated. A design may move
the start nearer to the door. The best policy needs `HALF` steps of the original: a return of `BEST_RETURN`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envgen_exp.errors import EngineError, StateError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.vector import ArraySpec, Buffers, EpisodeRecord, Observation
from envgen_exp.seeding import WorldSet, world_seed

CELLS = 9
HALF = CELLS // 2
STEP_COST = 0.01
BEST_RETURN = 1 - HALF * STEP_COST
SKILLS = ("move", "reach_door", "hit_wall")

SPECS: Mapping[str, Mapping[str, ArraySpec]] = {
    "vector": {"cells": ArraySpec((2, CELLS), np.dtype(np.uint8), 0, 1)},
    "symbolic": {
        "view": ArraySpec((2, 1, CELLS), np.dtype(np.uint8), 0, 1),
        "walked": ArraySpec((1,), np.dtype(np.float32), 0, 1),
    },
    "pixels": {"pixels": ArraySpec((64, 64, 3), np.dtype(np.uint8), 0, 255)},
}


class TinyDesign(Design):
    """Settings of the tiny family."""

    head_start: int = 0
    """Cells by which the player starts nearer to the door, 0 to 3."""


class TinyVectorEnv:
    """`VectorEnv` of the corridor; `observation` is one of `SPECS`."""

    num_actions = 3
    skills = SKILLS

    def __init__(
        self,
        designs: Sequence[TinyDesign | None],
        seeds: Sequence[int],
        worlds: WorldSet | None = None,
        *,
        observation: str = "vector",
        length: int = 32,
    ) -> None:
        if len(designs) != len(seeds):
            raise EngineError(f"{len(designs)} designs for {len(seeds)} seeds")
        self.observation, self.length, self.worlds = observation, length, worlds
        self.observation_spec = SPECS[observation]
        self.closed = False
        self.slots: list[dict[str, Any]] = [
            {
                "seed": seed,
                "episode": 0,
                "position": HALF,
                "door": 0,
                "steps": 0,
                "return": 0.0,
                "counts": [0] * len(SKILLS),
                "design": None,
                "next_design": None if design is None else design.settings(),
                "world": 0,
                "next_world": None,
            }
            for design, seed in zip(designs, seeds, strict=True)
        ]

    @property
    def num_envs(self) -> int:
        return len(self.slots)

    def reset(self, obs: Observation) -> None:
        self._check_open()
        for index, slot in enumerate(self.slots):
            self._start(slot)
            self._draw(slot, obs, index)

    def step(
        self, actions: NDArray[np.int64], out: Buffers, *, active: NDArray[np.bool_] | None = None
    ) -> list[EpisodeRecord]:
        self._check_open()
        stepped = [i for i in range(self.num_envs) if active is None or active[i]]
        if any(not 0 <= actions[i] < self.num_actions for i in stepped):
            raise EngineError(f"actions out of range 0..{self.num_actions - 1}")
        records = []
        for i in stepped:
            slot = self.slots[i]
            if slot["episode"] == 0:
                raise EngineError("step before reset")
            slot["steps"] += 1
            reward, ended = -STEP_COST, False
            if actions[i] != 0:
                slot["counts"][0] += 1
                slot["position"] += -1 if actions[i] == 1 else 1
                if slot["position"] in (0, CELLS - 1):
                    reached = slot["position"] == slot["door"]
                    slot["counts"][1 if reached else 2] += 1
                    reward, ended = reward + (1 if reached else -1), True
            slot["return"] += float(np.float32(reward))
            truncated = not ended and slot["steps"] >= self.length
            out.rewards[i], out.terminations[i], out.truncations[i] = reward, ended, truncated
            if ended or truncated:
                records.append(self._record(i, slot, truncated))
                if out.final_obs is not None:
                    self._draw(slot, out.final_obs, i)
                self._start(slot)
            self._draw(slot, out.obs, i)
        return records

    def set_design(self, slot: int, design: Design | None, *, world: int | None = None) -> None:
        self.slots[slot]["next_world"] = world
        self.slots[slot]["next_design"] = None if design is None else design.settings()

    def get_state(self, slot: int) -> bytes:
        return json.dumps({"tiny": 1, **self.slots[slot]}).encode()

    def set_state(self, slot: int, state: bytes) -> None:
        try:
            values = json.loads(state)
            if values.pop("tiny") != 1 or set(values) != set(self.slots[slot]):
                raise KeyError("tiny")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError("not the state of a tiny environment") from error
        self.slots[slot] = values

    def close(self) -> None:
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise EngineError("the environment is closed")

    def _start(self, slot: dict[str, Any]) -> None:
        slot["episode"] += 1
        slot["design"] = slot["next_design"]
        own = world_seed(slot["seed"], slot["episode"], self.worlds)
        slot["world"], slot["next_world"] = own if slot["next_world"] is None else slot["next_world"], None
        slot["door"] = 0 if slot["world"] // 4 % 2 else CELLS - 1
        nearer = 0 if slot["design"] is None else slot["design"]["head_start"]
        slot["position"] = HALF + (nearer if slot["door"] else -nearer)
        slot["steps"], slot["return"], slot["counts"] = 0, 0.0, [0] * len(SKILLS)

    def _record(self, index: int, slot: dict[str, Any], truncated: bool) -> EpisodeRecord:
        design = None if slot["design"] is None else TinyDesign(**slot["design"])
        return EpisodeRecord(
            slot=index,
            episode=slot["episode"],
            world_seed=slot["world"],
            design=design_key(design),
            length=slot["steps"],
            episode_return=slot["return"],
            truncated=truncated,
            skills=tuple(slot["counts"]),
        )

    def _draw(self, slot: dict[str, Any], obs: Observation, index: int) -> None:
        cells = np.zeros((2, CELLS), np.uint8)
        cells[0, slot["position"]] = 1
        cells[1, slot["door"]] = 1
        if self.observation == "vector":
            obs["cells"][index] = cells
        elif self.observation == "symbolic":
            obs["view"][index] = cells[:, None, :]
            obs["walked"][index] = slot["steps"] / self.length
        else:
            image = np.zeros((64, 64, 3), np.uint8)
            image[:, : CELLS * 7, :2] = np.repeat(255 * cells.T, 7, axis=0)
            obs["pixels"][index] = image
