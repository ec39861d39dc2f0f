"""``diffpose simulate``: an X-ray of a CT, or of a generated phantom, at a known pose."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from . import arguments
from .progress import compile_renderer

if TYPE_CHECKING:
    import numpy as np

    from ..geometry.camera import Camera

_EPILOG = """examples:
  a case of a generated patient, with its CT:
    diffpose simulate --phantom 0 --out case
  AP view of a CT, the source turned by 10 and 5 degrees and moved by 20 mm across:
    diffpose simulate --ct ct.nrrd --angles 10 5 0 --shift 20 0 0 --out case
  at a random pose within 20 degrees and 30 mm of a lateral view, with a given camera:
    diffpose simulate --ct ct.nrrd --camera camera.json --view LL --random 20 30 --seed 7 --out case

writes into --out: xray.dcm (or xray.png where DICOM cannot hold the geometry), truth.json (camera, pose, and the
phantom's landmarks) and with --phantom ct.nrrd; such a folder is a case for 'diffpose evaluate'
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
    picture = parser.add_argument_group("picture")
    picture.add_argument("--photons", type=float, default=60000, help="quanta a pixel without patient; 0: no noise")
    picture.add_argument("--blur", type=float, default=0.6, metavar="PX", help="detector blur, pixels (default 0.6)")
    picture.add_argument("--scatter", type=float, default=0.1, help="scattered over primary radiation (default 0.1)")
    picture.add_argument("--seed", type=int, default=0, help="of the noise and of --random")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from ..geometry.angles import pose_in_words, positioner_angles
    from ..geometry.camera import Camera
    from ..geometry.pose_range import PoseRange, view_pose
    from ..imaging.camera_file import read_camera
    from ..imaging.ct_reader import read_ct
    from ..imaging.phantom import phantom_ct, phantom_landmarks
    from ..imaging.pose_file import read_pose
    from ..workflow.result_file import writable_folder, write_json
    from ..workflow.simulate import simulate_xray, write_ct

    if args.seed < 0 or (args.phantom is not None and args.phantom < 0):
        raise InputError("--seed and --phantom are numbers from 0 upwards.")
    out = writable_folder(args.out)
    camera = read_camera(args.camera) if args.camera else Camera.from_json(arguments.DEFAULT_CAMERA)
    landmarks = None
    if args.phantom is not None:
        ct, ct_name, landmarks = phantom_ct(args.phantom), "ct.nrrd", phantom_landmarks(args.phantom)
        write_ct(out / ct_name, ct)
    else:
        ct, ct_name = read_ct(args.ct), Path(args.ct).name
    distance, _ = arguments.source_to_isocentre(args, camera, None)
    centre = read_pose(args.centre_pose) if args.centre_pose else view_pose(args.view, ct.centre_ras, distance)
    half_ranges = args.random or (0, 0)
    pose_range = PoseRange(centre, ct.centre_ras, (half_ranges[0],) * 3, (half_ranges[1],) * 3)
    if args.random:
        pose = pose_range.sample(np.random.default_rng(args.seed), 1)[0]
    else:
        pose = pose_range.pose(np.array([*args.angles, *args.shift], dtype=float))
    compile_renderer()
    image = simulate_xray(
        ct, camera, pose, photons=args.photons, seed=args.seed, blur_px=args.blur, scatter=args.scatter
    )
    name = _write_image(out, image, camera, positioner_angles(pose)[:2], distance)
    truth = {
        "ct": ct_name,
        "image": name,
        "source": f"diffpose simulate, photons {args.photons:g}, seed {args.seed}",
        "camera": camera.to_json(),
        "camera_to_world_ras_mm": pose,
    }
    if landmarks is not None:
        truth["landmarks_ras_mm"] = landmarks
    write_json(out / "truth.json", truth)
    print(f"Pose: {pose_in_words(pose, ct.centre_ras)}.")
    print(f"Wrote {out / name} and {out / 'truth.json'}" + (f" and {out / ct_name}." if landmarks is not None else "."))


def _write_image(out: Path, image: np.ndarray, camera: Camera, angles: tuple[float, float], distance: float) -> str:
    """As DICOM where that holds the geometry, else as PNG, whose geometry is in truth.json."""
    import numpy as np
    from PIL import Image

    from ..workflow.pictures import write_png
    from ..workflow.simulate import write_xray_dicom

    centre = ((camera.columns - 1) / 2, (camera.rows - 1) / 2)
    if not np.allclose(camera.principal_point_px, centre, atol=1e-3):
        write_png(Image.fromarray(image), out / "xray.png")
        return "xray.png"
    write_xray_dicom(
        out / "xray.dcm",
        image,
        camera,
        angles if camera.viewed_from == "detector" else None,
        source_to_patient_mm=distance,
    )
    return "xray.dcm"
