"""A learner that is taught by labels: networks and loss by hand, learning, and going on after a kill."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from boxes import Boxes, BoxesDesign, installed
from runs import die, final_state, fork, wait
from torch import nn

from envgen_exp import seeding
from envgen_exp.commands import cli, run
from envgen_exp.commands.compose import compose_run
from envgen_exp.errors import CheckpointError
from envgen_exp.families.family import Label, Labelled
from envgen_exp.families.frames import draw
from envgen_exp.learners.intervals import wilson
from envgen_exp.learners.skills import SkillReport, pooled
from envgen_exp.learners.supervised import learner as supervised
from envgen_exp.learners.supervised.cnn import LaptopCNN, PaperCNN, Reader, augmented
from envgen_exp.learners.supervised.config import Network, SupervisedConfig
from envgen_exp.learners.supervised.drawing import Ahead, Batch
from envgen_exp.learners.supervised.learner import Supervised
from envgen_exp.learners.supervised.measures import Found, details, errors
from envgen_exp.llm.client import LateClient
from envgen_exp.run.record import RunRecord
from envgen_exp.seeding import WorldSet

BOXES = ("env=boxes", "agent=supervised", "agent.batch_size=20", "debug=smoke", "num_threads=1", "device=cpu")
LABELS = (Label("far", "m", 0.0, 60.0, optional=True), Label("turn", "degrees", -30.0, 30.0))
NAN = math.nan


@pytest.fixture(autouse=True, scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("boxes")):
        yield


def made(*words: str, total_steps: int = 6000) -> Supervised:
    return Supervised.create(compose_run([*BOXES, *words]), Boxes(), LateClient(), total_steps)


def reader(**settings: object) -> Reader:
    config = SupervisedConfig(**settings)  # type: ignore[arg-type]
    return Reader(config, (24, 32, 3), LABELS, np.zeros((24, 32, 3), np.float32), torch.Generator())


def test_boxes_are_labelled() -> None:
    assert isinstance(Boxes(), Labelled)


# The networks


def test_the_papers_network_has_its_weights() -> None:
    network = PaperCNN((210, 280, 3), 8).to("meta")
    convolutions = 64 * 3 * 11**2 + 128 * 64 * 7**2 + 192 * 128 * 3**2 + 256 * 192 * 3**2
    # 280 x 210 is a third four times: 2 x 3 places.
    linear = 256 * 2 * 3 * 4096 + 4096 * 4096 + 4096 * 1000 + 1000 * 8
    weights = [parameter.numel() for parameter in network.parameters() if parameter.dim() > 1]
    assert sum(weights) == convolutions + linear == 28_260_864
    kinds = [type(layer) for layer in network]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert kinds == [*block * 4, nn.Flatten, *[nn.Linear, nn.ReLU] * 3, nn.Linear, nn.Tanh]
    assert network(torch.empty(2, 3, 210, 280, device="meta")).shape == (2, 8)


def test_the_papers_settings_are_the_papers() -> None:
    agent = compose_run(["env=boxes", "agent=supervised_paper"]).agent
    assert isinstance(agent, SupervisedConfig)
    assert (agent.network, agent.batch_size, agent.learning_rate) == (Network.paper, 32, 1e-3)
    assert [agent.anneal_lr, agent.apart, agent.blur, agent.noise, agent.exposure] == [False, False, 0, 0, 1]


def test_weights_follow_from_the_generator() -> None:
    state = torch.get_rng_state()
    one, other = ([parameter.clone() for parameter in reader(apart=True).network.parameters()] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert LaptopCNN((105, 140, 3), 15)(torch.zeros(2, 3, 105, 140)).shape == (2, 15)


# Labels as outputs, and the loss


def test_labels_are_scaled_and_none_lies_beyond() -> None:
    scaling = reader().scaling
    labels = torch.tensor([[0.0, -30.0], [30.0, 30.0], [NAN, 15.0]])
    assert torch.allclose(scaling.scaled(labels), torch.tensor([[-0.9, -0.9], [0.0, 0.9], [1.0, 0.45]]))
    answers = reader().answers(torch.tensor([[-1.0, 0.0], [0.989, 0.995], [0.991, 0.45]]))
    # What lies between the range's end and none reads as the end; what can't be missing never reads as none.
    np.testing.assert_allclose(answers, [[0, 0], [60, 30], [NAN, 15]], atol=1e-4)


def test_the_papers_loss_is_the_mean_squared_error_of_all_outputs() -> None:
    out, labels = torch.tensor([[0.5, 0.1], [0.2, -0.4]]), torch.tensor([[30.0, 15.0], [NAN, -30.0]])
    total, presence, distance = reader().loss(out, labels)
    by_hand = (0.5**2 + (0.1 - 0.45) ** 2 + (0.2 - 1) ** 2 + (-0.4 + 0.9) ** 2) / 4
    assert (total.item(), presence.item(), distance.item()) == pytest.approx((by_hand, 0, by_hand))


def test_presence_and_distance_apart_by_hand() -> None:
    out, labels = torch.tensor([[0.5, 0.1, 2.0], [0.2, -0.4, 1.0]]), torch.tensor([[30.0, 15.0], [NAN, -30.0]])
    ours = reader(apart=True, presence_weight=3.0, distance_weight=0.5)
    total, presence, distance = ours.loss(out, labels)
    there = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(1.0))) / 2
    error = (0.5 + 0.35 + 0.5) / 3  # the second frame has no distance to be wrong about
    assert (presence.item(), distance.item()) == pytest.approx((there, error))
    assert total.item() == pytest.approx(3 * there + 0.5 * error)
    out[1, 2] = -1.0
    np.testing.assert_allclose(ours.answers(out), [[30 + 0.5 / 0.03, 0.1 / 0.03], [NAN, -0.4 / 0.03]], rtol=1e-4)


def test_augmentation_is_its_streams() -> None:
    images = torch.rand(4, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    config = SupervisedConfig(blur=6, noise=20, exposure=2)

    def once(stream: int) -> torch.Tensor:
        return augmented(images, config, torch.Generator().manual_seed(stream))

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))
    assert once(1).min() >= 0
    assert once(1).max() <= 1
    blurred = augmented(images, SupervisedConfig(blur=6), torch.Generator().manual_seed(1))
    assert torch.allclose(blurred.mean((2, 3)), images.mean((2, 3)), atol=0.03)
    assert (blurred.var(3) < images.var(3)).all()
    assert torch.equal(augmented(images, SupervisedConfig(), torch.Generator()), images)


# Frames, and what was found in them


def test_what_is_drawn_ahead_is_what_is_drawn() -> None:
    batches = [Batch([None, BoxesDesign(noise="much")], [10 * number, 10 * number + 1]) for number in range(9)]
    with contextlib.closing(Ahead(Boxes(), WorldSet.TRAIN, batches)) as ahead:
        for batch, seen in zip(batches, ahead, strict=True):
            once = draw(Boxes(), batch.designs, batch.seeds, WorldSet.TRAIN)
            assert np.array_equal(once.images, seen.images)
            np.testing.assert_array_equal(once.labels, seen.labels)


def test_errors_in_units_by_hand() -> None:
    labels = np.array([10, 20, NAN, NAN, 50], np.float32)
    answers = np.array([13, 16, NAN, 30, NAN], np.float32)
    found = errors(LABELS[0], answers, labels)
    assert (found["there"], found["misses"], found["phantoms"], found["mae"]) == (3, 1, 1, 3.5)
    assert found["rmse"] == pytest.approx(math.sqrt((9 + 16) / 2), abs=1e-4)
    beyond = 1.9 * 60 / 1.8  # in metres, what stands for none
    assert found["paper_rmse"] == pytest.approx(
        math.sqrt((9 + 16 + 0 + (beyond - 30) ** 2 + (beyond - 50) ** 2) / 5), abs=1e-3
    )


def test_the_worst_frames_are_the_furthest_off() -> None:
    labels = np.array([[5, 0], [NAN, 0], [9, 0], [9, 5]], np.float32)
    answers = np.array([[5, 0], [5, 0], [6, 0], [9, 4]], np.float32)
    grainy = np.array([[True, False], [True, True], [True, True], [True, False]])
    found = details(Boxes(), Found(answers, labels, grainy, [None] * 4, [7, 8, 9, 10]), WorldSet.REPORT)
    worst = {name: [one["seed"] for one in found["worst"] if one["stratum"] == name] for name in Boxes.strata}
    assert worst == {"common": [8, 9, 10, 7], "grainy": [8, 9]}  # a car that is not there, then 3 of 18 m, 1 of 20
    assert found["strata"][1]["box"]["phantoms"] == 1


# Learning


def test_it_learns_boxes() -> None:
    learner = made("agent.anneal_lr=true", "agent.apart=true", total_steps=5000)
    with contextlib.closing(learner.train([None] * 20, list(range(20)), WorldSet.TRAIN, 5000)) as training:
        progress = list(training)
    assert sum(one.steps for one in progress) == learner.frames == 5000
    assert learner.updates == 250
    first, last = (one.metrics["loss/total"] for one in (progress[0], progress[-1]))
    assert last < first / 2
    played = learner.evaluate([None] * 4, [1, 2, 3, 4], WorldSet.REPORT, [100, 100, 100, 100], (0, "test"))
    report = SkillReport.from_records(played.records, Boxes.skills, range(4))
    rates = report.success_rates()
    assert rates["box_there"] > 0.75
    assert rates["line"] > 0.6
    assert report.trials[0][2] == 100
    assert sum(report.trials[0][:2]) < 100
    # A quarter of the battery is grainy, and each slot has its share.
    assert [part["frames"] for part in played.details["frames"]["strata"]] == [400, 100]
    low, high = wilson(*pooled(report.to_json())["box_near"])
    assert low < rates["box_near"] < high


def test_a_phase_goes_on_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "STRETCH", 3)
    words = ("agent.noise=10", "agent.anneal_lr=true")
    designs = [None, BoxesDesign(boxes=90)] * 10

    def phase(learner: Supervised) -> supervised.Teaching:
        return learner.train(designs, list(range(20)), WorldSet.TRAIN, 240)

    whole = made(*words)
    with contextlib.closing(phase(whole)) as training:
        unbroken = list(training)
    first = made(*words)
    with contextlib.closing(phase(first)) as training:
        begun = [next(iter(training)), training]
        state, inside = first.state_dict(), training.state_dict()
    second = made("seed=5", *words)
    second.load_state_dict(state)
    second.seed = whole.seed
    with contextlib.closing(phase(second)) as training:
        training.load_state_dict(inside)
        rest = list(training)
    assert [one.metrics for one in (begun[0], *rest)] == [one.metrics for one in unbroken]
    assert [one.episodes for one in (begun[0], *rest)] == [one.episodes for one in unbroken]
    for name, value in whole.reader.state_dict().items():
        assert torch.equal(value, second.reader.state_dict()[name]), name
    with pytest.raises(CheckpointError, match="another kind"):
        second.load_state_dict({"agent": {}})
    with pytest.raises(CheckpointError, match="another phase"):
        phase(second).load_state_dict({"steps": (99, 0)})


# A run


RUN = (*BOXES, "designer=adaptive", "llm=offline", "agent.exposure=1.5", "cycles=1", "evaluation.report_episodes=40")


def whole_run(folder: Path, words: tuple[str, ...] = RUN) -> Path:
    assert run.run(compose_run([*words, f"folder={folder}"]), []) == 0
    return folder


def test_a_run_stopped_anywhere_ends_as_the_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "STRETCH", 4)
    whole = whole_run(tmp_path / "whole")
    broken, teach, count = tmp_path / "broken", Supervised.teach, 0

    def teach_until(self: Supervised, seen: object) -> object:
        nonlocal count
        count += 1
        if count in (7, 25):
            raise RuntimeError("the plug is pulled")
        return teach(self, seen)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Supervised, "teach", teach_until)
        for words in ([*RUN, f"folder={broken}"], [f"resume={broken}"]):
            with pytest.raises(RuntimeError, match="plug"):
                run.run(compose_run(words), [])
        assert run.run(compose_run([f"resume={broken}"]), []) == 0
    assert final_state(broken) == final_state(whole)
    page = (whole / "report.html").read_text()
    assert "could not be made" not in page
    assert "Worst frames: grainy" in page
    record = RunRecord(whole)
    assert record.summary is not None
    assert record.summary.report.episodes == 40
    assert record.summary.training_episodes == 300


@pytest.mark.chaos
@pytest.mark.parametrize("family", ["boxes", "driving"])
def test_a_run_killed_anywhere_ends_as_the_unbroken_one(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "STRETCH", 4)
    words = (*RUN, f"env={family}")
    whole, broken, teach = whole_run(tmp_path / "whole", words), tmp_path / "broken", Supervised.teach
    assert RunRecord(whole).config.env.name == family
    for kill in (5, 11, 3, 17):
        count = 0

        def teach_until(self: Supervised, seen: object, kill: int = kill) -> object:
            nonlocal count
            count += 1
            if count == kill:
                die()
            return teach(self, seen)  # type: ignore[arg-type]

        coming = [f"resume={broken}"] if (broken / "config.yaml").exists() else [*words, f"folder={broken}"]
        with monkeypatch.context() as patch:
            patch.setattr(Supervised, "teach", teach_until)
            assert wait(fork(lambda coming=coming: run.run(compose_run(coming), []))) == -9  # type: ignore[misc]
    assert run.run(compose_run([f"resume={broken}"]), []) == 0
    assert final_state(broken) == final_state(whole)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("env=crafter", "agent=supervised"), "agent=supervised: needs a family with more than env=crafter has"),
        (("env=boxes", "agent=ppo"), "agent=ppo: needs a family with more than env=boxes has"),
        (("env=boxes", "agent=supervised_paper"), "frames of 32 x 24 are too small for it"),
        (("env=boxes", "agent=supervised", "agent.batch_size=3"), "at most agent.batch_size, which is 3"),
        (("env=boxes", "agent=supervised", "agent.blur=-1"), "agent.blur=-1"),
    ],
)
def test_what_can_not_run_is_one_line(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "tracker=none", f"folder={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_seeds_of_frames_are_of_their_set() -> None:
    learner = made()
    with contextlib.closing(learner.train([None] * 20, list(range(20)), WorldSet.TRAIN, 40)) as training:
        (progress,) = training
    assert [one.world_seed for one in progress.episodes] == [
        seeding.world_seed(n, 1, WorldSet.TRAIN) for n in range(20)
    ]
    assert {one.world_seed % 4 for one in progress.episodes} == {int(WorldSet.TRAIN)}
