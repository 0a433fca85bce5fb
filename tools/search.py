"""Searches settings of a preset on the original alone; killed, it goes on where it was.

    python tools/search.py FOLDER ppo=symbolic [--trials 40] [--hours 8] [--steps 1000000] [--total-steps N] \
        [--seeds 9000 9001 9002] [--tune gamma ent_coef ...]

optuna proposes settings (ask and tell). A setting trains with one seed after the other; its score is that of the
training episodes that ended in each tenth of a training, and one that is below the median of those before it at the
same point stops there. What counts is the mean of the last tenths of all seeds. Seeds are 9000 and above, which no
reported run has. Settings after the preset are fixed; with --tune and nothing after it, they are all that is tried:

    python tools/search.py FOLDER ppo=symbolic ppo.gamma=0.97 --tune --trials 1 --seeds 9000 9001 9002

FOLDER keeps the study (journal.log), the training that runs (running.pt) and all settings as a table (search.md).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from envgen_exp import seeding
from envgen_exp.commands.compose import compose_run
from envgen_exp.families import make_family
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners import LEARNERS
from envgen_exp.learners.skills import success_counts
from envgen_exp.seeding import WorldSet

SPACE: dict[str, BaseDistribution] = {
    "gamma": CategoricalDistribution([0.925, 0.95, 0.97, 0.98, 0.99]),
    "gae_lambda": CategoricalDistribution([0.65, 0.8, 0.9, 0.95]),
    "learning_rate": FloatDistribution(1e-4, 2e-3, log=True),
    "anneal_lr": CategoricalDistribution([False, True]),
    "ent_coef": FloatDistribution(1e-3, 3e-2, log=True),
    "vf_coef": FloatDistribution(0.25, 2.0, log=True),
    "update_epochs": IntDistribution(1, 6),
    "num_minibatches": CategoricalDistribution([2, 4, 8]),
    "value_norm_decay": CategoricalDistribution([0.9, 0.95, 0.99]),
    "memory": CategoricalDistribution([0, 64, 128]),
}
"""What may be tuned, of the section `ppo`."""
RUNGS = 10
"""Points of a training at which it may stop."""


class Search:
    """A study in a folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, Path(options.folder)
        self.space = {name: SPACE[name] for name in options.tune}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            study_name=" ".join(options.settings),
            storage=JournalStorage(JournalFileBackend(str(self.folder / "journal.log"))),
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        )

    def run(self) -> None:
        """Until there are enough settings or the hours are over."""
        while True:
            trial = self.running()
            if trial is None:
                trials = self.study.get_trials(deepcopy=False)
                hours = sum(each.user_attrs.get("seconds", 0.0) for each in trials) / 3600
                if len(trials) >= self.options.trials or hours >= self.options.hours:
                    return
                # Its draws follow from how many there were, so that a search that was killed goes on as it would have.
                self.study.sampler = optuna.samplers.TPESampler(seed=len(trials))
                trial = self.study.ask(self.space)
            self.try_out(trial)
            (self.folder / "running.pt").unlink(missing_ok=True)
            write_atomic(self.folder / "search.md", self.table().encode())

    def running(self) -> Trial | None:
        """The setting that was being tried when the search ended, if any."""
        found = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state is TrialState.RUNNING]
        return Trial(self.study, found[-1]._trial_id) if found else None

    def try_out(self, trial: Trial) -> None:
        """Train with one seed after the other, and tell what came of it."""
        kept = self.kept(trial.number)
        scores: list[float] = kept.get("scores", [])
        seconds = kept.get("seconds", 0.0)
        for index, seed in enumerate(self.options.seeds):
            if index < len(scores) // RUNGS:
                continue
            config = self.composed(trial.params, seed)
            family = make_family(config.env)
            kind = LEARNERS.find(config.agent.name)
            learner = kind.create(config, family, None, self.options.total_steps or self.options.steps)
            slots = kind.slots(config)
            worlds = seeding.integers(seed, "worlds", "search", count=slots)
            steps = self.options.steps // slots * slots
            with contextlib.closing(learner.train([None] * slots, worlds, WorldSet.TRAIN, steps)) as training:
                if kept.get("seed") == seed:
                    learner.load_state_dict(kept["learner"])
                    training.load_state_dict(kept["training"])
                started = time.perf_counter()
                episodes: list[EpisodeRecord] = []
                for progress in training:
                    episodes += progress.episodes
                    due = index * RUNGS + progress.steps_done * RUNGS // steps - len(scores)
                    if due <= 0:
                        continue
                    shown, number = success_counts(episodes, len(family.skills))
                    rates = dict(zip(family.skills, (shown / np.maximum(number, 1)).tolist(), strict=True))
                    scores += [family.score(rates)] * due
                    seconds, started, episodes = seconds + time.perf_counter() - started, time.perf_counter(), []
                    trial.set_user_attr("seconds", seconds)
                    if len(scores) - 1 not in self.study.trials[trial.number].intermediate_values:
                        trial.report(scores[-1], len(scores) - 1)
                    if trial.should_prune():
                        self.study.tell(trial, state=TrialState.PRUNED)
                        return
                    state = {"learner": learner.state_dict(), "training": training.state_dict(), "seed": seed}
                    self.keep({"number": trial.number, "scores": list(scores), "seconds": seconds, **state})
        self.study.tell(trial, float(np.mean(scores[RUNGS - 1 :: RUNGS])))

    def composed(self, settings: dict[str, Any], seed: int) -> Any:
        own = [f"ppo.{name}={str(value).lower()}" for name, value in settings.items()]
        return compose_run([*self.options.settings, "designer=original", "tracker=none", f"seed={seed}", *own])

    def kept(self, number: int) -> dict[str, Any]:
        """What was saved of this setting's training."""
        path = self.folder / "running.pt"
        state: dict[str, Any] = torch.load(path, weights_only=True) if path.exists() else {}
        return state if state.get("number") == number else {}

    def keep(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self.folder / "running.pt", buffer.getvalue())

    def table(self) -> str:
        """All settings, the best first."""
        head = ["number", "score %", "stopped at", "scores by seed", *self.space]
        lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state is not TrialState.RUNNING]
        for trial in sorted(trials, key=lambda each: (each.value is None, -(each.value or 0.0), each.number)):
            lines.append(f"| {' | '.join(self.row(trial))} |")
        return "\n".join(lines) + "\n"

    def row(self, trial: FrozenTrial) -> list[str]:
        scores = [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
        whole = trial.state is TrialState.COMPLETE
        where = "" if whole else f"seed {len(scores) // RUNGS + 1}, {len(scores) % RUNGS or RUNGS}/{RUNGS}"
        ends = ", ".join(f"{score:.1f}" for score in scores[RUNGS - 1 :: RUNGS])
        settings = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in trial.params.values()]
        return [str(trial.number), f"{trial.value:.2f}" if whole else "", where, ends, *settings]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where the search is kept, or goes on")
    parser.add_argument(
        "settings", nargs="+", help="what chooses the preset, and what is fixed: ppo=symbolic ppo.gamma=0.97"
    )
    parser.add_argument("--trials", type=int, default=40, help="settings to try")
    parser.add_argument("--hours", type=float, default=8.0, help="of training in all, after which no setting is begun")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of a training")
    parser.add_argument("--total-steps", type=int, help="of the run that it begins: where annealing ends")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[9000, 9001, 9002], help="each setting's, 9000 and above"
    )
    parser.add_argument(
        "--tune", nargs="*", choices=SPACE, default=list(SPACE), metavar="SETTING", help=", ".join(SPACE)
    )
    options = parser.parse_args(arguments)
    if min(options.seeds) < 9000:
        parser.error(f"--seeds {min(options.seeds)}: allowed is 9000 and above, which no reported run has")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    Search(options).run()
    print((Path(options.folder) / "search.md").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
