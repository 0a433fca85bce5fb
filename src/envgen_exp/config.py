"""The schema of conf/, in its frozen form; guard/frozen.py derives the mutable form that Hydra wants.

A field's line below it is its documentation, its range its metadata: --help, reference and refusals are made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import MISSING

from envgen_exp.guard.ranges import POSITIVE as POSITIVE
from envgen_exp.guard.ranges import TEXT as TEXT
from envgen_exp.guard.ranges import Range as Range
from envgen_exp.guard.ranges import at_least as at_least
from envgen_exp.guard.ranges import between as between
from envgen_exp.guard.ranges import ranged as ranged
from envgen_exp.registry import Registry


def named(default: str, registry: Registry[Any]) -> Any:
    """A field of a config class that names a plug-in of this registry."""
    return field(default=default, metadata={"registry": registry})


NUM_ENVS = between(1, 4096)
_STEPS = Range(lambda value: len({n for n in value if n > 0}) == len(value), "different numbers above 0")
_SEED = Range(lambda value: bool(0 <= value < 2**63), "from 0 to 2**63 - 1")


class Engine(Enum):
    """Which implementation of a family's game is stepped."""

    native = "native"
    reference = "reference"


class Observe(Enum):
    """What the agent sees."""

    pixels = "pixels"
    symbolic = "symbolic"


class Mixture(Enum):
    """How a cycle's steps in designed worlds and in the original go together: in turn, or in one batch."""

    alternate = "alternate"
    blend = "blend"


class Device(Enum):
    """Where the network runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(Enum):
    """Number format of the network's forward and backward pass."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class LLMKind(Enum):
    """What stands behind the client."""

    offline = "offline"
    litellm = "litellm"
    replay = "replay"
    embedded = "embedded"
    paste = "paste"

    @property
    def is_model(self) -> bool:
        """Whether a real language model answers, so that what it is asked counts as LLM calls."""
        return self in (LLMKind.litellm, LLMKind.embedded, LLMKind.paste)

    @property
    def prompt(self) -> Prompt:
        """What designer.prompt=auto is."""
        return Prompt.compact if self is LLMKind.embedded else Prompt.rich


class Prompt(Enum):
    """Which templates messages are made from; auto is compact for llm=embedded and replays of it, else rich."""

    auto = "auto"
    paper = "paper"
    rich = "rich"
    compact = "compact"
    obfuscated = "obfuscated"


class Verbosity(Enum):
    """How much a run tells in the terminal."""

    quiet = "quiet"
    normal = "normal"
    verbose = "verbose"


class TrackerKind(Enum):
    """Where metrics go besides metrics.jsonl."""

    wandb = "wandb"
    tensorboard = "tensorboard"
    both = "both"
    none = "none"


class TrackerMode(Enum):
    """W&B's mode; auto is online with a key and offline without."""

    auto = "auto"
    online = "online"
    offline = "offline"


class Section:
    """A section of the config that a plug-in may extend: its class says what only the plug-in can know."""

    def check(self, run: RunConfig) -> None:
        """ConfigError where the section contradicts another one."""


Stored = Callable[[Path], tuple[Mapping[str, Any], list[dict[str, Any]]]]
"""What another run's folder is asked for: its config as plain values, and its feedback evaluations so far."""


@dataclass(frozen=True)
class EnvConfig(Section):
    """An environment family; a family's own settings stand in a subclass."""

    typical_episode: ClassVar[int] = 0
    """Steps of a typical episode, the median that was observed; 0 where nobody has looked."""
    name: str = MISSING
    """The family, as registered."""
    engine: Engine = Engine.native
    """Which implementation of the game."""
    observation: Observe = Observe.pixels
    """What the agent sees."""
    num_threads: int = ranged(0, at_least(0))
    """Threads that step environments; 0 takes what the machine has."""

    def diagnostics(self) -> list[str]:
        """Settings under which a run may explain a disagreement but stands in no table with others, as typed."""
        return []


