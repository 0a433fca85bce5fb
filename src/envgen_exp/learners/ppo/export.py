"""A trained agent as plain files: its weights, a loader that needs torch and numpy alone, and a README.

The loader is not written twice: agent.py is the networks' own file, with `load`, `act` and what both need of this
package.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envgen_exp.errors import ConfigError, EnvGenError
from envgen_exp.families import symmetry
from envgen_exp.families.family import Mirrored, Playable
from envgen_exp.families.symmetry import Symmetry
from envgen_exp.families.vector import ArraySpec
from envgen_exp.guard.writing import disk_errors, write_atomic
from envgen_exp.learners.ppo import agent, memory, symmetric
from envgen_exp.learners.ppo.agent import Agent, sample_actions
from envgen_exp.learners.ppo.config import NETWORKS
from envgen_exp.learners.ppo.ppo import PPO

BUILT_IN = {name: NETWORKS.find(name) for name in NETWORKS.built_in}
"""What an exported agent's network may be."""


def load(file: str | Path | None = None, device: str = "cpu") -> Agent:
    """The agent whose weights are in `file` (None: weights.pt beside this file), on `device`.

    Called with observations {name: (B, *shape) tensor}, it returns logits (B, num_actions) and values (B,), which are
    normalised: a return is value * value_std + value_mean, both in `file`.
    """
    path = Path(__file__).with_name("weights.pt") if file is None else Path(file)
    saved = torch.load(path, weights_only=True, map_location="cpu")
    spec = {
        name: ArraySpec(tuple(part["shape"]), np.dtype(part["dtype"]), part["low"], part["high"])
        for name, part in saved["observation"].items()
    }
    network = BUILT_IN[saved["network"]]
    mirrored = {"symmetry": Symmetry(**saved["symmetry"])} if network.symmetric else {}
    encoder = network(None, spec, torch.Generator(), **mirrored)
    agent = Agent(encoder, saved["num_actions"], torch.Generator(), saved["memory"])
    agent.load_state_dict(saved["agent"])
    agent.autocast_dtype = torch.bfloat16 if saved["precision"] == "bfloat16" else None
    return agent.to(device).eval()


@torch.inference_mode()
def act(
    agent: Agent,
    obs: Mapping[str, NDArray[np.generic]],
    generator: torch.Generator,
    memory: torch.Tensor | None = None,
) -> NDArray[np.int64]:
    """Actions (B,) drawn with `generator` for observations {name: (B, *shape)}; agent and generator on one device.

    An agent that remembers is given what it remembers, `agent.nothing(B)` at first, and writes what it then remembers
    over it; where an episode ends, the caller makes its row zero.
    """
    seen = {name: torch.as_tensor(array, device=generator.device) for name, array in obs.items()}
    batch = len(next(iter(seen.values())))
    before = agent.nothing(batch, generator.device) if memory is None else memory
    same = torch.zeros(1, batch, dtype=torch.bool, device=generator.device)
    logits, _, after = agent.follow(seen, before, same)
    if memory is not None:
        memory.copy_(after)
    actions: NDArray[np.int64] = sample_actions(logits, generator)[0].cpu().numpy()
    return actions


def export(learner: PPO, family: Playable, folder: Path, *, origin: str) -> None:
    """Write weights.pt, agent.py and README.md into `folder`; RunFolderError where it can't.

    ConfigError for a network of another package: its code is not ours to copy. `origin` is a line
    that says which run's agent it is, and of which moment.
    """
    if learner.config.network not in BUILT_IN:
        raise ConfigError(
            f"ppo.network={learner.config.network}: is another package's, and what is exported runs without any; "
            f"allowed: {' | '.join(BUILT_IN)}"
        )
    mean, std = learner.value_norm.mean_and_std()
    saved = {
        "network": learner.config.network,
        "memory": learner.agent.remembers,
        "num_actions": family.num_actions,
        "observation": {
            name: {"shape": list(spec.shape), "dtype": str(spec.dtype), "low": spec.low, "high": spec.high}
            for name, spec in family.observation_spec.items()
        },
        "symmetry": dataclasses.asdict(family.symmetry) if isinstance(family, Mirrored) else None,
        "precision": "float32" if learner.agent.autocast_dtype is None else "bfloat16",
        "agent": {name: weight.cpu() for name, weight in learner.agent.state_dict().items()},
        "value_mean": float(mean),
        "value_std": float(std),
        "family": family.name,
        "skills": list(family.skills),
        "origin": origin,
    }
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "weights.pt", buffer.getvalue())
    write_atomic(folder / "agent.py", loader_source().encode())
    write_atomic(folder / "README.md", readme(learner, family, origin).encode())


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
    weights = sum(parameter.numel() for parameter in learner.agent.parameters())
    return f"""# An agent for {family.name}

{origin}

The network is `{learner.config.network}` with {weights:,} weights. `agent.py` needs torch and numpy, nothing else.

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
{remembering if learner.agent.remembers else ""}"""


THEIRS = """from dataclasses import dataclass
from pathlib import Path
from typing import Any
from numpy.typing import NDArray
"""


def loader_source() -> str:
    """The text of agent.py."""
    head, *rest = (
        "".join(line for line in inspect.getsource(module).splitlines(True) if not line.startswith("from envgen_exp"))
        for module in (agent, memory, symmetry, symmetric)
    )
    future = "from __future__ import annotations\n"
    networks = ", ".join(f"{name!r}: {network.__name__}" for name, network in BUILT_IN.items())
    parts: tuple[Any, ...] = (EnvGenError, ConfigError, ArraySpec, load, act)
    return "\n\n".join(
        [
            head.replace(future, future + THEIRS),
            *(text.replace(future, "") for text in rest),
            f"BUILT_IN = {{{networks}}}",
            *(inspect.getsource(part) for part in parts),
        ]
    )
