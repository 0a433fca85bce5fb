"""Where a network runs, and in which number format."""

from __future__ import annotations

import torch

from envgen_exp.config import Device, Precision
from envgen_exp.errors import ConfigError


def choose_device(device: Device) -> torch.device:
    """The device to train on; ConfigError where CUDA is asked for and missing."""
    available = torch.cuda.is_available()
    if device is Device.cuda and not available:
        raise ConfigError("device=cuda: this torch build finds no CUDA device; allowed here: auto, cpu")
    return torch.device("cuda" if available and device is not Device.cpu else "cpu")


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The autocast dtype for a precision; None is float32.

    `auto` takes bfloat16 where the hardware multiplies it: CUDA devices that say so, CPUs with AVX512-BF16 or AMX.
    """
    if precision is Precision.float32:
        return None
    if precision is Precision.bfloat16:
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else None
