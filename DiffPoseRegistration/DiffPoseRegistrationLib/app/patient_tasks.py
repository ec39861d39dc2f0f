"""The tasks that take a while: simulate, prepare, register, explain. Each is one job in the background, or several."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..geometry.pose_range import PoseRange
from ..jobs import events
from ..jobs.folder import JobFolder
from . import environment, job_files, models, overlay, plots, starts, steps, xray_facts, xray_node
from .ct_node import PatientCache, PatientCT
from .explanation import XRayExplanation
from .frames import frames_of, require_frames
from .job_control import JobControl, MakeInputs
from .job_runner import JobRunner, Step
from .nodes import add_node
from .steps import Effort

DRR_SIDE_PX = 256
SIMULATION_CAMERA = Camera(1020.0, 512, 512, (0.6, 0.6), viewed_from="source")


class PatientTasks(JobRunner):
    """Brings X-rays, models and poses of a patient into the scene; see :mod:`.logic` for what all have in common.

    modelPath
        The model that was prepared last.
    outcome
        What the last registration found.
    """

    def __init__(self, jobs: JobControl | None = None) -> None:
        JobRunner.__init__(self, jobs)
        self.outcome: job_files.RegistrationOutcome | None = None
        self.modelPath = ""
        self._patients = PatientCache()

    def run(self, steps: Iterable[Step], count: int, wait: bool) -> Any:
        """As :meth:`.JobRunner.run`; raises InputError too if the worker's packages are missing."""
        environment.require_packages()
        return JobRunner.run(self, steps, count, wait)

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
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
        wait: bool = True,
    ) -> slicer.vtkMRMLScalarVolumeNode | None:
        """Make an X-ray of ``ct`` (with noise and blur) at ``pose``, or somewhere about a view: drawn by ``seed``
        within the half ranges (as of :meth:`prepare`).

        Returns the X-ray's volume node with its geometry; where it was made is kept as its reference pose
        (:func:`.xray_node.reference_of`), and its own pose is to be found. None with ``wait=False``.

        Raises
        ------
        InputError
            If the volume is no CT or the job fails.
        """
        patient = self._patients.of(ct, segmentation, segments)
        camera = camera or SIMULATION_CAMERA
        if pose is None:
            centre = starts.view_pose(patient, camera, view, sourceToIsocentre)
            about = PoseRange(centre, patient.centre_ras, three(rotationDeg), three(translationMm))
            pose = about.sample(np.random.default_rng(seed), 1)[0]
        pose = rigid.validated_pose(pose)
        settings = {
            "camera": camera.to_json(),
            "camera_to_world_ras_mm": pose.tolist(),
            "seed": seed,
            **patient.job_settings,
        }

        def finish(result: Path) -> slicer.vtkMRMLScalarVolumeNode:
            node = add_node("vtkMRMLScalarVolumeNode", _("Simulated X-ray {view}").format(view=view))
            slicer.util.updateVolumeFromArray(node, job_files.read_image(result / "xray.nrrd")[None])
            xray_node.set_camera(node, camera, dict.fromkeys(("source_to_detector_mm",), _("simulated")))
            xray_facts.set_polarity(node, "bright-is-air")
            xray_node.set_reference(node, pose)
            return node

        def make_inputs(folder: Path):
            return {"ct": patient.write(folder / "ct.nrrd")}, settings

        return self.run([Step("simulate", make_inputs, finish)], 1, wait)

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
        steps: int | None = None,
        centre: np.ndarray | None = None,
        pretrained: str | None = None,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
        wait: bool = True,
    ) -> str | None:
        """Train the model that finds the first pose of X-rays of ``ct`` taken by the machine of ``xray``.

        ``rotationDeg`` (primary, secondary, roll) and ``translationMm`` (across, along the beam, up-down) are
        half ranges about the view, or about the pose ``centre``. ``steps``, if given, are trained instead of
        ``minutes``: the same number gives the same model on a slow and on a fast machine. ``pretrained`` is the file of
        a network to begin with. Returns the model's path; None with ``wait=False``.

        Raises
        ------
        InputError
            If CT or X-ray do not serve, or the job fails.
        """
        patient, camera = self._patients.of(ct, segmentation, segments), camera_of_xray(xray)
        if centre is None:
            centre = starts.view_pose(patient, camera, view, sourceToIsocentre)
        # Refuses what makes no sense.
        around = PoseRange(centre, patient.centre_ras, three(rotationDeg), three(translationMm))
        if not 0 < minutes <= 1440:
            raise InputError(_("The training time is {m:g} minutes; give 0.1 to 1440.").format(m=minutes))
        settings = {
            "camera": camera.to_json(),
            "centre_camera_to_world_ras_mm": around.centre.tolist(),
            "rotation_deg": list(around.rotation_deg),
            "translation_mm": list(around.translation_mm),
            "minutes": float(minutes),
            "device": device,
            "seed": seed,
            **({} if steps is None else {"steps": steps}),
            **patient.job_settings,
        }
        network = Path(pretrained) if pretrained else None

        def make_inputs(folder: Path):
            return {"ct": patient.write(folder / "ct.nrrd"), "pretrained": network}, settings

        return self.run([self._preparation(ct, make_inputs)], 1, wait)

    def resumePreparation(self, ct: slicer.vtkMRMLScalarVolumeNode, wait: bool = True) -> str | None:
        """Go on with the preparation for ``ct`` that was cancelled, from its last checkpoint and with its settings.

        Returns the model's path; None with ``wait=False``.

        Raises
        ------
        InputError
            If there is none, or the job fails.
        """
        folder = models.unfinished(ct)
        if folder is None:
            raise InputError(_("No preparation for {name} was stopped; start one.").format(name=ct.GetName()))
        return self.run([self._preparation(ct, JobFolder(folder))], 1, wait)

    def _preparation(self, ct, make_inputs: MakeInputs | JobFolder) -> Step:
        def watch(event: events.Event) -> None:
            if ct.GetScene() is not slicer.mrmlScene:
                return
            if isinstance(event, events.Started):
                models.set_unfinished(ct, self.jobs.folder.path)
            if isinstance(event, events.Preview):
                curve = json.loads((self.jobs.folder.path / event.file).read_text(encoding="utf-8"))
                plots.show_training(ct, curve)

        def finish(result: Path) -> str:
            self.modelPath = str(result / "model.safetensors")
            if ct.GetScene() is slicer.mrmlScene:
                models.set_unfinished(ct, None)
                models.add_model(ct, Path(self.modelPath))
            return self.modelPath

        return Step("prepare", make_inputs, finish, watch, keeps_folder=True)

    def register(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        model: str | None = None,
        initial: np.ndarray | None = None,
        search: str = "standard",
        device: str = "auto",
        distanceTolerance: float = 0.0,
        principalPointTolerance: float = 0.0,
        seconds: float | None = None,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
        wait: bool = True,
    ) -> job_files.RegistrationOutcome | None:
        """Find the pose of ``xray``; it is written into the X-ray's pose transform.

        Starts from ``initial`` if given, else from ``model`` (a file; default: the one prepared last). ``search`` is
        "fast" (the start is good), "standard" or "thorough" (the start may even be on the wrong side). Where the
        X-ray's geometry may be off by ``distanceTolerance`` (mm, source to detector) and ``principalPointTolerance``
        (px), it is refined too. After ``seconds`` the best pose so far is taken. Of a sequence the frame that is shown
        is registered. Returns the outcome; None with ``wait=False``.

        Raises
        ------
        InputError
            If CT, X-ray or start do not serve, or the job fails.
        """
        effort = Effort(search, device, distanceTolerance, principalPointTolerance, seconds)
        patient, frame = self._patients.of(ct, segmentation, segments), _shown_frame(xray)

        def finish(found: list[job_files.RegistrationOutcome]) -> job_files.RegistrationOutcome:
            self._take(ct, patient, xray, found[0], frame)
            return found[0]

        step = self._registration(patient, [xray], None, model, initial, effort, finish, frame)
        return self.run([step], 1, wait)

    def registerTogether(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xrays: Sequence[slicer.vtkMRMLScalarVolumeNode],
        model: str | None = None,
        initial: np.ndarray | None = None,
        search: str = "standard",
        device: str = "auto",
        distanceTolerance: float = 0.0,
        principalPointTolerance: float = 0.0,
        seconds: float | None = None,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
        wait: bool = True,
    ) -> list[job_files.RegistrationOutcome] | None:
        """Find the poses of several X-rays at once that keep their places relative to one another.

        How they stand to one another is what their pose transforms say now (from a calibration, say); ``initial`` is
        the pose of the first, else ``model`` reads one from each. Returns the outcomes in order; None with
        ``wait=False``.

        Raises
        ------
        InputError
            As :meth:`register`; or if there are fewer than two X-rays, or one has no pose.
        """
        xrays = list(xrays)
        effort = Effort(search, device, distanceTolerance, principalPointTolerance, seconds)
        if len(xrays) < 2:
            raise InputError(_("Choose at least two X-rays to register together."))
        places = [starts.current_pose(xray) for xray in xrays]
        shown = [_shown_frame(xray) for xray in xrays]
        patient = self._patients.of(ct, segmentation, segments)

        def finish(found: list[job_files.RegistrationOutcome]) -> list[job_files.RegistrationOutcome]:
            for xray, outcome, frame in zip(xrays, found, shown):
                self._take(ct, patient, xray, outcome, frame)
            return found

        step = self._registration(patient, xrays, places, model, initial, effort, finish)
        return self.run([step], 1, wait)

    def registerFrames(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        model: str | None = None,
        initial: np.ndarray | None = None,
        search: str = "standard",
        device: str = "auto",
        seconds: float | None = None,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
        wait: bool = True,
    ) -> list[job_files.RegistrationOutcome] | None:
        """Register every frame of a sequence, each from the pose of the one before (the last that was not rejected).

        ``xray`` is the volume that shows the sequence. The poses become a sequence of transforms in the same browser.
        Returns the outcomes in order; None with ``wait=False``.

        Raises
        ------
        InputError
            As :meth:`register`, or if the X-ray is a single image.
        """
        frames = require_frames(xray)
        effort = Effort(search, device, seconds=seconds)  # one geometry for all frames
        patient = self._patients.of(ct, segmentation, segments)

        def each() -> Iterator[Step]:
            found: list[job_files.RegistrationOutcome] = []
            start = initial
            for number in range(len(frames)):

                def finish(outcomes: list, number: int = number) -> list[job_files.RegistrationOutcome]:
                    self._take(ct, patient, xray, outcomes[0], number)
                    found.extend(outcomes)
                    return found

                frames.show(number)
                yield self._registration(patient, [xray], None, model, start, effort, finish, number)
                if found[-1].verdict != "reject":
                    start = found[-1].camera_to_world

        return self.run(each(), len(frames), wait)

    def explainXRay(
        self,
        ct: slicer.vtkMRMLScalarVolumeNode,
        xray: slicer.vtkMRMLScalarVolumeNode,
        initial: np.ndarray | None = None,
        withinDeg: float = 10.0,
        withinMm: float = 20.0,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        segments: Sequence[str] | None = None,
        sheetPx: int = 1600,
        wait: bool = True,
    ) -> XRayExplanation | None:
        """Find out whether the picture was mirrored, turned or inverted, or its pixel spacing mistaken: each reading of
        it is compared with the CT near the rough pose ``initial`` (default: the X-ray's own), which may be off by
        ``withinDeg`` and ``withinMm``. Nothing is changed; :meth:`readSo` does that. Of a sequence the frame that is
        shown is looked at. Returns what explains the picture best, with pictures ``sheetPx`` wide; None with
        ``wait=False``.

        Raises
        ------
        InputError
            If CT, X-ray or pose do not serve, or the job fails.
        """
        patient = self._patients.of(ct, segmentation, segments)
        camera_of_xray(xray)
        pose = starts.current_pose(xray) if initial is None else rigid.validated_pose(initial)
        step = steps.explanation(patient, xray, initial=pose, within=(withinDeg, withinMm), sheet_px=sheetPx)
        return self.run([step], 1, wait)

    def _registration(
        self,
        patient: PatientCT,
        xrays: list[slicer.vtkMRMLScalarVolumeNode],
        places: list[np.ndarray] | None,
        model: str | None,
        initial: np.ndarray | None,
        effort: Effort,
        finish: Any,
        frame: int | None = None,
    ) -> Step:
        """The job for X-rays at their places, or for one X-ray or a frame of it."""
        for xray in xrays:
            camera_of_xray(xray)
        images = [xray_node.pixels(xray) for xray in xrays]
        if frame is not None:
            images = [require_frames(xrays[0]).pixels(frame)]

        similarity: list[float] = []

        def watch(event: events.Event) -> None:
            if not isinstance(event, events.Progress):
                return
            pose = event.metrics.get("camera_to_world_ras_mm")
            shown = [x.GetScene() is slicer.mrmlScene and _is_shown(x, frame) for x in xrays]
            if pose is not None:  # the X-rays move while they are registered, and the pictures follow
                for n, xray in enumerate(xrays):
                    if shown[n]:
                        now = np.array(pose)
                        xray_node.set_pose(xray, now @ rigid.inverse(places[0]) @ places[n] if places else now)
            if "similarity" in event.metrics and shown[0]:
                similarity.append(event.metrics["similarity"])
                plots.show_similarity(xrays[0], similarity)

        before = [xray_node.pose_of(xray) for xray in xrays]

        def undo() -> None:
            for xray, pose in zip(xrays, before):
                if xray.GetScene() is slicer.mrmlScene and _is_shown(xray, frame):
                    xray_node.restore_pose(xray, pose)

        return steps.registration(
            patient,
            xrays,
            images,
            model=model or self.modelPath,
            initial=None if initial is None else rigid.validated_pose(initial),
            effort=effort,
            finish=finish,
            watch=watch,
            undo=undo,
            camera_to_lab=places,
        )

    def _take(
        self, ct, patient: PatientCT, xray, outcome: job_files.RegistrationOutcome, frame: int | None = None
    ) -> None:
        """Bring what was found of an X-ray, or of its frame, into the scene."""
        if xray.GetScene() is not slicer.mrmlScene:
            raise InputError(
                _("The X-ray is no longer in the scene; what was found is in {folder}.").format(
                    folder=self.jobs.folder.result
                )
            )
        self.outcome = outcome
        if outcome.refined_camera is not None and outcome.verdict != "reject":
            refined = _("refined by the registration")
            xray_node.set_camera(xray, outcome.refined_camera, {"source_to_detector_mm": refined})
        transform = xray_node.pose_node_of(xray)
        if transform is None or _is_shown(xray, frame):
            fixed = ct if ct.GetScene() is slicer.mrmlScene else None
            transform = xray_node.set_pose(xray, outcome.camera_to_world, fixed, patient.centre_ras)
            drr = patient.drr.render(camera_of_xray(xray), outcome.camera_to_world, DRR_SIDE_PX)
            overlay.update_drr(xray, drr)
        if frame is not None:
            require_frames(xray).set_pose(frame, outcome.camera_to_world, transform)
        xray_facts.set_outcome(xray, outcome.data, frame)


def three(values: Sequence[float]) -> tuple[float, float, float]:
    """Three half ranges. Raises InputError if there are more or fewer."""
    if len(values) != 3:
        raise InputError(_("A range is three numbers, not {values}.").format(values=list(values)))
    return values[0], values[1], values[2]


def camera_of_xray(xray: object) -> Camera:
    """The camera of an X-ray node. Raises InputError if it is no X-ray or its geometry is not known."""
    xray_node.require_xray(xray)
    return xray_node.require_camera(xray)


def _shown_frame(xray) -> int | None:
    """Which frame an X-ray shows; None if it is a single image."""
    frames = frames_of(xray)
    return None if frames is None else frames.current


def _is_shown(xray, frame: int | None) -> bool:
    return frame is None or frame == _shown_frame(xray)
