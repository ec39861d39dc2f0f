"""The complete state of a training: what a checkpoint holds, so that a killed training goes on as if it had not been.

``state.safetensors`` holds every tensor (weights, their average, the best so far, the optimisers' memories),
``state.json`` the counters and what is trained. Randomness needs no state: that of a batch follows from the seed and
the batch's number. No pickle: opening a checkpoint runs no code.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .network import NetworkShape, PoseEncoder
from .optimisation import optimisers
from .settings import TrainingSettings
from .validation import ErrorEstimate

FORMAT_VERSION = 4
_NETWORKS = ("network", "averaged", "best")
_TENSORS, _COUNTERS = "state.safetensors", "state.json"
_COUNTED = ("step", "images", "seconds", "rendering_seconds", "learning_seconds", "parts", "best_error_mm")


class SavedState(Protocol):
    """A checkpoint that is there."""

    @property
    def folder(self) -> Path: ...


class Checkpoints(Protocol):
    """Where states are kept, such as ``jobs.checkpoint.CheckpointStore``."""

    def save(self, step: int, write: Callable[[Path], object]) -> Any:
        """Keep the state after ``step``; ``write`` puts its files into the folder it is given."""

    def latest(self) -> SavedState | None:
        """The newest whole state."""


@dataclass(frozen=True)
class Validation:
    """What was measured after ``seconds`` of learning from ``images``."""

    seconds: float
    images: int
    estimate: ErrorEstimate

    def to_json(self) -> dict[str, float]:
        return {"seconds": self.seconds, "images": self.images, **asdict(self.estimate)}

    @classmethod
    def from_json(cls, data: Mapping[str, float]) -> Validation:
        rest = {name: value for name, value in data.items() if name not in ("seconds", "images")}
        return cls(data["seconds"], int(data["images"]), ErrorEstimate(**rest))


@dataclass
class TrainingState:
    """Everything that the next training step depends on, and what has been counted so far.

    network, averaged, best
        The weights, their moving average, and that average where it measured best.
    parts
        In how many parts a batch is processed; more than the settings say once memory ran out.
    best_error_mm
        Median error of ``best``.
    seconds
        Time spent learning, over all attempts. rendering_seconds, learning_seconds: time spent making
        batches, and learning from them, most of it at the same time.
    curve
        Every validation so far, the newest last.
    """

    network: PoseEncoder
    averaged: PoseEncoder
    best: PoseEncoder
    optimisers: list[torch.optim.Optimizer]
    parts: int = 1
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    rendering_seconds: float = 0.0
    learning_seconds: float = 0.0
    best_error_mm: float = math.inf
    curve: list[Validation] = field(default_factory=list)

    @classmethod
    def new(
        cls, settings: TrainingSettings, shape: NetworkShape, device: str, weights: PoseEncoder | None = None
    ) -> TrainingState:
        """An untrained network, the same for the same seed, or one that begins with ``weights``."""
        torch.manual_seed(settings.seed)
        network = PoseEncoder(shape)
        if weights is not None:
            network.load_state_dict(weights.state_dict())
        network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's annotations lack it
        return cls(
            network,
            copy.deepcopy(network),
            copy.deepcopy(network),
            optimisers(network, settings),
            settings.parts,
        )

    def write(self, folder: Path, belongs_to: Mapping[str, Any]) -> None:
        """Write the state into ``folder``; ``belongs_to`` says what is trained, as JSON can hold it."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self._tensors().items()}
        (folder / _TENSORS).write_bytes(save(tensors))
        counters = {
            "format_version": FORMAT_VERSION,
            "belongs_to": belongs_to,
            **{name: getattr(self, name) for name in _COUNTED},
            "curve": [point.to_json() for point in self.curve],
        }
        (folder / _COUNTERS).write_text(json.dumps(counters), encoding="utf-8")

    def read(self, folder: Path, belongs_to: Mapping[str, Any]) -> bool:
        """Take over the state in ``folder``. False, and nothing is changed, if it is of another training or
        was written by another version of the program."""
        try:
            counters = json.loads((folder / _COUNTERS).read_text(encoding="utf-8"))
            tensors = load_file(folder / _TENSORS)
        except (OSError, ValueError, SafetensorError):
            return False
        if counters.get("format_version") != FORMAT_VERSION:
            return False
        if counters.get("belongs_to") != json.loads(json.dumps(belongs_to)):
            return False
        for name in _NETWORKS:
            mine = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
            getattr(self, name).load_state_dict(mine)
        for number, optimiser in enumerate(self.optimisers):
            self._read_optimiser(optimiser, f"optimiser{number}.", tensors)
        for name in _COUNTED:
            setattr(self, name, counters[name])
        self.curve = [Validation.from_json(point) for point in counters["curve"]]
        return True

    def _tensors(self) -> dict[str, Tensor]:
        named = {}
        for name in _NETWORKS:
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
