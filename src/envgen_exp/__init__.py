"""EnvGen experiments: a language model designs the environments a small agent trains in.

    import envgen_exp

    env = gymnasium.make("EnvGen/Crafter-v0")               # importing the package registers both games
    run = envgen_exp.compose("experiment=demo").run()       # what `python run.py experiment=demo` does
    run = envgen_exp.load("runs/NAME")                      # its curves, designs and episodes
    envgen_exp.compose("llm=gpt4").design().designs         # designs alone; .train(designs, steps=N) trains alone

What does runs is imported when it is first asked for: the environments need nothing of it.
"""

import importlib
from typing import Any

import gymnasium

__version__ = "0.1.0"

_INTERFACE = "envgen_exp.commands.interface"
_OFFERED = ("Composed", "Curve", "LoadedRun", "compose", "load")
"""What that module offers here; `__init__.pyi` has their types."""


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_INTERFACE), name)
    except ModuleNotFoundError as error:
        what = f"envgen_exp.{name} needs {error.name}, which is not installed: pip install '.[run]' in its clone"
        raise ModuleNotFoundError(what, name=error.name) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *_OFFERED})


for _name in ("Crafter", "Heist"):
    gymnasium.register(
        id=f"EnvGen/{_name}-v0",
        entry_point="envgen_exp.families.gymnasium:FamilyEnv",
        vector_entry_point="envgen_exp.families.gymnasium_vector:FamilyVectorEnv",
        kwargs={"family": _name.lower()},
    )
