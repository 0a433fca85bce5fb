"""``python -m envgen_exp play FOLDER`` plays with a run's agent: success rates, films, and its weights to take away.

It plays worlds of the validation set, in which nothing is trained and nothing is scored, so that looking at an agent,
however often, never spends the report evaluation's worlds.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envgen_exp import seeding
from envgen_exp.commands.failure import told
from envgen_exp.config import Device, RunConfig
from envgen_exp.errors import CheckpointError, ConfigError, RunFolderError
from envgen_exp.families import make_family
from envgen_exp.families.design import Design, design_key
from envgen_exp.families.family import Family, Playable
from envgen_exp.families.typed import parse_design
from envgen_exp.families.vector import EpisodeRecord
from envgen_exp.guard.reading import understood
from envgen_exp.guard.writing import write_atomic
from envgen_exp.learners import LEARNERS
from envgen_exp.learners.intervals import wilson
from envgen_exp.learners.learner import Learner, Onlooker
from envgen_exp.learners.skills import shares
from envgen_exp.llm.client import LateClient
from envgen_exp.reporting.run.terminal import percent
from envgen_exp.run import checkpoint, plan
from envgen_exp.run.films import MAX_STEPS, Camera, Film, film_title, write_films
from envgen_exp.run.folder import Files
from envgen_exp.run.pasted import typed
from envgen_exp.run.record import RunRecord
from envgen_exp.run.summary import Episodes
from envgen_exp.seeding import WorldSet
from envgen_exp.tracking.progress import make_console

EPISODES = 20
"""Played where nothing else is asked for."""

MOST_BATCHES = 100
"""How many times all slots are played in search of a skill."""


@told
def main(argv: Sequence[str]) -> int:
    """Play as asked and return the exit status: 2 with one line for what can't be."""
    asked = _parser().parse_args(argv)
    console = make_console()
    player = Player.open(asked.folder, Device[asked.device])
    for line in player.notes:
        _tell(console, line)
    _tell(console, player.origin)
    if asked.skill is not None and not isinstance(player.family, Playable):
        raise ConfigError(f"--skill {asked.skill}: env={player.family.name} has frames, and no episodes to be filmed")
    design = None if asked.design is None else parse_design(asked.design, player.family)
    if asked.export is not None:
        export(player, asked.export)
        _tell(console, f"exported: weights.safetensors, agent.py and README.md in {asked.export}")
    if asked.skill is not None:
        show(player, design, asked.skill, asked.seed, console)
    elif asked.episodes:
        play(player, design, asked.episodes, asked.seed, asked.videos, console)
    return 0


@dataclass(frozen=True)
class Player:
    """A run's agent at its newest whole checkpoint."""

    folder: Path
    config: RunConfig
    family: Family
    learner: Learner
    origin: str
    """Which agent it is, in a line."""
    notes: tuple[str, ...]
    """A line for each damaged checkpoint that was passed over."""

    @classmethod
    def open(cls, folder: Path, device: Device) -> Player:
        """Read a run's folder, which may be in use; EnvGenError where it holds no agent that can play here."""
        record = RunRecord(folder)
        config = dataclasses.replace(record.config, device=device)
        if not record.learner.trains:
            raise RunFolderError(f"{folder} holds no trained agent: a language model played there")
        number, state, damaged = checkpoint.load_latest(record.files.checkpoints)
        if state is None:
            if len(record.phases) > 1:
                raise CheckpointError(f"{folder} has no checkpoint any more, and so no agent")
            raise CheckpointError(f"{folder} has no checkpoint yet; to go on: {record.resume_command}")
        family = make_family(config.env)
        with understood(record.files.checkpoints):
            client = LateClient()
            learner = LEARNERS.find(config.agent.name).create(config, family, client, plan.training_steps(config))
            learner.load_state_dict(state["parts"]["learner"])
            phases, done = plan.phases(config), state["position"]
            progress = (
                "the run is finished"
                if done == len(phases)
                else f"the run is not finished: {done} of {len(phases)} phases done, {phases[done].name} is next or "
                "running"
            )
            trained = state["steps"]["designed"] + state["steps"]["original"]
            origin = (
                f"checkpoint {number} of {folder}, after {trained:,} of {plan.training_steps(config):,} training "
                f"steps; {progress}"
            )
            return cls(folder, config, family, learner, origin, tuple(f"passed over: {line}" for line in damaged))


