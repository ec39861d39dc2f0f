"""The complete state of a training: what a checkpoint holds, so that a killed training goes on as if it had not been.

``state.safetensors`` holds every tensor (weights, their average, the optimisers' memories, torch's random
state), ``state.json`` the counters, the numpy random state and what is trained. No pickle: opening a
checkpoint runs no code.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from .muon import optimisers
from .network import PoseEncoder

FORMAT_VERSION = 1
_TENSORS, _COUNTERS = "state.safetensors", "state.json"
_COUNTED = ("step", "images", "seconds", "rendering_seconds")


class SavedState(Protocol):
    """A checkpoint that is there."""

    @property
    def folder(self) -> Path: ...


class Checkpoints(Protocol):
    """Where states are kept, such as ``jobs.checkpoint.CheckpointStore``."""

    def save(self, step: int, write: Callable[[Path], None]) -> Any:
        """Keep the state after ``step``; ``write`` puts its files into the folder it is given."""

    def latest(self) -> SavedState | None:
        """The newest whole state."""


@dataclass(frozen=True)
class Validation:
    """Errors (mm, mean over the landmarks) on unseen X-rays after ``seconds`` of learning from ``images``."""

    seconds: float
    images: int
    median_mm: float
    percentile95_mm: float


@dataclass
class TrainingState:
    """Everything that the next training step depends on, and what has been counted so far.

    seconds
        Time spent learning, over all attempts. rendering_seconds: the part of it that rendering took.
    curve
        Every validation so far, the newest last.
    """

    network: PoseEncoder
    averaged: PoseEncoder
    optimisers: list[torch.optim.Optimizer]
    random: np.random.Generator
    torch_random: torch.Generator
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    rendering_seconds: float = 0.0
    curve: list[Validation] = field(default_factory=list)

    @classmethod
    def new(cls, seed: int, device: str, hidden_rate: float, other_rate: float) -> TrainingState:
        """An untrained network; the same for the same seed."""
        torch.manual_seed(seed)
        network = PoseEncoder().to(device).to(memory_format=torch.channels_last)
        return cls(
            network,
            copy.deepcopy(network),
            optimisers(network, hidden_rate, other_rate),
            np.random.default_rng(seed),
            torch.Generator().manual_seed(seed),
        )

    def write(self, folder: Path, belongs_to: Mapping[str, Any]) -> None:
        """Write the state into ``folder``; ``belongs_to`` says what is trained, as JSON can hold it."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._tensors().items()}
        tensors["random"] = self.torch_random.get_state()
        (folder / _TENSORS).write_bytes(save(tensors))
        counters = {
            "format_version": FORMAT_VERSION,
            "belongs_to": belongs_to,
            **{name: getattr(self, name) for name in _COUNTED},
            "curve": [list(vars(point).values()) for point in self.curve],
            "random": self.random.bit_generator.state,
        }
        (folder / _COUNTERS).write_text(json.dumps(counters), encoding="utf-8")

    def read(self, folder: Path, belongs_to: Mapping[str, Any]) -> bool:
        """Take over the state in ``folder``. False, and nothing is changed, if it is of another training or
        was written by another version of the program."""
        try:
            counters = json.loads((folder / _COUNTERS).read_text(encoding="utf-8"))
            tensors = load_file(folder / _TENSORS)
        except (OSError, ValueError):
            return False
        if counters.get("format_version") != FORMAT_VERSION:
            return False
        if counters.get("belongs_to") != json.loads(json.dumps(belongs_to)):
            return False
        for name in ("network", "averaged"):
            mine = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            getattr(self, name).load_state_dict(mine)
        for number, optimiser in enumerate(self.optimisers):
            self._read_optimiser(optimiser, f"optimiser{number}.", tensors)
        self.torch_random.set_state(tensors["random"])
        self.random.bit_generator.state = counters["random"]
        for name in _COUNTED:
            setattr(self, name, counters[name])
        self.curve = [Validation(*values) for values in counters["curve"]]
        return True

    def _tensors(self) -> dict[str, Tensor]:
        named = {}
        for name in ("network", "averaged"):
            named.update({f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()})
        for number, optimiser in enumerate(self.optimisers):
            for index, memory in optimiser.state_dict()["state"].items():
                named.update({f"optimiser{number}.{index}.{key}": value for key, value in memory.items()})
        return named

    @staticmethod
    def _read_optimiser(optimiser: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        memories: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(prefix):
                index, key = name.removeprefix(prefix).split(".")
                like = parameters[int(index)]
                if value.shape == like.shape:
                    # The same order in memory as the parameter: sums over it then round alike.
                    value = torch.empty_like(like).copy_(value)
                memories.setdefault(int(index), {})[key] = value
        optimiser.load_state_dict({"state": memories, "param_groups": optimiser.state_dict()["param_groups"]})
