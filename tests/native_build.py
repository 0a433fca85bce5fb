"""A pytest plugin: the native engines are those of the folder that CRAFTER_BUILD names, not the installed ones."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

for name in ("crafter", "driving"):
    (built,) = Path(os.environ["CRAFTER_BUILD"]).glob(f"_{name}.*.so")
    spec = importlib.util.spec_from_file_location(f"envgen_exp.families.{name}._{name}", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
