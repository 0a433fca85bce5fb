"""Steps of an optimizer from gradients that several threads computed; the device is read once, at the end."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from envgen_exp.errors import NumericsError


class Adam(torch.optim.Adam):
    """Torch's, without what its methods do for torch.compile: to import torch._dynamo, 1.4 s of each process."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
    step.hooked = True  # else it is wrapped again


class Descent:
    """Steps down a loss. From the first loss or gradient on that is not finite, no step is taken.

    A part of a minibatch is its gradients and its terms, both weighted with its share: the loss, then what is to be
    known of it under `names`.
    """

    def __init__(self, what: str, optimizer: torch.optim.Optimizer, max_grad_norm: float, names: Sequence[str]) -> None:
        self.what, self.optimizer, self.max_grad_norm = what, optimizer, max_grad_norm
        self.names = [*names, "gradient_norm"]
        self.parameters: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self.rows: list[Tensor] = []
        self.failed = [torch.zeros((), device=self.parameters[0].device)]

    def step(self, parts: Sequence[tuple[tuple[Tensor, ...], Tensor]]) -> None:
        """One step with the sum of the parts, in their order."""
        set_gradients(self.parameters, [gradients for gradients, _ in parts])
        row = torch.stack([terms for _, terms in parts]).sum(dim=0)
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.failed.append(self.failed[-1].maximum((~torch.isfinite(row[0] + grad_norm)).to(self.failed[0])))
        self.optimizer.found_inf = self.failed[-1]  # type: ignore[attr-defined]
        self.optimizer.step()
        self.rows.append(torch.cat([row[1:], grad_norm.unsqueeze(0)]))

    def read(self, *others: Tensor) -> list[float]:
        """The means of all steps by name, then the others; NumericsError where a step was not taken."""
        read: list[float] = torch.stack([self.failed[-1], *torch.stack(self.rows).mean(dim=0), *others]).tolist()
        if read.pop(0):
            row = self.rows[[bool(flag) for flag in self.failed].index(True) - 1].tolist()
            found = ", ".join(f"{name.replace('_', ' ')} {x}" for name, x in zip(self.names, row, strict=True))
            number = steps_taken(self.optimizer) + 1
            raise NumericsError(f"{self.what} {number} is not finite: {found}; the step is not taken")
        return read


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """Steps of an Adam so far."""
    return next((int(state["step"]) for state in optimizer.state.values()), 0)


def set_gradients(parameters: Sequence[nn.Parameter], parts: Sequence[tuple[Tensor, ...]]) -> None:
    """Make the sum of the parts' gradients, in their order, the parameters' own."""
    own: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)  # laid out as the parameter, which Adam's fused step expects
        own.append(parameter.grad)
    torch._foreach_copy_(own, parts[0])
    for part in parts[1:]:
        torch._foreach_add_(own, part)
