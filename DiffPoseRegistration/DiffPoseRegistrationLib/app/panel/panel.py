"""The panel as a whole: sections, parameter node, and what happens when the scene or a job changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ...jobs import events
from ...jobs.launcher import State
from .. import drawings, xray_node
from ..landmarks import attach_to_xray
from ..logic import RegistrationLogic
from ..readiness import chosen_segments
from .environment import EnvironmentSection
from .explain import ExplainSection
from .geometry import GeometrySection
from .inputs import InputsSection
from .models import ModelsSection
from .prepare import PrepareSection
from .register import RegisterSection
from .result import ResultSection
from .structures import StructuresSection

_log = logging.getLogger(__name__)
_DRAW_INTERVAL_MS = 100
_FINE_AFTER_MS = 350  # without a change
_COARSE_PX, _FINE_PX = 112, 224
_ASK_INTERVAL_MS = 200
_SECTION_NAMES = ("inputs", "geometry", "prepare", "register", "result", "environment")
# Parameters that belong to the X-ray, by the role under which it keeps them.
_KEPT_WITH_XRAY = {
    "poseTransform": xray_node.POSE_ROLE,
    "referencePose": xray_node.REFERENCE_ROLE,
    "xrayLandmarks": xray_node.LANDMARKS_ROLE,
}


class Panel:
    """Connects the widgets in ``ui`` with the scene and ``logic``.

    Everything shown follows from the parameter node, the scene and the job: each change asks for one
    :meth:`update` and one redraw, at most ten a second.
    """

    def __init__(self, ui, logic: RegistrationLogic, get_parameters: Callable) -> None:
        self.ui = ui
        self.logic = logic
        self.parameters: Any = None  # DiffPoseRegistrationParameterNode, with what Slicer adds to it; None: no scene
        self.progress: events.Progress | None = None
        self._get_parameters = get_parameters
        self._gui_tag: int | None = None
        self._observed: list[tuple[object, int]] = []
        self._images_observed: list[tuple[object, int]] = []
        self._orphans: list[slicer.vtkMRMLNode] = []  # drawn of X-rays that are gone
        self._asking: list[Callable[[], None]] = []
        self._is_updating = False
        self._shown: dict[str, str] = {}
        self._inputs = InputsSection(self)
        self._structures = StructuresSection(self)
        self._geometry = GeometrySection(self)
        self._explain = ExplainSection(self)
        self._prepare = PrepareSection(self)
        self._models = ModelsSection(self)
        self._register = RegisterSection(self)
        self._result = ResultSection(self)
        self._environment = EnvironmentSection(self)
        self._sections = (
            self._inputs,
            self._structures,
            self._geometry,
            self._explain,
            self._prepare,
            self._models,
            self._register,
            self._result,
            self._environment,
        )
        self._section_of = {
            "simulate": ui.inputsCollapsibleButton,
            "explain": ui.geometryCollapsibleButton,
            "prepare": ui.prepareCollapsibleButton,
            "register": ui.registerCollapsibleButton,
        }
        self._subject: tuple[str, str] | None = None  # IDs of CT and X-ray with which the last job began
        for name in _SECTION_NAMES:  # what was hidden or shown meanwhile is set right when a section opens
            getattr(ui, f"{name}CollapsibleButton").connect("contentsCollapsed(bool)", self.update)
        self._soon = self._timer(0, single_shot=True, slot=self._update_now)
        self._draw_soon = self._timer(_DRAW_INTERVAL_MS, single_shot=True, slot=self._draw_now)
        self._draw_fine = self._timer(_FINE_AFTER_MS, single_shot=True, slot=self._draw_fine_now)
        self._ask_timer = self._timer(_ASK_INTERVAL_MS, single_shot=False, slot=self._ask)
        logic.jobs.stateChanged.connect(self._on_job_state)
        logic.jobs.eventHappened.connect(self._on_job_event)
        logic.done.connect(self._on_done)

    # -- scene ---------------------------------------------------------------------------------------

    def connect_scene(self) -> None:
        """Take the scene's parameter node and show it."""
        if self.parameters is not None:
            return
        self.parameters = self._get_parameters()
        self._gui_tag = self.parameters.connectGui(self.ui)
        self._observe(self._observed, self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_parameters)
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self._observe(self._observed, scene, event, self._on_scene)
        self._observe(self._observed, scene, scene.NodeAboutToBeRemovedEvent, self._on_removal)
        self._on_parameters()
        self._update_now()

    def disconnect_scene(self) -> None:
        """Let go of the parameter node: the scene is about to go, or the panel is."""
        self._soon.stop()
        self._draw_soon.stop()
        self._draw_fine.stop()
        self._forget(self._observed)
        self._forget(self._images_observed)
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
        self._orphans.clear()
        self.parameters = self._subject = None

    def close(self) -> None:
        """The panel goes: nothing is called any more and no worker is left."""
        self.disconnect_scene()
        self._ask_timer.stop()
        self._result.close()
        self.logic.close()

    # -- for the sections ----------------------------------------------------------------------------

    @property
    def structures(self) -> dict:
        """Arguments of the logic's methods: which structures of the CT are registered."""
        return {"segmentation": self.parameters.segmentation, "segments": chosen_segments(self.parameters)}

    @property
    def rotation_range(self) -> tuple[float, float, float]:
        """Half ranges (primary, secondary, roll) in degrees."""
        p = self.parameters
        return p.primaryRange, p.secondaryRange, p.rollRange

    @property
    def translation_range(self) -> tuple[float, float, float]:
        """Half ranges (across, along the beam, up-down) in mm."""
        p = self.parameters
        return p.acrossRange, p.alongRange, p.verticalRange

    @property
    def ticked(self) -> list:
        """The X-rays that are to be registered together."""
        return self._inputs.ticked

    def rough_pose(self):
        """The pose [4, 4] near which the X-ray was taken, as far as is known. Raises InputError if nothing is."""
        return self._register.rough_pose()

    def is_mine(self, kind: str) -> bool:
        """Whether a task of this kind is under way."""
        return self.logic.is_busy and self.logic.jobs.kind == kind

    def is_told(self, kind: str) -> bool:
        """Whether the state of the last job is of this kind, and of the CT or X-ray that is chosen now."""
        jobs = self.logic.jobs
        if jobs.kind != kind or jobs.state is State.IDLE:
            return False
        if self.logic.is_busy or self._subject is None:
            return self.logic.is_busy
        of = 1 if kind in ("register", "explain") else 0
        is_gone = slicer.mrmlScene.GetNodeByID(self._subject[of]) is None  # which may be what is told
        return is_gone or self._subject[of] == self._chosen[of]

    @property
    def _chosen(self) -> tuple[str, str]:
        return _id(self.parameters.ctVolume), _id(self.parameters.xray)

    def have_packages(self) -> bool:
        """Whether a task can be run; what is missing is installed first, if the person agrees."""
        return self._environment.have_packages()

    def why_busy(self) -> str:
        """Why no task can be started now; empty if one can."""
        if not self.logic.is_busy:
            return ""
        names = {
            "simulate": _("simulation"),
            "explain": _("check of the geometry"),
            "prepare": _("preparation"),
            "register": _("registration"),
        }
        return _("The {name} is still running.").format(name=names.get(self.logic.jobs.kind, _("job")))

    @property
    def is_up_to_date(self) -> bool:
        """Whether everything asked for is shown."""
        return not any(timer.isActive() for timer in (self._soon, self._draw_soon, self._draw_fine))

    def update(self) -> None:
        """Show the present state soon."""
        if self.parameters is not None:
            self._soon.start()

    def geometry_changed(self) -> None:
        """A camera or a pose node was set: what is drawn is out of date."""
        self._observe_images()
        self.draw()
        self.update()

    def draw(self) -> None:
        """Redraw soon: coarsely ten times a second at most, finely once nothing changes any more."""
        if self.parameters is not None and not self._draw_soon.isActive():
            self._draw_soon.start()

    def say(self, text: str) -> None:
        """A short word for the person, in the status bar."""
        slicer.util.showStatusMessage(text, 5000)

    def show_problem(self, text: str) -> None:
        """What went wrong, in a sentence, where the person looks."""
        slicer.util.warningDisplay(text, windowTitle=_("DiffPose"))

    def keep_asking(self, look: Callable[[], None]) -> None:
        """Call ``look`` a few times a second until :meth:`stop_asking`."""
        self._asking.append(look)
        self._ask_timer.start()

    def stop_asking(self, look: Callable[[], None]) -> None:
        """End :meth:`keep_asking`."""
        self._asking.remove(look)
        if not self._asking:
            self._ask_timer.stop()

    # -- what happens --------------------------------------------------------------------------------

    def _on_parameters(self, *_unused) -> None:
        if self.parameters is None:
            return
        if not self._is_updating:  # then it is the panel that sets the selectors, one after another
            self._take_choices()
        self._observe_images()
        self.draw()
        self.update()

    def _take_choices(self) -> None:
        """Keep with the X-ray what a person chose for it in a selector.

        A selector also differs from the X-ray when another X-ray was chosen or a job gave this one a node; then the
        selector follows.
        """
        xray = self.parameters.xray
        if xray is None or xray.GetID() != self._shown.get("xray"):
            return
        for name, role in _KEPT_WITH_XRAY.items():
            chosen, kept = getattr(self.parameters, name), xray.GetNodeReference(role)
            if chosen is kept or _id(kept) != self._shown[name]:
                continue
            if role != xray_node.POSE_ROLE:
                xray.SetNodeReferenceID(role, _id(chosen) or None)
                if role == xray_node.LANDMARKS_ROLE and chosen is not None:
                    attach_to_xray(chosen, xray)
            elif chosen is not None and chosen.IsLinear():
                xray_node.set_pose_node(xray, chosen)

    def _show_choices(self) -> None:
        """Let the selectors show what is kept with the X-ray."""
        xray = self.parameters.xray
        self._shown = {"xray": _id(xray)}
        for name, role in _KEPT_WITH_XRAY.items():
            kept = xray.GetNodeReference(role) if xray is not None else None
            self._shown[name] = _id(kept)
            if xray is not None and getattr(self.parameters, name) is not kept:
                setattr(self.parameters, name, kept)

    def _on_scene(self, *_unused) -> None:
        self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_removal(self, _scene, _event, node) -> None:
        # Now its references are still known; but the scene is in the middle of something, so they go soon.
        self._orphans += drawings.drawn_of(node)

    def _on_image(self, *_unused) -> None:
        self.draw()
        self.update()

    def _on_job_state(self, state: State) -> None:
        if state is State.STARTING:
            self.progress = None
            if self.parameters is not None:
                self._subject = self._chosen
        self.update()

    def _on_job_event(self, event: events.Event) -> None:
        if isinstance(event, events.Progress):
            self.progress = event
            self.update()

    def _on_done(self) -> None:
        p = self.parameters
        if p is None:
            return
        kind, result = self.logic.jobs.kind, self.logic.result
        if self.logic.problem and not self.logic.was_cancelled:
            # No box that asks to be closed: the person may be at work elsewhere. It stays in the task's own section.
            _log.warning("%s", self.logic.problem)
            self.say(self.logic.problem)
            self._section_of[kind].collapsed = False
        elif result is not None and kind == "simulate":
            p.xray = result
            self.say(_("Made {name}.").format(name=result.GetName()))
        elif result is not None and kind == "explain":
            self._explain.show(result)
        elif result is not None and kind == "prepare":
            p.modelPath = result
        elif result is not None and kind == "register":
            self.ui.resultCollapsibleButton.collapsed = False
        self.geometry_changed()

    # -- inside --------------------------------------------------------------------------------------

    def _update_now(self) -> None:
        if self.parameters is None or self._is_updating:
            return
        self._is_updating = True
        try:
            orphans, self._orphans = self._orphans, []
            drawings.remove(orphans)
            self._show_choices()
            for section in self._sections:
                section.update()
        finally:
            self._is_updating = False

    def _draw_now(self) -> None:
        if self.parameters is not None:
            self._result.draw(_COARSE_PX)
            self._draw_fine.start()

    def _draw_fine_now(self) -> None:
        if self.parameters is not None:
            self._result.draw(_FINE_PX)

    def _ask(self) -> None:
        for look in list(self._asking):
            look()

    def _observe_images(self) -> None:
        """Follow CT and X-ray: their pictures (another frame may be chosen), their places, and the X-ray's pose."""
        self._forget(self._images_observed)
        xray, moved = self.parameters.xray, slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        for node in (self.parameters.ctVolume, xray):
            if node is not None:
                changed = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
                self._observe(self._images_observed, node, changed, self._on_image)
        if self.parameters.ctVolume is not None:
            self._observe(self._images_observed, self.parameters.ctVolume, moved, self._on_image)
        pose = xray_node.pose_node_of(xray) if xray is not None else None
        if pose is not None:
            self._observe(self._images_observed, pose, moved, self._on_image)

    def _observe(self, kept: list, caller, event, slot: Callable) -> None:
        kept.append((caller, caller.AddObserver(event, slot)))

    def _forget(self, kept: list) -> None:
        for caller, tag in kept:
            caller.RemoveObserver(tag)
        kept.clear()

    def _timer(self, milliseconds: int, *, single_shot: bool, slot: Callable[[], None]):
        timer = qt.QTimer()
        timer.setInterval(milliseconds)
        timer.setSingleShot(single_shot)
        timer.connect("timeout()", slot)
        return timer


def _id(node) -> str:
    return node.GetID() if node is not None else ""
