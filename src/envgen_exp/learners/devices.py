"""Where a network runs."""

from __future__ import annotations

import torch

from envgen_exp.config import Device
from envgen_exp.errors import ConfigError


def choose_device(device: Device) -> torch.device:
    """The device to train on; ConfigError where CUDA is asked for and missing."""
    available = torch.cuda.is_available()
    if device is Device.cuda and not available:
        raise ConfigError("device=cuda: this torch build finds no CUDA device; allowed here: auto, cpu")
    return torch.device("cuda" if available and device is not Device.cpu else "cpu")
