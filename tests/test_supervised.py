"""A learner that is taught by labels: its networks and loss against hand computation, learning, a run, its resume."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import Boxes
from runs import final_state, summary

from envgen_exp.commands import cli, run
from envgen_exp.commands.compose import compose_run
from envgen_exp.config import RunConfig
from envgen_exp.families.family import Label, Labelled
from envgen_exp.learners.supervised import learner as supervised
from envgen_exp.learners.supervised.cnn import Reader, augmented
from envgen_exp.learners.supervised.config import Network, SupervisedConfig
from envgen_exp.learners.supervised.learner import Supervised
from envgen_exp.llm.client import LateClient
from envgen_exp.run.loop import Run
from envgen_exp.run.record import RunRecord
from envgen_exp.run.stopping import Stopped
from envgen_exp.seeding import WorldSet

BOXES = ("env=boxes", "agent=supervised", "agent.batch_size=10", "debug=smoke", "num_threads=1", "device=cpu")


@pytest.fixture(autouse=True, scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The family of boxes, as a package of its own would bring it."""
    site = tmp_path_factory.mktemp("boxes")
    info = site / "boxes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boxes\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[envgen_exp.families]\nboxes = boxes:Boxes\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield


def made(*words: str, total_steps: int = 6000) -> Supervised:
    return Supervised.create(compose_run([*BOXES, *words]), Boxes(), LateClient(), total_steps)


def test_a_run_killed_in_a_phase_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "STRETCH", 4)
    words = (*BOXES, "designer=adaptive", "llm=offline", "agent.noise=10")
    assert run.run(compose_run([*words, f"folder={tmp_path / 'whole'}"]), []) == 0
