"""Section 1: CT, X-rays, and an X-ray made from the CT."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from .. import xray_facts, xray_node
from ..readiness import geometry_state, why_no_ct
from .section import Section, fill_row, set_enabled, set_up_table
from .words import error_in_words, state_in_words, verdict_in_words

# A simulated X-ray is taken from no further off the view than this, nor than a model would be prepared for.
_MOST_DEG, _MOST_MM = (10.0, 10.0, 5.0), (15.0, 30.0, 15.0)


class InputsSection(Section):
    """Selectors, table of X-rays and "Simulate X-ray"."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        table = self.ui.xrayTable
        set_up_table(table, [_("X-ray"), _("Geometry"), _("Pose"), _("Verdict"), _("Predicted error")])
        table.connect("cellClicked(int,int)", self._on_row)
        table.connect("itemChanged(QTableWidgetItem*)", self.guarded(self._on_tick))
        self.ui.simulateButton.connect("clicked()", self.guarded(self._simulate))
        self.ui.simulateLabel.visible = False
        self._simulate_tip = self.ui.simulateButton.toolTip
        self._rows: list = []
        self._showing = False

    @property
    def ticked(self) -> list:
        """The X-rays that are to be registered together, in the order of the table."""
        return [node for node in self._xrays() if xray_facts.is_ticked(node)]

    def update(self) -> None:
        reason = self.panel.why_busy() or why_no_ct(self.parameters)
        set_enabled(self.ui.simulateButton, reason, self._simulate_tip)
        jobs = self.logic.jobs
        is_told = self.panel.is_told("simulate")
        self.ui.simulateLabel.text = state_in_words(jobs.state, self.logic.problem) if is_told else ""
        self.ui.simulateLabel.visible = is_told
        self._showing = True
        try:
            self._fill_table()
        finally:
            self._showing = False

    def _fill_table(self) -> None:
        self._rows = self._xrays()
        table = self.ui.xrayTable
        table.setRowCount(len(self._rows))
        for row, node in enumerate(self._rows):
            outcome = xray_facts.outcome_of(node) or {}
            pose = xray_node.pose_node_of(node)
            texts = (
                node.GetName(),
                geometry_state(node),
                _("none") if pose is None else _("given") if not outcome else _("found"),
                verdict_in_words(outcome.get("verdict", "-")),
                error_in_words(outcome.get("predicted_error_mm")),
            )
            fill_row(table, row, texts)
            ticked = qt.Qt.Checked if xray_facts.is_ticked(node) else qt.Qt.Unchecked
            item = table.item(row, 0)
            if item.data(qt.Qt.CheckStateRole) is None or item.checkState() != ticked:
                item.setCheckState(ticked)
        current = self.parameters.xray
        if current in self._rows:
            table.selectRow(self._rows.index(current))
        else:
            table.clearSelection()

    def _xrays(self) -> list:
        return [node for node in self._volumes() if self._is_xray(node)]

    def _is_xray(self, node) -> bool:
        return node is self.parameters.xray or xray_node.camera_of(node) is not None

    def _volumes(self) -> list:
        scene = slicer.mrmlScene
        count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        return [scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count)]

    def _on_row(self, row: int, column: int) -> None:
        if self.parameters is not None and row < len(self._rows):
            self.parameters.xray = self._rows[row]

    def _on_tick(self) -> None:
        if self._showing:
            return
        for row, node in enumerate(self._rows):
            xray_facts.tick(node, self.ui.xrayTable.item(row, 0).checkState() == qt.Qt.Checked)

    def _simulate(self) -> None:
        if not self.panel.have_packages():
            return
        parameters = self.parameters
        camera = xray_node.camera_of(parameters.xray) if parameters.xray is not None else None
        self.logic.simulateXRay(
            parameters.ctVolume,
            camera,
            parameters.view.value,
            sourceToIsocentre=parameters.sourceToIsocentre,
            rotationDeg=[min(most, range_) for most, range_ in zip(_MOST_DEG, self.panel.rotation_range)],
            translationMm=[min(most, range_) for most, range_ in zip(_MOST_MM, self.panel.translation_range)],
            seed=len(self._rows),
            **self.panel.structures,
            wait=False,
        )
