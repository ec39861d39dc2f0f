"""Section 3: the patient's model."""

from __future__ import annotations

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...imaging.volume_mapping import KINDS
from ...jobs.launcher import State
from .. import models, plots, xray_node
from ..job_control import jobs_place
from ..mapping import kind_of, label_of, mapping_of
from ..pictures import show_in
from ..readiness import why_no_ct, why_no_model, why_no_samples, why_not_prepare
from .section import Section, set_enabled
from .words import progress_in_words, state_in_words


class PrepareSection(Section):
    """Range of poses, time and the button that trains."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.prepareButton.connect("clicked()", self.guarded(self._clicked))
        self.ui.resumeButton.connect("clicked()", self.guarded(self._resume))
        self.ui.samplesButton.connect("clicked()", self.guarded(self._show_samples))
        self.ui.trainingPlotButton.connect("clicked()", self.guarded(self._show_plot))
        names = ("prepareButton", "resumeButton", "samplesButton", "trainingPlotButton")
        self._tips = {n: getattr(self.ui, n).toolTip for n in names}
        for kind in KINDS:
            self.ui.mappingComboBox.addItem(label_of(kind))
        self.ui.mappingComboBox.connect("currentIndexChanged(int)", self.guarded(self._on_mapping))
        self.ui.pretrainedButton.connect("clicked()", self.guarded(self._choose_pretrained))
        self._mapping_tip = self.ui.mappingComboBox.toolTip
        self._showing = False
        self._sampled: tuple | None = None
        self.ui.samplesLabel.visible = False
        self.ui.prepareProgressBar.visible = False

    def update(self) -> None:
        jobs = self.logic.jobs
        mine = self.panel.is_mine("prepare")
        self._show_mapping()
        self.ui.prepareButton.text = _("Cancel") if mine else _("Prepare")
        if mine:
            reason = _("It is being cancelled.") if jobs.state is State.CANCELLING else ""
            set_enabled(self.ui.prepareButton, reason, _("Stop the training."))
        else:
            set_enabled(
                self.ui.prepareButton,
                self.panel.why_busy() or why_not_prepare(self.parameters),
                self._tips["prepareButton"],
            )
        none = "" if models.unfinished(self.parameters.ctVolume) else _("No preparation for this CT was stopped.")
        set_enabled(self.ui.resumeButton, self.panel.why_busy() or none, self._tips["resumeButton"])
        set_enabled(self.ui.samplesButton, why_no_samples(self.parameters), self._tips["samplesButton"])
        no_curve = _("Nothing has been trained for this CT in this scene.")
        chart = plots.chart_of(self.parameters.ctVolume, plots.TRAINING_ROLE)
        reason = no_curve if chart is None else plots.why_no_plot_view()
        set_enabled(self.ui.trainingPlotButton, reason, self._tips["trainingPlotButton"])
        if self._sampled is not None and self._sampled != self._range():
            self._sampled, self.ui.samplesLabel.visible = None, False  # they show another range
        self.ui.prepareProgressBar.visible = mine
        if self.panel.is_told("prepare"):
            progress = self.panel.progress
            text = state_in_words(jobs.state, self.logic.problem)
            if mine and progress is not None:
                self.ui.prepareProgressBar.value = int(100 * progress.done / max(progress.total, 1e-9))
                text = progress_in_words(progress, _("Training"))
            elif jobs.state is State.FINISHED and not self.logic.problem and jobs_place() is None:
                text += " " + _(
                    "The scene is not saved yet, so the model lies in a temporary folder; export it to keep it."
                )
            self.ui.prepareLabel.text = text
        else:
            self.ui.prepareLabel.text = why_not_prepare(self.parameters) or (
                "" if not why_no_model(self.parameters) else _("No model yet.")
            )

    def _show_mapping(self) -> None:
        ct, reason = self.parameters.ctVolume, why_no_ct(self.parameters)
        kind = KINDS[0] if reason else kind_of(ct)
        self._showing = True
        try:
            self.ui.mappingComboBox.currentIndex = KINDS.index(kind) if kind in KINDS else -1  # a table of the console
        finally:
            self._showing = False
        # What a running job tells is of the volume as it was read.
        set_enabled(self.ui.mappingComboBox, reason or self.panel.why_busy(), self._mapping_tip)

    def _on_mapping(self) -> None:
        if not self._showing and self.parameters.ctVolume is not None:
            self.logic.setMapping(self.parameters.ctVolume, KINDS[self.ui.mappingComboBox.currentIndex])
            self.panel.geometry_changed()

    def _choose_pretrained(self) -> None:
        chosen = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Pretrained network"), "", _("Networks") + " (*.safetensors)"
        )
        if chosen:
            self.parameters.pretrained = chosen

    def _range(self) -> tuple:
        """What the samples depend on."""
        p, panel = self.parameters, self.panel
        camera = xray_node.camera_of(p.xray) if p.xray is not None else None
        ids = tuple(node.GetID() if node is not None else "" for node in (p.ctVolume, p.segmentation))
        how = mapping_of(p.ctVolume) if p.ctVolume is not None else ""
        return (
            *ids,
            p.segments,
            how,
            camera,
            p.view,
            p.sourceToIsocentre,
            panel.rotation_range,
            panel.translation_range,
        )

    def _show_samples(self) -> None:
        p, panel = self.parameters, self.panel
        page = self.logic.samples(
            p.ctVolume,
            p.xray,
            p.view.value,
            p.sourceToIsocentre,
            panel.rotation_range,
            panel.translation_range,
            **panel.structures,
        )
        show_in(self.ui.samplesLabel, page)
        self._sampled, self.ui.samplesLabel.visible = self._range(), True

    def _show_plot(self) -> None:
        plots.show_chart(plots.chart_of(self.parameters.ctVolume, plots.TRAINING_ROLE))

    def _resume(self) -> None:
        if self.panel.have_packages():
            self.logic.resumePreparation(self.parameters.ctVolume, wait=False)

    def _clicked(self) -> None:
        if not self.may_start():
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
            pretrained=p.pretrained or None,
            **self.panel.structures,
            wait=False,
        )
