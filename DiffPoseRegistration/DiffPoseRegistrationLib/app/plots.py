"""Curves as Slicer's own plots: a table with the numbers, a series for each curve, and a chart with all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer
from slicer.i18n import tr as _

from .nodes import add_node, referenced

TRAINING_ROLE = "DiffPose.TrainingChart"
SIMILARITY_ROLE = "DiffPose.SimilarityChart"
_COLOURS = ((0.16, 0.43, 0.75), (0.85, 0.45, 0.15))


def show_training(ct: slicer.vtkMRMLScalarVolumeNode, curve: Mapping[str, Sequence[float]]) -> None:
    """Plot a training's errors on unseen simulated X-rays over time: ``seconds``, ``median_mm``,
    ``percentile95_mm``."""
    minutes = [value / 60 for value in curve["seconds"]]
    curves = {_("median"): curve["median_mm"], _("95th percentile"): curve["percentile95_mm"]}
    title = _("{name}: pose error on unseen simulated X-rays").format(name=ct.GetName())
    _show(ct, TRAINING_ROLE, title, (_("minutes"), minutes), curves, _("error [mm]"))


def show_similarity(xray: slicer.vtkMRMLScalarVolumeNode, similarity: Sequence[float]) -> None:
    """Plot how the similarity rose while an X-ray was registered, step by step."""
    title = _("{name}: similarity while registering").format(name=xray.GetName())
    steps = [float(n + 1) for n in range(len(similarity))]
    _show(xray, SIMILARITY_ROLE, title, (_("step told"), steps), {_("similarity"): similarity}, _("similarity"))


def chart_of(owner: slicer.vtkMRMLNode | None, role: str) -> slicer.vtkMRMLPlotChartNode | None:
    """The chart that a CT or an X-ray has; None before there is one."""
    return owner.GetNodeReference(role) if owner is not None else None


def parts_of(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLNode]:
    """The series of a chart, and the table that they share."""
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    return [*(one.GetTableNode() for one in series[:1]), *series]


def why_no_plot_view() -> str:
    """Why a chart cannot be shown; empty if it can."""
    return "" if hasattr(slicer.modules, "plots") else _("Slicer's Plots module is not there.")


def show_chart(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Show the chart in a plot view, in a layout that has one."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def _show(
    owner, role: str, title: str, x: tuple[str, Sequence[float]], curves: Mapping[str, Sequence[float]], y_title: str
) -> None:
    chart = referenced(owner, role, "vtkMRMLPlotChartNode", title)
    if chart.GetNumberOfPlotSeriesNodes() == 0:
        table = add_node("vtkMRMLTableNode", title)
        _fill(table, {x[0]: x[1], **curves})
        chart.SetTitle(title)
        chart.SetXAxisTitle(x[0])
        chart.SetYAxisTitle(y_title)
        for name, colour in zip(curves, _COLOURS):
            series = add_node("vtkMRMLPlotSeriesNode", name)
            series.SetAndObserveTableNodeID(table.GetID())
            series.SetXColumnName(x[0])
            series.SetYColumnName(name)
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleCircle)
            series.SetColor(*colour)
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
    else:
        _fill(chart.GetNthPlotSeriesNode(0).GetTableNode(), {x[0]: x[1], **curves})


def _fill(table, columns: Mapping[str, Sequence[float]]) -> None:
    was_modified = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns.items():
        column = table.AddColumn()
        column.SetName(name)
        table.SetColumnType(name, 11)  # VTK_DOUBLE
        column = table.GetTable().GetColumnByName(name)
        column.SetNumberOfTuples(len(values))
        for row, value in enumerate(values):
            column.SetValue(row, float(value))
    table.GetTable().Modified()
    table.EndModify(was_modified)
