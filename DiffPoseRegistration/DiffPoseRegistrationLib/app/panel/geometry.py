"""Section 2: the geometry of the selected X-ray, with where each number came from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ...errors import InputError
from ...geometry.camera import VIEWED_FROM, Camera
from .. import dicom_geometry, turning, xray_facts, xray_node
from ..readiness import why_no_xray
from .section import Section, set_enabled

_SPIN_BOXES = (
    "sourceDetectorSpinBox",
    "rowSpacingSpinBox",
    "columnSpacingSpinBox",
    "principalColumnSpinBox",
    "principalRowSpinBox",
)
_ANGLE_BOXES = ("primaryAngleSpinBox", "secondaryAngleSpinBox")
_CHOICES = ("viewedFromComboBox", "polarityComboBox", "intensityComboBox")
_FILE_BUTTONS = ("readDicomButton", "readCameraButton")
_TURN_BUTTONS = ("turnButton", "mirrorButton")


class GeometrySection(Section):
    """Fields for the camera; what is typed wins over what was read."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        for text in (_("the source"), _("the detector")):
            self.ui.viewedFromComboBox.addItem(text)
        for text in (_("Automatic"), _("Air (bone is dark)"), _("Bone (air is dark)")):
            self.ui.polarityComboBox.addItem(text)
        for text in (_("Automatic"), _("Radiation (no logarithm taken)"), _("Logarithm, or made for display")):
            self.ui.intensityComboBox.addItem(text)
        self._showing = False
        self._typed: tuple | None = None
        self._problem = ""  # with what was typed last
        self._xray_id = ""
        for name in _SPIN_BOXES:
            getattr(self.ui, name).keyboardTracking = False
            getattr(self.ui, name).connect("valueChanged(double)", self._on_typed)
        self.ui.viewedFromComboBox.connect("currentIndexChanged(int)", self._on_typed)
        for name in _ANGLE_BOXES:
            getattr(self.ui, name).keyboardTracking = False
            getattr(self.ui, name).connect("valueChanged(double)", self._on_angles)
        self.ui.polarityComboBox.connect("currentIndexChanged(int)", self.guarded(self._on_polarity))
        self.ui.intensityComboBox.connect("currentIndexChanged(int)", self.guarded(self._on_intensity))
        self.ui.turnButton.connect("clicked()", self.guarded(self._turn))
        self.ui.mirrorButton.connect("clicked()", self.guarded(self._mirror))
        self.ui.readDicomButton.connect("clicked()", self.guarded(self._read_dicom))
        self.ui.readCameraButton.connect("clicked()", self.guarded(self._read_camera))
        self._tips = {n: getattr(self.ui, n).toolTip for n in (*_FILE_BUTTONS, *_TURN_BUTTONS)}

    def update(self) -> None:
        xray = self.parameters.xray
        reason = ""
        try:
            xray_node.require_xray(xray)
        except InputError as error:
            reason = str(error)
        for name in (*_SPIN_BOXES, *_ANGLE_BOXES, *_CHOICES):
            getattr(self.ui, name).enabled = not reason
        # A pose that a running job tells is of the picture as it was.
        for names, why in ((_FILE_BUTTONS, reason), (_TURN_BUTTONS, reason or self.panel.why_busy())):
            for name in names:
                set_enabled(getattr(self.ui, name), why, self._tips[name])
        if reason:
            self._show_nothing()
            self._say(reason)
            return
        camera = xray_node.camera_of(xray)
        self._showing = True
        try:
            if camera is not None:
                row, column = camera.pixel_spacing_mm
                values = (camera.source_to_detector_mm, row, column, *camera.principal_point_px)
                self.ui.viewedFromComboBox.currentIndex = VIEWED_FROM.index(camera.viewed_from)
            elif self._typed is not None and self._typed[0] == xray.GetID():
                values = self._typed[1]
            else:
                rows, columns = xray_node.pixels(xray).shape
                values = (0.0, 0.0, 0.0, (columns - 1) / 2, (rows - 1) / 2)
            for name, value in zip(_SPIN_BOXES, values):
                getattr(self.ui, name).value = value
            angles = xray_facts.angles_of(xray)
            for n, name in enumerate(_ANGLE_BOXES):
                self._box(name).value = self._box(name).minimum if angles is None else angles[n]
            self.ui.polarityComboBox.currentIndex = xray_facts.POLARITIES.index(xray_facts.polarity_of(xray))
            self.ui.intensityComboBox.currentIndex = xray_facts.INTENSITIES.index(xray_facts.intensity_of(xray))
        finally:
            self._showing = False
        provenance = xray_node.provenance_of(xray)
        if xray.GetID() != self._xray_id:
            self._xray_id, self._problem = xray.GetID(), ""
        if self._problem:
            self._say(self._problem)
        elif camera is None:
            self._say(why_no_xray(self.parameters))
        elif provenance:
            origins = sorted(set(provenance.values()))
            self._say(_("Geometry from: {origins}.").format(origins="; ".join(origins)))
        else:
            self._say("")

    def _say(self, text: str) -> None:
        self.ui.geometryLabel.text = text
        self.ui.geometryLabel.visible = bool(text)

    def _show_nothing(self) -> None:
        self._showing = True
        try:
            for name in _SPIN_BOXES:
                self._box(name).value = 0.0
            for name in _ANGLE_BOXES:
                self._box(name).value = self._box(name).minimum
            for name in _CHOICES:
                self._box(name).currentIndex = 0
        finally:
            self._showing = False

    def _on_typed(self, _value) -> None:
        if self._showing or self.parameters is None:
            return
        # Said in the label, not in a box, which would interrupt the typing.
        self._problem = ""
        try:
            self._take_typed()
        except InputError as error:
            self._problem = str(error)
        self.panel.update()

    def _take_typed(self) -> None:
        xray = self.parameters.xray
        values = tuple(getattr(self.ui, name).value for name in _SPIN_BOXES)
        self._typed = (xray.GetID(), values)
        distance, row, column, c0, r0 = values
        if not (distance and row and column):
            return  # still being typed; the label says what is missing
        rows, columns = xray_node.pixels(xray).shape
        viewed_from = VIEWED_FROM[self.ui.viewedFromComboBox.currentIndex]
        camera = Camera(distance, rows, columns, (row, column), (c0, r0), viewed_from)
        before = xray_node.camera_of(xray)
        # The spin boxes round; what was read stays exact until a person types another value.
        if before is not None and _is_close(before, camera):
            camera = replace(before, viewed_from=viewed_from)
            if camera == before:
                return
        xray_node.set_camera(xray, camera, dict.fromkeys(("source_to_detector_mm",), _("typed")))
        self.panel.geometry_changed()

    def _on_angles(self, _value) -> None:
        if self._showing or self.parameters is None or self.parameters.xray is None:
            return
        known = [box.value > box.minimum for box in map(self._box, _ANGLE_BOXES)]  # below is "not known"
        before = xray_facts.angles_of(self.parameters.xray)
        angles = None
        if all(known) or (any(known) and before is None):  # the first that is typed makes the other 0
            primary, secondary = (
                self._box(name).value if is_known else 0.0 for name, is_known in zip(_ANGLE_BOXES, known)
            )
            angles = primary, secondary
        xray_facts.set_angles(self.parameters.xray, angles)
        self.panel.update()

    def _box(self, name: str):
        return getattr(self.ui, name)

    def _on_polarity(self) -> None:
        if not self._showing and self.parameters.xray is not None:
            xray_facts.set_polarity(self.parameters.xray, xray_facts.POLARITIES[self.ui.polarityComboBox.currentIndex])
            self.panel.geometry_changed()

    def _on_intensity(self) -> None:
        if not self._showing and self.parameters.xray is not None:
            chosen = xray_facts.INTENSITIES[self.ui.intensityComboBox.currentIndex]
            xray_facts.set_intensity(self.parameters.xray, chosen)
            self.panel.geometry_changed()

    def _turn(self) -> None:
        turning.turn_clockwise(self.parameters.xray)
        self._typed = None  # of the picture as it was
        self.panel.geometry_changed()

    def _mirror(self) -> None:
        turning.mirror(self.parameters.xray)
        self._typed = None
        self.panel.geometry_changed()

    def _read_dicom(self) -> None:
        xray = self.parameters.xray
        path = dicom_geometry.file_of(xray)
        if path is None:
            chosen = qt.QFileDialog.getOpenFileName(
                slicer.util.mainWindow(), _("DICOM file of {name}").format(name=xray.GetName()), "", "*"
            )
            if not chosen:
                return
            path = Path(chosen)
        camera, provenance = dicom_geometry.read_geometry(path, *turning.size_in_file(xray))
        xray_node.set_camera(xray, turning.as_turned(xray, camera), provenance)
        self.panel.geometry_changed()

    def _read_camera(self) -> None:
        # These bring SimpleITK, which the panel need not wait for.
        from ...imaging.camera_file import read_camera
        from ...imaging.picture_grid import PictureGrid

        kinds = _("JSON, MayaCam 2.0 or plastimatch") + " (*.json *.txt)"
        chosen = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("X-ray geometry"), "", kinds)
        if chosen:
            path, xray = Path(chosen), self.parameters.xray
            camera = turning.as_turned(xray, read_camera(path, PictureGrid(*turning.size_in_file(xray))))
            xray_node.set_camera(xray, camera, {"source_to_detector_mm": path.name})
            self.panel.geometry_changed()


def _is_close(a: Camera, b: Camera) -> bool:
    def numbers(camera: Camera) -> tuple[float, ...]:
        return (camera.source_to_detector_mm, *camera.pixel_spacing_mm, *camera.principal_point_px)

    tolerances = (0.006, 0.00006, 0.00006, 0.006, 0.006)
    return all(abs(x - y) < t for x, y, t in zip(numbers(a), numbers(b), tolerances))
