"""Runs the tests whose results come of float arithmetic under each set of instructions that this processor has.

`make test-isa`; arguments are pytest's, in place of the test files. Torch, oneDNN, MKL and the native engine are each
held to the set by a switch of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

# Name, what the processor must have, and the switches: torch's own loops, oneDNN, MKL, the native engine.
SETS = [
    ("plain", [], "default", "SSE41", "SSE4_2", "generic"),
    ("avx2", ["avx2"], "avx2", "AVX2", "AVX2", "avx2"),
    ("avx512", ["avx512_f", "avx512_vl", "avx512_bw", "avx512_dq"], "avx512", "AVX512_CORE", "AVX512", "avx512"),
    ("avx512-vnni", ["avx512_vnni"], "avx512", "AVX512_CORE_VNNI", "AVX512", "avx512"),
    ("avx512-bf16", ["avx512_bf16"], "avx512", "AVX512_CORE_BF16", "AVX512", "avx512"),
    ("amx", ["amx_bf16"], "avx512", "AVX512_CORE_AMX", "AVX512", "avx512"),
]
SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "ENVGEN_CRAFTER_KERNELS")
FILES = (
    "rl_*",
    "memory",
    "distillation",
    "gru",
    "symmetry",
    "learning",
    "native_*",
    "crafter_*",
    "heist_*",
    "pipeline",
    "designers",
)


def lacking(needed: list[str], capabilities: dict[str, bool]) -> list[str]:
    """Of what a set needs, that which the processor has not."""
    return [name for name in needed if not capabilities.get(name)]


def main(arguments: list[str]) -> int:
    here = Path(__file__).parent
    chosen = arguments or [str(path) for part in FILES for path in sorted(here.glob(f"test_{part}.py"))]
    capabilities, ended = torch.cpu.get_capabilities(), {}
    for name, needed, *values in SETS:
        lacks = lacking(needed, capabilities)
        if lacks:
            ended[name] = f"not run: this processor lacks {', '.join(lacks)}"
            continue
        switches = dict(zip(SWITCHES, values, strict=True))
        print(f"{name}: {' '.join(f'{key}={value}' for key, value in switches.items())}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not (chaos or parity or long or launchers)", *chosen]
        status = subprocess.run(command, env=os.environ | switches, check=False).returncode
        ended[name] = "passed" if status == 0 else f"FAILED, pytest's exit status {status}"
    print("\n".join(f"{name}: {how}" for name, how in ended.items()))
    return any("FAILED" in how for how in ended.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