def export(player: Player, folder: Path) -> None:
    """Write the agent into a folder, to be used without this package; ConfigError where that can't be."""
    player.learner.export(folder, origin=player.origin)
    write_card(RunRecord(player.folder), folder / "README.md")


def write_card(record: RunRecord, readme: Path) -> None:
    """Add to an exported agent's README what a model card has: its scores, and how it was trained."""
    document, summary = record.document, record.summary
    said = ["## Scores", "", "None yet: the run is not finished.", ""]
    if summary is not None:
        interval = f"95 % interval {summary.score_low:.2f} to {summary.score_high:.2f}"
        episodes = f"{summary.report.episodes:,} episodes in worlds that it was not trained in"
        said[2] = f"Score {summary.score:.2f} % ({interval}), mean return {summary.reward:.2f}, over {episodes}."
        said += ["| skill | percent of episodes | 95 % interval |", "|---|---|---|"]
        for skill in summary.skills:
            low, high = wilson(summary.report.successes[skill], summary.report.tried(skill))
            said.append(f"| {skill} | {percent(summary.report.rate(skill))} | {percent(low)} to {percent(high)} |")
    known = {**document["versions"], **document["chosen"], **document.get("origin", {})}
    config = yaml.safe_dump(document["config"], sort_keys=False, allow_unicode=True)
    said += ["", "## How it was trained", "", f"    {document['command']}", ""]
    said += [*(f"- {name}: {value}" for name, value in known.items()), "", "```yaml", config.rstrip(), "```", ""]
    front = f"---\nlibrary_name: pytorch\ntags: [reinforcement-learning, {record.config.env.name}]\n---\n"
    write_atomic(readme, (front + readme.read_text() + "\n".join(["", *said])).encode())


def play(
    player: Player, design: Design | None, num_episodes: int, seed: int, num_videos: int, console: Console
) -> None:
    """Play whole episodes of a design (None: the original), film the first ones, and print what was found.

    The same agent, seed and number of episodes play the same episodes, filmed or not. RunFolderError where the films
    can't be written.
    """
    records, films = watch(player, design, num_episodes, seed, num_videos)
    print_skills(player, design, records, console)
    count = "" if num_episodes == EPISODES else f"-e{num_episodes}"  # which the actions go by
    keep(player, films, f"play-{design_key(design)}-s{seed}{count}", console)


def keep(player: Player, films: Sequence[Film], name: str, console: Console) -> None:
    """Write films into the run's folder, and tell of each."""
    written = write_films(films, Files(player.folder).videos, name)
    for path, film in written.items():
        skills = f"{len(film.unlocked)} of {len(player.family.skills)} skills"
        _tell(console, f"video: {shlex.quote(str(path))} ({film.steps:,} steps; {skills})")
    if left_out := len(films) - len(written):
        _tell(console, f"video: {left_out} left out: the episode has more than {MAX_STEPS:,} steps")


def show(player: Player, design: Design | None, skill: str, seed: int, console: Console) -> None:
    """Film the first episode that shows a skill; ConfigError where none of many does."""
    family, slots = player.family, player.config.evaluation.num_envs
    if skill not in family.skills:
        raise ConfigError(f"--skill {skill}: no such skill; allowed: {' | '.join(family.skills)}")
    for batch in range(MOST_BATCHES):
        records, _ = watch(player, design, slots, seed + batch, 0)
        shown = [record.slot for record in records if record.skills[family.skills.index(skill)]]
        if shown:
            _, films = watch(player, design, slots, seed + batch, 1, min(shown))
            played = batch * slots + min(shown) + 1
            _tell(console, f"{skill}: episode {played:,} of those played is the first that shows it")
            name = f"play-{design_key(design)}-{skill}{f'-s{seed}' if seed else ''}"
            return keep(player, films, name, console)
    raise ConfigError(f"--skill {skill}: none of {MOST_BATCHES * slots:,} episodes shows it")


