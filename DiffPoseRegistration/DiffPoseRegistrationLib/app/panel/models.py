"""Section 3, models: those of the patient, with what they know; import, export, delete."""

from __future__ import annotations

import shutil
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...errors import InputError
from .. import models
from .section import Section, fill_row, set_enabled, set_up_table


class ModelsSection(Section):
    """A table of models; the selected row is the one that registrations start from."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        table = self.ui.modelsTable
        set_up_table(table, [_("Model of"), _("Range"), _("Error")])
        table.connect("cellClicked(int,int)", self._on_row)
        self.ui.importModelButton.connect("clicked()", self.guarded(self._import))
        self.ui.exportModelButton.connect("clicked()", self.guarded(self._export))
        self.ui.deleteModelButton.connect("clicked()", self.guarded(self._delete))
        self._tips = {n: getattr(self.ui, n).toolTip for n in ("exportModelButton", "deleteModelButton")}
        self._rows: list[Path] = []
        self._ct_id = ""

    def update(self) -> None:
        p = self.parameters
        kept = models.models_of(p.ctVolume)
        chosen = Path(p.modelPath) if p.modelPath else None
        ct_id = p.ctVolume.GetID() if p.ctVolume is not None else ""
        if ct_id != self._ct_id:  # a model knows one patient
            self._ct_id = ct_id
            if kept and chosen not in kept:
                chosen = kept[-1]
                p.modelPath = str(chosen)
        self._rows = kept if chosen is None or chosen in kept else [*kept, chosen]
        table = self.ui.modelsTable
        table.setRowCount(len(self._rows))
        for row, path in enumerate(self._rows):
            fill_row(table, row, self._described(path))
        if chosen is None:
            table.clearSelection()
        else:
            table.selectRow(self._rows.index(chosen))
        none = gone = _("No model is chosen.")
        if chosen is not None:
            none, gone = "", "" if chosen.is_file() else _("The model {path} is not there.").format(path=chosen)
        set_enabled(self.ui.exportModelButton, gone, self._tips["exportModelButton"])
        set_enabled(self.ui.deleteModelButton, none or self.panel.why_busy(), self._tips["deleteModelButton"])

    def _described(self, path: Path) -> tuple[str, ...]:
        try:
            path.stat()
            return _words(models.read_summary(path))
        except OSError:
            return _("{name} (not there)").format(name=path.name), "-", "-"
        except InputError:
            return _("{name} (damaged)").format(name=path.name), "-", "-"

    def _on_row(self, row: int, column: int) -> None:
        if self.parameters is not None and row < len(self._rows):
            self.parameters.modelPath = str(self._rows[row])

    def _import(self) -> None:
        chosen = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Model"), "", _("Models") + " (*.safetensors)"
        )
        if not chosen:
            return
        path = Path(chosen)
        models.read_summary(path)  # refuses what is none
        if self.parameters.ctVolume is not None:
            models.add_model(self.parameters.ctVolume, path)
        self.parameters.modelPath = str(path)

    def _export(self) -> None:
        source = Path(self.parameters.modelPath)
        chosen = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save the model as"), f"{source.stem}.safetensors", "*.safetensors"
        )
        if not chosen:
            return
        target = Path(chosen)
        try:
            shutil.copyfile(source, target)
        except (OSError, shutil.SameFileError) as error:
            raise InputError(
                _("The model cannot be copied to {path} ({error}); choose another place.").format(
                    path=target, error=error
                )
            ) from None
        if self.parameters.ctVolume is not None:
            models.add_model(self.parameters.ctVolume, target)
        self.parameters.modelPath = str(target)
        self.panel.say(_("Wrote {path}.").format(path=target))

    def _delete(self) -> None:
        path, ct = Path(self.parameters.modelPath), self.parameters.ctVolume
        if path.is_file() and not slicer.util.confirmYesNoDisplay(
            _("Delete the model's file {path} for good?").format(path=path), windowTitle=_("DiffPose")
        ):
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                _("{path} cannot be deleted ({error}); close what uses it.").format(path=path, error=error.strerror)
            ) from None
        if ct is not None:
            models.remove_model(ct, path)
        left = models.models_of(ct)
        self.parameters.modelPath = str(left[-1]) if left else ""


def _words(summary: models.ModelSummary) -> tuple[str, str, str]:
    turned = " / ".join(f"{value:g}" for value in summary.rotation_deg)
    shifted = " / ".join(f"{value:g}" for value in summary.translation_mm)
    # A job's own copy of the chosen CT is called so; another name tells where a model came from.
    of = "" if Path(summary.ct_name).stem == "ct" else f", {summary.ct_name}"
    return (
        f"{summary.date}{of}",
        _("{degrees} °, {mm} mm").format(degrees=turned, mm=shifted),
        _("{median:.1f} mm, 95 % below {high:.1f} mm").format(
            median=summary.median_error_mm, high=summary.percentile95_error_mm
        ),
    )
