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
        segmentation, names = self.parameters.segmentation, {}
        if segmentation is not None:
            inner = segmentation.GetSegmentation()
            ids = [inner.GetNthSegmentID(n) for n in range(inner.GetNumberOfSegments())]
            names = {one: inner.GetSegment(one).GetName() for one in ids}
        self._ids, count = list(names), len(names)
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
                item, name = widget.item(n), names[one]
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
