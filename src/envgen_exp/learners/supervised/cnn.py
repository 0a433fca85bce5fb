"""The networks that look at frames, and how labels are written as their outputs.

| network | reads | what it is |
|---|---|---|
| paper | 280 x 210 | Martinez et al. 2017 (arXiv 1712.01397) to the letter: 28.3 M weights, for a GPU |
| laptop | any size, meant for 140 x 105 | five small convolutions, for two cores |

Whatever a network draws at its creation comes from the generator that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from envgen_exp.errors import ConfigError
from envgen_exp.families.family import Label
from envgen_exp.learners.supervised.config import Network, SupervisedConfig

SCALE = 0.9
"""A label's range becomes -SCALE to SCALE."""

NONE = 1.0
"""What stands for 'none' where it is a value beyond."""

READ_AS_NONE = 0.99
"""An output above it says 'none'."""


class PaperCNN(nn.Sequential):
    """Four convolutions and four linear layers; the last one's outputs (B, num_outputs) are within -1 to 1."""

    CONVOLUTIONS = ((64, 11), (128, 7), (192, 3), (256, 3))
    LINEAR = (4096, 4096, 1000)

    def __init__(self, shape: Sequence[int], num_outputs: int) -> None:
        height, width, channels = shape
        layers: list[nn.Module] = []
        for units, kernel in self.CONVOLUTIONS:
            layers += [
                _undrawn(nn.Conv2d, channels, units, kernel, padding="same"),
                nn.BatchNorm2d(units),
                nn.ReLU(),
                nn.MaxPool2d(3),
            ]
            height, width, channels = height // 3, width // 3, units
        if not height * width:
            raise ConfigError(
                f"agent.network=paper: frames of {shape[1]} x {shape[0]} are too small for it: allowed are 81 x 81 or "
                "more, 280 x 210 as in the paper"
            )
        layers.append(nn.Flatten())
        features = height * width * channels
        for units in self.LINEAR:
            layers += [_undrawn(nn.Linear, features, units), nn.ReLU()]
            features = units
        super().__init__(*layers, _undrawn(nn.Linear, features, num_outputs), nn.Tanh())


