"""Capture range and time of the refinement: ours and the papers', on one renderer, from the same initial poses.

Every X-ray of --cases has a known pose. Initial poses lie about it in random directions (turn about the CT's centre
and shift), each as far as makes its mean target registration error (TRE) one of 10, 20, ..., 100 mm. A trial
succeeds if the TRE ends below 2 mm. The X% capture range is the initial TRE at which the success rate, drawn through
the measured distances, first falls below X%.

lm is the default method with all its starts. adam-diffpose and adam-xvr are the papers' (one start, their own
settings), adam-diffpose-sparse renders 100 patches a step as the DiffPose paper does. They take minutes where ours
takes seconds, so they get the first --adam-starts of the --starts initial poses of a distance; ratios compare
the methods on the trials that both did.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _requirements import REPOSITORY
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.metrics.rates import GROSS_MM, SUCCESS_MM, capture_range

SHARED = REPOSITORY.parent / "shared"
DISTANCES_MM = tuple(range(10, 101, 10))
METHODS = ("lm", "adam-diffpose", "adam-diffpose-sparse", "adam-xvr")
LEVER_ARM_MM = 100.0  # in a random direction, a radian weighs as much as so many millimetres


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cases",
        nargs="+",
        type=Path,
        default=sorted((SHARED / "cases").glob("*")),
        metavar="DIR",
        help="folders with truth.json and an X-ray each (default: those beside the repository)",
    )
    parser.add_argument(
        "--ct", type=Path, default=SHARED / "data" / "ct", metavar="DIR", help="folder of the CTs that the cases name"
    )
    parser.add_argument("--starts", type=int, default=24, help="initial poses a distance, over all cases (default 24)")
    parser.add_argument("--adam-starts", type=int, default=2, help="of these, for the papers' methods (default 2)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three distances, two starts, to see that it works")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.starts < 1 or arguments.adam_starts < 0:
        raise InputError("Give --starts 1 or more and --adam-starts 0 or more.")
    distances, starts, adam_starts = DISTANCES_MM, arguments.starts, arguments.adam_starts
    if arguments.quick:
        distances, starts, adam_starts = (20, 50, 80), min(starts, 2), min(adam_starts, 1)
    cases = _loaded(arguments.cases, arguments.ct)
    methods = {name: _method(name) for name in arguments.methods}
    for method in methods.values():  # compiles the kernels
        method(cases[0]["renderer"], cases[0]["xray"], cases[0]["truth"].camera_to_world, warm_up=True)
    trials = list(_trials(cases, methods, distances, starts, adam_starts, arguments.seed))
    figures = {name: _figures([t for t in trials if t["method"] == name]) for name in methods}
    _plot(arguments.out / "refine.png", trials, figures)
    return {
        "figures": figures,
        "ratios": _ratios(trials),
        "rows": [_row(t, trials) for t in _by_method_and_distance(trials)],
        "trials": trials,
    }


def start_at_distance(
    truth: np.ndarray, isocentre: np.ndarray, landmarks: np.ndarray, tre_mm: float, random: np.random.Generator
) -> np.ndarray:
    """A pose [4, 4] in a random direction from ``truth`` whose mean TRE over ``landmarks`` [n, 3] is ``tre_mm``."""
    from DiffPoseRegistrationLib.metrics.errors import target_registration_errors

    direction = random.normal(size=6) / np.array([LEVER_ARM_MM] * 3 + [1.0] * 3)

    def pose(length: float) -> np.ndarray:
        return rigid.update_pose(truth, length * direction, isocentre)

    def error(length: float) -> float:
        return float(target_registration_errors(pose(length), truth, landmarks).mean())

    low, high = 0.0, 1.0
    while error(high) < tre_mm:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) < tre_mm else (low, middle)
    return pose(high)


def _loaded(folders: Sequence[Path], ct_folder: Path) -> list[dict[str, Any]]:
    """The cases with their CT, renderer, X-ray and landmarks; CTs are read once."""
    from DiffPoseRegistrationLib.datasets.case_folder import find_cases
    from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
    from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
    from DiffPoseRegistrationLib.rendering.renderer import Renderer
    from DiffPoseRegistrationLib.workflow.scoring import landmarks_of

    if not folders:
        raise InputError(f"There are no cases in {SHARED / 'cases'}; name their folders with --cases.")
    renderers: dict[str, Any] = {}
    loaded = []
    for case in find_cases(folders):
        if case.ct_name not in renderers:
            ct = read_ct(ct_folder / case.ct_name)
            renderers[case.ct_name] = (ct, Renderer(ct, levels=4))
        ct, renderer = renderers[case.ct_name]
        loaded.append(
            {
                "name": case.name,
                "ct": ct,
                "renderer": renderer,
                "xray": read_xray(case.image, camera=case.camera),
                "truth": case.truth,
                "landmarks": landmarks_of(case.truth, ct)[0],
            }
        )
    return loaded


def _method(name: str) -> Callable[..., np.ndarray]:
    """A function of renderer, X-ray and initial pose that gives the final pose."""
    if name == "lm":
        from DiffPoseRegistrationLib.refinement.refine import refine

        return lambda renderer, xray, initial, warm_up=False: refine(renderer, xray, initial).pose
    from DiffPoseRegistrationLib.refinement.adam import DiffPoseSettings, XvrSettings, adam_diffpose, adam_xvr

    def diffpose(renderer: Any, xray: Any, initial: np.ndarray, warm_up: bool = False) -> np.ndarray:
        settings = DiffPoseSettings(iterations=1 if warm_up else 250, patches=100 if "sparse" in name else 0)
        return adam_diffpose(renderer, xray, initial, settings=settings).pose

    def xvr(renderer: Any, xray: Any, initial: np.ndarray, warm_up: bool = False) -> np.ndarray:
        return adam_xvr(renderer, xray, initial, settings=XvrSettings(iterations=1) if warm_up else None).pose

    return xvr if name == "adam-xvr" else diffpose


def _trials(
    cases: list[dict[str, Any]],
    methods: Mapping[str, Callable[..., np.ndarray]],
    distances: Sequence[int],
    starts: int,
    adam_starts: int,
    seed: int,
) -> Iterable[dict[str, Any]]:
    """One dict a trial; the methods take turns on each initial pose, so that all see the same machine."""
    from DiffPoseRegistrationLib.metrics.errors import pose_error

    order = np.random.default_rng(seed).permutation(len(cases))
    for n in range(starts):
        print(f"initial poses {n + 1} of {starts}", file=sys.stderr)
        for row, distance in enumerate(distances):
            case = cases[order[(n * len(distances) + row) % len(cases)]]
            truth, landmarks = case["truth"].camera_to_world, case["landmarks"]
            random = np.random.default_rng([seed, n, distance])
            initial = start_at_distance(truth, case["renderer"].isocentre, landmarks, distance, random)
            for name, method in methods.items():
                if name != "lm" and n >= adam_starts:
                    continue
                began = time.perf_counter()
                try:
                    pose = method(case["renderer"], case["xray"], initial)
                except InputError as problem:
                    final: dict[str, Any] = {"tre_mm": None, "error": str(problem)}
                else:
                    error = pose_error(pose, truth, landmarks, case["xray"].camera)
                    final = {"tre_mm": error.tre_mm, "projection_error_mm": error.projection_error_mm}
                seconds = time.perf_counter() - began
                yield {
                    "method": name,
                    "case": case["name"],
                    "start": n,
                    "initial_tre_mm": distance,
                    "seconds": seconds,
                    **final,
                }


def _succeeded(trial: Mapping[str, Any]) -> bool:
    return trial["tre_mm"] is not None and trial["tre_mm"] < SUCCESS_MM


def _by_method_and_distance(trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(sorted((t["method"], t["initial_tre_mm"]) for t in trials)))


def _success_by_distance(trials: Sequence[Mapping[str, Any]]) -> dict[float, float]:
    found: dict[float, list[bool]] = {}
    for trial in trials:
        found.setdefault(trial["initial_tre_mm"], []).append(_succeeded(trial))
    return {distance: statistics.fmean(found[distance]) for distance in sorted(found)}


def _figures(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not trials:
        return {"trials": 0}
    errors = [t["tre_mm"] if t["tre_mm"] is not None else float("inf") for t in trials]
    seconds = [t["seconds"] for t in trials]
    by_distance = _success_by_distance(trials)
    return {
        "trials": len(trials),
        "success": statistics.fmean(_succeeded(t) for t in trials),
        "capture_range_50_mm": _or_beyond(capture_range(by_distance, 0.5), by_distance),
        "capture_range_95_mm": _or_beyond(capture_range(by_distance, 0.95), by_distance),
        "median_tre_of_successes_mm": statistics.median([e for e in errors if e < SUCCESS_MM] or [float("nan")]),
        "gross_above_10mm": statistics.fmean(e > GROSS_MM for e in errors),
        "median_seconds": statistics.median(seconds),
        "p95_seconds": float(np.percentile(seconds, 95)),
    }


def _or_beyond(distance: float | None, success: Mapping[float, float]) -> float | str:
    return f"> {max(success):g}" if distance is None else distance


def _ratios(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Time of each other method over ours, and both success rates, on the trials that both did."""
    from ._common import paired_ratio

    ours = {(t["start"], t["initial_tre_mm"]): t for t in trials if t["method"] == "lm"}
    ratios: dict[str, Any] = {}
    for name in dict.fromkeys(t["method"] for t in trials if t["method"] != "lm"):
        pairs = [
            (t, ours[t["start"], t["initial_tre_mm"]])
            for t in trials
            if t["method"] == name and (t["start"], t["initial_tre_mm"]) in ours
        ]
        if not pairs:
            continue
        times = paired_ratio([a["seconds"] for a, _ in pairs], [b["seconds"] for _, b in pairs])
        ratios[f"{name} over lm"] = {
            "seconds": times["median"],
            "trials": len(pairs),
            f"success_{name}": statistics.fmean(_succeeded(a) for a, _ in pairs),
            "success_lm": statistics.fmean(_succeeded(b) for _, b in pairs),
        }
    return ratios


