"""The report of a data set's run: Markdown and HTML with figures, and the worst cases as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.dataset import Dataset, Frame, Subject
from ..imaging.values import XRay
from ..metrics.rates import success_rates
from ..refinement.pyramid import reduced
from ..refinement.verdict import VERDICTS
from ..rendering.renderer import Renderer
from .charts import cumulative, scatter, strips
from .dataset_run import DatasetRun
from .document import Block, Figure, Heading, Items, Picture, Table, Text, write_document
from .pictures import overlay_picture, write_png
from .register import PICTURE_SIDE, renderer_for
from .summary import Rows, predicted_and_true

# Name, definition, key.
_ERRORS = (
    ("TRE [mm]", "distance of the landmarks in the camera's frame (mTRE)", "tre_mm"),
    ("on the detector [mm]", "distance of the projected landmarks (mPD, mPE)", "projection_error_mm"),
    ("at the isocentre [mm]", "the same by the magnification there", "projection_error_isocentre_mm"),
    ("from the rays [mm]", "distance of the landmarks from where they are seen (mRPD)", "reprojection_distance_mm"),
    ("rotation [degrees]", "angle between the poses", "rotation_deg"),
    ("across the beam [mm]", "displacement of the landmarks' centroid", "in_plane_mm"),
    ("along the beam [mm]", "displacement of the landmarks' centroid", "depth_mm"),
)
_PUBLISHED = (
    ("DiffPose's evaluator", "diffpose_mm"),
    ("xvr's mPE", "xvr_mpe_mm"),
    ("xvr's mRPE", "xvr_mrpe_mm"),
    ("xvr's mTRE", "xvr_mtre_mm"),
    ("xvr's double geodesic", "xvr_dgeo_mm"),
)
_PUBLISHED_WORDS = (
    "What the evaluators published with DiffPose and xvr say of the same poses, in mm. They are not the definitions "
    "above: DiffPose's multiplies a distance in millimetres by the pixel size once more, and xvr's mTRE moves the "
    "landmarks by the camera's pose, which counts a turn about the patient ten times and one about the source hardly."
)


def write_dataset_report(
    out: Path, dataset: Dataset, subjects: Sequence[Subject], run: DatasetRun, *, worst: int = 4
) -> None:
    """Write ``report.md`` and ``report.html`` with their figures into ``out``, and into ``worst/`` pictures of the
    ``worst`` trials: at the initial and found pose, and at the true one.

    Raises
    ------
    InputError
        If ``out`` cannot be written to, or a picture cannot be read any more.
    """
    summary, rows = run.summary, run.rows
    overall = summary["overall"]
    blocks: list[Block] = [
        Text(
            f"{overall['trials']} registrations of {len(summary['by_subject'])} subjects, {summary['date']}. "
            f"{_start_words(summary)}"
        ),
        *([Text(f"Command: `{summary['command']}`")] if summary["command"] else []),
        Items([*dataset.facts, *_prior_words(dataset, summary), *_excluded_words(dataset)]),
        Heading("Errors"),
        _error_table(overall),
        Text(
            "Shares of all registrations, those that gave no pose included. *Start* is what the registration began "
            "with, *end* what it found."
        ),
        _rate_table(rows),
        Figure(
            "tre",
            cumulative(_start_and_end(rows), "Target registration error", "TRE [mm]"),
            "Share of registrations below each error, before and after the refinement.",
        ),
        Heading("By subject"),
        _subject_table(summary),
        Figure("subjects", strips(_by_subject(rows), "TRE by subject", "TRE [mm]"), "Each registration, by subject."),
        Heading("Does the verdict tell?"),
        _verdict_table(overall),
        Figure(
            "verdicts",
            scatter(_by_verdict(rows), "Predicted and true error", "predicted error [mm]", "TRE [mm]"),
            "The error that each registration predicted for itself against the true one.",
        ),
        Heading("As other evaluators would say"),
        Text(_PUBLISHED_WORDS),
        Table(
            ("definition", "median", "95 %", "worst"),
            [(name, *(overall[key][part] for part in ("median", "p95", "worst"))) for name, key in _PUBLISHED],
        ),
        *_failures(rows),
        Heading("Worst cases"),
        *_worst_cases(out, subjects, rows, worst),
        Heading("Machine and versions"),
        Table(("what", "value"), [(k, str(v)) for k, v in {**summary["machine"], **summary["versions"]}.items() if v]),
    ]
    title = f"{dataset.name}: registration of {overall['trials']} X-rays"
    write_document(out, "report", title, blocks)


# -- words ----------------------------------------------------------------------------------------------------------


def _start_words(summary: dict[str, Any]) -> str:
    settings = summary["settings"]
    if settings["perturb"]:
        degrees, millimetres = settings["perturb"]
        return (
            f"Each started from the true pose disturbed by up to {degrees:g} degrees and {millimetres:g} mm in every "
            f"coordinate, {settings['starts']} times an X-ray."
        )
    length = f"{settings['steps']} steps" if settings["steps"] else f"{settings['minutes']:g} minutes"
    return f"Each started from what a model read from the X-ray that was prepared for the subject's CT in {length}."


def _prior_words(dataset: Dataset, summary: dict[str, Any]) -> list[str]:
    if summary["settings"]["perturb"]:
        return []
    return [
        f"Prior, {view}: {prior.view}, source {prior.source_to_isocentre_mm:g} mm from the CT's centre, half ranges "
        f"{', '.join(f'{v:g}' for v in prior.rotation_deg)} degrees (primary, secondary, roll) and "
        f"{', '.join(f'{v:g}' for v in prior.translation_mm)} mm (across, along the beam, up-down); {prior.origin}."
        for view, prior in dataset.priors.items()
    ]


def _excluded_words(dataset: Dataset) -> list[str]:
    if not dataset.excluded:
        return []
    listed = ", ".join(f"{name} ({reason})" for name, reason in dataset.excluded.items())
    return [f"Left out before the run: {listed}."]


# -- tables ---------------------------------------------------------------------------------------------------------


def _error_table(overall: dict[str, Any]) -> Table:
    rows = [
        (name, words, *(overall[key][part] for part in ("median", "p95", "mean", "worst")))
        for name, words, key in _ERRORS
    ]
    seconds = overall["seconds"]
    rows.append(("time [s]", "of one registration", *(seconds[part] for part in ("median", "p95", "mean", "worst"))))
    return Table(("error", "definition", "median", "95 %", "mean", "worst"), rows)


def _rate_table(rows: Rows) -> Table:
    lines = []
    for name, values in _start_and_end(rows).items():
        rates = success_rates(values)
        lines.append((name, *(f"{rates[key]:.1%}".replace("%", " %") for key in rates)))
    return Table(("", "TRE below 1 mm (SMSR)", "below 2 mm", "gross, above 10 mm"), lines)


def _subject_table(summary: dict[str, Any]) -> Table:
    rows: list[tuple] = [
        (
            name,
            s["trials"],
            *(s["tre_mm"][part] for part in ("median", "p95", "worst")),
            *(f"{100 * s[key]:.0f} %" for key in ("success_1mm", "success_2mm", "gross_10mm")),
        )
        for name, s in summary["by_subject"].items()
    ]
    rows.append(("median of the medians", None, summary["median_of_subject_medians_mm"], *[None] * 5))
    head = ("subject", "trials", "TRE median [mm]", "95 %", "worst", "below 1 mm", "below 2 mm", "above 10 mm")
    return Table(head, rows)


def _verdict_table(overall: dict[str, Any]) -> Table:
    rows = [
        (name, count["trials"], count["below_2mm"], count["above_10mm"]) for name, count in overall["verdicts"].items()
    ]
    return Table(("verdict", "trials", "of these below 2 mm", "above 10 mm"), rows)


def _failures(rows: Rows) -> list[Block]:
    failed = [row for row in rows if "tre_mm" not in row]
    if not failed:
        return []
    table = Table(("X-ray", "why"), [(f"{row['subject']}/{row['frame']}", row["error"]) for row in failed])
    return [Heading("Without a pose"), table]


# -- what the figures show --------------------------------------------------------------------------------------------


def _start_and_end(rows: Rows) -> dict[str, list[float | None]]:
    return {
        "start": [row.get("initial_tre_mm") for row in rows],
        "end": [row.get("tre_mm") for row in rows],
    }


def _by_subject(rows: Rows) -> dict[str, list[float | None]]:
    names = dict.fromkeys(row["subject"] for row in rows)
    return {name: [row.get("tre_mm") for row in rows if row["subject"] == name] for name in names}


def _by_verdict(rows: Rows) -> dict[str, list[tuple[float, float]]]:
    pairs = {verdict: predicted_and_true([r for r in rows if r.get("verdict") == verdict]) for verdict in VERDICTS}
    return {verdict: of_these for verdict, of_these in pairs.items() if of_these}


# -- pictures -------------------------------------------------------------------------------------------------------


def _worst_cases(out: Path, subjects: Sequence[Subject], rows: Rows, count: int) -> list[Block]:
    """Two pictures each of the X-rays with the largest TRE, the worst first."""
    worst: dict[tuple[str, str], dict[str, Any]] = {}  # of each X-ray
    for row in sorted((row for row in rows if "tre_mm" in row), key=lambda row: -row["tre_mm"]):
        worst.setdefault((row["subject"], row["frame"]), row)
    scored = list(worst.values())[:count]
    if not scored:
        return [Text("No registration gave a pose.")]
    (out / "worst").mkdir(exist_ok=True)
    for old in (out / "worst").glob("*.png"):
        old.unlink()
    places = {id(row): n for n, row in enumerate(scored, 1)}
    blocks: dict[int, list[Block]] = {}
    for subject in subjects:
        theirs = [row for row in scored if row["subject"] == subject.name]
        if not theirs:
            continue
        renderer = renderer_for(subject.read_ct())
        for row in theirs:
            frame = next(frame for frame in subject.frames if frame.name == row["frame"])
            blocks[places[id(row)]] = _pictures_of(out, places[id(row)], subject, frame, row, renderer)
    return [block for number in sorted(blocks) for block in blocks[number]]


def _pictures_of(
    out: Path, number: int, subject: Subject, frame: Frame, row: dict[str, Any], renderer: Renderer
) -> list[Block]:
    xray = frame.read()
    initial, found = (np.array(row[key]) for key in ("initial_camera_to_world", "camera_to_world"))
    before, after, true = _simulated(renderer, xray, np.stack([initial, found, frame.truth.camera_to_world]))
    name = f"{subject.name}/{frame.name}"
    words = f"{name}: TRE {row['tre_mm']:.2f} mm, started at {row['initial_tre_mm']:.1f} mm, verdict {row['verdict']}"
    found_file = f"worst/{number}-found.png"
    true_file = f"worst/{number}-true.png"
    note = f"similarity {row['similarity']:.3f}, predicted error {row['predicted_error_mm']:.2f} mm"
    write_png(overlay_picture(xray, before, after, title=f"{words} (found pose)", note=note), out / found_file)
    write_png(
        overlay_picture(xray, None, true, title=f"{name}: true pose", note="as the data set states it"), out / true_file
    )
    return [
        Picture(found_file, f"{number}. {words}"),
        Picture(true_file, f"{number}. {name} at the true pose: does the ground truth itself fit?"),
    ]


def _simulated(renderer: Renderer, xray: XRay, poses: np.ndarray) -> np.ndarray:
    camera = reduced(xray, PICTURE_SIDE).camera
    level = renderer.level_for(camera, float(np.linalg.norm(poses[-1][:3, 3] - renderer.isocentre)))
    return renderer.render_batch(camera, poses, level)
