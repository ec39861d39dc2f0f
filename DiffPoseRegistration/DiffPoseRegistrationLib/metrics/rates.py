"""What many errors say together: distributions, success rates, capture range.

A registration that gave no pose has the error infinity (or None, or not-a-number): it fails every success rate and
counts as gross.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

SUBMILLIMETRE_MM = 1.0  # the sub-millimetre success rate (SMSR) of DiffPose and xvr
SUCCESS_MM = 2.0
GROSS_MM = 10.0


def distribution(values: Iterable[float | None]) -> dict[str, float | None]:
    """``median``, ``p95`` (95th percentile), ``mean`` and ``worst`` of the finite values; all None if there is none."""
    finite = [value for value in values if value is not None and np.isfinite(value)]
    if not finite:
        return dict.fromkeys(("median", "p95", "mean", "worst"))
    return {
        "median": float(np.median(finite)),
        "p95": float(np.percentile(finite, 95)),
        "mean": float(np.mean(finite)),
        "worst": float(np.max(finite)),
    }


def success_rates(errors_mm: Iterable[float | None]) -> dict[str, float]:
    """Shares (0 to 1) of target registration errors: ``success_1mm`` and ``success_2mm``, below 1 and 2 mm;
    ``gross_10mm``, above 10 mm. NaN without any trial."""
    errors = np.array([np.inf if error is None or np.isnan(error) else error for error in errors_mm], dtype=np.float64)
    if not errors.size:
        return dict.fromkeys(("success_1mm", "success_2mm", "gross_10mm"), float("nan"))
    return {
        "success_1mm": float((errors < SUBMILLIMETRE_MM).mean()),
        "success_2mm": float((errors < SUCCESS_MM).mean()),
        "gross_10mm": float((errors > GROSS_MM).mean()),
    }


def capture_range(success: Mapping[float, float], share: float) -> float | None:
    """The initial TRE at which the piecewise linear success rate first falls below ``share``; None if it never does.

    ``success`` maps initial TREs (mm, ascending) to rates; at zero the rate is taken for one.
    """
    before, rate_before = 0.0, 1.0
    for distance, rate in success.items():
        if rate < share:
            return before + (distance - before) * (rate_before - share) / (rate_before - rate)
        before, rate_before = distance, rate
    return None
