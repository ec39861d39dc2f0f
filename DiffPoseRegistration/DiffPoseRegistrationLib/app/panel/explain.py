"""Section 2, geometry wizard: which reading of the X-ray its picture is explained by best, and the X-ray read so."""

from __future__ import annotations

from slicer.i18n import tr as _

from ...geometry.camera import VIEWED_FROM
from ...jobs.launcher import State
from .. import explanation
from ..pictures import show_in
from ..readiness import why_not_explain
from .section import Section, set_enabled
from .words import progress_in_words, state_in_words

_SHEET_PX = 480


class ExplainSection(Section):
    """The button that compares, what it found, and the button that reads the X-ray so."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.explainButton.connect("clicked()", self.guarded(self._clicked))
        self.ui.readSoButton.connect("clicked()", self.guarded(self._read_so))
        self._tips = {n: getattr(self.ui, n).toolTip for n in ("explainButton", "readSoButton")}
        self._found: explanation.XRayExplanation | None = None
        for name in ("explainProgressBar", "explainLabel", "explainPicture", "readSoButton"):
            getattr(self.ui, name).visible = False

    def show(self, found: explanation.XRayExplanation) -> None:
        """Show what was found, for as long as the X-ray stays as it is."""
        self._found = found
        show_in(self.ui.explainPicture, found.sheet)

    def update(self) -> None:
        mine, busy = self.panel.is_mine("explain"), self.panel.why_busy()
        self.ui.explainButton.text = _("Cancel") if mine else _("Check geometry")
        if mine:
            reason = _("It is being cancelled.") if self.logic.jobs.state is State.CANCELLING else ""
            set_enabled(self.ui.explainButton, reason, _("Stop the check."))
        else:
            set_enabled(self.ui.explainButton, busy or why_not_explain(self.parameters), self._tips["explainButton"])
        if self._found is not None and not self._found.is_of(self.parameters.xray):
            self._found = None  # it tells of another X-ray, or of this one as it was
        found = None if mine else self._found
        self.ui.explainProgressBar.visible = mine
        self.ui.explainPicture.visible = found is not None
        self.ui.readSoButton.visible = found is not None and found.is_changed
        set_enabled(self.ui.readSoButton, busy, self._tips["readSoButton"])
        self.ui.explainLabel.text = self._text(mine)
        self.ui.explainLabel.visible = bool(self.ui.explainLabel.text)

    def _text(self, mine: bool) -> str:
        jobs, progress = self.logic.jobs, self.panel.progress
        if mine and progress is not None:
            self.ui.explainProgressBar.value = int(100 * progress.done / max(progress.total, 1e-9))
            return progress_in_words(progress, _("Checking"))
        if not mine and self._found is not None:
            return _words(self._found)
        is_over_with_result = jobs.state is State.FINISHED and not self.logic.problem
        if self.panel.is_told("explain") and not is_over_with_result:
            return state_in_words(jobs.state, self.logic.problem)
        return ""

    def _read_so(self) -> None:
        self.logic.readSo(self.parameters.xray, self._found)
        self.panel.geometry_changed()
        self.panel.say(_("The X-ray is read so from now on; register it again."))

    def _clicked(self) -> None:
        if not self.may_start():
            return
        p = self.parameters
        self._found = None
        self.logic.explainXRay(
            p.ctVolume, p.xray, self.panel.rough_pose(), **self.panel.structures, sheetPx=_SHEET_PX, wait=False
        )


def _words(found: explanation.XRayExplanation) -> str:
    """What was found, how sure it is, and what to do."""
    if not found.is_explained:
        return _(
            "Nothing explains the picture (best similarity {similarity:.2f}): check the rough pose, whether CT and "
            "X-ray show the same part, and the distance from source to detector."
        ).format(similarity=found.similarity)
    if not found.is_changed:
        sentences = [_("The picture is explained best as it is (similarity {s:.2f}).").format(s=found.similarity)]
    else:
        sentences = [_("The picture was probably changed: {what}.").format(what=found.change_in_words)]
        if found.similarity_as_it_is is None:
            text = _("Read so, its similarity is {s:.2f}; as it is, the CT does not project into it.")
        else:
            text = _("Read so, its similarity is {s:.2f}; as it is, {other:.2f}.")
        sentences.append(text.format(s=found.similarity, other=found.similarity_as_it_is))
    if found.rival_in_words is not None:
        text = _("But it is not clear: this explains it nearly as well: {what}.")
        sentences.append(text.format(what=found.rival_in_words))
    if found.is_changed:
        sentences.append(
            _("Nothing was changed yet; Apply will: {changes}.").format(changes="; ".join(_changes(found)))
        )
    return " ".join(sentences)


def _changes(found: explanation.XRayExplanation) -> list[str]:
    """What reading the X-ray so changes, by the names of the panel's fields."""
    changes = []
    if found.change.turned_deg:
        back = {
            90: _("turn the picture by 90 degrees counter-clockwise"),
            180: _("turn the picture by 180 degrees"),
            270: _("turn the picture by 90 degrees clockwise"),
        }
        changes.append(back[found.change.turned_deg])
    if found.change.mirrored:
        # The camera is that of the picture before it was mirrored.
        other = found.camera.viewed_from == VIEWED_FROM[0]
        changes.append(_("set Seen from to the detector") if other else _("set Seen from to the source"))
    if found.polarity is not None:
        is_air = found.polarity == "bright-is-air"
        changes.append(_("set Bright pixels to Air") if is_air else _("set Bright pixels to Bone"))
    if found.change.spacing != "stated":
        row, column = found.camera.pixel_spacing_mm
        text = _("set Pixel spacing to {row:.4f} mm (rows) and {column:.4f} mm (columns)")
        changes.append(text.format(row=row, column=column))
    return changes
