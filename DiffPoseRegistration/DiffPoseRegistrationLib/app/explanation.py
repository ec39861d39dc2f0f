"""What the geometry wizard found of an X-ray, and the X-ray read so: picture, geometry and polarity set right."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.turned_image import mirrored
from ..imaging.picture_change import PictureChange
from . import turning, xray_facts, xray_node


@dataclass(frozen=True)
class XRayExplanation:
    """The reading that explains an X-ray best.

    state
        Of the X-ray that was looked at, see :func:`state_of`.
    is_explained
        Whether that reading fits the CT at all.
    change, change_in_words
        What would have happened to the picture.
    similarity, similarity_as_it_is
        Of that reading, and of the picture as it is; None: the CT does not project into that.
    rival_in_words
        Another change that explains it nearly as well; None: it is clear.
    polarity
        What bright pixels then mean, where the grey values were inverted; else None.
    camera
        Of the picture before the change.
    sheet
        Pictures of the best readings with the CT's edges, [row, column, 3], uint8.
    """

    state: Hashable
    is_explained: bool
    change: PictureChange
    change_in_words: str
    similarity: float
    similarity_as_it_is: float | None
    rival_in_words: str | None
    polarity: str | None
    camera: Camera
    sheet: np.ndarray

    @property
    def is_changed(self) -> bool:
        """Whether the X-ray is explained, but not as it is."""
        return self.is_explained and self.change != PictureChange()

    @classmethod
    def read(cls, folder: Path, state: Hashable) -> XRayExplanation:
        """From a job's result folder."""
        import SimpleITK as sitk  # not at file scope, see job_files

        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return cls(
            state=state,
            is_explained=data["is_explained"],
            change=PictureChange(**data["change"]),
            change_in_words=data["change_in_words"],
            similarity=data["similarity"],
            similarity_as_it_is=data["similarity_as_it_is"],
            rival_in_words=data["rival_in_words"],
            polarity=data["polarity"],
            camera=Camera.from_json(data["camera"]),
            sheet=sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "sheet.png")))[..., :3],
        )

    def is_of(self, xray: slicer.vtkMRMLScalarVolumeNode | None) -> bool:
        """Whether it tells of this X-ray as it is now."""
        return xray is not None and xray.GetImageData() is not None and self.state == state_of(xray)


def state_of(xray: slicer.vtkMRMLScalarVolumeNode) -> Hashable:
    """What changes when an X-ray's picture, geometry or grey values do."""
    read_as = xray.GetAttribute(xray_node.CAMERA_ATTRIBUTE), xray_facts.polarity_of(xray), xray_facts.intensity_of(xray)
    return xray.GetID(), xray.GetImageData().GetMTime(), *read_as


def read_so(xray: slicer.vtkMRMLScalarVolumeNode, found: XRayExplanation) -> None:
    """Read an X-ray as the explanation says: turn its picture back, then set its geometry and what its bright pixels
    mean. A picture that was mirrored stays as it is and is taken to be seen from the other side, which is the same. The
    poses stay: it is the picture that did not belong to them.

    Raises
    ------
    InputError
        If the X-ray has changed since.
    """
    if not found.is_of(xray):
        raise InputError(_("{name} has changed since it was checked; check it again.").format(name=xray.GetName()))
    for _turn in range(-found.change.turned_deg // 90 % 4):
        turning.turn_clockwise(xray, keeps_poses=True)
    # Turned back, a picture that was mirrored first is still mirrored.
    camera = mirrored(found.camera) if found.change.mirrored else found.camera
    changed = dict.fromkeys(("viewed_from", "pixel_spacing_mm"), _("geometry check"))
    xray_node.set_camera(xray, camera, {**xray_node.provenance_of(xray), **changed})
    if found.polarity is not None:
        xray_facts.set_polarity(xray, found.polarity)
