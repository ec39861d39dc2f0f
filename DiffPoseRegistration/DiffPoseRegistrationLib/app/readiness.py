"""Why a button cannot be pressed yet: pure functions of what is there."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from ..errors import InputError
from .nodes import require_scalar_volume
from .parameters import DiffPoseRegistrationParameterNode, Start
from .xray_node import camera_of, pose_of, require_camera, require_xray


def why_no_ct(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why the chosen CT does not serve; empty if it does (as far as can be told at once)."""
    try:
        require_scalar_volume(parameters.ctVolume, _("CT"))
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
    return ""


def why_not_prepare(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why Prepare cannot start; empty if it can."""
    return why_no_ct(parameters) or why_no_xray(parameters)


def why_not_register(parameters: DiffPoseRegistrationParameterNode) -> str:
    """Why Register cannot start; empty if it can."""
    problem = why_no_ct(parameters) or why_no_xray(parameters)
    if problem:
        return problem
    if parameters.startFrom is Start.NETWORK:
        return why_no_model(parameters)
    try:
        if pose_of(parameters.xray) is None:
            return _("The X-ray has no pose to start from; place it at the view first.")
    except InputError as error:
        return str(error)
    return ""


def geometry_state(xray) -> str:
    """One word for the table: whether an X-ray's geometry is known."""
    return _("known") if camera_of(xray) is not None else _("missing")