def watch(
    player: Player, design: Design | None, num_episodes: int, seed: int, num_videos: int, first: int = 0
) -> tuple[list[EpisodeRecord], list[Film]]:
    """Play, and film the first episode of each of so many slots from the `first` on."""
    quota = shares(num_episodes, min(num_episodes, player.config.evaluation.num_envs))
    seeds = seeding.integers(seed, "worlds", "play", count=len(quota))
    worlds = WorldSet.VALIDATION
    filmed = seeds[first : first + num_videos]
    titles = [film_title(design, seeding.world_seed(one, 1, worlds)) for one in filmed]
    camera = Camera(titles, MAX_STEPS, first=first)
    stream, onlooker = (seed, "play", "actions"), Onlooker(camera=camera)
    played = player.learner.evaluate([design] * len(quota), seeds, worlds, quota, stream, onlooker)
    return played.records, camera.films


def print_skills(player: Player, design: Design | None, records: Sequence[EpisodeRecord], console: Console) -> None:
    """Success rates with their intervals, the score with its own, and what it is not."""
    family, where = player.family, "the original" if design is None else f"the design {design_key(design)}"
    found = Episodes.of(map(vars, records), len(family.skills))
    counts, episodes = found.successes(family.skills), len(found)
    _tell(console, f"{family.name}: success in {where}, percent of {episodes:,} episodes")
    table = Table(box=None)
    for header in ("skill", "success", "95 % interval"):
        table.add_column(header, justify="left" if header == "skill" else "right", no_wrap=True)
    for skill in family.skills:
        low, high = wilson(counts.successes[skill], counts.tried(skill))
        table.add_row(skill, percent(counts.rate(skill)), f"{percent(low)} - {percent(high)}")
    console.print(table)
    score = family.score(dict(zip(family.skills, found.rates.tolist(), strict=True)))
    low, high = found.score_interval(family)
    _tell(
        console,
        f"score {score:.2f} % [{low:.2f}, {high:.2f}] over {episodes:,} episodes in validation worlds of {where}; mean "
        f"return {found.mean_return:.2f}, mean length {found.mean_length:,.0f} steps",
    )
    what = "the report evaluation" if design is None else "a score of the original"
    _tell(console, f"This is not {what}: few episodes make the score read low, and tables count the report's alone.")
    if design is not None:
        settings = ", ".join(f"{name}: {value}" for name, value in design.settings().items())
        _tell(console, f"design {design_key(design)}: {settings}")


def _tell(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"play: {message}; --help lists what there is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=typed("python -m envgen_exp play"), description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a run's folder, finished or not")
    parser.add_argument(
        "--design",
        metavar="TEXT",
        help="play this design and not the original: 'target_biome: mountain, iron_rarity: common', or a file of it",
    )
    parser.add_argument(
        "--episodes",
        type=_count,
        default=EPISODES,
        metavar="N",
        help=f"whole episodes to play; 0 plays none [{EPISODES}]",
    )
    parser.add_argument("--seed", type=_count, default=0, metavar="N", help="of worlds and actions [0]")
    parser.add_argument(
        "--videos", type=_count, default=2, metavar="N", help="episodes to film, into FOLDER/videos; 0 films none [2]"
    )
    parser.add_argument(
        "--skill", metavar="NAME", help="film the first episode that shows it, in place of the first episodes"
    )
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write weights.safetensors, agent.py and README.md there"
    )
    parser.add_argument("--device", choices=[device.name for device in Device], default="auto", help="[auto]")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)
