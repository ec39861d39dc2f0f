"""The Slicer module: thin on purpose. The panel and the scene are in ``DiffPoseRegistrationLib.app``."""

from __future__ import annotations

import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from slicer.util import VTKObservationMixin

from DiffPoseRegistrationLib.app import sample_data
from DiffPoseRegistrationLib.app.environment import missing_packages
from DiffPoseRegistrationLib.app.landmarks import landmark_errors
from DiffPoseRegistrationLib.app.logic import RegistrationLogic
from DiffPoseRegistrationLib.app.panel.panel import Panel
from DiffPoseRegistrationLib.app.parameters import DiffPoseRegistrationParameterNode
from DiffPoseRegistrationLib.errors import InputError


class DiffPoseRegistration(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DiffPose Registration")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["DiffPose contributors"]
        self.parent.helpText = _(
            "Finds where an X-ray was taken from, relative to a CT of the same patient (2D/3D registration). "
            "A small network is prepared for the patient on X-rays simulated from the CT; its estimate of the pose "
            "is refined until the simulated X-ray agrees with the real one. The result is a linear transform that "
            "carries the X-ray, its source and its detector into the CT's space. See the "
            '<a href="https://github.com/DiffPose/SlicerDiffPose">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "An independent implementation of the method of V. Gopalakrishnan, N. Dey and P. Golland, "
            '"Intraoperative 2D/3D Image Registration via Differentiable X-ray Rendering", CVPR 2024 (DiffPose), '
            "and of differentiable rendering as in V. Gopalakrishnan and P. Golland, "
            '"Fast Auto-Differentiable Digitally Reconstructed Radiographs for Solving Inverse Problems in '
            'Intraoperative Imaging", CLIP 2022 (DiffDRR). Please cite both. Not made by those authors.'
        )
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self):
        """Offer the generated case in the Sample Data module."""
        sample_data.register(
            self.resourcePath("Icons/DiffPoseRegistration.png"), self.resourcePath("SampleData/DiffPosePhantom.phantom")
        )


class DiffPoseRegistrationFileReader(sample_data.PhantomReader):
    """Slicer finds a module's reader by this name."""


class DiffPoseRegistrationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Creates the panel and passes on what Slicer tells it."""

    def __init__(self, parent=None):
        self.logic = None
        self._panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = DiffPoseRegistrationLogic()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DiffPoseRegistration.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self._panel = Panel(self.ui, self.logic, self.logic.getParameterNode)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        slicer.app.connect("aboutToQuit()", self.onAboutToQuit)
        self._panel.connect_scene()

    def onAboutToQuit(self):
        self._panel.close()

    def cleanup(self):
        self.removeObservers()
        if self._panel is not None:  # else the set-up has failed, which is what is to be heard of
            slicer.app.disconnect("aboutToQuit()", self.onAboutToQuit)
            self._panel.close()

    def enter(self):
        self._panel.connect_scene()

    def exit(self):
        # The panel keeps following: a registration may go on while another module is looked at.
        pass

    def onSceneStartClose(self, caller, event):
        self.logic.cancel()
        self._panel.disconnect_scene()

    def onSceneEndClose(self, caller, event):
        self._panel.connect_scene()

    def onSceneEndImport(self, caller, event):
        self._panel.disconnect_scene()
        self._panel.connect_scene()

    def onReload(self):
        # Slicer reloads this file alone; without this, the library's files would stay the old ones.
        for name in [n for n in sys.modules if n.split(".")[0] == "DiffPoseRegistrationLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class DiffPoseRegistrationLogic(RegistrationLogic, ScriptedLoadableModuleLogic):
    """The module for scripts and the Python console; see ``DiffPoseRegistrationLib.app.logic``."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        RegistrationLogic.__init__(self)

    def getParameterNode(self) -> DiffPoseRegistrationParameterNode:
        return DiffPoseRegistrationParameterNode(super().getParameterNode())


class DiffPoseRegistrationTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (Reload & Test, ctest) on a generated case."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.logic = DiffPoseRegistrationLogic()

    def tearDown(self):
        self.logic.close()

    def runTest(self):
        for name in ("test_inputsAreStoredInTheScene", "test_simulatedXRayAtThePose", "test_registration"):
            self.setUp()
            try:
                self.delayDisplay(name)
                getattr(self, name)()
            finally:
                self.tearDown()

    def test_inputsAreStoredInTheScene(self):
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        self.logic.getParameterNode().ctVolume = volume
        self.assertEqual(self.logic.getParameterNode().ctVolume.GetID(), volume.GetID())

    def test_simulatedXRayAtThePose(self):
        ct, xray, _landmarks, reference = sample_data.make_phantom()
        drr = self.logic.drr(ct, xray, slicer.util.arrayFromTransformMatrix(reference))
        self.assertGreater(slicer.util.arrayFromVolume(drr).std(), 0)
        with self.assertRaises(InputError):
            self.logic.drr(ct, xray)  # it has no pose yet

    def test_registration(self):
        if missing_packages():
            self.skipTest("the worker's packages are not installed")
        ct, xray, landmarks, reference = sample_data.make_phantom()
        true = slicer.util.arrayFromTransformMatrix(reference)
        start = true.copy()
        start[:3, 3] += (8, 6, -6)
        self.logic.register(ct, xray, initial=start)
        errors = landmark_errors(landmarks, xray, reference=reference)
        self.assertLess(errors.tre_mm.mean(), 1.0)
