"""A trained agent as plain files: its weights as safetensors, a loader that needs torch and numpy alone, and a README.

The loader is not written twice: agent.py is the networks' own file, with `load`, `act` and what both need of this
package.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envgen_exp.errors import ConfigError, EnvGenError, RunFolderError
from envgen_exp.families import symmetry
from envgen_exp.families.family import Mirrored, Playable
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec
from envgen_exp.guard.writing import disk_errors, write_atomic
from envgen_exp.learners.ppo import agent, gru, layers, memory, networks, recall, symmetric, tiles
from envgen_exp.learners.ppo.agent import Agent, sample_actions
from envgen_exp.learners.ppo.config import NETWORKS
from envgen_exp.learners.ppo.ppo import PPO

BUILT_IN = {name: NETWORKS.find(name) for name in NETWORKS.built_in if name != "auto"}
"""What an exported agent's network may be."""


def load(file: str | Path | None = None, device: str = "cpu") -> Agent:
    """The agent whose weights are in `file` (None: weights.safetensors beside this file), on `device`.

    Called with observations {name: (B, *shape) tensor}, it returns logits (B, num_actions) and values (B,), which are
    normalised: a return is value * value_std + value_mean, both in `file`.
    """
    saved, weights = read(Path(__file__).with_name("weights.safetensors") if file is None else Path(file))
    spec = {
        name: ArraySpec(tuple(part["shape"]), np.dtype(part["dtype"]), part["low"], part["high"])
        for name, part in saved["observation"].items()
    }
    network = BUILT_IN[saved["network"]]
    mirrored = {"symmetry": Symmetry(**saved["symmetry"])} if network.symmetric else {}
    encoder = network(None, spec, torch.Generator(), **mirrored)
    agent = Agent(encoder, saved["num_actions"], torch.Generator(), saved["memory"], recalls=saved["recalls"])
    agent.load_state_dict(weights)
    agent.autocast_dtype = torch.bfloat16 if saved["precision"] == "bfloat16" else None
    return agent.to(device).eval()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file of safetensors says of the agent, and its weights by name."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    saved = json.loads(header.pop("__metadata__")["agent"])
    kinds = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
    weights = {}
    for name, part in header.items():
        first, last = part["data_offsets"]
        flat = torch.frombuffer(bytearray(data[begin + first : begin + last]), dtype=kinds[part["dtype"]])
        weights[name] = flat.reshape(part["shape"])
    return saved, weights