@dataclass(frozen=True)
class LLMConfig:
    """A language model, or what stands in for one."""

    name: str = MISSING
    """What tables and folders call it."""
    kind: LLMKind = LLMKind.litellm
    """What stands behind the client."""
    model: str = ""
    """litellm's name of the model, e.g. openai/gpt-4o; of llm=paste, what tables are to call it."""
    key_variable: str = ""
    """The environment variable that holds the key; empty is the provider's own, and none for a server at api_base."""
    api_base: str | None = None
    """Address of the server, e.g. http://127.0.0.1:8000/v1; null is the provider's own."""
    temperature: float = ranged(0.0, between(0, 2))
    """Sampling temperature; the paper uses 0."""
    seed: int | None = None
    """Sampling seed, where the provider knows one."""
    max_tokens: int = ranged(4096, at_least(1))
    """Most tokens of a reply."""
    structured: bool = True
    """Ask for JSON by schema where the model supports it."""
    timeout: float = ranged(120.0, POSITIVE)
    """Seconds without a sign of life until a request is given up; a streamed answer gives one with each token."""
    total_timeout: float = ranged(1800.0, POSITIVE)
    """Seconds until an answer that is still being written is given up."""
    max_attempts: int = ranged(6, at_least(1))
    """Most requests for one completion, the first included."""
    max_wait: float = ranged(60.0, at_least(0))
    """Most seconds between two attempts; a longer Retry-After ends the call."""
    max_repairs: int = ranged(2, at_least(0))
    """How often a reply that can't be used goes back to the model."""
    max_calls: int | None = ranged(None, at_least(0))
    """Cap on requests of a run, resumes included; null is no cap."""
    max_dollars: float | None = ranged(None, at_least(0))
    """Cap on the cost of a run in US dollars, resumes included; null is no cap."""
    input_price: float | None = ranged(None, at_least(0))
    """Dollars per million prompt tokens, where litellm does not know the model."""
    output_price: float | None = ranged(None, at_least(0))
    """Dollars per million completion tokens, where litellm does not know the model."""
    check_key: bool = False
    """Send one real request before the run to see whether the key works."""
    weights: str | None = None
    """GGUF file that llm=embedded runs; null is the one that `make model` fetches. llm.model names it with its hash."""
    context: int = ranged(16384, between(256, 2**20))
    """Most tokens of prompt and answer together, of llm=embedded; its memory grows with them."""
    replay_from: str | None = None
    """Run folder or transcript whose recorded replies serve (typed as llm.from=PATH)."""
    strict: bool = True
    """Refuse a replayed request that differs from the recorded one."""


@dataclass(frozen=True)
class PresetConfig(Section):
    """A learner's presets; what they set stands in a subclass."""

    name: str = MISSING
    """What tables and folders call it."""


@dataclass(frozen=True)
class DesignerConfig(Section):
    """Who writes the designs; a designer's own settings stand in a subclass."""

    name: str = MISSING
    """The designer, as registered."""
    num_designs: int = ranged(4, between(1, 64))
    """Designs of a cycle."""
    prompt: Prompt = Prompt.auto
    """Which templates the messages are made from; auto is compact for llm=embedded and replays of it, else rich."""
    evidence: bool = False
    """Tell also how near episodes came to weak skills, how they ended, and what designs for these were followed by."""

    @property
    def wants_source(self) -> str:
        """What it needs where that is another run and it names none; a sweep gives it one of its own."""
        return ""

    def is_served_by(self, other: DesignerConfig) -> bool:
        """Whether a run with this designer is one that it can be given."""
        return False

    def enclosed(self, run: RunConfig, old: DesignerConfig | None, read: Stored) -> DesignerConfig:
        """The section with the content of the files that it names; `old` is that of the run that is gone on with."""
        return self


@dataclass(frozen=True)
class AgentConfig(Section):
    """Who plays: the small agent that is trained, or a language model that is asked for every action."""

    # What a learner is stands here as class variables, in its `Config`: the learner itself takes long to load.
    trains: ClassVar[bool] = True
    """Whether it learns; the run of one that does not is its report evaluation alone."""
    asks: ClassVar[bool] = False
    """Whether it asks what stands behind `llm` itself."""
    without_effect: ClassVar[tuple[str, ...]] = ()
    """Sections and keys at the top of the config that change nothing in its runs."""
    report: ClassVar[str] = "evaluation.report_episodes"
    """The key that says how many episodes its report evaluation has."""
    preset: ClassVar[str] = "agent"
    """The section whose name says how it learns, in plans and tables."""
    typical_episode: ClassVar[int] = 200
    """Steps of an evaluation's episode that a plan's time assumes; a random agent's in Crafter has 170."""
    metrics: ClassVar[tuple[Any, ...]] = ()
    """What its training logs beside what every learner's does: a `learners.learner.Metric` each."""

    name: str = "ppo"
    """The agent: ppo is trained as the rest of the config says; the others are asked, and train nothing."""
    episodes: int = ranged(1, between(1, 1000))
    """Episodes of the original that a language model plays."""
    max_steps: int = ranged(500, at_least(1))
    """Steps after which a language model's episode is cut, to cap its cost; the game's own limit is far higher."""
    history: int = ranged(5, between(1, 50))
    """Earlier steps that a language model is told of."""
    max_tokens: int = ranged(1024, at_least(1))
    """Most tokens of an answer, where llm.max_tokens allows more: it bounds what a step can cost."""

    @classmethod
    def label(cls, config: Mapping[str, Any]) -> str:
        """What tables call it; `config` is flat, as in a run's folder: 'agent.name' and so on."""
        return str(config[f"{cls.preset}.name"])


