"""What makes a step out of a gradient: optimisers, their rates over a training, and bounds on the gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .muon import Muon
from .settings import TrainingSettings

_ADAPTIVE_SHARE, _LEAST_NORM = 0.01, 1e-3


def optimisers(network: nn.Module, settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    """The optimisers of a ``PoseEncoder``; their full rates stand in ``param_groups[...]["initial_lr"]``."""
    if settings.optimiser == "muon":
        hidden = [p for name, p in network.named_parameters() if name.startswith("trunk") and p.ndim > 1]
        chosen = {id(p) for p in hidden}
        rest = [p for p in network.parameters() if id(p) not in chosen]
        made: list[torch.optim.Optimizer] = [
            Muon(hidden, lr=settings.hidden_rate),
            torch.optim.AdamW(rest, lr=settings.rate, weight_decay=1e-4, fused=True),
        ]
    else:
        made = [torch.optim.Adam(network.parameters(), lr=settings.rate)]
    for optimiser in made:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return made


def step(made: list[torch.optim.Optimizer], factor: float) -> None:
    """One step of every optimiser at ``factor`` times its full rate."""
    for optimiser in made:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimiser.step()


def schedule(done: float, warm_up: float) -> float:
    """Factor of the rates: rises over the share ``warm_up`` of the budget, then falls as a cosine to zero."""
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


@torch.no_grad()
def bound(network: nn.Module, clipping: str) -> None:
    """Bound the gradient: its ``norm`` by one or, ``adaptive``, each output unit's by a hundredth of the unit's own
    weights (A. Brock et al., ICML 2021; the papers' choice)."""
    if clipping == "norm":
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        return
    for parameter in network.parameters():
        if parameter.grad is not None:
            most = _ADAPTIVE_SHARE * _unit_norms(parameter).clamp_min(_LEAST_NORM)
            parameter.grad.mul_((most / _unit_norms(parameter.grad).clamp_min(1e-12)).clamp_max(1.0))


def _unit_norms(parameter: Tensor) -> Tensor:
    """Norm of each output unit's weights, shaped to multiply them."""
    if parameter.ndim < 2:
        return parameter.abs()
    return parameter.flatten(1).norm(dim=1).reshape(-1, *[1] * (parameter.ndim - 1))


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, number: int, decay: float) -> None:
    """Take the weights of step ``number`` into their exponential moving average, which evens out the noise of small
    batches. With ``decay`` 0 the average is the network itself."""
    decay = min(decay, (1 + number) / (10 + number))
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
