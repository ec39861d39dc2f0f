"""Slicer's own 2D and 3D views without its application: real displayable managers, rendered offscreen."""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk

_IN_3D = (
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)
_IN_2D = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)


class Views:
    """One slice view ("Red") and one 3D view on ``slicer.mrmlScene``."""

    def __init__(self, application_logic, size=(512, 512)):
        scene = slicer.mrmlScene
        self.size = size
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        application_logic.SetSliceLogics(vtk.vtkCollection())
        application_logic.SetViewLogics(vtk.vtkCollection())
        factories = (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
            slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
        )
        for factory in factories:
            factory.SetMRMLApplicationLogic(application_logic)
        self.logics = {}
        for cls, name in (
            (slicer.vtkSlicerMarkupsLogic, "Markups"),
            (slicer.vtkSlicerVolumeRenderingLogic, "VolumeRendering"),
            (slicer.vtkSlicerVolumesLogic, "Volumes"),
            (slicer.vtkSlicerSubjectHierarchyModuleLogic, "SubjectHierarchy"),
        ):
            logic = cls()
            logic.SetMRMLScene(scene)
            logic.SetMRMLApplicationLogic(application_logic)
            application_logic.SetModuleLogic(name, logic)
            self.logics[name] = logic
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

        self._three_d = _View(factories[0], _IN_3D, size)
        view_logic = slicer.vtkMRMLViewLogic()
        view_logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetViewLogics().AddItem(view_logic)
        view_logic.SetMRMLScene(scene)
        self.view_node = view_logic.AddViewNode("1")
        self._three_d.group.SetMRMLDisplayableNode(self.view_node)
        self.view_node.SetBoxVisible(False)
        self.view_node.SetAxisLabelsVisible(False)
        self.camera_node = scene.GetFirstNodeByClass("vtkMRMLCameraNode")

        self.slice_logic = slicer.vtkMRMLSliceLogic()
        self.slice_logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self.slice_logic)
        self.slice_logic.SetMRMLScene(scene)
        self.slice_node = self.slice_logic.AddSliceNode("Red")
        self.slice_node.SetDimensions(*size, 1)
        self.composite = self.slice_logic.GetSliceCompositeNode()
        self._view_logic = view_logic

    def slice_picture(self, path: Path):
        """The blended slice as the view shows it, written as PNG; returns the array [row, column, RGB]."""
        from vtk.util import numpy_support

        self.slice_logic.UpdatePipeline()
        self.slice_logic.UpdateImageData()
        extract = vtk.vtkImageExtractComponents()
        extract.SetInputConnection(self.slice_logic.GetImageDataConnection())
        extract.SetComponents(0, 1, 2)
        extract.Update()
        _write(extract, path)
        image = extract.GetOutput()
        columns, rows, _one = image.GetDimensions()
        return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1]

    def three_d_picture(self, path: Path):
        """The 3D view written as PNG; returns the array [row, column, RGB]."""
        from vtk.util import numpy_support

        view = self._three_d
        view.renderer.ResetCameraClippingRange()
        view.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(view.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        _write(grab, path)
        image = grab.GetOutput()
        columns, rows, _one = image.GetDimensions()
        return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1]

    def show_volume_rendering(self, volume):
        """Show a CT's bones by Slicer's volume rendering."""
        display = self.logics["VolumeRendering"].CreateDefaultVolumeRenderingNodes(volume)
        opacity, colour = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
        for value, alpha in ((-1000, 0), (150, 0), (400, 0.5), (1500, 0.9)):
            opacity.AddPoint(value, alpha)
        for value, rgb in ((-1000, (0, 0, 0)), (150, (0.7, 0.5, 0.4)), (600, (0.95, 0.9, 0.8))):
            colour.AddRGBPoint(value, *rgb)
        properties = display.GetVolumePropertyNode().GetVolumeProperty()
        properties.SetScalarOpacity(opacity)
        properties.SetColor(colour)
        display.SetVisibility(True)


class _View:
    def __init__(self, factory, managers, size):
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.group.Initialize(factory, self.renderer)


def _write(source, path: Path) -> None:
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(source.GetOutputPort())
    writer.Write()
