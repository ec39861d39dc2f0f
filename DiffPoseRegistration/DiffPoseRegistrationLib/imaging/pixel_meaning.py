"""What a file states about its pixel values. (Without the packages that images need: Slicer's process uses it.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class PixelMeaning:
    """What a file states about its pixel values; None where it states nothing.

    modality
        DICOM Modality.
    relationship
        Pixel Intensity Relationship: LIN, LOG or DISP.
    sign
        Its Sign: +1 if larger stored values mean more radiation at the detector, -1 if less.
    inverted_display
        True for MONOCHROME1: larger values are shown darker.
    largest_value
        Largest value that could have been stored.
    """

    modality: str | None = None
    relationship: str | None = None
    sign: int | None = None
    inverted_display: bool = False
    largest_value: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The dictionary that :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, name: str = "meaning") -> PixelMeaning:
        """From a dictionary. Raises InputError if it is none, or has what no pixels mean."""
        kinds = {"modality": str, "relationship": str, "sign": int, "inverted_display": bool, "largest_value": float}
        if not isinstance(data, Mapping) or not set(data) <= set(kinds):
            raise InputError(f"{name} is not what pixels mean; it has {', '.join(kinds)}.")
        for key, value in data.items():
            number = kinds[key] is float and isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not number and type(value) is not kinds[key]:
                raise InputError(f"{name}: {key} is {value!r}, which pixels cannot mean.")
        if data.get("sign") not in (None, 1, -1):
            raise InputError(f"{name}: sign is {data['sign']!r}; it is 1 or -1.")
        return cls(**data)
