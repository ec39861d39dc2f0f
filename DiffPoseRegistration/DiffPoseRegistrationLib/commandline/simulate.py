"""``diffpose simulate``: an X-ray of a CT, or of a generated phantom, at a known pose."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import arguments
from .job import add_job, copy_results, run_as_job
from .progress import TerminalProgress, compile_renderer

if TYPE_CHECKING:
    import numpy as np

    from ..geometry.camera import Camera
    from ..imaging.values import CTVolume

_EPILOG = """examples:
  a case of a generated patient, with its CT:
    diffpose simulate --phantom 0 --out case
  AP view of a CT, the source turned by 10 and 5 degrees and moved by 20 mm across:
    diffpose simulate --ct ct.nrrd --angles 10 5 0 --shift 20 0 0 --out case
  at a random pose within 20 degrees and 30 mm of a lateral view, with a given camera:
    diffpose simulate --ct ct.nrrd --camera camera.json --view LL --random 20 30 --seed 7 --out case

  a hundred of them, as a background job that goes on after an interruption:
    diffpose simulate --ct ct.nrrd --random 20 30 --count 100 --job job --out cases

writes into --out: xray.dcm (or xray.png where DICOM cannot hold the geometry), truth.json (camera, pose, and the
phantom's landmarks) and with --phantom ct.nrrd; such a folder is a case for 'diffpose evaluate'. With --count there is
a folder for each case: case-0000, case-0001, ...
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "simulate",
        help="make an X-ray from a CT at a known pose",
        description="Make an X-ray from a CT (or from a generated phantom) at a known pose, with quantum noise, "
        "scatter and blur.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--ct", metavar="CT", help="CT file or DICOM folder")
    source.add_argument("--phantom", type=int, metavar="N", help="generated patient number N (0, 1, 2, ...)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the X-ray and its truth")
    arguments.add_camera(parser)
    arguments.add_centre_pose(parser)
    pose = parser.add_argument_group("away from there")
    pose.add_argument(
        "--angles", type=float, nargs=3, default=(0, 0, 0), metavar="DEG", help="primary, secondary, roll, degrees"
    )
    pose.add_argument(
        "--shift", type=float, nargs=3, default=(0, 0, 0), metavar="MM", help="across, along the beam, up-down, mm"
    )
    pose.add_argument(
        "--random",
        type=float,
        nargs=2,
        metavar=("DEG", "MM"),
        help="a random pose: each angle up to DEG, each shift up to MM (instead of --angles and --shift)",
    )
    pose.add_argument("--count", type=int, metavar="N", help="so many X-rays, each at another random pose")
    picture = parser.add_argument_group("picture")
    picture.add_argument("--photons", type=float, default=60000, help="quanta a pixel without patient; 0: no noise")
    picture.add_argument("--blur", type=float, default=0.6, metavar="PX", help="detector blur, pixels (default 0.6)")
    picture.add_argument("--scatter", type=float, default=0.1, help="scattered over primary radiation (default 0.1)")
    picture.add_argument(
        "--spectrum", choices=("mono", "80kV"), default="mono", help="one energy, or a tube's (default mono)"
    )
    picture.add_argument("--heel", type=float, default=0.0, metavar="SHARE", help="missing at the image's top (anode)")
    picture.add_argument(
        "--collimator",
        type=int,
        nargs=4,
        default=(0, 0, 0, 0),
        metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="widths of straight blades, pixels",
    )
    picture.add_argument(
        "--tool",
        type=float,
        nargs=7,
        action="append",
        default=[],
        metavar=("X1", "Y1", "Z1", "X2", "Y2", "Z2", "R"),
        help="a rod of steel: its ends (RAS) and its radius, mm; may be given several times",
    )
    picture.add_argument("--seed", type=int, default=0, help="of the noise and of --random")
    add_job(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from ..geometry.angles import pose_in_words
    from ..geometry.camera import Camera
    from ..geometry.pose_range import PoseRange, view_pose
    from ..imaging.camera_file import read_camera
    from ..imaging.phantom import phantom_ct, phantom_landmarks
    from ..imaging.pose_file import read_pose
    from ..workflow.result_file import writable_folder
    from ..workflow.simulate import write_ct

    if args.seed < 0 or (args.phantom is not None and args.phantom < 0):
        raise InputError("--seed and --phantom are numbers from 0 upwards.")
    if args.count is not None and (args.count < 1 or args.random is None):
        raise InputError("--count is a number from 1 upwards and needs --random, or all X-rays would be alike.")
    if args.job and args.count is None:
        raise InputError("--job is for many X-rays: say how many with --count.")
    out = writable_folder(args.out)
    camera = read_camera(args.camera) if args.camera else Camera.from_json(arguments.DEFAULT_CAMERA)
    landmarks = None
    if args.phantom is not None:
        ct_file, landmarks = out / "ct.nrrd", phantom_landmarks(args.phantom)
        write_ct(ct_file, phantom_ct(args.phantom))
    else:
        ct_file = Path(args.ct)
    ct = arguments.load_ct(ct_file)
    distance, _ = arguments.source_to_isocentre(args, camera, None)
    centre = read_pose(args.centre_pose) if args.centre_pose else view_pose(args.view, ct.centre_ras, distance)
    half_ranges = args.random or (0, 0)
    pose_range = PoseRange(centre, ct.centre_ras, (half_ranges[0],) * 3, (half_ranges[1],) * 3)
    if args.random:
        poses = pose_range.sample(np.random.default_rng(args.seed), args.count or 1)
    else:
        poses = pose_range.pose(np.array([*args.angles, *args.shift], dtype=float))[None]
    if args.count is not None:
        _many(args, out, ct, ct_file, camera, poses, landmarks)
        return
    from ..workflow.cases import write_case
    from ..workflow.simulate import simulate_xray

    compile_renderer()
    image = simulate_xray(ct, camera, poses[0], seed=args.seed, **_picture(args))
    case: dict[str, Any] = {"ct_name": ct_file.name, "source": _source(args), "landmarks": landmarks}
    name = write_case(out, image, camera, poses[0], ct.centre_ras, **case, collimator_px=tuple(args.collimator))
    print(f"Pose: {pose_in_words(poses[0], ct.centre_ras)}.")
    written = [name, "truth.json", *(["ct.nrrd"] if args.phantom is not None else [])]
    print(f"Wrote {' and '.join(str(out / file) for file in written)}.")


def _many(
    args: argparse.Namespace,
    out: Path,
    ct: CTVolume,
    ct_file: Path,
    camera: Camera,
    poses: np.ndarray,
    landmarks: np.ndarray | None,
) -> None:
    if args.job:
        settings = {
            "camera": camera.to_json(),
            "camera_to_world_ras_mm": poses,
            "landmarks_ras_mm": landmarks,
            "seed": args.seed,
            **_picture(args),
        }
        copy_results(run_as_job(args.job, "simulate", {"ct": ct_file}, settings, "Simulating"), out)
    else:
        from ..workflow.cases import simulate_cases

        if any(out.glob("case-*")):
            raise InputError(f"{out} holds cases already; choose a new folder with --out.")
        compile_renderer()
        case: dict[str, Any] = {"ct_name": ct_file.name, "source": _source(args), "landmarks": landmarks}
        with TerminalProgress("Simulating") as progress:
            simulate_cases(out, ct, camera, poses, **case, seed=args.seed, progress=progress, **_picture(args))
    print(f"Wrote {len(poses)} cases into {out}.")


def _picture(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "photons": args.photons,
        "blur_px": args.blur,
        "scatter": args.scatter,
        "spectrum": args.spectrum,
        "heel": args.heel,
        "collimator_px": tuple(args.collimator),
        "tools": tuple(tuple(tool) for tool in args.tool),
    }


def _source(args: argparse.Namespace) -> str:
    return f"diffpose simulate, photons {args.photons:g}, seed {args.seed}"