@dataclass(frozen=True)
class ScheduleConfig:
    """Environment steps of the training phases."""

    designed_steps: int = ranged(120_000, at_least(1))
    """Steps in designed worlds, each cycle."""
    original_steps: int = ranged(120_000, at_least(0))
    """Steps in the original, each cycle."""
    final_steps: int = ranged(1_000_000, at_least(0))
    """Steps in the original after the last cycle."""
    mixture: Mixture = Mixture.alternate
    """A cycle's two kinds of steps in turn, as in the paper, or side by side in one batch, in the same numbers."""
    scale: float = ranged(1.0, POSITIVE)
    """What the steps that conf/ names as ${steps:N} are multiplied by; what is typed as a number stays that number."""


@dataclass(frozen=True)
class EvaluationConfig:
    """The two evaluations in the original: feedback for the designer, report for the score."""

    feedback_seeds: int = ranged(12, at_least(2, "since the designer is told the spread over seeds"))
    """Seeds over which the designer's feedback has its spread."""
    feedback_episodes: int = ranged(10, at_least(1))
    """Episodes of each of those seeds."""
    report_episodes: int = ranged(1000, at_least(1))
    """Episodes of the report evaluation, which carries the score."""
    report_at: list[int] = field(default_factory=list, metadata={"allowed": _STEPS})
    """Training steps after which as many are played besides, in other worlds: that changes nothing in the run."""
    num_envs: int = ranged(32, NUM_ENVS)
    """Environments side by side in the report evaluation."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When a running phase is saved."""

    every_steps: int = ranged(50_000, at_least(0))
    """Environment steps between two checkpoints; 0 is never by steps."""
    every_seconds: float = ranged(120.0, at_least(0))
    """Seconds between two checkpoints; 0 is never by time."""


@dataclass(frozen=True)
class TrackerConfig:
    """The published view of metrics.jsonl."""

    kind: TrackerKind = TrackerKind.wandb
    """Where metrics go besides metrics.jsonl."""
    mode: TrackerMode = TrackerMode.auto
    """W&B's mode."""
    project: str = ranged("envgen", TEXT)
    """W&B project."""
    entity: str | None = None
    """W&B user or team."""
    group: str | None = None
    """W&B group; null is family-arm-llm-ppo with the sweep's name or, for a single run, its training steps."""
    tags: list[str] = field(default_factory=list)
    """W&B tags besides family, designer and llm."""


@dataclass(frozen=True)
class RunConfig:
    """One run."""

    seed: int = ranged(0, _SEED)
    """Root of every random stream."""
    arm: str | None = ranged(None, TEXT)
    """What tables call this treatment; null is the designer's name."""
    design_set: int | None = ranged(None, _SEED)
    """Root of what designers draw, and llm.seed where that is null; null is the run's seed."""
    contrasts: list[str] = field(default_factory=list)
    """Differences that the sweep's tables test beside the preregistered ones, each as 'arm - arm'."""
    main_contrast: str = ranged("adaptive - placebo", TEXT)
    """The one difference that they test alone, fixed before any run; all others are one family."""
    preregistered: str | None = ranged(None, TEXT)
    """Page of the clone that preregisters the study: `pack` refuses a run of a commit that lacks it."""
    cycles: int = ranged(4, at_least(1))
    """Rounds of design, training and evaluation."""
    device: Device = Device.auto
    """Where the network runs."""
    num_threads: int = ranged(0, at_least(0))
    """Threads of torch on the CPU; 0 takes what the machine has."""
    dry_run: bool = False
    """Print the plan and the first messages, ask and train nothing."""
    verbosity: Verbosity = Verbosity.normal
    """What the terminal shows; quiet: what needs attention and the table at the end, verbose: every logged row too."""
    runs_dir: str = ranged("runs", TEXT)
    """Where new run folders are made."""
    folder: str | None = None
    """This run's folder; null makes one below runs_dir."""
    resume: str | None = None
    """Folder of an earlier run to go on with."""
    env: EnvConfig = MISSING
    llm: LLMConfig = MISSING
    ppo: PresetConfig = MISSING
    designer: DesignerConfig = MISSING
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracker: TrackerConfig = MISSING


def design_set(config: RunConfig) -> int:
    """Root of the streams that designers draw from."""
    return config.seed if config.design_set is None else config.design_set
