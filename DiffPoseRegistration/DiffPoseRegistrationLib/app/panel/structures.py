"""Section 1, structures: which segments of a segmentation are registered."""

from __future__ import annotations

import json

import qt

from ..readiness import chosen_segments
from .section import Section


class StructuresSection(Section):
    """The list of segments, each with a tick; all are ticked until a person says otherwise."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._showing = False
        self._ids: list[str] = []
        self.ui.segmentsList.visible = False
        self.ui.segmentsList.connect("itemChanged(QListWidgetItem*)", self.guarded(self._on_tick))

    def update(self) -> None:
        segmentation = self.parameters.segmentation
        inner = segmentation.GetSegmentation() if segmentation is not None else None
        count = inner.GetNumberOfSegments() if inner is not None else 0
        self._ids = [inner.GetNthSegmentID(n) for n in range(count)]
        chosen = chosen_segments(self.parameters)
        widget = self.ui.segmentsList
        widget.visible = count > 0
        self._showing = True
        try:
            if widget.count != count:
                widget.clear()
                for _n in range(count):
                    widget.addItem("")
            for n, one in enumerate(self._ids):
                item, name = widget.item(n), inner.GetSegment(one).GetName()
                if item.text() != name:
                    item.setText(name)
                ticked = qt.Qt.Checked if chosen is None or one in chosen else qt.Qt.Unchecked
                if item.data(qt.Qt.CheckStateRole) is None or item.checkState() != ticked:
                    item.setCheckState(ticked)
        finally:
            self._showing = False

    def _on_tick(self) -> None:
        if self._showing:
            return
        widget = self.ui.segmentsList
        ticked = [one for n, one in enumerate(self._ids) if widget.item(n).checkState() == qt.Qt.Checked]
        self.parameters.segments = "" if ticked == self._ids else json.dumps(ticked)
