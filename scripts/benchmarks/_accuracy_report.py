"""What the rows of the accuracy benchmark say together, and its page."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from DiffPoseRegistrationLib.metrics.rates import distribution, success_rates
from DiffPoseRegistrationLib.workflow.charts import cumulative, strips
from DiffPoseRegistrationLib.workflow.document import (
    Block,
    Figure,
    Heading,
    Items,
    Picture,
    Table,
    Text,
    write_document,
)
from DiffPoseRegistrationLib.workflow.machine import machine
from DiffPoseRegistrationLib.workflow.record import revision

from ._common import versions

if TYPE_CHECKING:
    from .accuracy import Patient

Rows = Sequence[dict[str, Any]]

_COMPARED = "those that the peers had"
_WORST = 3
_ERRORS = (
    ("TRE [mm]", "tre_mm"),
    ("projection, detector [mm]", "projection_error_mm"),
    ("projection, isocentre [mm]", "projection_error_isocentre_mm"),
    ("reprojection [mm]", "reprojection_distance_mm"),
    ("rotation [degrees]", "rotation_deg"),
    ("across the beam [mm]", "in_plane_mm"),
    ("along the beam [mm]", "depth_mm"),
)


def table_of(rows: Rows) -> list[dict[str, Any]]:
    """A line for each method over all X-rays, over each level, and over the X-rays that those peers had that are too
    slow for all."""
    lines = []
    compared = _compared(rows)
    for method in _methods(rows):
        of_method = [row for row in rows if row["method"] == method]
        groups = {}
        if not _had_some(rows, method):
            groups["all"] = of_method
            for level in dict.fromkeys(row["level"] for row in rows):
                groups[level] = [row for row in of_method if row["level"] == level]
        if compared:
            groups[_COMPARED] = [row for row in of_method if row["xray"] in compared]
        lines += [{"method": method, "X-rays": name, **_line(group)} for name, group in groups.items()]
    return lines


def write_report(
    out: Path, rows: Rows, patients: Sequence[Patient], facts: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Write ``accuracy.md`` and ``accuracy.html`` with figures and the worst cases into ``out``."""
    table = table_of(rows)
    shown = "whole" if any(row["method"] == "whole" for row in rows) else "refinement only"
    whole = [row for row in rows if row["method"] == shown]
    levels = dict.fromkeys(row["level"] for row in whole)
    date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    blocks: list[Block] = [
        Text(f"X-rays: {facts['x_rays']}, {date}. What was done and how: `scripts/benchmark accuracy --help`."),
        Heading("Methods"),
        Table(tuple(table[0]), [tuple(_percent(key, value) for key, value in line.items()) for line in table]),
        Items(_notes(rows, facts, arguments)),
        Figure(
            "methods", cumulative(_by_method(rows), "Target registration error", "TRE [mm]"), "Share of X-rays below."
        ),
        Figure(
            "levels",
            strips(
                {n: [r.get("tre_mm") for r in whole if r["level"] == n] for n in levels},
                f"{shown}, by level",
                "TRE [mm]",
            ),
            f"{shown}: by how good the X-rays are.",
        ),
        Heading(f"Errors by the field's definitions: {shown}"),
        Table(
            ("error", "median", "95 %", "worst"),
            [(n, *_parts(distribution(row.get(k) for row in whole))) for n, k in _ERRORS],
        ),
        Heading(f"Verdicts: {shown}"),
        Table(("verdict", "X-rays", "below 2 mm", "above 10 mm"), _verdicts(whole)),
        Heading(f"Worst: {shown}"),
        *_worst(out, whole, patients),
        Heading("Machine and versions"),
        Table(("what", "value"), [(name, str(value)) for name, value in _circumstances(facts).items()]),
    ]
    write_document(out, "accuracy", "Accuracy on simulated X-rays", blocks)


def _line(rows: Rows) -> dict[str, Any]:
    tre, seconds = distribution(r.get("tre_mm") for r in rows), distribution(r.get("seconds") for r in rows)
    rates = success_rates(row.get("tre_mm") for row in rows)
    return {
        "n": len(rows),
        "TRE median mm": tre["median"],
        "95 % mm": tre["p95"],
        "below 1 mm": rates["success_1mm"],
        "below 2 mm": rates["success_2mm"],
        "above 10 mm": rates["gross_10mm"],
        "seconds median": seconds["median"],
        "95 % s": seconds["p95"],
    }


