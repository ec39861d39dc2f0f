"""The settings of a job, read with a sentence for each value that cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.landmark_file import points
from ..imaging.pixel_meaning import PixelMeaning
from ..imaging.pose_file import Truth
from ..imaging.volume_mapping import VolumeMapping

_ANEW = "describe the job anew"
_REQUIRED = object()


class TaskSettings:
    """Values out of ``job.json``. Every getter raises InputError, naming the setting.

    What is asked for is remembered: ``unknown()`` names the rest, which somebody may have misspelt.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        self._asked.add(name)
        return self._values.get(name) is not None

    def number(self, name: str, low: float, high: float, default: Any = _REQUIRED) -> Any:
        """A number from ``low`` to ``high``."""
        value = self._value(name, default)
        if value is default:
            return value
        if not _is_number(value) or not low <= value <= high:
            raise InputError(f"The job's setting '{name}' is {value!r}; give a number from {low:g} to {high:g}.")
        return float(value)

    def whole(self, name: str, low: int, high: int, default: Any = _REQUIRED) -> Any:
        """A whole number from ``low`` to ``high``."""
        value = self._value(name, default)
        if value is default:
            return value
        if not _is_number(value) or value != int(value) or not low <= value <= high:
            raise InputError(f"The job's setting '{name}' is {value!r}; give a whole number from {low} to {high}.")
        return int(value)

    def numbers(self, name: str, count: int, low: float, high: float, default: Any = _REQUIRED) -> Any:
        """A tuple of ``count`` numbers from ``low`` to ``high``."""
        value = self._value(name, default)
        if value is default:
            return value
        if (
            not isinstance(value, list)
            or len(value) != count
            or not all(_is_number(v) and low <= v <= high for v in value)
        ):
            raise InputError(f"The job's setting '{name}' must be {count} numbers from {low:g} to {high:g}; {_ANEW}.")
        return tuple(float(v) for v in value)

    def yes(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise InputError(f"The job's setting '{name}' is {value!r}; give true or false.")
        return value

    def text(self, name: str, default: Any = _REQUIRED) -> Any:
        """A text; what it may be is for its reader to say."""
        value = self._value(name, default)
        if value is not default and not isinstance(value, str):
            raise InputError(f"The job's setting '{name}' must be text; {_ANEW}.")
        return value

    def camera(self, name: str, default: Any = _REQUIRED) -> Any:
        """A camera, as ``Camera.to_json`` writes it."""
        value = self._value(name, default)
        return value if value is default else Camera.from_json(value, f"The job's setting '{name}'")

    def meaning(self, name: str) -> PixelMeaning | None:
        """What pixels mean, as ``PixelMeaning.to_json`` writes it."""
        value = self._value(name, None)
        return None if value is None else PixelMeaning.from_json(value, f"The job's setting '{name}'")

    def mapping(self, name: str, default: Any) -> Any:
        """What makes Hounsfield units of a volume: the name of a mapping, or one as ``VolumeMapping.to_json`` writes
        it."""
        if not isinstance(self._value(name, default), Mapping):
            return self.text(name, default)
        try:
            return VolumeMapping.from_json(self._values[name])
        except (KeyError, TypeError):
            raise InputError(f"The job's setting '{name}' needs 'kind' and 'points'; {_ANEW}.") from None

    def pose(self, name: str, default: Any = _REQUIRED) -> Any:
        """A pose [4, 4] (camera to world, RAS, mm)."""
        value = self._value(name, default)
        return value if value is default else rigid.validated_pose(value, f"The job's setting '{name}'")

    def poses(self, name: str) -> np.ndarray:
        """One pose [4, 4] or several [n, 4, 4]."""
        value = self._value(name, _REQUIRED)
        if _depth(value) < 3:
            return self.pose(name)
        return np.stack([rigid.validated_pose(one, f"Pose {n} of '{name}'") for n, one in enumerate(value)])

    def truth(self, name: str) -> Truth | None:
        """A known pose with landmarks: ``camera_to_world_ras_mm`` and, if known, ``landmarks_ras_mm``."""
        value = self._value(name, None)
        if value is None:
            return None
        inner = TaskSettings(value if isinstance(value, Mapping) else {})
        return Truth(inner.pose("camera_to_world_ras_mm"), inner.landmarks("landmarks_ras_mm"))

    def landmarks(self, name: str) -> np.ndarray | None:
        """Points [n, 3] (RAS, mm); None without."""
        value = self._value(name, None)
        return None if value is None else points(value, f"The job's setting '{name}'")

    def tables(self, name: str) -> list[TaskSettings]:
        """A list of tables with settings of their own; empty without."""
        value = self._value(name, [])
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            raise InputError(f"The job's setting '{name}' must be a list of tables; {_ANEW}.")
        return [TaskSettings(one) for one in value]

    def given(self, *names: str) -> dict[str, Any]:
        """Those of ``names`` that the job has, unchecked: options whose reader checks them itself."""
        return {name: self._values[name] for name in names if name in self}

    def unknown(self) -> list[str]:
        """Settings that nobody has asked for."""
        return sorted(name for name in self._values if name not in self._asked)

    def _value(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        value = self._values.get(name)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise InputError(f"The job has no setting '{name}'; {_ANEW}.")
        return default


def required_input(inputs: Mapping[str, Any], name: str) -> Any:
    """The path or paths under ``name``. Raises InputError if there are none."""
    if not inputs.get(name):
        raise InputError(f"The job has no input '{name}'; {_ANEW}.")
    return inputs[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _depth(value: Any) -> int:
    """How deep lists are nested in ``value``."""
    return 1 + _depth(value[0]) if isinstance(value, list) and value else 0
