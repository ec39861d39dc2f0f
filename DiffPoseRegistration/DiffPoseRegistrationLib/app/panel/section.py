"""What the panel's sections have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable

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
