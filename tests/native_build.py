"""A pytest plugin: take the native engine from the build folder that CRAFTER_BUILD names, not from the installation."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

NAME = "envgen_exp.families.crafter._crafter"

(built,) = Path(os.environ["CRAFTER_BUILD"]).glob("_crafter.*.so")
spec = importlib.util.spec_from_file_location(NAME, built)
assert spec is not None
assert spec.loader is not None
module = importlib.util.module_from_spec(spec)
sys.modules[NAME] = module
spec.loader.exec_module(module)
