"""Entropy-regularised partial optimal transport for a batch of small problems, by iterative Bregman projections
(Benamou et al. 2015, arXiv 1412.5154, proposition 5)."""

from __future__ import annotations

import torch
from torch import Tensor


def partial_transport(costs: Tensor, there: Tensor, regularisation: float = 0.05, iterations: int = 100) -> Tensor:
    """The plans (P, S, T), float64, of P problems with costs (P, S, T), between those sources and targets that are
    `there` (P, S, T), bool.

    Each source and each target has a mass of one, of which as much is moved as the smaller side has. A plan minimises
    cost plus `regularisation` times the sum of p log p; after so many iterations it nearly does.
    """
    kernel = torch.where(there, torch.exp(-costs.double() / regularisation), 0.0)
    sources, targets = there.any(2).sum(1), there.any(1).sum(1)
    mass = torch.minimum(sources, targets).double().view(-1, 1, 1)
    # Each projection scales rows, columns or all. Dykstra's correction undoes what the same one did the time before, so
    # that the plan is always kernel * rows * columns * everything, and each factor is computed from the two others.
    everything = mass / kernel.sum((1, 2), keepdim=True)
    rows, columns = torch.ones_like(kernel[:, :, :1]), torch.ones_like(kernel[:, :1])
    flipped = kernel.transpose(1, 2)
    for _ in range(iterations):
        rows = (everything * torch.bmm(kernel, columns.transpose(1, 2))).reciprocal_().clamp_(max=1)
        columns = (everything * torch.bmm(flipped, rows)).reciprocal_().clamp_(max=1).transpose(1, 2)
        everything = mass / torch.bmm(torch.bmm(rows.transpose(1, 2), kernel), columns.transpose(1, 2))
    return kernel * rows * columns * everything
