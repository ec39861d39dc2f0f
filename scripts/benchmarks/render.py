"""Simulated X-rays: DiffPose's renderer beside nanodrr, DiffDRR and itk-rtk, the same rays through the same volume.

Every round times every renderer once; medians and quotients round by round are reported. The trilinear marchers of
all take equally long steps: one voxel; at 200 pixels also the steps that --samples make of the way from source to
detector and of the longest ray within the volume (as nanodrr and DiffDRR come). Joseph's method has one sample a
voxel plane. Each peer's image is compared with ours, so that what is timed is the same task. Peers that are not
installed are named with what installs them; nothing is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.jobs.files import atomic_file
from DiffPoseRegistrationLib.rendering.backends import chosen_backend, march
from DiffPoseRegistrationLib.rendering.grid import AttenuationGrid
from DiffPoseRegistrationLib.workflow.machine import machine
from DiffPoseRegistrationLib.workflow.record import revision

from . import _render_peers as peers
from ._common import markdown_table, paired_ratio, seconds_side_by_side, spread, versions, write_csv

_BODY_MM = 256.0  # side of the volume, whatever its number of voxels
_GOAL_PIXELS = 200  # the image side that the goals are stated for
_SIZES, _VOLUMES = (128, 256, 512, 1024), (128, 256, 512)
_FORWARD, _GRADIENT = "forward", "forward + pose gradient"


@dataclass(frozen=True)
class _Case:
    """A renderer at a task; ``call`` does it once."""

    renderer: str
    what: str
    call: Callable[[], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a small image and volume, few rounds: does it run?")
    parser.add_argument("--rounds", type=int, help="rounds a configuration (default 9; 3 with --quick)")
    parser.add_argument("--sizes", type=int, nargs="+", help="image sides in pixels (default 200 128 256 512 1024)")
    parser.add_argument("--volumes", type=int, nargs="+", help="volume sides in voxels (default 128 256 512)")
    parser.add_argument("--batches", type=int, nargs="+", help="images a call (default 1 16)")
    parser.add_argument("--samples", type=int, default=500, help="of the two further steps (default 500)")
    parser.add_argument("--backend", default="auto", help="DiffPose's backend: auto, cpu or cuda")
    parser.add_argument(
        "--peers", nargs="*", choices=sorted(peers.INSTALL), help="which peers (default: all installed)"
    )
    parser.add_argument("--peer-seconds", type=float, default=8.0, help="leave out a peer whose render takes longer")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times every configuration; keeps render.csv and render.md beside the door's render.json."""
    backend = chosen_backend(arguments.backend)
    wanted = sorted(peers.INSTALL) if arguments.peers is None else arguments.peers
    present = [name for name in wanted if _installed(name)]
    for name in wanted:
        if name not in present:
            print(f"{name} is not installed; to compare with it: {peers.INSTALL[name]}", file=sys.stderr)
    quick = arguments.quick
    rounds = arguments.rounds or (3 if quick else 9)
    if rounds < 1 or arguments.samples < 2:
        raise InputError("--rounds is at least 1 and --samples at least 2.")
    rows: list[dict[str, Any]] = []
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    for volume, size, batch in _configurations(arguments):
        print(f"{size} x {size} pixels, {volume}^3 voxels, batch {batch} ...", file=sys.stderr, flush=True)
        more, quotients = _measure(volume, size, batch, backend, present, rounds, arguments)
        rows += more
        ratios.update(quotients)
        if size == _GOAL_PIXELS and backend == "cpu":
            figures.update(_core_scaling(volume, size, rounds))
    installed = {name: importlib.metadata.version(name) for name in present}
    write_csv(arguments.out / "render.csv", rows)
    _write_page(arguments.out / "render.md", rows, ratios, figures, installed, rounds)
    return {"rows": rows, "figures": figures, "ratios": ratios, "peers": installed, "backend": backend}


def _configurations(arguments: argparse.Namespace) -> list[tuple[int, int, int]]:
    """(volume, size, batch): sizes at 256^3, volumes at 256 pixels, batches at 128 pixels, and the 200 pixels that
    the goals are stated for; or all combinations of what was asked for."""
    if arguments.sizes or arguments.volumes or arguments.batches:
        sizes, volumes = arguments.sizes or [256], arguments.volumes or [256]
        return [(v, s, b) for v in volumes for s in sizes for b in arguments.batches or [1]]
    if arguments.quick:
        return [(64, 64, 1)]
    return [
        (256, _GOAL_PIXELS, 1),
        *((256, size, 1) for size in _SIZES),
        *((volume, 256, 1) for volume in _VOLUMES if volume != 256),
        (256, 128, 16),
    ]


