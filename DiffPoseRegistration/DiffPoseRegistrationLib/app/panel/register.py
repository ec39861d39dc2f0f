"""Section 4: where to start, and the registration."""

from __future__ import annotations

from slicer.i18n import tr as _

from ...jobs.launcher import State
from .. import xray_node
from ..parameters import Start
from ..readiness import why_no_ct, why_no_xray, why_not_register
from .section import Section, set_enabled
from .words import progress_in_words, state_in_words


class RegisterSection(Section):
    """Start pose, dragging, Register and Cancel."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.registerButton.connect("clicked()", self.guarded(self._clicked))
        self.ui.placeButton.connect("clicked()", self.guarded(self._place))
        self.ui.dragButton.connect("toggled(bool)", self._on_drag)
        self._tips = {n: getattr(self.ui, n).toolTip for n in ("registerButton", "placeButton", "dragButton")}
        self.ui.registerProgressBar.visible = False

    def update(self) -> None:
        jobs, parameters = self.logic.jobs, self.parameters
        mine = jobs.kind == "register" and jobs.state.is_busy
        self.ui.registerButton.text = _("Cancel") if mine else _("Register")
        reason = self.panel.why_busy() or why_not_register(parameters)
        if mine:
            reason = _("It is being cancelled.") if jobs.state is State.CANCELLING else ""
        set_enabled(
            self.ui.registerButton, reason, _("Stop the registration.") if mine else self._tips["registerButton"]
        )
        unplaced = why_no_ct(parameters) or why_no_xray(parameters)
        set_enabled(self.ui.placeButton, self.panel.why_busy() or unplaced, self._tips["placeButton"])
        no_pose = unplaced or (
            "" if xray_node.pose_node_of(parameters.xray) else _("The X-ray has no pose yet; place it at the view.")
        )
        set_enabled(self.ui.dragButton, no_pose, self._tips["dragButton"])
        display = self._handles()
        self.ui.dragButton.checked = bool(display is not None and display.GetEditorVisibility())
        self.ui.registerProgressBar.visible = mine
        if jobs.kind == "register" and jobs.state is not State.IDLE:
            text, progress = state_in_words(jobs.state, self.logic.problem), self.panel.progress
            if mine and progress is not None:
                self.ui.registerProgressBar.value = int(100 * progress.done / max(progress.total, 1e-9))
                text = progress_in_words(progress, _("Registering"))
            self.ui.registerLabel.text = text if mine or not reason else " ".join((text, reason))
        else:
            self.ui.registerLabel.text = reason

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

    def _place(self) -> None:
        p = self.parameters
        self.logic.placeAtView(p.ctVolume, p.xray, p.view.value, p.sourceToIsocentre)
        p.startFrom = Start.CURRENT
        self.panel.geometry_changed()

    def _clicked(self) -> None:
        if self.logic.jobs.state.is_busy:
            self.logic.jobs.cancel()
            return
        p = self.parameters
        from_model = p.startFrom is Start.NETWORK
        self.logic.register(
            p.ctVolume,
            p.xray,
            model=p.modelPath if from_model else None,
            initial=None if from_model else xray_node.pose_of(p.xray),
            device=p.device.value,
            wait=False,
        )
