"""Section 1: CT, X-rays, and an X-ray made from the CT."""

from __future__ import annotations

import json

import qt
import slicer
from slicer.i18n import tr as _

from .. import xray_node
from ..logic import OUTCOME_ATTRIBUTE
from ..readiness import geometry_state, why_no_ct
from .section import Section, set_enabled
from .words import error_in_words, verdict_in_words


class InputsSection(Section):
    """Selectors, table of X-rays and "Simulate X-ray"."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        table = self.ui.xrayTable
        titles = [_("X-ray"), _("Geometry"), _("Pose"), _("Verdict"), _("Predicted error")]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().hide()
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.connect("cellClicked(int,int)", self._on_row)
        self.ui.simulateButton.connect("clicked()", self.guarded(self._simulate))
        self._simulate_tip = self.ui.simulateButton.toolTip
        self._rows: list = []

    def update(self) -> None:
        reason = self.panel.why_busy() or why_no_ct(self.parameters)
        set_enabled(self.ui.simulateButton, reason, self._simulate_tip)
        self._rows = [node for node in self._volumes() if self._is_xray(node)]
        table = self.ui.xrayTable
        table.setRowCount(len(self._rows))
        for row, node in enumerate(self._rows):
            outcome = json.loads(node.GetAttribute(OUTCOME_ATTRIBUTE) or "{}")
            pose = xray_node.pose_node_of(node)
            texts = (
                node.GetName(),
                geometry_state(node),
                pose.GetName() if pose is not None else _("none"),
                verdict_in_words(outcome.get("verdict", "-")),
                error_in_words(outcome.get("predicted_error_mm")),
            )
            for column, text in enumerate(texts):
                item = table.item(row, column)
                if item is None:
                    table.setItem(row, column, qt.QTableWidgetItem(text))
                elif item.text() != text:
                    item.setText(text)
        current = self.parameters.xray
        if current in self._rows:
            table.selectRow(self._rows.index(current))
        else:
            table.clearSelection()

    def _is_xray(self, node) -> bool:
        return node is self.parameters.xray or node.GetAttribute(xray_node.CAMERA_ATTRIBUTE) is not None

    def _volumes(self) -> list:
        scene = slicer.mrmlScene
        count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        return [scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count)]

    def _on_row(self, row: int, column: int) -> None:
        if self.parameters is not None and row < len(self._rows):
            self.parameters.xray = self._rows[row]

    def _simulate(self) -> None:
        parameters = self.parameters
        camera = xray_node.camera_of(parameters.xray) if parameters.xray is not None else None
        self.logic.simulateXRay(
            parameters.ctVolume,
            camera,
            parameters.view.value,
            sourceToIsocentre=parameters.sourceToIsocentre,
            wait=False,
        )
