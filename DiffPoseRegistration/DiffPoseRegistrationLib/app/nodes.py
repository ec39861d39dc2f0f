"""MRML nodes as arrays and back; what is wrong with a node is said as an InputError."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from ..errors import InputError


def matrix_to_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A VTK matrix as [4, 4] float64."""
    return slicer.util.arrayFromVTKMatrix(matrix)


def array_to_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """An array [4, 4] as a VTK matrix."""
    return slicer.util.vtkMatrixFromArray(np.asarray(array, dtype=np.float64))


def world_from_node(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """Affine [4, 4] from a node's own frame to the world (RAS, mm).

    Raises
    ------
    InputError
        If a parent transform is not linear.
    """
    parent = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if parent is not None and not parent.IsTransformToWorldLinear():  # asked first: VTK would print an error
        raise InputError(
            _("{name} lies under a transform that is not linear; harden it or take it away.").format(
                name=node.GetName()
            )
        )
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return matrix_to_array(matrix)


def require_scalar_volume(node: Any, what: str) -> None:
    """Raises InputError unless ``node`` is a scalar volume with voxels; ``what`` names it ("CT", "X-ray")."""
    if node is None:
        raise InputError(_("No {what} is chosen; choose one.").format(what=what))
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(
            _("{name} is no image volume; choose a scalar volume as {what}.").format(name=node.GetName(), what=what)
        )
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(_("{name} holds no voxels; load it again.").format(name=node.GetName()))
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            _("{name} has {n} values a voxel (colour or vectors); choose a volume with one.").format(
                name=node.GetName(), n=image.GetNumberOfScalarComponents()
            )
        )


def resampled_image(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """``image`` [row, column] on another grid over the same area, antialiased where that grid is coarser."""
    resize = vtk.vtkImageResize()
    resize.SetInputData(_image_data(image))
    resize.SetOutputDimensions(columns, rows, 1)
    resize.BorderOn()
    resize.Update()
    return _array(resize.GetOutput())


def blurred_image(image: np.ndarray, sigma: float) -> np.ndarray:
    """``image`` [row, column] convolved with a Gaussian of ``sigma`` pixels."""
    smooth = vtk.vtkImageGaussianSmooth()
    smooth.SetInputData(_image_data(image))
    smooth.SetDimensionality(2)
    smooth.SetStandardDeviations(sigma, sigma, 0)
    smooth.SetRadiusFactors(2.5, 2.5, 0)
    smooth.Update()
    return _array(smooth.GetOutput())


def _image_data(image: np.ndarray) -> vtk.vtkImageData:
    data = vtk.vtkImageData()
    data.SetDimensions(image.shape[1], image.shape[0], 1)
    values = np.ascontiguousarray(image, np.float32).ravel()
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values, deep=True))
    return data


def _array(data: vtk.vtkImageData) -> np.ndarray:
    columns, rows, _one = data.GetDimensions()
    return numpy_support.vtk_to_numpy(data.GetPointData().GetScalars()).reshape(rows, columns).copy()


def add_node(class_name: str, name: str) -> slicer.vtkMRMLNode:
    """A new node in the scene, its name made unique."""
    return slicer.mrmlScene.AddNewNodeByClass(class_name, slicer.mrmlScene.GenerateUniqueName(name))


def referenced(node: slicer.vtkMRMLNode, role: str, class_name: str, name: str) -> slicer.vtkMRMLNode:
    """The node that ``node`` refers to as ``role``; made, and the reference set, if there is none."""
    found = node.GetNodeReference(role)
    if found is None:
        found = add_node(class_name, name)
        node.SetNodeReferenceID(role, found.GetID())
    return found
