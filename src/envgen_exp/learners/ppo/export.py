"""A trained agent as plain files: its weights, a loader that needs torch and numpy alone, and a README.

The loader is not written twice: agent.py is the source of the network's own module, cut down to what `load` and `act`
need, with what that needs of this package and without the rest.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from envgen_exp.families.family import Playable
from envgen_exp.families.vector import ArraySpec
from envgen_exp.guard.writing import disk_errors, write_atomic
from envgen_exp.learners.ppo.agent import Agent, make_agent, sample_actions
from envgen_exp.learners.ppo.config import Network
from envgen_exp.learners.ppo.ppo import PPO

PACKAGE = "envgen_exp"


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
    agent = make_agent(Network[saved["network"]], spec, saved["num_actions"], torch.Generator())
    agent.load_state_dict(saved["agent"])
    agent.autocast_dtype = torch.bfloat16 if saved["precision"] == "bfloat16" else None
    return agent.to(device).eval()


@torch.inference_mode()
def act(agent: Agent, obs: Mapping[str, NDArray[np.generic]], generator: torch.Generator) -> NDArray[np.int64]:
    """Actions (B,) drawn with `generator` for observations {name: (B, *shape)}; agent and generator on one device."""
    logits, _ = agent({name: torch.as_tensor(array, device=generator.device) for name, array in obs.items()})
    actions: NDArray[np.int64] = sample_actions(logits, generator)[0].cpu().numpy()
    return actions


def export(learner: PPO, family: Playable, folder: Path, *, origin: str) -> None:
    """Write weights.pt, agent.py and README.md into `folder`; RunFolderError where it can't.

    `origin` is a line that says which run's agent it is, and of which moment.
    """
    mean, std = learner.value_norm.mean_and_std()
    saved = {
        "network": learner.config.network.name,
        "num_actions": family.num_actions,
        "observation": {
            name: {"shape": list(spec.shape), "dtype": str(spec.dtype), "low": spec.low, "high": spec.high}
            for name, spec in family.observation_spec.items()
        },
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
    weights = sum(parameter.numel() for parameter in learner.agent.parameters())
    return f"""# An agent for {family.name}

{origin}

The network is `{learner.config.network.name}` with {weights:,} weights. `agent.py` needs torch and numpy, nothing else.

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
"""


def loader_source() -> str:
    """The text of agent.py."""
    needed = _needed([(__name__, "load"), (__name__, "act")])
    imports: set[str] = set()
    parts: list[str] = []
    defined: dict[str, str] = {}
    for module, names in needed.items():
        source = _Source.of(module)
        for name in names:
            meaning = source.foreign.get(name, f"from {module} import {name}")
            if defined.setdefault(name, meaning) != meaning:
                raise ValueError(f"agent.py can't hold both '{defined[name]}' and '{meaning}'")
        imports |= {source.foreign[name] for name in names if name in source.foreign}
        parts += source.texts(names - source.foreign.keys())
    header = f'"""The networks of {PACKAGE} and a loader for weights.pt: needs torch and numpy, see README.md."""'
    top = "\n".join(["from __future__ import annotations", "", *sorted(imports)])
    return "\n\n\n".join([f"{header}\n\n{top}", *parts]) + "\n"


class _Source:
    """The source of one module of this package: what stands at its top level under which name."""

    def __init__(self, module: str) -> None:
        loaded: ModuleType = importlib.import_module(module)
        self.text = inspect.getsource(loaded)
        self.ours: dict[str, str] = {}
        """Name -> the module of this package that it comes from."""
        self.foreign: dict[str, str] = {}
        """Name -> the line that imports it."""
        self.statements: dict[str, list[ast.stmt]] = {}
        """Name -> where it is defined, with the text that documents it."""
        body = ast.parse(self.text).body
        for statement, after in itertools.zip_longest(body, body[1:]):
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    self.foreign[alias.asname or alias.name.split(".")[0]] = ast.unparse(ast.Import([alias]))
            elif isinstance(statement, ast.ImportFrom):
                self._import_from(statement)
            elif names := list(_defines(statement)):
                documented = isinstance(statement, ast.Assign | ast.AnnAssign) and _is_text(after)
                for name in names:
                    self.statements[name] = [statement, after] if documented else [statement]

    @staticmethod
    @functools.cache
    def of(module: str) -> _Source:
        """The source of a module, read once."""
        return _Source(module)

    def _import_from(self, statement: ast.ImportFrom) -> None:
        for alias in statement.names:
            name = alias.asname or alias.name
            if (statement.module or "").split(".")[0] == PACKAGE:
                self.ours[name] = statement.module or ""
            elif statement.module != "__future__":
                self.foreign[name] = ast.unparse(ast.ImportFrom(statement.module, [alias], 0))

    def uses(self, name: str) -> set[str]:
        """What a definition speaks of, annotations included."""
        nodes = itertools.chain.from_iterable(ast.walk(one) for one in self.statements.get(name, []))
        return {node.id for node in nodes if isinstance(node, ast.Name)}

    def texts(self, names: set[str]) -> Iterator[str]:
        """The definitions of these names as they stand, in their order."""
        lines = self.text.splitlines()
        spans = set()
        for name in names:
            first, last = self.statements[name][0], self.statements[name][-1]
            decorators = getattr(first, "decorator_list", [])
            spans.add((min([first.lineno, *(one.lineno for one in decorators)]), last.end_lineno))
        for start, end in sorted(spans):
            yield "\n".join(lines[start - 1 : end])


def _needed(roots: list[tuple[str, str]]) -> dict[str, set[str]]:
    """What the roots, (module, name) each, lead to: modules of this package, those that others import first, with the
    names that are needed of each."""
    found: dict[str, set[str]] = {}
    waiting = list(roots)
    while waiting:
        module, name = waiting.pop()
        source = _Source.of(module)
        if name in source.ours:
            waiting.append((source.ours[name], name))
        elif name in source.statements or name in source.foreign:
            names = found.setdefault(module, set())
            if name not in names:
                names.add(name)
                waiting += [(module, used) for used in source.uses(name)]
    order: list[str] = []

    def visit(module: str) -> None:
        for other in _Source.of(module).ours.values():
            if other in found and other not in order:
                visit(other)
        order.append(module)

    for module in found:
        if module not in order:
            visit(module)
    return {module: found[module] for module in order}


def _defines(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _is_text(statement: ast.stmt | None) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
