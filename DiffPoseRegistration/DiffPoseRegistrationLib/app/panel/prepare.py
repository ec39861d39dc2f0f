"""Section 3: the patient's model."""

from __future__ import annotations

from slicer.i18n import tr as _

from ...jobs.launcher import State
from ..readiness import why_no_model, why_not_prepare
from .section import Section, set_enabled
from .words import progress_in_words, state_in_words


class PrepareSection(Section):
    """Range of poses, time and the button that trains."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.prepareButton.connect("clicked()", self.guarded(self._clicked))
        self.ui.modelPathLineEdit.connect("currentPathChanged(QString)", self._on_path)
        self._tip = self.ui.prepareButton.toolTip
        self.ui.prepareProgressBar.visible = False

    def update(self) -> None:
        jobs = self.logic.jobs
        mine = self.panel.is_mine("prepare")
        self.ui.prepareButton.text = _("Cancel") if mine else _("Prepare")
        if mine:
            reason = _("It is being cancelled.") if jobs.state is State.CANCELLING else ""
            set_enabled(self.ui.prepareButton, reason, _("Stop the training."))
        else:
            set_enabled(self.ui.prepareButton, self.panel.why_busy() or why_not_prepare(self.parameters), self._tip)
        self.ui.prepareProgressBar.visible = mine
        if self.ui.modelPathLineEdit.currentPath != self.parameters.modelPath:
            self.ui.modelPathLineEdit.currentPath = self.parameters.modelPath
        if jobs.kind == "prepare" and jobs.state is not State.IDLE:
            progress = self.panel.progress
            text = state_in_words(jobs.state, self.logic.problem)
            if mine and progress is not None:
                self.ui.prepareProgressBar.value = int(100 * progress.done / max(progress.total, 1e-9))
                text = progress_in_words(progress, _("Training"))
            self.ui.prepareLabel.text = text
        else:
            self.ui.prepareLabel.text = why_not_prepare(self.parameters) or (
                "" if not why_no_model(self.parameters) else _("No model yet.")
            )

    def _on_path(self, path: str) -> None:
        if self.parameters is not None and self.parameters.modelPath != path:
            self.parameters.modelPath = path

    def _clicked(self) -> None:
        if self.logic.is_busy:
            self.logic.cancel()
            return
        p = self.parameters
        self.logic.prepare(
            p.ctVolume,
            p.xray,
            p.view.value,
            p.sourceToIsocentre,
            self.panel.rotation_range,
            self.panel.translation_range,
            p.minutes,
            p.device.value,
            **self.panel.structures,
            wait=False,
        )