def _notes(rows: Rows, facts: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    start = distribution(row.get("initial_tre_mm") for row in rows if row["method"] == "refinement only")
    took = distribution({row["ct"]: row.get("preparation_s") for row in rows if row["method"] == "whole"}.values())
    notes = [f"Refinement and peers start from the same disturbed poses, {start['median']:.0f} mm (median TRE) off."]
    if took["median"] is not None:
        notes.append(
            f"Each model was prepared for its CT in {took['median']:.0f} s, the seconds above come after that."
        )
    if facts["peers"]:
        had = ", ".join(f"{name} {version}" for name, version in facts["peers"].items())
        notes.append(f"{had}: on images of {arguments.peer_side} pixels.")
    if _compared(rows):
        some = ", ".join(method for method in _methods(rows) if _had_some(rows, method))
        notes.append(
            f"{some}: on {len(_compared(rows))} of the X-rays; compare with the lines of the others on *{_COMPARED}*."
        )
    return notes


def _methods(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _had_some(rows: Rows, method: str) -> bool:
    """Whether a method had some of the X-rays only."""
    return {row["xray"] for row in rows if row["method"] == method} != {row["xray"] for row in rows}


def _compared(rows: Rows) -> set[str]:
    """The X-rays that those peers had that did not have all."""
    return {row["xray"] for row in rows if _had_some(rows, row["method"])}


def _by_method(rows: Rows) -> dict[str, list[float | None]]:
    found = {"start of the refinement": [r["initial_tre_mm"] for r in rows if r["method"] == "refinement only"]}
    return {**found, **{m: [r.get("tre_mm") for r in rows if r["method"] == m] for m in _methods(rows)}}


def _parts(numbers: dict[str, float | None]) -> tuple[float | None, ...]:
    return tuple(numbers[part] for part in ("median", "p95", "worst"))


def _percent(key: str, value: Any) -> Any:
    return f"{100 * value:.0f} %" if key.startswith(("below", "above")) else value


def _verdicts(rows: Rows) -> list[tuple]:
    scored = [row for row in rows if "tre_mm" in row]
    lines = []
    for verdict in ("accept", "check", "reject"):
        of_these = [row["tre_mm"] for row in scored if row["verdict"] == verdict]
        lines.append((verdict, len(of_these), sum(t < 2 for t in of_these), sum(t > 10 for t in of_these)))
    return lines


def _circumstances(facts: dict[str, Any]) -> dict[str, Any]:
    tree = revision()
    found = {**machine(), **versions(), **facts["peers"], "commit": tree["commit"]}
    return {name: value for name, value in found.items() if value}


def _worst(out: Path, rows: Rows, patients: Sequence[Patient]) -> list[Block]:
    from DiffPoseRegistrationLib.workflow.pictures import overlay_picture, write_png

    scored = sorted((row for row in rows if "tre_mm" in row), key=lambda row: -row["tre_mm"])[:_WORST]
    images = {image.name: (patient, image) for patient in patients for image in patient.images}
    blocks: list[Block] = []
    (out / "worst").mkdir(exist_ok=True)
    for number, row in enumerate(scored, 1):
        patient, image = images[row["xray"]]
        simulated = _renderer(patient, image)
        found, true = (simulated(pose) for pose in (np.array(row["camera_to_world"]), image.truth.camera_to_world))
        words = f"{image.name}: TRE {row['tre_mm']:.2f} mm, verdict {row['verdict']}"
        page = overlay_picture(image.xray, true, found, title=f"{words} (before: at the true pose; after: as found)")
        write_png(page, out / "worst" / f"{number}.png")
        blocks.append(Picture(f"worst/{number}.png", f"{number}. {words}"))
    return blocks


def _renderer(patient: Patient, image: Any) -> Callable[[np.ndarray], np.ndarray]:
    from DiffPoseRegistrationLib.refinement.pyramid import reduced
    from DiffPoseRegistrationLib.workflow.register import PICTURE_SIDE, renderer_for

    renderer, camera = renderer_for(patient.ct), reduced(image.xray, PICTURE_SIDE).camera
    return lambda pose: renderer.render(camera, pose)
