"""Section 6: what is installed."""

from __future__ import annotations

import threading

from slicer.i18n import tr as _

from .. import environment
from ..diagnosis import diagnose, worker_command
from .section import Section, set_enabled


class EnvironmentSection(Section):
    """Packages by metadata, installation with consent, and the worker's own report."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.installButton.connect("clicked()", self.guarded(self._install))
        self.ui.diagnoseButton.connect("clicked()", self.guarded(self._diagnose))
        self._tips = {n: getattr(self.ui, n).toolTip for n in ("installButton", "diagnoseButton")}
        self._report: list[str] = []
        self._thread: threading.Thread | None = None

    def update(self) -> None:
        if self.ui.environmentCollapsibleButton.collapsed:
            return  # looking through the installed packages takes milliseconds that nobody sees
        missing = environment.missing_packages()
        set_enabled(
            self.ui.installButton,
            self.panel.why_busy() or ("" if missing else _("Everything is installed.")),
            self._tips["installButton"],
        )
        asking = self._thread is not None and self._thread.is_alive()
        set_enabled(
            self.ui.diagnoseButton, _("The worker is being asked.") if asking else "", self._tips["diagnoseButton"]
        )
        text = _("Missing: {names}.").format(names=", ".join(missing)) if missing else _("All packages are installed.")
        if asking:
            text += " " + _("Asking the worker...")
        self.ui.environmentLabel.text = "\n".join([text, *self._report])

    def have_packages(self) -> bool:
        """Whether the worker has what it needs, installed now if the person agrees.

        Raises
        ------
        InputError
            If an installation fails.
        """
        if not environment.missing_packages():
            return True
        if not environment.install():
            return False
        self.logic.jobs.renew_worker()  # one that waits would not see the new packages
        self.panel.say(_("Everything is installed."))
        return True

    def _install(self) -> None:
        self.have_packages()

    def _diagnose(self) -> None:
        report: list[str] = []
        command = worker_command()

        def ask() -> None:
            report.extend(diagnose(*command))

        def look() -> None:
            if self._thread is not None and not self._thread.is_alive():
                self._thread, self._report = None, report
                self.panel.stop_asking(look)
                self.panel.update()

        self._thread = threading.Thread(target=ask, name="diagnose", daemon=True)
        self._thread.start()
        self.panel.keep_asking(look)
