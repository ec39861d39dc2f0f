"""A registration as a page to keep (HTML, self-contained) and as data (JSON)."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError
from ..geometry.angles import pose_in_words, positioner_angles
from . import overlay, xray_node
from .pictures import as_grey, png

_STYLE = "body{font-family:sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;text-align:left}"


def save_report(
    ct: slicer.vtkMRMLScalarVolumeNode,
    xray: slicer.vtkMRMLScalarVolumeNode,
    outcome: dict | None,
    table: slicer.vtkMRMLTableNode | None,
    folder: Path,
) -> tuple[Path, Path]:
    """Write ``<X-ray> report.html`` and ``.json`` into ``folder``; returns both paths.

    Parameters
    ----------
    outcome
        What the registration found (its ``result.json``); None for a pose set by hand.
    table
        Landmark errors; None if there are none.

    Raises
    ------
    InputError
        If the X-ray has no geometry or pose, if a report of that name is there already, or the folder
        cannot be written.
    """
    camera, pose = xray_node.require_camera(xray), xray_node.pose_of(xray)
    if pose is None:
        raise InputError(_("{name} has no pose yet; register it or place it.").format(name=xray.GetName()))
    bounds = np.zeros(6)
    ct.GetRASBounds(bounds)
    words = pose_in_words(pose, bounds.reshape(3, 2).mean(axis=1))
    data = {
        "ct": ct.GetName(),
        "xray": xray.GetName(),
        "camera": camera.to_json(),
        "camera_provenance": xray_node.provenance_of(xray),
        "camera_to_world_ras_mm": pose.tolist(),
        "positioner_angles_deg": list(positioner_angles(pose)),
        "pose_in_words": words,
        "registration": outcome,
        "landmarks": _rows(table),
    }
    stem = "".join(c if c.isalnum() or c in " -_" else "_" for c in f"{xray.GetName()} report")
    paths = folder / f"{stem}.html", folder / f"{stem}.json"
    for path in paths:
        if path.exists():
            raise InputError(_("{path} is there already; move it or choose another folder.").format(path=path))
    texts = _page(data, _pictures(xray)), json.dumps(data, indent=1, ensure_ascii=False)
    try:
        for path, text in zip(paths, texts):
            temporary = path.with_name(path.name + ".new")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
    except OSError as error:
        raise InputError(
            _("The report cannot be written into {folder} ({error}).").format(folder=folder, error=error.strerror)
        ) from None
    return paths


def _page(data: dict, pictures: Iterable[tuple[str, bytes]]) -> str:
    def escape(value: object) -> str:
        return html.escape(str(value))

    found = data["registration"] or {}
    angles = ", ".join(f"{angle:.2f}°" for angle in data["positioner_angles_deg"])
    facts = [
        (_("CT"), data["ct"]),
        (_("X-ray"), data["xray"]),
        (_("Pose"), data["pose_in_words"]),
        (_("Positioner angles (primary, secondary, roll)"), angles),
        (_("Verdict"), found.get("verdict", _("not registered"))),
        (_("Reasons"), "; ".join(found.get("verdict_reasons", []))),
        (_("Predicted error"), f"{found['predicted_error_mm']:.2f} mm" if found.get("predicted_error_mm") else "-"),
        (_("Similarity"), f"{found['similarity']:.4f}" if "similarity" in found else "-"),
        (_("Source to detector"), f"{data['camera']['source_to_detector_mm']:g} mm"),
        (_("Pixel spacing (rows, columns)"), " x ".join(f"{v:g}" for v in data["camera"]["pixel_spacing_mm"]) + " mm"),
        (_("Geometry from"), "; ".join(sorted(set(data["camera_provenance"].values()))) or "-"),
        *((_("Version of {name}").format(name=name), text) for name, text in found.get("versions", {}).items()),
    ]
    parts = [f"<h1>{escape(_('2D/3D registration'))}</h1>", _html_table(facts)]
    parts += [
        f'<h2>{escape(title)}</h2><img alt="{escape(title)}" src="data:image/png;base64,'
        f'{base64.b64encode(png).decode("ascii")}">'
        for title, png in pictures
    ]
    if data["landmarks"]:
        parts += [f"<h2>{escape(_('Landmarks'))}</h2>", _html_table(data["landmarks"])]
    matrix = [[f"{v:.6f}" for v in row] for row in data["camera_to_world_ras_mm"]]
    parts += [f"<h2>{escape(_('Camera to world (RAS, mm)'))}</h2>", _html_table(matrix)]
    head = f'<meta charset="utf-8"><title>{escape(data["xray"])}</title><style>{_STYLE}</style>'
    return f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _html_table(rows: Iterable[Iterable[object]]) -> str:
    cells = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _rows(table: slicer.vtkMRMLTableNode | None) -> list[list[str]]:
    """A table's column names and cells."""
    if table is None:
        return []
    columns = range(table.GetNumberOfColumns())
    names = [table.GetColumnName(c) for c in columns]
    return [names, *([table.GetCellText(r, c) for c in columns] for r in range(table.GetNumberOfRows()))]


def _pictures(xray: slicer.vtkMRMLScalarVolumeNode) -> list[tuple[str, bytes]]:
    """X-ray and DRR (title, PNG), in the X-ray's window."""
    display = xray.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    shown = [(_("X-ray"), xray_node.pixels(xray))]
    drr = xray.GetNodeReference(overlay.DRR_ROLE)
    if drr is not None and drr.GetImageData() is not None:
        shown.append((_("Simulated X-ray at the pose"), slicer.util.arrayFromVolume(drr)[0]))
    return [(title, png(as_grey(image, low, high))) for title, image in shown]
