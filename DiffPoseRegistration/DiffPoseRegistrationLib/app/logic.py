"""What the module can do, for the panel and for the Python console alike.

Console::

    logic = slicer.util.getModuleLogic("DiffPoseRegistration")
    xray = logic.simulateXRay(ct, view="AP")
    logic.prepare(ct, xray, minutes=5)
    outcome = logic.register(ct, xray)

Each of them blocks until it is done (Slicer stays alive) unless ``wait=False``.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange, view_pose
from ..imaging.values import CTVolume
from ..jobs import events
from ..jobs.launcher import State
from . import job_files, landmarks, overlay, xray_node
from .drr import QuickDRR
from .job_control import JobControl
from .nodes import add_node, array_to_matrix, ct_from_node
from .report import save_report
from .signal import Signal

_log = logging.getLogger(__name__)

# As the headless tool assumes: where the patient usually is between source and detector.
SOURCE_TO_ISOCENTRE_SHARE = 0.75
DRR_SIDE_PX = 256
SIMULATION_CAMERA = Camera(1020.0, 512, 512, (0.6, 0.6), viewed_from="source")
OUTCOME_ATTRIBUTE = "DiffPose.Outcome"


class RegistrationLogic:
    """Prepare, register, simulate, judge.

    jobs
        The job under way, see :class:`~.job_control.JobControl`.
    outcome
        What the last registration found.
    result
        What the last task made: a volume node, the path of a model, or an outcome; None if it failed.
    problem
        Why the last task ended without a result, in a sentence.
    done()
        Signal: a task has ended, its result (if any) is in the scene.
    """

    def __init__(self, jobs: JobControl | None = None) -> None:
        self.jobs = jobs or JobControl()
        self.done = Signal()
        self.problem = ""
        self.jobs.stateChanged.connect(self._on_state)
        self.jobs.eventHappened.connect(self._on_event)
        self.outcome: job_files.RegistrationOutcome | None = None
        self.modelPath = ""
        self._finish: Callable[[Path], Any] | None = None
        self.result: Any = None
        self._xray_id = ""
        self._ct_file: tuple[tuple, Path] | None = None
        self._drr_cache: tuple[tuple, QuickDRR] | None = None

    def close(self) -> None:
        """End what runs; the logic is not used afterwards."""
        self.jobs.close()

    # -- tasks ---------------------------------------------------------------------------------------

    def simulateXRay(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        camera: Camera | None = None,
        view: str = "AP",
        pose: np.ndarray | None = None,
        sourceToIsocentre: float = 0.0,
        rotationDeg: Sequence[float] = (10.0, 10.0, 5.0),
        translationMm: Sequence[float] = (15.0, 30.0, 15.0),
        seed: int = 0,
        wait: bool = True,
    ) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Make an X-ray of ``ct`` (with noise and blur) at ``pose`` (camera to world, RAS, mm), or somewhere about a
        view: drawn by ``seed`` within the half ranges (as of :meth:`prepare`).

        Returns the X-ray's volume node with its geometry; where it was made is kept as its reference pose
        (:func:`.xray_node.reference_of`), and its own pose is to be found. None with ``wait=False``.

        Raises
        ------
        InputError
            If the volume is no CT or the job fails.
        """
        volume, state = ct_from_node(ct), _state_of(ct)
        camera = camera or SIMULATION_CAMERA
        if pose is None:
            centre = self.viewPose(ct, camera, view, sourceToIsocentre)
            about = PoseRange(centre, volume.centre_ras, tuple(rotationDeg), tuple(translationMm))
            pose = about.sample(np.random.default_rng(seed), 1)[0]
        pose = rigid.validated_pose(pose)

        def make_inputs(folder: Path):
            inputs = {"ct": self._write_ct(volume, state, folder / "ct.nrrd")}
            return inputs, {"camera": camera.to_json(), "camera_to_world_ras_mm": pose.tolist(), "seed": seed}

        def finish(result: Path) -> slicer.vtkMRMLScalarVolumeNode:
            name = _("Simulated X-ray {view}").format(view=view)
            node = self._volume_from_pixels(job_files.read_image(result / "xray.nrrd"), name)
            xray_node.set_camera(node, camera, dict.fromkeys(_CAMERA_KEYS, _("simulated")))
            xray_node.set_polarity(node, "bright-is-air")
            xray_node.set_reference(node, pose)
            return node

        return self._run("simulate", make_inputs, finish, wait)

    def prepare(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        view: str = "AP",
        sourceToIsocentre: float = 0.0,
        rotationDeg: Sequence[float] = (30.0, 30.0, 30.0),
        translationMm: Sequence[float] = (60.0, 120.0, 60.0),
        minutes: float = 5.0,
        device: str = "auto",
        seed: int = 0,
        wait: bool = True,
    ) -> str | None:
        """Train the model that finds the first pose of X-rays of ``ct`` taken by the machine of ``xray``.

        ``rotationDeg`` (primary, secondary, roll) and ``translationMm`` (across, along the beam, up-down) are
        half ranges about the view. Returns the model's path; None with ``wait=False``.

        Raises
        ------
        InputError
            If CT or X-ray do not serve, or the job fails.
        """
        volume, state, camera = ct_from_node(ct), _state_of(ct), self._camera(xray)
        centre = self.viewPose(ct, camera, view, sourceToIsocentre)
        PoseRange(centre, volume.centre_ras, tuple(rotationDeg), tuple(translationMm))  # refuses what makes no sense
        if not 0 < minutes <= 1440:
            raise InputError(_("The training time is {m:g} minutes; give 0.1 to 1440.").format(m=minutes))
        settings = {
            "camera": camera.to_json(),
            "centre_camera_to_world_ras_mm": centre.tolist(),
            "rotation_deg": [float(v) for v in rotationDeg],
            "translation_mm": [float(v) for v in translationMm],
            "minutes": float(minutes),
            "device": device,
            "seed": seed,
        }

        def make_inputs(folder: Path):
            return {"ct": self._write_ct(volume, state, folder / "ct.nrrd")}, settings

        def finish(result: Path) -> str:
            self.modelPath = str(result / "model.safetensors")
            return self.modelPath

        return self._run("prepare", make_inputs, finish, wait)

    def register(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        model: str | None = None,
        initial: np.ndarray | None = None,
        device: str = "auto",
        wait: bool = True,
    ) -> job_files.RegistrationOutcome | None:
        """Find the pose of ``xray``; it is written into the X-ray's pose transform.

        Starts from ``initial`` (camera to world [4, 4]) if given, else from ``model`` (a file; default: the
        one prepared last). Returns the outcome; None with ``wait=False``.

        Raises
        ------
        InputError
            If CT, X-ray or start do not serve, or the job fails.
        """
        volume, state, camera = ct_from_node(ct), _state_of(ct), self._camera(xray)
        image = np.array(xray_node.pixels(xray))
        model = model or self.modelPath
        if initial is None and not (model and Path(model).is_file()):
            raise InputError(_("There is no model and no initial pose; prepare a model or give a pose."))
        settings: dict[str, Any] = {
            "camera": camera.to_json(),
            "polarity": xray_node.polarity_of(xray),
            "device": device,
            "pictures": False,  # the views show the overlay
        }
        if initial is not None:
            settings["initial_camera_to_world_ras_mm"] = rigid.validated_pose(initial).tolist()

        def make_inputs(folder: Path):
            inputs = {
                "ct": self._write_ct(volume, state, folder / "ct.nrrd"),
                "xray": job_files.write_image(image, folder / "xray.nrrd"),
                "model": Path(model) if initial is None else None,
            }
            return inputs, settings

        def finish(result: Path) -> job_files.RegistrationOutcome:
            outcome = job_files.RegistrationOutcome.read(result)
            if slicer.mrmlScene.GetNodeByID(self._xray_id) is not xray:
                raise InputError(_("The X-ray is no longer in the scene; its result is in {f}.").format(f=result))
            xray_node.set_pose(xray, outcome.camera_to_world, ct)
            xray.SetAttribute(OUTCOME_ATTRIBUTE, json.dumps(outcome.data))
            self.outcome = outcome
            if ct.GetScene() is not None:
                self.drr(ct, xray)
            return outcome

        self._xray_id = xray.GetID()
        return self._run("register", make_inputs, finish, wait)

    # -- at once -------------------------------------------------------------------------------------

    def drr(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        pose: np.ndarray | None = None,
        maxSide: int = DRR_SIDE_PX,
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """Simulate the X-ray at its pose (or at ``pose``) into its DRR volume, quickly; returns that node.

        Raises
        ------
        InputError
            If the X-ray has no geometry or no pose.
        """
        camera = self._camera(xray)
        pose = xray_node.pose_of(xray) if pose is None else rigid.validated_pose(pose)
        if pose is None:
            raise InputError(_("{name} has no pose yet; register it or place it.").format(name=xray.GetName()))
        return overlay.update_drr(xray, self._quick_drr(ct).render(camera, pose, maxSide))

    def landmarkErrors(
        self,
        ctPoints: slicer.vtkMRMLMarkupsNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        xrayPoints: slicer.vtkMRMLMarkupsNode | None = None,
        reference: slicer.vtkMRMLTransformNode | None = None,
        table: slicer.vtkMRMLTableNode | None = None,
    ) -> landmarks.LandmarkErrors:
        """Errors of landmarks in the CT against the same landmarks on the X-ray (``xrayPoints``), and target
        registration errors against a ``reference`` pose; also written into a table and shown on the X-ray.

        Raises
        ------
        InputError
            If there is nothing to compare with, a list is empty, or the X-ray has no pose.
        """
        errors = landmarks.landmark_errors(ctPoints, xray, xrayPoints, reference)
        landmarks.fill_table(errors, table)
        landmarks.show_errors(xray, errors)
        return errors

    def saveReport(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        folder: str | Path,
        table: slicer.vtkMRMLTableNode | None = None,
    ) -> tuple[Path, Path]:
        """Write the X-ray's pose, verdict, pictures and landmark errors as HTML and JSON; returns the paths.

        Raises
        ------
        InputError
            If there is no pose, a report is there already, or the folder cannot be written.
        """
        outcome = json.loads(xray.GetAttribute(OUTCOME_ATTRIBUTE) or "null")
        return save_report(ct, xray, outcome, table, Path(folder))

    def viewPose(
        self, ct: slicer.vtkMRMLScalarVolumeNode, camera: Camera, view: str, sourceToIsocentre: float = 0.0
    ) -> np.ndarray:
        """Pose [4, 4] of a named view with its isocentre in the middle of the CT."""
        bounds = np.zeros(6)
        ct.GetRASBounds(bounds)
        distance = sourceToIsocentre or SOURCE_TO_ISOCENTRE_SHARE * camera.source_to_detector_mm
        if not 0 < distance < camera.source_to_detector_mm:
            raise InputError(
                _("The source-isocentre distance is {a:g} mm, but the detector is {b:g} mm away; give less.").format(
                    a=distance, b=camera.source_to_detector_mm
                )
            )
        return view_pose(view, bounds.reshape(3, 2).mean(axis=1), distance)

    def placeAtView(
        self, ct: slicer.vtkMRMLScalarVolumeNode, xray: slicer.vtkMRMLScalarVolumeNode, view: str, sourceToIsocentre=0.0
    ) -> slicer.vtkMRMLTransformNode:
        """Give the X-ray the pose of a named view; returns its pose node."""
        return xray_node.set_pose(xray, self.viewPose(ct, self._camera(xray), view, sourceToIsocentre), ct)

    def inverseTransform(self, xray: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTransformNode:
        """A new transform that carries the CT into the C-arm's space; its name says so."""
        pose = xray_node.pose_of(xray)
        if pose is None:
            raise InputError(_("{name} has no pose yet; register it or place it.").format(name=xray.GetName()))
        node = xray_node.add_pose_node(_("CT to C-arm of {name}").format(name=xray.GetName()))
        slicer.util.updateTransformMatrixFromArray(node, rigid.inverse(pose))
        return node

    # -- inside --------------------------------------------------------------------------------------

    def _camera(self, xray) -> Camera:
        xray_node.require_xray(xray)
        return xray_node.require_camera(xray)

    def _write_ct(self, volume: CTVolume, state: tuple, path: Path) -> Path:
        """The CT as a job's own input file: while it is the same as before a hard link to the file before, which
        neither takes the disk twice nor makes a warm worker read it again."""
        state = (*state, volume.ijk_to_ras.tobytes())
        try:
            if self._ct_file is None or self._ct_file[0] != state:
                raise FileNotFoundError
            os.link(self._ct_file[1], path)
        except OSError:  # another CT, the job before was removed, or the file system knows no links
            job_files.write_ct(volume, path)
        self._ct_file = (state, path)
        return path

    def _quick_drr(self, node) -> QuickDRR:
        key = _state_of(node)
        if self._drr_cache is None or self._drr_cache[0] != key:
            volume: CTVolume = ct_from_node(node)
            self._drr_cache = (key, QuickDRR(volume))
        return self._drr_cache[1]

    def _volume_from_pixels(self, pixels: np.ndarray, name: str):
        node = add_node("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, pixels[None])
        node.SetIJKToRASMatrix(array_to_matrix(np.diag([-1.0, -1.0, 1.0, 1.0])))
        return node

    def _run(self, kind: str, make_inputs, finish, wait: bool) -> Any:
        self._finish, self.result, self.problem = finish, None, ""
        self.jobs.start(kind, make_inputs)
        if not wait:
            return None
        self.jobs.wait()
        if self.problem:
            raise InputError(self.problem)
        return self.result

    def _on_event(self, event: events.Event) -> None:
        # The pose while it is refined: the X-ray moves and the picture follows.
        if self.jobs.kind == "register" and isinstance(event, events.Progress):
            pose = event.metrics.get("camera_to_world_ras_mm")
            node = slicer.mrmlScene.GetNodeByID(self._xray_id)
            if pose is not None and node is not None:
                xray_node.set_pose(node, np.array(pose))

    def _on_state(self, state: State) -> None:
        if state.is_busy or self._finish is None:
            return
        finish, self._finish = self._finish, None
        if state is State.FINISHED:
            try:
                self.result = finish(self.jobs.folder.result)
            except InputError as error:
                self.problem = str(error)
            except Exception as error:
                _log.exception("The result of a job could not be brought into the scene.")
                self.problem = _("The result in {folder} could not be read ({error}).").format(
                    folder=self.jobs.folder.result, error=error
                )
        elif state is State.FAILED:
            self.problem = self.jobs.problem
        else:
            self.problem = _("Cancelled.")
        self.done.emit()


def _state_of(ct) -> tuple:
    """What changes when a volume node or its place in the world does."""
    parent = ct.GetParentTransformNode()
    return ct.GetID(), ct.GetImageData().GetMTime(), ct.GetMTime(), parent and parent.GetMTime()


_CAMERA_KEYS = ("source_to_detector_mm", "pixel_spacing_mm", "principal_point_px", "viewed_from")