class LaptopCNN(nn.Sequential):
    """Convolutions that halve the frame four times, and a hidden linear layer; outputs (B, num_outputs) as they are."""

    CONVOLUTIONS = ((16, 5, 2), (32, 3, 2), (64, 3, 2), (64, 3, 1), (96, 3, 2))
    """Units, kernel, stride."""
    HIDDEN = 256

    def __init__(self, shape: Sequence[int], num_outputs: int) -> None:
        height, width, channels = shape
        layers: list[nn.Module] = []
        for place, (units, kernel, stride) in enumerate(self.CONVOLUTIONS):
            # The first has the most places to normalise, which would take a sixth of the time.
            layer = _undrawn(nn.Conv2d, channels, units, kernel, stride, kernel // 2, bias=not place)
            layers += [layer, *([nn.BatchNorm2d(units)] if place else []), nn.ReLU(inplace=True)]
            height, width, channels = -(-height // stride), -(-width // stride), units
        layers += [nn.Flatten(), _undrawn(nn.Linear, height * width * channels, self.HIDDEN), nn.ReLU()]
        super().__init__(*layers, _undrawn(nn.Linear, self.HIDDEN, num_outputs))


NETWORKS: dict[Network, type[PaperCNN | LaptopCNN]] = {Network.paper: PaperCNN, Network.laptop: LaptopCNN}


class Reader(nn.Module):
    """A network with the mean image, which is subtracted, and its outputs as labels."""

    mean: Tensor

    def __init__(
        self,
        config: SupervisedConfig,
        shape: Sequence[int],
        labels: Sequence[Label],
        mean: NDArray[np.float32],
        generator: torch.Generator,
    ) -> None:
        """`mean` is (height, width, 3), in grey levels. ConfigError where the network can't read such frames."""
        super().__init__()
        self.config = config
        self.scaling = Scaling.of(labels)
        optional = len(self.scaling.optional) if config.apart else 0
        self.network = NETWORKS[config.network](shape, len(labels) + optional)
        self._answers = max(place for place, layer in enumerate(self.network) if isinstance(layer, nn.Linear))
        """Where in the network its last linear layer stands."""
        self.autocast_dtype: torch.dtype | None = None
        """Number format of all layers before it; None is float32."""
        self.register_buffer("mean", torch.from_numpy(mean / 255).permute(2, 0, 1).contiguous())
        for parameter in self._drawn():
            _draw(parameter, generator)
        # A frame comes as (height, width, 3), so that this layout needs no copy; convolutions are faster in it too.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _drawn(self) -> Iterator[nn.Conv2d | nn.Linear]:
        return (layer for layer in self.network if isinstance(layer, nn.Conv2d | nn.Linear))

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (B, num_outputs), float32, for images (B, 3, height, width) in [0, 1]."""
        seen, layers = images - self.mean, list(self.network)
        # The last ones are float32: a distance needs more digits than bfloat16 has.
        with torch.autocast(seen.device.type, self.autocast_dtype, self.autocast_dtype is not None):
            for layer in layers[: self._answers]:
                seen = layer(seen)
        seen = seen.float()
        for layer in layers[self._answers :]:
            seen = layer(seen)
        return seen

    def loss(self, out: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is minimised, and its parts: presence and distance; `labels` are (B, num_labels), NaN for none.

        Not apart, it is the mean squared error of all outputs, as in the paper. Apart, presence is the mean
        cross-entropy of each optional label, and distance the mean absolute error of all labels that are there.
        """
        config, scaling = self.config, self.scaling
        target = scaling.scaled(labels)
        if not config.apart:
            error = F.mse_loss(out, target)
            return error, torch.zeros(()), error
        values, there = out[:, : labels.shape[1]], ~labels.isnan()
        presence = F.binary_cross_entropy_with_logits(
            out[:, labels.shape[1] :], there[:, scaling.optional].to(out.dtype)
        )
        distance = ((values - target).abs() * there).sum() / there.sum().clamp(min=1)
        return config.presence_weight * presence + config.distance_weight * distance, presence, distance

    def answers(self, out: Tensor) -> NDArray[np.float32]:
        """What outputs say, as labels (B, num_labels), NaN for none."""
        scaling, number = self.scaling, len(self.scaling.low)
        values = scaling.unscaled(out[:, :number])
        if self.config.apart:
            none = torch.zeros_like(values, dtype=torch.bool)
            none[:, scaling.optional] = out[:, number:] < 0
        else:
            none = out > READ_AS_NONE
        none[:, scaling.required] = False
        found: NDArray[np.float32] = values.masked_fill(none, math.nan).float().cpu().numpy()
        return found


@dataclass(frozen=True)
class Scaling:
    """How labels are written as outputs."""

    low: Tensor
    high: Tensor
    optional: list[int]
    required: list[int]

    @classmethod
    def of(cls, labels: Sequence[Label]) -> Scaling:
        """Of these labels."""
        low, high = (torch.tensor([getattr(label, end) for label in labels]) for end in ("low", "high"))
        both = [[place for place, label in enumerate(labels) if label.optional is wanted] for wanted in (True, False)]
        return cls(low, high, *both)

    def scaled(self, labels: Tensor) -> Tensor:
        """Labels (B, num_labels) in -SCALE to SCALE, NONE for none."""
        low, high = self.low.to(labels.device), self.high.to(labels.device)
        return ((labels - low) / (high - low) * (2 * SCALE) - SCALE).nan_to_num(nan=NONE)

    def unscaled(self, out: Tensor) -> Tensor:
        """Outputs (B, num_labels) in the labels' units, within their ranges."""
        low, high = self.low.to(out.device), self.high.to(out.device)
        return low + (out.clamp(-SCALE, SCALE) + SCALE) / (2 * SCALE) * (high - low)


def _undrawn(kind: type[nn.Module], *arguments: Any, **settings: Any) -> nn.Module:
    """A layer without weights yet; torch's own would come from its global generator."""
    made: nn.Module = nn.utils.skip_init(kind, *arguments, **settings)  # type: ignore[no-untyped-call]
    return made


def _draw(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """He's normal weights for the rectifiers behind, and no bias."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def augmented(images: Tensor, config: SupervisedConfig, generator: torch.Generator) -> Tensor:
    """Training images (B, 3, height, width) in [0, 1] with blur, exposure and noise, each as strong as is drawn."""

    def drawn(most: float) -> Tensor:
        return most * torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)

    if config.blur:
        # Along the rows: the mean over a window whose ends move with the frame.
        reach = math.ceil(config.blur / 2)
        offsets = torch.arange(-reach, reach + 1, device=images.device)
        weights = (drawn(config.blur).flatten()[:, None] / 2 + 0.5 - offsets.abs()).clamp(0, 1)
        weights /= weights.sum(dim=1, keepdim=True)
        seen = F.pad(images, (reach, reach, 0, 0), mode="replicate").unfold(3, 2 * reach + 1, 1)
        images = (seen * weights[:, None, None, None]).sum(dim=-1)
    if config.exposure > 1:
        images = images * torch.exp((2 * drawn(1.0) - 1) * math.log(config.exposure))
    if config.noise:
        grain = torch.randn(images.shape, generator=generator).to(images.device)
        images = images + drawn(config.noise / 255) * grain
    return images.clamp(0, 1) if config.exposure > 1 or config.noise else images