def _measure(
    volume: int,
    size: int,
    batch: int,
    backend: str,
    present: list[str],
    rounds: int,
    arguments: argparse.Namespace,
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    fine = _scene(volume, size, batch)
    grid = AttenuationGrid.from_attenuation(fine.attenuation, fine.ijk_to_ras)

    def ours(scene: peers.Scene, step_mm: float | None, gradient: bool) -> Callable[[], Any]:
        centre = scene.isocentre if gradient else None
        return lambda: march(backend, grid, scene.camera, scene.poses, step_mm, centre)

    scenes = {f"step 1 voxel ({fine.step_mm:.2f} mm)": fine}
    if size == _GOAL_PIXELS:
        enter, leave, length = fine.crossings()
        for reach in (1020.0, float(((leave - enter) * length).max())):
            scene = replace(fine, step_mm=reach / arguments.samples)
            scenes[f"step {scene.step_mm:.2f} mm"] = scene
    cases: list[_Case] = []
    for what, gradient in ((_FORWARD, False), (_GRADIENT, True)):
        cases.append(_Case("DiffPose Joseph", what, ours(fine, None, gradient)))
        for label, scene in scenes.items():
            cases.append(_Case(f"DiffPose trilinear, {label}", what, ours(scene, scene.step_mm, gradient)))
    offered: list[tuple[str, str, Callable[[], peers.Call]]] = []
    for what, gradient in ((_FORWARD, False), (_GRADIENT, True)):
        for label, scene in scenes.items():
            if "nanodrr" in present:
                make = lambda s=scene, g=gradient: peers.nanodrr(s, None, g)  # noqa: E731
                offered.append((f"nanodrr torch, {label}", what, make))
            if "diffdrr" in present:
                make = lambda s=scene, g=gradient: peers.diffdrr(s, None, g)  # noqa: E731
                offered.append((f"DiffDRR trilinear, {label}", what, make))
    if "itk-rtk" in present:
        offered.append(("itk-rtk Joseph", _FORWARD, lambda: peers.rtk_joseph(fine)))
    truth = march(backend, grid, fine.camera, fine.poses, 0.25 * fine.step_mm)[0]
    for renderer, what, make in offered:
        call = _tried(renderer, what, make, truth.size, volume, arguments.peer_seconds)
        if call is not None:
            cases.append(_Case(renderer, what, call))
    differences: dict[tuple[str, str], float] = {}
    correlations: dict[tuple[str, str], float] = {}
    for case in cases:
        image = case.call()
        image = image[0] if isinstance(image, tuple) else image
        correlations[case.renderer, case.what] = float(np.corrcoef(image.ravel(), truth.ravel())[0, 1])
        differences[case.renderer, case.what] = float(np.abs(image - truth).max() / truth.max())
    seconds = seconds_side_by_side({f"{case.renderer}|{case.what}": case.call for case in cases}, rounds)
    enter, leave, length = fine.crossings()
    voxels = batch * float(((leave - enter) * length).sum()) / fine.step_mm
    place = {"volume": volume, "pixels": size, "batch": batch}
    rows = []
    for case in cases:
        times = spread(seconds[f"{case.renderer}|{case.what}"])
        rows.append(
            {
                **place,
                "renderer": case.renderer,
                "what": case.what,
                "median_ms": 1e3 * times["median"],
                "lower_quartile_ms": 1e3 * times["lower_quartile"],
                "upper_quartile_ms": 1e3 * times["upper_quartile"],
                "ns_per_voxel": 1e9 * times["median"] / voxels,
                "peak_mb": _peak_mb(case.call),
                "difference": differences[case.renderer, case.what],
                "correlation": correlations[case.renderer, case.what],
            }
        )
    return rows, _quotients(f"{size}px {volume}^3 x{batch}", seconds, list(scenes))


def _core_scaling(volume: int, size: int, rounds: int) -> dict[str, float]:
    """How many times as long our Joseph takes on one core as on two, and as on all."""
    scene = _scene(volume, size, 1)
    grid = AttenuationGrid.from_attenuation(scene.attenuation, scene.ijk_to_ras)
    cores = numba.config.NUMBA_NUM_THREADS

    def on(threads: int, gradient: bool) -> Callable[[], None]:
        def call() -> None:
            numba.set_num_threads(threads)
            march("cpu", grid, scene.camera, scene.poses, None, scene.isocentre if gradient else None)

        return call

    found = {}
    for threads in sorted({min(2, cores), cores} - {1}):
        for what, gradient in ((_FORWARD, False), (_GRADIENT, True)):
            seconds = seconds_side_by_side({"one": on(1, gradient), "more": on(threads, gradient)}, 3 * rounds)
            quotient = paired_ratio(seconds["one"], seconds["more"])["median"]
            found[f"{size}px {volume}^3: DiffPose Joseph on 1 core / on {threads}, {what}"] = quotient
    numba.set_num_threads(cores)
    return found


def _quotients(place: str, seconds: dict[str, list[float]], labels: list[str]) -> dict[str, float]:
    """How many times as long each peer takes as our renderer at the same task, by name."""
    found = {}
    for what in (_FORWARD, _GRADIENT):
        for label in labels:
            for peer in ("nanodrr torch", "DiffDRR trilinear"):
                theirs, mine = seconds.get(f"{peer}, {label}|{what}"), seconds[f"DiffPose trilinear, {label}|{what}"]
                if theirs:
                    joseph = paired_ratio(theirs, seconds[f"DiffPose Joseph|{what}"])["median"]
                    found[f"{place}: {peer}, {label} / DiffPose Joseph, {what}"] = joseph
                    found[f"{place}: {peer} / DiffPose trilinear, {label}, {what}"] = paired_ratio(theirs, mine)[
                        "median"
                    ]
        rtk = seconds.get(f"itk-rtk Joseph|{_FORWARD}")
        if rtk:
            ratio = paired_ratio(seconds[f"DiffPose Joseph|{what}"], rtk)["median"]
            found[f"{place}: DiffPose Joseph, {what} / itk-rtk Joseph, forward"] = ratio
    return found


def _tried(
    renderer: str, what: str, make: Callable[[], peers.Call], pixels: int, volume: int, longest_seconds: float
) -> peers.Call | None:
    """The peer's call, or None if it fails or needs too much memory or time."""
    # torch's renderers hold positions and values of all samples, and as much again for the derivatives.
    gigabytes = (2 if what == _GRADIENT else 1) * 32 * pixels * 1.5 * volume / 1e9
    if "rtk" not in renderer and gigabytes > 0.7 * (machine()["memory_gb"] or 8):
        print(f"  {renderer}, {what}: left out, it would need about {gigabytes:.0f} GB", file=sys.stderr)
        return None
    try:
        call = make()
        start = time.perf_counter()
        call()
        took = time.perf_counter() - start
    except (RuntimeError, MemoryError, ImportError) as problem:
        print(f"  {renderer}, {what}: failed ({type(problem).__name__}: {str(problem)[:120]})", file=sys.stderr)
        return None
    if took > longest_seconds:
        print(f"  {renderer}, {what}: left out, one render takes {took:.0f} s", file=sys.stderr)
        return None
    return call


def _scene(volume: int, size: int, batch: int) -> peers.Scene:
    """A noisy body of ellipsoids that fills the volume, seen at random poses about a frontal view; steps of a voxel."""
    edge = np.linspace(-1, 1, volume, dtype=np.float32)
    z, y, x = edge[:, None, None], edge[None, :, None], edge[None, None, :]
    body = ((x / 0.98) ** 2 + (y / 0.9) ** 2 + (z / 0.95) ** 2 < 1).astype(np.float32) * 0.02
    random = np.random.default_rng(0)
    body *= 1 + 0.05 * random.standard_normal(body.shape, dtype=np.float32)
    for _ in range(12):
        centre, radii = random.uniform(-0.6, 0.6, 3), random.uniform(0.08, 0.3, 3)
        q = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2
        body[q < 1] = 0.045
    spacing = _BODY_MM / volume
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -0.5 * (volume - 1) * spacing
    camera = Camera(1020.0, size, size, (400.0 / size, 400.0 / size))
    twists = random.uniform(-1, 1, (batch, 6)) * np.array([0.2, 0.2, 0.2, 10, 10, 10])
    poses = rigid.update_pose(view_pose("AP", np.zeros(3), 700.0), twists, np.zeros(3))
    return peers.Scene(body, affine, camera, poses, spacing)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _peak_mb(call: Callable[[], Any]) -> float | None:
    """Memory of this process at its peak during a call, beyond what it held before; None where Linux does not say."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists() or not os.access(reset, os.W_OK):
        return None

    def megabytes(name: str) -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) / 1024

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # else what earlier calls gave back hides what this one takes
    reset.write_text("5")  # the peak begins again at what is held now
    before = megabytes("VmRSS")
    result = call()
    peak = megabytes("VmHWM")
    del result
    return max(0.0, peak - before)


def _write_page(
    path: Path,
    rows: list[dict[str, Any]],
    ratios: dict[str, float],
    figures: dict[str, float],
    installed: dict[str, str],
    rounds: int,
) -> None:
    where, tree = machine(), revision()
    facts = {**where, "threads": where["threads"] or "all", **versions(), **installed, "commit": tree["commit"]}
    text = [
        "# Renderers side by side",
        f"Medians of {rounds} rounds on {where['processor']}, {where['usable_cores']} cores. `peak_mb`: memory of the "
        "process at its peak beyond what it held before, the result among it. `ns_per_voxel`: time by the way that the "
        "rays run within the volume, in voxel edges. `difference`: largest difference from DiffPose's trilinear "
        "march at a quarter of a voxel, as a share of the brightest pixel; `correlation`: normalised correlation with "
        "that image. All render the same rays.",
        markdown_table(rows),
        "## How many times as long",
        markdown_table([{"quotient": name, "value": value} for name, value in {**ratios, **figures}.items()])
        if ratios or figures
        else "No peer.",
        "## Machine and versions",
        markdown_table([{"what": name, "value": value} for name, value in facts.items()]),
    ]
    with atomic_file(path) as stream:
        stream.write(("\n\n".join(text) + "\n").encode("utf-8"))