def _row(key: tuple[str, int], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    name, distance = key
    of_these = [t for t in trials if (t["method"], t["initial_tre_mm"]) == key]
    errors = [t["tre_mm"] for t in of_these if t["tre_mm"] is not None]
    return {
        "method": name,
        "initial TRE mm": distance,
        "trials": len(of_these),
        "success %": 100 * statistics.fmean(_succeeded(t) for t in of_these),
        "median TRE mm": statistics.median(errors) if errors else None,
        "median s": statistics.median(t["seconds"] for t in of_these),
    }


def _plot(path: Path, trials: Sequence[Mapping[str, Any]], figures: Mapping[str, Mapping[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from DiffPoseRegistrationLib.jobs.files import atomic_file

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1.4, 1), layout="constrained")
    drawn = [name for name in figures if figures[name]["trials"]]
    for name in drawn:
        success = _success_by_distance([t for t in trials if t["method"] == name])
        left.plot(
            list(success), [100 * s for s in success.values()], marker="o", label=f"{name} ({_count(trials, name)})"
        )
    for level in (50, 95):
        left.axhline(level, color="0.7", linewidth=0.8, linestyle=":")
    left.set(
        xlabel="initial TRE [mm]", ylabel=f"trials ending below {SUCCESS_MM:g} mm [%]", ylim=(-3, 103), xlim=(0, None)
    )
    left.legend(title="method (trials)", frameon=False)
    right.boxplot([[t["seconds"] for t in trials if t["method"] == name] for name in drawn], orientation="horizontal")
    right.set_yticks(range(1, len(drawn) + 1), drawn)
    right.set(xscale="log", xlabel="time of a registration [s]")
    right.invert_yaxis()
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=150)
    plt.close(figure)


def _count(trials: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(t["method"] == name for t in trials)
