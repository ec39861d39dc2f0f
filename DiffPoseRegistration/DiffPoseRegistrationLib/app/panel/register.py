"""Section 4: where to start, and the registration."""

from __future__ import annotations

import numpy as np
from slicer.i18n import tr as _

from ...jobs.launcher import State
from .. import plots, starts, xray_node
from ..frames import frames_of
from ..parameters import Start
from ..readiness import why_no_ct, why_no_start, why_no_xray, why_not_register
from .section import Section, set_enabled
from .words import progress_in_words, state_in_words


class RegisterSection(Section):
    """Start pose, dragging, Register and Cancel."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.registerButton.connect("clicked()", self.guarded(self._clicked))
        self.ui.placeButton.connect("clicked()", self.guarded(self._place))
        self.ui.dragButton.connect("toggled(bool)", self._on_drag)
        self.ui.similarityPlotButton.connect("clicked()", self.guarded(self._show_plot))
        names = (
            "registerButton",
            "placeButton",
            "dragButton",
            "togetherCheckBox",
            "allFramesCheckBox",
            "similarityPlotButton",
        )
        self._tips = {n: getattr(self.ui, n).toolTip for n in names}
        self.ui.registerProgressBar.visible = False

    def update(self) -> None:
        parameters, mine = self.parameters, self.panel.is_mine("register")
        busy = self.panel.why_busy()
        reason = busy or why_not_register(parameters, self.panel.ticked)
        self.ui.registerButton.text = _("Cancel") if mine else _("Register")
        if mine:
            reason = _("It is being cancelled.") if self.logic.jobs.state is State.CANCELLING else ""
        set_enabled(
            self.ui.registerButton, reason, _("Stop the registration.") if mine else self._tips["registerButton"]
        )
        unusable = why_no_ct(parameters) or why_no_xray(parameters)
        set_enabled(self.ui.placeButton, busy or unusable or why_no_start(parameters), self._tips["placeButton"])
        no_pose = unusable or (
            "" if xray_node.pose_node_of(parameters.xray) else _("The X-ray has no pose yet; place it at a start.")
        )
        set_enabled(self.ui.dragButton, no_pose, self._tips["dragButton"])
        display = self._handles()
        self.ui.dragButton.checked = bool(display is not None and display.GetEditorVisibility())
        is_single = frames_of(parameters.xray) is None
        set_enabled(
            self.ui.allFramesCheckBox,
            _("The X-ray is a single image.") if is_single else "",
            self._tips["allFramesCheckBox"],
        )
        few = _("Tick at least two X-rays in the table.") if len(self.panel.ticked) < 2 else ""
        set_enabled(self.ui.togetherCheckBox, "" if parameters.together else few, self._tips["togetherCheckBox"])
        chart = plots.chart_of(parameters.xray, plots.SIMILARITY_ROLE)
        no_curve = _("The X-ray has not been registered yet.") if chart is None else plots.why_no_plot_view()
        set_enabled(self.ui.similarityPlotButton, no_curve, self._tips["similarityPlotButton"])
        self._show_progress(mine, reason)

    def _show_progress(self, mine: bool, reason: str) -> None:
        jobs, progress = self.logic.jobs, self.panel.progress
        self.ui.registerProgressBar.visible = mine
        if not self.panel.is_told("register"):
            self.ui.registerLabel.text = reason
            return
        text = state_in_words(jobs.state, self.logic.problem)
        if mine and progress is not None:
            share = progress.done / max(progress.total, 1e-9)
            steps = max(self.logic.steps, 1)
            self.ui.registerProgressBar.value = int(100 * (self.logic.step - 1 + share) / steps)
            text = progress_in_words(progress, _("Registering"))
        if mine and self.logic.steps > 1:
            text = _("Frame {n} of {count}: {text}").format(n=self.logic.step, count=self.logic.steps, text=text)
        self.ui.registerLabel.text = text if mine or not reason else " ".join((text, reason))

    def _handles(self):
        """Display node of the X-ray's pose; None if there is none."""
        pose = xray_node.pose_node_of(self.parameters.xray) if self.parameters.xray is not None else None
        return pose.GetDisplayNode() if pose is not None else None

    def _on_drag(self, checked: bool) -> None:
        if self.parameters is None or self.parameters.xray is None:
            return
        pose = xray_node.pose_node_of(self.parameters.xray)
        if pose is None:
            return
        if pose.GetDisplayNode() is None:
            pose.CreateDefaultDisplayNodes()
        display = pose.GetDisplayNode()
        if bool(display.GetEditorVisibility()) != checked:
            display.SetEditorVisibility(checked)
            display.SetEditorSliceIntersectionVisibility(checked)
            if checked:
                self.parameters.startFrom = Start.CURRENT

    def rough_pose(self) -> np.ndarray:
        """The pose [4, 4] that was chosen as start; where that is the model's, the one that the X-ray has. Raises
        InputError if there is none."""
        pose = self._start_pose()
        return starts.current_pose(self.parameters.xray) if pose is None else pose

    def _start_pose(self) -> np.ndarray | None:
        """The pose [4, 4] that was chosen as start; None: the model's."""
        p, structures = self.parameters, self.panel.structures
        if p.startFrom is Start.CURRENT:
            return starts.current_pose(p.xray)
        if p.startFrom is Start.VIEW:
            camera = xray_node.require_camera(p.xray)
            return self.logic.viewPose(p.ctVolume, camera, p.view.value, p.sourceToIsocentre, **structures)
        if p.startFrom is Start.ANGLES:
            return self.logic.anglesPose(p.ctVolume, p.xray, p.sourceToIsocentre, **structures)
        if p.startFrom is Start.LANDMARKS:
            return self.logic.landmarkPose(p.ctLandmarks, p.xrayLandmarks, p.xray)
        return None

    def _place(self) -> None:
        p = self.parameters
        self.logic.place(p.ctVolume, p.xray, self._start_pose(), **self.panel.structures)
        p.startFrom = Start.CURRENT  # from where it may be dragged
        self.panel.geometry_changed()

    def _show_plot(self) -> None:
        plots.show_chart(plots.chart_of(self.parameters.xray, plots.SIMILARITY_ROLE))

    def _clicked(self) -> None:
        if not self.may_start():
            return
        p = self.parameters
        what = {
            "model": p.modelPath,
            "initial": self._start_pose(),
            "search": p.search.value,
            "device": p.device.value,
            "seconds": p.seconds or None,
            **self.panel.structures,
            "wait": False,
        }
        tolerances = {
            "distanceTolerance": p.distanceTolerance,
            "principalPointTolerance": p.principalPointTolerance,
        }
        if p.together:
            self.logic.registerTogether(p.ctVolume, self._chosen_first(), **what, **tolerances)
        elif p.allFrames and frames_of(p.xray) is not None:
            self.logic.registerFrames(p.ctVolume, p.xray, **what)
        else:
            self.logic.register(p.ctVolume, p.xray, **what, **tolerances)

    def _chosen_first(self) -> list:
        """The ticked X-rays, the one that is worked on first: the start is its pose."""
        ticked, chosen = self.panel.ticked, self.parameters.xray
        return [chosen, *(x for x in ticked if x is not chosen)] if chosen in ticked else ticked
