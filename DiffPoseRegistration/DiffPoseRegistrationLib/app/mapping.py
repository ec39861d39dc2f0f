"""What a volume is whose values are no Hounsfield units, kept as an attribute of its node.

Everything that looks at the volume then reads it so: the DRR in the views, simulated X-rays, preparation, registration.
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..imaging.volume_mapping import KINDS, VolumeMapping, chosen_mapping
from .nodes import require_scalar_volume

MAPPING_ATTRIBUTE = "DiffPose.Mapping"


def mapping_of(ct: slicer.vtkMRMLScalarVolumeNode) -> str:
    """What the person says that the volume is, as for :func:`.volume_mapping.chosen_mapping`."""
    return ct.GetAttribute(MAPPING_ATTRIBUTE) or KINDS[0]


def kind_of(ct: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The same without a threshold: one of KINDS, or the path of a table."""
    kind = mapping_of(ct).partition(":")[0]
    return kind if kind in KINDS else mapping_of(ct)


def set_mapping(ct: slicer.vtkMRMLScalarVolumeNode, mapping: str) -> None:
    """Keep what the volume is. Raises InputError if it is no volume, or its values cannot be read so."""
    require_scalar_volume(ct, _("CT"))
    fitted(mapping, slicer.util.arrayFromVolume(ct), ct.GetName())
    ct.SetAttribute(MAPPING_ATTRIBUTE, None if mapping == KINDS[0] else mapping)


def label_of(kind: str) -> str:
    """What the panel calls one of KINDS."""
    return {
        "ct": _("CT, in Hounsfield units"),
        "cone-beam": _("Cone-beam CT, without Hounsfield units"),
        "vessels": _("Angiography: only vessels with contrast agent"),
        "mr": _("MR: only the outline of the body"),
    }.get(kind, kind)


_FITTED_VOXELS = 4_000_000


def fitted(mapping: str, values: np.ndarray, name: str) -> VolumeMapping:
    """The mapping of voxels [k, j, i] to Hounsfield units, by some millions of them.

    Raises
    ------
    InputError
        If the voxels cannot be read so.
    """
    if mapping == KINDS[0]:
        return VolumeMapping()
    step = max(1, int(np.ceil((values.size / _FITTED_VOXELS) ** (1 / 3))))
    some = np.asarray(values[::step, ::step, ::step], dtype=np.float32)
    some = some[np.isfinite(some)]  # what is not finite is refused where the volume is made
    return chosen_mapping(mapping, some, name) if some.size else VolumeMapping()
