"""Section 5: the verdict, the comparison of X-ray and DRR, the C-arm in 3D, and landmarks."""

from __future__ import annotations

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ...errors import InputError
from ...geometry.angles import pose_in_words
from .. import carm_model, overlay, xray_facts, xray_node
from ..landmarks import LandmarkErrors
from ..nodes import referenced
from ..readiness import why_no_ct, why_no_xray
from .section import Section, set_enabled
from .words import error_in_words, next_step, verdict_in_words, verdict_style

SLICE_VIEW = "Red"
TABLE_ROLE = "DiffPose.LandmarkTable"
_FLICKER_MS = 500


class ResultSection(Section):
    """Shows the selected X-ray's pose; redraws the DRR when the pose moves."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.lookFromSourceButton.connect("clicked()", self.guarded(self._look_from_source))
        self.ui.inverseButton.connect("clicked()", self.guarded(self._inverse))
        self.ui.landmarksButton.connect("clicked()", self.guarded(self._landmarks))
        self.ui.reportButton.connect("clicked()", self.guarded(self._report))
        self.ui.flickerCheckBox.connect("toggled(bool)", self._on_flicker)
        self.ui.reasonLabel.visible = False
        names = ("lookFromSourceButton", "inverseButton", "landmarksButton", "reportButton")
        self._tips = {n: getattr(self.ui, n).toolTip for n in names}
        self._flicker = qt.QTimer()
        self._flicker.setInterval(_FLICKER_MS)
        self._flicker.connect("timeout()", self._swap)
        self._seen: tuple | None = None
        self._problem = ""  # why there is no picture

    def close(self) -> None:
        self._flicker.stop()

    # -- words ---------------------------------------------------------------------------------------

    def update(self) -> None:
        p = self.parameters
        xray = p.xray
        unusable = why_no_xray(p)
        pose_node = None if unusable else xray_node.pose_node_of(xray)
        no_pose = unusable or ("" if pose_node is not None else _("The X-ray has no pose yet."))
        set_enabled(self.ui.lookFromSourceButton, no_pose or self._why_no_3d(), self._tips["lookFromSourceButton"])
        set_enabled(self.ui.inverseButton, no_pose, self._tips["inverseButton"])
        set_enabled(self.ui.reportButton, no_pose or why_no_ct(p), self._tips["reportButton"])
        why_not = no_pose
        if not why_not and not _has_points(p.ctLandmarks):
            why_not = _("Place at least one landmark in the CT.")
        if not why_not and p.referencePose is None and not _has_points(p.xrayLandmarks):
            why_not = _("Place at least one landmark in the X-ray, or choose a reference pose.")
        set_enabled(self.ui.landmarksButton, why_not, self._tips["landmarksButton"])
        table = None if xray is None else xray.GetNodeReference(TABLE_ROLE)
        self.ui.landmarksLabel.text = table.GetDescription() if table is not None else ""
        self.ui.landmarksLabel.visible = bool(self.ui.landmarksLabel.text)
        verdict, headline, reason = None, no_pose or self._problem, ""
        self.ui.poseLabel.text = ""
        try:
            if not no_pose:
                self.ui.poseLabel.text = self._pose(xray, p.ctVolume)
            if not headline:
                verdict, headline, reason = self._verdict(xray)
        except InputError as error:  # a pose that is none
            headline = str(error)
        self.ui.verdictLabel.text, self.ui.reasonLabel.text = headline, reason
        self.ui.verdictLabel.styleSheet = verdict_style(verdict)
        self.ui.reasonLabel.visible = bool(reason)

    def _verdict(self, xray) -> tuple[str | None, str, str]:
        """The verdict's name, what it says in a line, and why, with what to do next."""
        data = xray_facts.outcome_of(xray)
        if data is None:
            return None, _("Not registered yet."), ""
        if np.abs(np.array(data["camera_to_world_ras_mm"]) - xray_node.pose_of(xray)).max() > 1e-3:
            text = _("The pose was moved since it was judged ({verdict}); register again.")
            return None, text.format(verdict=verdict_in_words(data["verdict"])), ""
        headline = verdict_in_words(data["verdict"])
        if data.get("predicted_error_mm") is not None:
            headline += ": " + _("predicted error {e}").format(e=error_in_words(data["predicted_error_mm"]))
            weak = data.get("weak_direction", {}).get("words")
            if weak:
                headline += ", " + _("mostly {direction}").format(direction=weak)
        reasons = "; ".join(data.get("verdict_reasons", ()))
        sentence = f"{reasons[:1].upper()}{reasons[1:]}. " if reasons else ""
        return data["verdict"], headline + ".", sentence + next_step(data["verdict"])

    def _pose(self, xray, ct) -> str:
        pose = xray_node.pose_of(xray)
        if ct is None or pose is None:
            return ""
        bounds = np.zeros(6)
        ct.GetRASBounds(bounds)
        words = pose_in_words(pose, bounds.reshape(3, 2).mean(axis=1))
        return f"{words[:1].upper()}{words[1:]}."

    def _why_no_3d(self) -> str:
        return "" if self._camera_node() is not None else _("There is no 3D view.")

    # -- pictures ------------------------------------------------------------------------------------

    def draw(self, max_side: int) -> None:
        """Bring views and DRR up to date with the selected X-ray, its pose and the settings.

        ``max_side`` is the DRR's size in pixels.
        """
        p = self.parameters
        if p is None or why_no_xray(p):
            return
        xray = p.xray
        transform = xray_node.pose_node_of(xray)
        seen = (
            xray.GetID(),
            p.showCArm,
            transform and transform.GetID(),
            xray.GetAttribute(xray_node.CAMERA_ATTRIBUTE),
        )
        if seen != self._seen:
            if p.showCArm and transform is not None:
                carm_model.show_carm(xray)
            else:  # without a pose it would stand at the scene's origin, which means nothing
                carm_model.hide_carm(xray)
            self._seen = seen
        self._problem = ""
        if transform is not None and not why_no_ct(p):
            try:
                self.logic.drr(p.ctVolume, xray, maxSide=max_side, **self.panel.structures)
            except InputError as error:
                self._problem = str(error)
        self.show()
        self.panel.update()

    def show(self) -> None:
        """Show X-ray and DRR in the slice view as the settings say."""
        p = self.parameters
        slice_node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{SLICE_VIEW}")
        composite = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{SLICE_VIEW}")
        if slice_node is not None and composite is not None and p.xray is not None and not why_no_xray(p):
            overlay.show_comparison(p.xray, p.comparison, p.opacity, slice_node, composite)

    def _camera_node(self):
        return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCameraNode")

    def _look_from_source(self) -> None:
        carm_model.look_from_source(self.parameters.xray, self._camera_node())

    def _on_flicker(self, checked: bool) -> None:
        if checked:
            self._flicker.start()
        else:
            self._flicker.stop()
            if self.parameters is not None:
                self.show()

    def _swap(self) -> None:
        composite = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{SLICE_VIEW}")
        if composite is not None:
            composite.SetForegroundOpacity(0.0 if composite.GetForegroundOpacity() > 0.5 else 1.0)

    # -- actions -------------------------------------------------------------------------------------

    def _inverse(self) -> None:
        node = self.logic.inverseTransform(self.parameters.xray)
        self.panel.say(_("Made {name}.").format(name=node.GetName()))

    def _report(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder for the report"))
        if folder:
            p = self.parameters
            page, _data = self.logic.saveReport(p.ctVolume, p.xray, folder, p.xray.GetNodeReference(TABLE_ROLE))
            self.panel.say(_("Wrote {path}.").format(path=page))

    def _landmarks(self) -> None:
        p = self.parameters
        xray_points = p.xrayLandmarks if _has_points(p.xrayLandmarks) else None
        name = _("{name} landmark errors").format(name=p.xray.GetName())
        table = referenced(p.xray, TABLE_ROLE, "vtkMRMLTableNode", name)
        errors = self.logic.landmarkErrors(p.ctLandmarks, p.xray, xray_points, p.referencePose, table)
        texts = [_("{n} landmarks.").format(n=len(errors.labels))]
        if xray_points is not None:
            mean, rms, largest = LandmarkErrors.summary(errors.patient_mm)
            text = _("In the patient: mean {mean:.2f} mm, RMS {rms:.2f} mm, maximum {max:.2f} mm; on the detector ")
            text += _("RMS {px:.1f} px.")
            pixels = LandmarkErrors.summary(errors.pixels)[1]
            texts.append(text.format(mean=mean, rms=rms, max=largest, px=pixels))
        if p.referencePose is not None:
            mean, _rms, largest = LandmarkErrors.summary(errors.tre_mm)
            text = _("Target registration error (TRE) against {name}: mean {mean:.2f} mm, maximum {max:.2f} mm.")
            texts.append(text.format(name=p.referencePose.GetName(), mean=mean, max=largest))
        table.SetDescription(" ".join(texts))  # saved with the scene


def _has_points(node) -> bool:
    return node is not None and node.GetNumberOfDefinedControlPoints() > 0
