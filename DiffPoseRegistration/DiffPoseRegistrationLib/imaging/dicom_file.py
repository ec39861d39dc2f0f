"""A DICOM file as this tool meets it: header damaged or whole, values of any kind or none.

Nothing here trusts the file: a value that cannot be what it should be counts as absent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NOT_PROJECTIONS = ("CT", "MR", "PT", "NM", "US")
_LARGEST_SIDE = 32768
_LARGEST_IMAGE = 2**28  # pixels: 2 GiB as float64, ten times the largest detector


class DicomFile:
    """The header of an X-ray in DICOM, and its pixels as they lie in the file.

    Parameters
    ----------
    path
        The file; a data set without DICOM's file header is one too.
    with_pixels
        False reads the header alone.

    Raises
    ------
    InputError
        If it is no DICOM image, no projection, or of a size that no X-ray has.
    """

    def __init__(self, path: Path, *, with_pixels: bool = True) -> None:
        import pydicom

        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of values that are not quite as the standard wants them
                self.dataset: Dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not with_pixels)
            is_image = "Rows" in self.dataset and ("PixelData" in self.dataset or not with_pixels)
        except Exception:  # whatever a damaged file makes the parser raise
            is_image = False
        if not is_image:
            raise InputError(f"{path} is no DICOM image that can be read; export the X-ray as DICOM, PNG or TIFF.")
        self.modality = self.text("Modality")
        if self.modality in _NOT_PROJECTIONS:
            raise InputError(f"{path} is a {self.modality} image, not an X-ray projection; give an X-ray image.")
        self.rows, self.columns = (self._size(keyword) for keyword in ("Rows", "Columns"))
        if self.rows * self.columns > _LARGEST_IMAGE:
            raise InputError(
                f"{path} states {self.rows} x {self.columns} pixels, more than any X-ray has; export it again."
            )
        self.frames = max(int(self.number("NumberOfFrames") or 1), 1)

    @property
    def is_rt_image(self) -> bool:
        """Whether it is of a treatment machine, which states its geometry in tags of its own."""
        return self.modality == "RTIMAGE"

    @property
    def is_secondary_capture(self) -> bool:
        """Whether it is a picture of a picture (a scan, a screenshot), whose modality then says little."""
        return self.text("SOPClassUID").startswith("1.2.840.10008.5.1.4.1.1.7")

    def value(self, keyword: str, frame: int = 0) -> Any:
        """Value of a tag at the top level, else in the functional groups of an enhanced object, those of ``frame``
        first; None if it is absent, empty or unreadable."""
        for dataset in (self.dataset, *self._functional_groups(frame)):
            try:
                found = dataset.get(keyword) if dataset is self.dataset else _inside(dataset, keyword)
            except Exception:  # a value that is none of its kind, sequences nested beyond reason
                continue
            if found not in (None, ""):
                return found
        return None

    def text(self, keyword: str, frame: int = 0) -> str:
        """The value as text, "" if absent."""
        found = self.value(keyword, frame)
        return "" if found is None else str(found).strip("\0 ")

    def number(self, keyword: str, frame: int = 0) -> float | None:
        """The value as a finite number."""
        found = self.numbers(keyword, 1, frame)
        return None if found is None else found[0]

    def numbers(self, keyword: str, count: int, frame: int = 0) -> tuple[float, ...] | None:
        """The value as ``count`` finite numbers."""
        found = self.value(keyword, frame)
        several = found if isinstance(found, list | tuple) or hasattr(found, "append") else [found]
        try:
            values = tuple(float(value) for value in several)
        except (TypeError, ValueError, OverflowError):
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None

    def positive(self, keyword: str, frame: int = 0) -> float | None:
        """The value as a number above zero; some machines write zero for "not known"."""
        found = self.number(keyword, frame)
        return found if found is not None and found > 0 else None

    def positive_pair(self, keyword: str, frame: int = 0) -> tuple[float, float] | None:
        """The value as two numbers above zero."""
        found = self.numbers(keyword, 2, frame)
        return (found[0], found[1]) if found is not None and min(found) > 0 else None

    def check_frame(self, frame: int) -> None:
        """Raises InputError if there is no such frame."""
        if not 0 <= frame < self.frames:
            raise InputError(
                f"{self.path} has {self.frames} frame{'s' if self.frames > 1 else ''}, numbered from 0; there is no "
                f"frame {frame}."
            )

    def _size(self, keyword: str) -> int:
        found = self.number(keyword)
        if found is None or not 0 < found <= _LARGEST_SIDE:
            raise InputError(
                f"{self.path} states {self.text(keyword) or 'no'} {keyword.lower()}, which no X-ray has; export it "
                "again."
            )
        return int(found)

    def _functional_groups(self, frame: int) -> Iterator[Dataset]:
        for keyword, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            try:
                groups = self.dataset.get(keyword)
                if groups is not None and index < len(groups):
                    yield groups[index]
            except Exception:  # no sequence at all in a damaged file
                continue


def tag_words(keyword: str) -> str:
    """A tag as people know it: ``Imager Pixel Spacing (0018,1164)``."""
    from pydicom.datadict import dictionary_description, tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _inside(group: Dataset, keyword: str) -> Any:
    for element in group.iterall():
        if element.keyword == keyword and element.value not in (None, ""):
            return element.value
    return None
