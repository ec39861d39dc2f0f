"""What the panel's sections have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...errors import InputError

_log = logging.getLogger(__name__)


class Section:
    """A section of the panel: ``ui`` holds the widgets by name, ``panel`` is the whole."""

    def __init__(self, panel) -> None:
        self.panel = panel
        self.ui = panel.ui

    @property
    def parameters(self):
        """The parameter node; None while the scene is being closed."""
        return self.panel.parameters

    @property
    def logic(self):
        return self.panel.logic

    def update(self) -> None:
        """Show the present state; called after every change."""

    def may_start(self) -> bool:
        """Whether a click is to start a job: while one is under way it cancels that, and without the packages it asks
        for them."""
        if self.logic.is_busy:
            self.logic.cancel()
            return False
        return self.panel.have_packages()

    def guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        """``action`` as a slot: what a person can mend is shown in words, anything else as a fault."""

        def slot() -> None:
            if self.parameters is None:
                return
            try:
                action()
            except InputError as error:
                self.panel.show_problem(str(error))
            except Exception as error:
                _log.exception("An action of the panel failed.")
                slicer.util.errorDisplay(
                    _("DiffPose has a fault: {error}. Details are in Slicer's log.").format(error=error)
                )
            finally:
                self.panel.update()

        return slot


def set_enabled(widget, reason: str, tip: str) -> None:
    """Enable a button, or disable it and say why in its tool tip."""
    widget.enabled = not reason
    widget.toolTip = reason or tip


def set_up_table(table, titles: Sequence[str]) -> None:
    """Columns with ``titles``, the first as wide as it can be, and rows that are chosen as a whole and not edited."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
    table.verticalHeader().hide()
    table.wordWrap = False
    table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)


def fill_row(table, row: int, texts: Sequence[str]) -> None:
    """Show ``texts`` in a row; what is shown already is left alone, the whole of it is in the tool tip."""
    for column, text in enumerate(texts):
        item = table.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem(text)
            table.setItem(row, column, item)
        elif item.text() != text:
            item.setText(text)
        if item.toolTip() != text:
            item.setToolTip(text)
