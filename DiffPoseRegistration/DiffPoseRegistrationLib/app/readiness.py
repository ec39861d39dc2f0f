"""Why a button cannot be pressed yet: pure functions of what is there."""

from __future__ import annotations

import json
from pathlib import Path

from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry.pose_from_points import LEAST_POINTS
from ..imaging.volume_mapping import KINDS
from .ct_node import segment_ids
from .landmarks import point_pairs
from .mapping import kind_of, label_of
from .models import read_summary
from .nodes import require_scalar_volume, world_from_node
from .parameters import DiffPoseRegistrationParameterNode, Start
from .starts import current_pose
from .xray_facts import angles_of
from .xray_node import camera_of, require_camera, require_xray


def chosen_segments(parameters: DiffPoseRegistrationParameterNode) -> list[str] | None:
    """IDs of the ticked segments; None: all of them, or the whole CT."""
    return json.loads(parameters.segments) if parameters.segments and parameters.segmentation is not None else None


def why_no_ct(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why the chosen CT and structures do not serve; empty if they do (as far as can be told at once)."""
    try:
        require_scalar_volume(parameters.ctVolume, _("CT"))
        world_from_node(parameters.ctVolume)
        if parameters.segmentation is not None:
            segment_ids(parameters.segmentation, chosen_segments(parameters))
    except InputError as error:
        return str(error)
    if min(parameters.ctVolume.GetImageData().GetDimensions()) < 2:
        return _("{name} has a single slice; choose the whole CT.").format(name=parameters.ctVolume.GetName())
    return ""


def why_no_xray(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why the chosen X-ray does not serve; empty if it does."""
    try:
        require_xray(parameters.xray)
        require_camera(parameters.xray)
    except InputError as error:
        return str(error)
    if parameters.xray is parameters.ctVolume:
        return _("CT and X-ray are the same volume; choose two.")
    return ""


def why_no_model(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why there is no model to start from; empty if there is one."""
    if not parameters.modelPath:
        return _("No model is chosen; prepare one, or start from the current pose.")
    if not Path(parameters.modelPath).is_file():
        return _("The model {path} is not there; choose another or prepare one.").format(path=parameters.modelPath)
    try:
        made_of = read_summary(parameters.modelPath).mapping
    except InputError:
        return ""  # said by the table of models, and by the registration
    if parameters.ctVolume is not None and made_of in KINDS and made_of != kind_of(parameters.ctVolume):
        return _("The model was prepared with the volume read as {kind}; choose that above, or another model.").format(
            kind=label_of(made_of)
        )
    return ""


def why_not_prepare(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why Prepare cannot start; empty if it can."""
    unusable = why_no_samples(parameters)
    if not unusable and parameters.pretrained and not Path(parameters.pretrained).is_file():
        return _("The network {path} to begin with is not there; choose another or none.").format(
            path=parameters.pretrained
        )
    return unusable


def why_no_samples(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why there are no simulated X-rays of the range; empty if there are."""
    return why_no_ct(parameters) or why_no_xray(parameters)


def why_not_register(parameters: DiffPoseRegistrationParameterNode, ticked: list) -> str:
    """Why Register cannot start; empty if it can. ``ticked`` are the X-rays to be registered together."""
    problem = why_no_ct(parameters) or why_no_xray(parameters)
    if problem:
        return problem
    if parameters.together:
        if len(ticked) < 2:
            return _("Tick at least two X-rays in the table to register them together.")
        for xray in ticked:
            try:
                require_camera(xray)
                current_pose(xray)
            except InputError as error:
                return str(error)
    return why_no_model(parameters) if parameters.startFrom is Start.NETWORK else why_no_start(parameters)


def why_no_start(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why the chosen start gives no pose at once; empty if it does."""
    start, xray = parameters.startFrom, parameters.xray
    if start is Start.NETWORK:
        return _("What the model reads from the X-ray is known only once it is registered; choose another start.")
    try:
        if start is Start.CURRENT:
            current_pose(xray)
        elif start is Start.ANGLES and angles_of(xray) is None:
            return _("The C-arm's angles are not known; read them from the DICOM file or type them above.")
        elif start is Start.LANDMARKS:
            pairs = len(point_pairs(parameters.ctLandmarks, parameters.xrayLandmarks, xray)[0])
            if pairs < LEAST_POINTS:
                return _("There are {n} landmark pairs; mark at least {least} in the CT and on the X-ray.").format(
                    n=pairs, least=LEAST_POINTS
                )
    except InputError as error:
        return str(error)
    return ""


def why_not_explain(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why the X-ray's geometry cannot be checked; empty if it can."""
    unusable = why_no_ct(parameters) or why_no_xray(parameters)
    if unusable or parameters.startFrom is not Start.NETWORK:
        return unusable or why_no_start(parameters)
    try:
        current_pose(parameters.xray)
    except InputError:
        return _("A rough pose is needed; in Register choose a start other than the model, or place the X-ray at one.")
    return ""


def geometry_state(xray) -> str:
    """One word for the table: whether an X-ray's geometry is known."""
    return _("known") if camera_of(xray) is not None else _("missing")