@torch.inference_mode()
def act(
    agent: Agent,
    obs: Mapping[str, NDArray[np.generic]],
    generator: torch.Generator,
    memory: torch.Tensor | None = None,
    rewards: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Actions (B,) drawn with `generator` for observations {name: (B, *shape)}; agent and generator on one device.

    An agent that remembers is given what it remembers, `agent.nothing(B)` at first, and writes what it then remembers
    over it; where an episode ends, the caller makes its row zero. One that recalls the skill shown last is given the
    rewards (B,) of the steps before, too, 0 where an episode begins.
    """
    seen = {name: torch.as_tensor(array, device=generator.device) for name, array in obs.items()}
    batch = len(next(iter(seen.values())))
    before = agent.nothing(batch, generator.device) if memory is None else memory
    same = torch.zeros(1, batch, dtype=torch.bool, device=generator.device)
    earned = None if rewards is None else torch.as_tensor(rewards, device=generator.device)
    logits, _, after = agent.follow(seen, before, same, earned)
    if memory is not None:
        memory.copy_(after)
    actions: NDArray[np.int64] = sample_actions(logits, generator)[0].cpu().numpy()
    return actions


def export(learner: PPO, family: Playable, folder: Path, *, origin: str) -> None:
    """Write weights.safetensors, agent.py and README.md into `folder`; RunFolderError where it can't, or others' are.

    ConfigError for a network of another package: its code is not ours to copy. `origin` is a line
    that says which run's agent it is, and of which moment.
    """
    if learner.network not in BUILT_IN:
        raise ConfigError(
            f"ppo.network={learner.network}: is another package's, and what is exported runs without any; "
            f"allowed: {' | '.join(BUILT_IN)}"
        )
    theirs = [name for name in ("README.md", "agent.py") if (folder / name).exists()]
    if theirs and not (folder / "weights.safetensors").exists():
        raise RunFolderError(f"{folder / theirs[0]} is there, and no agent that was exported: choose another folder")
    mean, std = learner.value_norm.mean_and_std()
    saved = {
        "network": learner.network,
        "memory": learner.agent.remembers if learner.agent.recurrent else 0,
        "recalls": learner.agent.recalls,
        "num_actions": family.num_actions,
        "observation": {
            name: {"shape": list(spec.shape), "dtype": str(spec.dtype), "low": spec.low, "high": spec.high}
            for name, spec in family.observation_spec.items()
        },
        "symmetry": dataclasses.asdict(family.symmetry) if isinstance(family, Mirrored) else None,
        "precision": "float32" if learner.agent.autocast_dtype is None else "bfloat16",
        "value_mean": float(mean),
        "value_std": float(std),
        "family": family.name,
        "skills": list(family.skills),
        "origin": origin,
    }
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.cpu() for name, weight in learner.agent.state_dict().items()}
    write_atomic(folder / "weights.safetensors", safetensors(weights, {"agent": json.dumps(saved)}))
    write_atomic(folder / "agent.py", loader_source().encode())
    write_atomic(folder / "README.md", readme(learner, family, origin).encode())


def safetensors(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Tensors in the format of the package of this name: the length of a JSON header, the header, the numbers."""
    kinds = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    numbers = b""
    for name, weight in weights.items():
        first, numbers = len(numbers), numbers + weight.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": kinds[weight.dtype],
            "shape": list(weight.shape),
            "data_offsets": [first, len(numbers)],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + numbers


def readme(learner: PPO, family: Playable, origin: str) -> str:
    """What is in the folder and how it is used."""
    rows = "\n".join(
        f"| {name} | {spec.shape} | {spec.dtype} | {spec.low:g} to {spec.high:g} |"
        for name, spec in family.observation_spec.items()
    )
    obs = ", ".join(
        f'"{name}": np.zeros({(1, *spec.shape)}, np.{spec.dtype})' for name, spec in family.observation_spec.items()
    )
    remembering = f"""
It remembers {learner.agent.remembers} numbers of each episode: make `memory = agent.nothing(1)` once, hand it to each
`act(agent, obs, generator, memory)`, which keeps it up to date, and set the row of an episode that ends to zero.
"""
    recalling = """
Hand it the rewards of the steps before too, `act(agent, obs, generator, memory, rewards)`, 0 where an episode begins:
it recalls the skill that it showed last.
"""
    weights = sum(parameter.numel() for parameter in learner.agent.parameters())
    return f"""# An agent for {family.name}

{origin}

The network is `{learner.network}` with {weights:,} weights. `agent.py` needs torch and numpy, nothing else.

```python
import numpy as np
import torch
from agent import act, load

agent = load()
generator = torch.Generator().manual_seed(0)
obs = {{{obs}}}
print(act(agent, obs, generator))
```

It reads a batch of observations as the environment gives them:

| name | shape | dtype | values |
|---|---|---|---|
{rows}

and gives one of {family.num_actions} actions for each, in the game's own order.
{remembering if learner.agent.remembers else ""}{recalling if learner.agent.recalls else ""}"""


THEIRS = """import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from numpy.typing import NDArray
"""


def loader_source() -> str:
    """The text of agent.py."""
    head, *rest = (
        "".join(line for line in inspect.getsource(module).splitlines(True) if not line.startswith("from envgen_exp"))
        for module in (agent, layers, memory, recall, networks, gru, symmetry, symmetric, tiles)
    )
    future = "from __future__ import annotations\n"
    classes = ", ".join(f"{name!r}: {network.__name__}" for name, network in BUILT_IN.items())
    parts: tuple[Any, ...] = (EnvGenError, ConfigError, ArraySpec, load, read, act)
    return "\n\n".join(
        [
            head.replace(future, future + THEIRS),
            *(text.replace(future, "") for text in rest),
            f"BUILT_IN = {{{classes}}}",
            *(inspect.getsource(part) for part in parts),
        ]
    )
