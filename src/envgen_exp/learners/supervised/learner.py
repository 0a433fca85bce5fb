"""`agent=supervised`: a network that is taught by the labels of frames, as a learner of a run; steps are frames.

Each slot shows one frame of each batch. A frame is a function of its slot's design and seed and of its number, so that
a phase goes on from a count of frames.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from envgen_exp import seeding
from envgen_exp.config import RunConfig
from envgen_exp.errors import CheckpointError, ConfigError
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import FrameBuffers, Labelled
from envgen_exp.families.frames import draw
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.learners.curriculum import Curriculum
from envgen_exp.learners.devices import choose_device, choose_dtype
from envgen_exp.learners.learner import NOBODY, Defaults, Game, Onlooker, Played, Progress, Speed
from envgen_exp.learners.supervised.cnn import Reader, augmented
from envgen_exp.learners.supervised.config import SupervisedConfig
from envgen_exp.learners.supervised.drawing import Ahead, Batch
from envgen_exp.learners.supervised.measures import Found, details
from envgen_exp.llm.client import Client
from envgen_exp.seeding import WorldSet

MEAN_FRAMES = 256
"""Frames of the original whose mean image is subtracted from all."""

STRETCH = 128
"""Batches between two points from which a run can go on."""

CHUNK = 256
"""Most frames that are looked at side by side without learning."""

STATE_VERSION = 1


class Supervised(Defaults):
    """A network, Adam, and how many frames they have seen."""

    needs: ClassVar[type] = Labelled
    sparing: ClassVar[str] = "smaller agent.batch_size or agent.network=laptop need less"

    def __init__(
        self, config: RunConfig, family: Labelled, seed: int, mean: NDArray[np.float32], total_steps: int
    ) -> None:
        assert isinstance(config.agent, SupervisedConfig)
        self.config, self.family, self.settings, self.seed = config, family, config.agent, seed
        self.total_steps = total_steps
        self.frames = 0
        """Frames that it has learned from."""
        self.device = choose_device(config.device)
        self._mean = mean
        weights = seeding.torch_generator(seed, "agent", "weights")
        self.reader = Reader(config.agent, family.frame_spec.shape, family.labels, mean, weights).to(self.device)
        self.reader.autocast_dtype = choose_dtype(config.agent.precision, self.device)
        self.optimizer = torch.optim.Adam(self.reader.parameters(), lr=config.agent.learning_rate, fused=True)

    @classmethod
    def create(cls, config: RunConfig, family: Labelled, client: Client, total_steps: int) -> Supervised:
        """Weights that follow from the seed. ConfigError for a device that can't be had, or frames that are too small
        for the network."""
        torch.set_num_threads(config.num_threads or len(os.sched_getaffinity(0)))
        seeds = [seeding.world_seed(config.seed, number, WorldSet.TRAIN) for number in range(MEAN_FRAMES)]
        seen = draw(family, [None] * MEAN_FRAMES, seeds, WorldSet.TRAIN).images
        return cls(config, family, config.seed, seen.mean(axis=0, dtype=np.float64).astype(np.float32), total_steps)

    @classmethod
    def slots(cls, config: RunConfig) -> int:
        """agent.batch_size: each batch has a frame of each slot."""
        assert isinstance(config.agent, SupervisedConfig)
        return config.agent.batch_size

    @property
    def updates(self) -> int:
        """Batches."""
        return self.frames // self.settings.batch_size

    def describe(self) -> dict[str, Any]:
        """Network, its weights, device, threads."""
        weights = sum(parameter.numel() for parameter in self.reader.parameters())
        return {
            "network": self.settings.network.value,
            "weights": weights,
            "device": str(self.device),
            "precision": str(self.reader.autocast_dtype or torch.float32).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }

    def speed(self) -> Speed:
        """Time a few batches of another one; draws from no stream."""
        other, count, worlds = self.pupil(0), self.settings.batch_size, WorldSet.VALIDATION
        seeds = seeding.integers(0, "measure", count=count)
        for batches in (1, 4):  # the first pays for warming up
            start = time.perf_counter()
            with contextlib.closing(other.train([None] * count, seeds, worlds, batches * count)) as training:
                steps = sum(progress.steps for progress in training)
            trained = time.perf_counter()
            looked = sum(len(answers) for answers, _ in other.look(worlds, [Batch([None] * count, seeds)] * batches))
        return Speed(training=steps / (trained - start), playing=looked / (time.perf_counter() - trained))

    def pupil(self, seed: int) -> Supervised:
        """A new one with the same settings."""
        return Supervised(self.config, self.family, seed, self._mean, self.total_steps)

    def train(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        steps: int,
        *,
        total_steps: int | None = None,
        curriculum: Curriculum | None = None,
    ) -> Teaching:
        """Batches with one frame a slot. ConfigError for a `curriculum`."""
        if curriculum is not None:
            raise ConfigError("the designer chooses worlds by advantages, and this learner has none")
        if total_steps is not None:
            self.total_steps = total_steps
        return Teaching(self, designs, seeds, worlds, steps)

    def teach(self, seen: FrameBuffers) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
        """Learn from a batch once; returns what was answered before, and the loss with its parts."""
        settings = self.settings
        self.reader.train()
        images, labels = self._tensors(seen.images), torch.from_numpy(seen.labels).to(self.device)
        if settings.blur or settings.noise or settings.exposure > 1:
            drawn = seeding.torch_generator(self.seed, "agent", "augment", self.frames)
            images = augmented(images, settings, drawn)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate()
        out = self.reader(images)
        loss, presence, distance = self.reader.loss(out, labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.frames += len(seen.images)
        return self.reader.answers(out.detach()), (loss.item(), presence.item(), distance.item())

    def learning_rate(self) -> float:
        """Adam's next step size."""
        left = max(0.0, 1 - self.frames / max(self.total_steps, 1)) if self.settings.anneal_lr else 1.0
        return self.settings.learning_rate * left

    def look(self, worlds: WorldSet, batches: Sequence[Batch]) -> Iterator[tuple[NDArray[np.float32], FrameBuffers]]:
        """What is answered to each batch, without learning, and what was seen."""
        with contextlib.closing(Ahead(self.family, worlds, batches)) as drawn:
            for seen in drawn:
                yield self.read(seen), seen

    def read(self, frames: FrameBuffers) -> NDArray[np.float32]:
        """What it says of frames in evaluation mode, (num_frames, num_labels), NaN for none."""
        self.reader.eval()
        with torch.inference_mode():
            return self.reader.answers(self.reader(self._tensors(frames.images)))

    def evaluate(
        self,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        quota: Sequence[int],
        stream: tuple[int | str, ...],
        onlooker: Onlooker = NOBODY,
    ) -> Played:
        """An episode is one frame. The original's are the family's battery, of which each slot has an even share; a
        slot's record stands for all of its frames. Nothing is drawn."""
        battery = self.family.battery(worlds, sum(quota)) if all(d is None for d in designs) else None
        shown = [[design] * count for design, count in zip(designs, quota, strict=True)]
        if battery is not None:
            # The battery's frames go to the slots in turn, so that each has some of all.
            frames = (design for design, count in battery for _ in range(count))
            turns = [slot for number in range(max(quota)) for slot, count in enumerate(quota) if number < count]
            shown = [[] for _ in quota]
            for slot, design in zip(turns, frames, strict=False):  # small ones have more kinds than frames
                shown[slot].append(design)
        records, found = [], []
        for slot, (seed, own) in enumerate(zip(seeds, shown, strict=True)):
            numbers = [seeding.world_seed(seed, number, worlds) for number in range(1, len(own) + 1)]
            batches = [
                Batch(own[start : start + CHUNK], numbers[start : start + CHUNK]) for start in range(0, len(own), CHUNK)
            ]
            looked = list(self.look(worlds, batches))
            if not own:
                continue
            one = Found.of(looked, own, numbers)
            found.append(one)
            records += self.records([slot], 1, numbers[:1], [designs[slot]], one.judged(self.family), len(own))
            onlooker.on_episode(records[-1])
        reported = battery is not None and worlds is WorldSet.REPORT
        return Played(records, {"frames": details(self.family, Found.joined(found), worlds)} if reported else {})

    def records(
        self,
        slots: Sequence[int],
        number: int,
        seeds: Sequence[int],
        designs: Sequence[Design | None],
        judged: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        length: int,
    ) -> list[EpisodeRecord]:
        """A record for each slot's `length` frames, which `judged` has in turn: frame i is the i-th slot's modulo."""
        asked, shown = (of.reshape(length, len(slots), -1).sum(axis=0) for of in judged)
        return [
            EpisodeRecord(
                slot=slot,
                episode=number,
                world_seed=seed,
                design=design_key(design),
                length=length,
                episode_return=int(shown[place].sum()) / max(int(asked[place].sum()), 1),
                truncated=False,
                skills=tuple(shown[place].tolist()),
                trials=tuple(asked[place].tolist()),
            )
            for place, (slot, seed, design) in enumerate(zip(slots, seeds, designs, strict=True))
        ]

    def state_dict(self) -> dict[str, Any]:
        """Weights, Adam's moments, frames seen."""
        return {
            "version": STATE_VERSION,
            "frames": self.frames,
            "total_steps": self.total_steps,
            "reader": copy.deepcopy(self.reader.state_dict()),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, which is copied. CheckpointError where it is of another kind."""
        if state.get("version") != STATE_VERSION:
            raise CheckpointError("checkpoint: holds another kind of agent than agent=supervised")
        try:
            self.reader.load_state_dict(state["reader"])
            self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError("checkpoint: holds another network than this run's") from error
        self.frames, self.total_steps = int(state["frames"]), int(state["total_steps"])

    def _tensors(self, images: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float().div_(255)


class Teaching:
    """`Training` of it: exactly `steps` frames, shared by the slots."""

    def __init__(
        self,
        learner: Supervised,
        designs: Sequence[Design | None],
        seeds: Sequence[int],
        worlds: WorldSet,
        steps: int,
    ) -> None:
        self._learner, self._designs, self._seeds, self._worlds = learner, designs, seeds, worlds
        self._steps, self.steps_done = steps, 0
        self._ahead: Ahead | None = None

    def __iter__(self) -> Iterator[Progress]:
        learner, slots = self._learner, len(self._designs)
        self._ahead = Ahead(learner.family, self._worlds, self._batches())
        drawn = iter(self._ahead)
        while self.steps_done < self._steps:
            batches = min(STRETCH, (self._steps - self.steps_done) // slots)
            before = self.steps_done // slots
            answers, seen, losses, waited, start = [], [], [], 0.0, time.perf_counter()
            rate = learner.learning_rate()
            for _ in range(batches):
                asked = time.perf_counter()
                batch = next(drawn)
                waited += time.perf_counter() - asked
                answer, loss = learner.teach(batch)
                answers.append(answer)
                seen.append((batch.labels, batch.strata))
                losses.append(loss)
            labels, strata = (np.concatenate(of) for of in zip(*seen, strict=True))
            asked_for, shown = learner.family.judge(np.concatenate(answers), labels, strata)
            steps = batches * slots
            self.steps_done += steps
            seconds = time.perf_counter() - start
            total, presence, distance = np.mean(losses, axis=0).tolist()
            yield Progress(
                steps=steps,
                steps_done=self.steps_done,
                metrics={
                    "loss/total": total,
                    "loss/presence": presence,
                    "loss/distance": distance,
                    "loss/learning_rate": rate,
                },
                episodes=learner.records(
                    range(slots),
                    before // STRETCH + 1,
                    self._world_seeds(before),
                    self._designs,
                    (asked_for, asked_for & shown),
                    batches,
                ),
                readings={
                    "seconds/env": waited,
                    "seconds/update": seconds - waited,
                    "speed/steps_per_second": steps / seconds,
                },
            )

    def _batches(self) -> Iterator[Batch]:
        slots = len(self._designs)
        for number in range(self.steps_done // slots, self._steps // slots):
            yield Batch(self._designs, self._world_seeds(number))

    def _world_seeds(self, batch: int) -> list[int]:
        return [seeding.world_seed(seed, batch + 1, self._worlds) for seed in self._seeds]

    def take_up(self, games: Sequence[Game | None]) -> None:
        """There are none."""

    def leave(self) -> list[Game]:
        """Nothing is played."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Frames done."""
        return {"steps": (self._steps, self.steps_done)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same phase."""
        steps, self.steps_done = state["steps"]
        if steps != self._steps:
            raise CheckpointError(f"checkpoint: holds another phase than this one of {self._steps} steps")

    def close(self) -> None:
        """Draw no more."""
        if self._ahead is not None:
            self._ahead.close()
