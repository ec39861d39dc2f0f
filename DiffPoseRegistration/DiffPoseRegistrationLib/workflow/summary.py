"""What the rows of many trials say together, as numbers and as lines for a terminal."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..imaging.files import write_whole
from ..metrics.rates import GROSS_MM, SUCCESS_MM, distribution, success_rates
from ..refinement.verdict import VERDICTS
from .trial import ERRORS, PUBLISHED

Rows = Sequence[dict[str, Any]]

# In the column "disturbance", of trials in which no pose is right.
FLIPPED, OTHER_PATIENT = "flipped", "other patient"
IMPOSTORS = (FLIPPED, OTHER_PATIENT)

_MEASURED = (*ERRORS, "initial_tre_mm", "seconds", *PUBLISHED)


def summarise(
    rows: Rows, groups: Sequence[str] = ("ct", "case"), within: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Statistics of the trials: ``overall``, and ``by_...`` for each column of ``groups``.

    Of each: ``trials``; ``failed`` (no pose at all); of every error, of the initial TRE and of the seconds the
    distribution (``metrics.rates.distribution``); ``success_1mm``, ``success_2mm``, ``gross_10mm``: share of all trials
    with a TRE below 1 mm, below 2 mm, above 10 mm or failed; ``normalised_error``: distribution of true over predicted
    error; ``verdicts``: for each verdict the number of trials, and
    of these below 2 mm and above 10 mm. With ``within`` (mm, degrees) also ``within``: the bound, and the share of all
    trials below it in TRE and rotation. Rows of impostors are told apart, in ``impostors``: of each kind the
    ``trials``, how many were ``refused`` (no pose at all), and of each verdict how many.
    """
    impostors = {kind: [row for row in rows if row.get("disturbance") == kind] for kind in IMPOSTORS}
    rows = [row for row in rows if row.get("disturbance") not in IMPOSTORS]
    summary: dict[str, Any] = {"overall": statistics(rows, within)}
    for column in groups:
        names = dict.fromkeys(row[column] for row in rows)
        summary[f"by_{column}"] = {name: statistics([r for r in rows if r[column] == name], within) for name in names}
    if any(impostors.values()):
        summary["impostors"] = {kind: _told_apart(of_kind) for kind, of_kind in impostors.items() if of_kind}
    return summary


def _told_apart(rows: Rows) -> dict[str, int]:
    counts = {"trials": len(rows), "refused": sum("verdict" not in row for row in rows)}
    return counts | {verdict: sum(row.get("verdict") == verdict for row in rows) for verdict in VERDICTS}


def statistics(rows: Rows, within: tuple[float, float] | None = None) -> dict[str, Any]:
    """One group of :func:`summarise`."""
    scored = [row for row in rows if "tre_mm" in row]
    result: dict[str, Any] = {"trials": len(rows), "failed": len(rows) - len(scored)}
    for key in _MEASURED:
        result[key] = distribution(row.get(key) for row in scored)
    result.update(success_rates(row.get("tre_mm") for row in rows))
    result["normalised_error"] = distribution(true / predicted for predicted, true in predicted_and_true(rows))
    if within is not None:
        mm, deg = within
        inside = sum(row["tre_mm"] < mm and row["rotation_deg"] < deg for row in scored)
        result["within"] = {"tre_mm": mm, "rotation_deg": deg, "trials": inside, "share": inside / max(len(rows), 1)}
    result["verdicts"] = {}
    for verdict in dict.fromkeys(row["verdict"] for row in scored):
        of_these = [row["tre_mm"] for row in scored if row["verdict"] == verdict]
        result["verdicts"][verdict] = {
            "trials": len(of_these),
            "below_2mm": sum(tre < SUCCESS_MM for tre in of_these),
            "above_10mm": sum(tre > GROSS_MM for tre in of_these),
        }
    return result


def predicted_and_true(rows: Rows) -> list[tuple[float, float]]:
    """Predicted and true error (mm) of the trials that have both."""
    pairs = [(row.get("predicted_error_mm"), row.get("tre_mm")) for row in rows]
    return [
        (predicted, true) for predicted, true in pairs if predicted is not None and true is not None and predicted > 0
    ]


def table(summary: dict[str, Any]) -> str:
    """The summary as lines for a terminal: a block for each ``by_...``, the finest first, then all together."""
    head = f"{'':28}{'trials':>7}{'TRE median':>12}{'95 %':>9}{'< 1 mm':>9}{'< 2 mm':>9}{'> 10 mm':>9}{'seconds':>9}"
    lines = [head]
    blocks = [summary[key] for key in reversed(summary) if key.startswith("by_")]
    for block in [*blocks, {"all": summary["overall"]}]:
        lines.append("-" * len(head))
        for name, s in block.items():
            tre, seconds = s["tre_mm"], s["seconds"]
            lines.append(
                f"{name[:27]:28}{s['trials']:>7}{_mm(tre['median']):>12}{_mm(tre['p95']):>9}{s['success_1mm']:>9.0%}"
                f"{s['success_2mm']:>9.0%}{s['gross_10mm']:>9.0%}{_mm(seconds['median'], ''):>9}"
            )
    lines.append("")
    for verdict, count in summary["overall"]["verdicts"].items():
        lines.append(
            f"verdict {verdict}: {count['trials']} trials, {count['below_2mm']} of them below 2 mm, "
            f"{count['above_10mm']} above 10 mm"
        )
    normalised = summary["overall"]["normalised_error"]
    if normalised["median"] is not None:
        lines.append(
            f"true over predicted error: median {normalised['median']:.2f}, 95 % below {normalised['p95']:.2f}"
        )
    for kind, count in summary.get("impostors", {}).items():
        lines.append(
            f"{kind}: {count['accept']} of {count['trials']} accepted ({count['check']} check, {count['reject']} "
            f"reject, {count['refused']} refused)"
        )
    if "within" in summary["overall"]:
        bound = summary["overall"]["within"]
        lines.append(
            f"{bound['trials']} of {summary['overall']['trials']} trials ({bound['share']:.1%}) are within "
            f"{bound['tre_mm']:g} mm and {bound['rotation_deg']:g} degrees of the true pose"
        )
    failed = summary["overall"]["failed"]
    if failed:
        lines.append(f"{failed} trials gave no pose; see the column 'error' in trials.csv")
    return "\n".join(lines)


def write_rows(path: Path, rows: Rows, columns: Sequence[str]) -> None:
    """Write rows as CSV with these columns, whole or not at all; what a row lacks stays empty."""

    def write(made: Path) -> None:
        with made.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def _mm(value: float | None, unit: str = " mm") -> str:
    return "-" if value is None else f"{value:.2f}{unit}"
