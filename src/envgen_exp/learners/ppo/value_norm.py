"""The value normaliser: debiased moving averages of the value targets' mean and mean square or standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_DEBIASING = 1e-2
MIN_VARIANCE = 1e-2


class ValueNorm(nn.Module):
    """Puts value targets on a scale with mean 0 and variance 1, as in Moon et al. 2023.

    A moving average that starts at 0 is too small by the factor 1 - decay**updates, which is tracked and divided out.
    Before the first update the mean is 0 and the variance its lower bound, 0.01.
    """

    mean_average: Tensor
    square_average: Tensor
    debiasing: Tensor

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay
        for name in ("mean_average", "square_average", "debiasing"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def update(self, targets: Tensor) -> None:
        """Take a minibatch of value targets into the averages."""
        weight = 1 - self.decay
        self.mean_average.mul_(self.decay).add_(targets.mean(), alpha=weight)
        self.square_average.mul_(self.decay).add_(targets.square().mean(), alpha=weight)
        self.debiasing.mul_(self.decay).add_(weight)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """The debiased mean and standard deviation of value targets, each ()."""
        debiasing = self.debiasing.clamp(min=MIN_DEBIASING)
        mean = self.mean_average / debiasing
        variance = (self.square_average / debiasing - mean.square()).clamp(min=MIN_VARIANCE)
        return mean, variance.sqrt()

    def normalize(self, returns: Tensor) -> Tensor:
        """Returns as the critic predicts them."""
        mean, std = self.mean_and_std()
        return (returns - mean) / std

    def denormalize(self, values: Tensor) -> Tensor:
        """The critic's values as returns."""
        mean, std = self.mean_and_std()
        return values * std + mean


class DeviationNorm(ValueNorm):
    """The same with an average of minibatches' standard deviations in place of that of the mean squares, as the
    reproduction of Dedieu et al. 2025 has it (docs/ppo.md): both it and what it is divided by are at least 0.1."""

    @torch.no_grad()
    def update(self, targets: Tensor) -> None:
        weight = 1 - self.decay
        self.mean_average.mul_(self.decay).add_(targets.mean(), alpha=weight)
        self.square_average.mul_(self.decay).add_(targets.std(correction=0), alpha=weight)
        self.debiasing.mul_(self.decay).add_(weight)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        mean = self.mean_average / self.debiasing.clamp(min=MIN_DEBIASING)
        return mean, (self.square_average / self.debiasing.clamp(min=0.1)).clamp(min=0.1)
