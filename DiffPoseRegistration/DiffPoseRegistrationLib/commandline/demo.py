"""The demonstration: the whole way from a CT and an X-ray to a pose, by default on a generated patient."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from . import arguments
from .main import run_guarded
from .prepare import DEFAULT_ROTATION_DEG, DEFAULT_TRANSLATION_MM
from .progress import TerminalProgress, compile_renderer, duration

_EPILOG = """examples:
  the demonstration, which needs nothing:
    demo
  the same on your own files (an X-ray whose geometry is not in its file needs --camera):
    demo --ct ct.nrrd --xray xray.dcm
    demo --ct ct.nrrd --xray xray.png --camera camera.json --view LL --minutes 5 --out my-result

writes into --out: model.safetensors, result.json, pose.h5 (opens in 3D Slicer), overlay.png, range.png; and of the
generated patient ct.nrrd, xray.dcm and truth.json, which the registration does not see
"""

_MINUTES, _MINUTES_OWN_FILES = 1.25, 2.0
_ROTATION_DEG, _TRANSLATION_MM = (25.0, 25.0, 15.0), (40.0, 80.0, 40.0)
# The hidden pose is drawn from this share of the range, as a patient is not placed at its very edge.
_HIDDEN_SHARE = 0.8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; exit codes as those of the headless tool."""
    args = _parser().parse_args(argv)
    return run_guarded(lambda: _run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="From a CT and an X-ray to the X-ray's pose. Without files: on a generated patient, with an X-ray "
        "simulated at a pose that the registration does not see.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_ct(parser, required=False)
    arguments.add_xray(parser, required=False)
    parser.add_argument("--truth", metavar="JSON", help="known pose and landmarks; used only to score the result")
    parser.add_argument("--out", default="demo-output", metavar="DIR", help="folder for results (default demo-output)")
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"of training (default {_MINUTES:g}, on your own files {_MINUTES_OWN_FILES:g})",
    )
    parser.add_argument("--seed", type=int, default=0, help="which generated patient, hidden pose, noise (default 0)")
    arguments.add_xray_reading(parser)
    arguments.add_centre_pose(parser)
    arguments.add_device(parser)
    return parser


def _run(args: argparse.Namespace) -> None:
    if (args.ct is None) != (args.xray is None):
        raise InputError("Give both --ct and --xray, or neither for the generated patient.")
    if args.ct is None and (args.truth or args.camera):
        raise InputError("--truth and --camera belong to your own files; give --ct and --xray with them.")
    own_files = args.ct is not None
    if args.minutes is None:
        args.minutes = _MINUTES_OWN_FILES if own_files else _MINUTES
    if not 0 < args.minutes <= 1440 or args.seed < 0:
        raise InputError("--minutes is a time such as 1.25, and --seed a whole number from 0 upwards.")
    began = time.perf_counter()

    from ..geometry.pose_range import PoseRange, view_pose
    from ..imaging.pose_file import read_pose, read_truth
    from ..workflow.pictures import write_png
    from ..workflow.preview import range_picture
    from ..workflow.result_file import writable_folder, write_result
    from .register import report

    out = writable_folder(args.out)
    compile_renderer()
    if not own_files:
        _say(1, "A generated patient's CT, and an X-ray simulated from it at a hidden pose")
        args.ct, args.xray, args.truth = _generate(out, args)
    else:
        _say(1, "Reading your CT and X-ray")
    ct, xray = arguments.load_ct(args.ct), arguments.load_xray(args)
    truth = read_truth(args.truth, args.xray) if args.truth else None
    if args.centre_pose:
        centre = read_pose(args.centre_pose, args.xray)
    else:
        centre = view_pose(args.view, ct.centre_ras, arguments.source_to_isocentre(args, xray.camera, args.xray)[0])
    # Less is known of where a real X-ray was taken from than of the simulated one.
    half_ranges = (DEFAULT_ROTATION_DEG, DEFAULT_TRANSLATION_MM) if own_files else (_ROTATION_DEG, _TRANSLATION_MM)
    pose_range = PoseRange(centre, ct.centre_ras, *half_ranges)
    write_png(range_picture(ct, xray.camera, pose_range), out / "range.png")

    from ..encoder.model_file import load_model, save_model
    from ..encoder.settings import TrainingSettings
    from ..workflow.prepare import prepare
    from ..workflow.register import register

    _say(2, f"Preparing: the encoder learns poses of simulated X-rays of this CT for {duration(args.minutes * 60)}")
    with TerminalProgress() as progress:
        settings = TrainingSettings(minutes=args.minutes, seed=args.seed)
        model = prepare(ct, xray.camera, pose_range, settings, device=args.device, progress=progress)
    save_model(model, out / "model.safetensors")

    _say(3, "Registering: first pose from the encoder, then refinement")
    with TerminalProgress() as progress:
        result = register(ct, xray, model=load_model(out / "model.safetensors"), device=args.device, progress=progress)

    _say(4, "Result")
    inputs = {"ct": args.ct, "xray": args.xray, "model": out / "model.safetensors"}
    data = write_result(out, result, ct, inputs=inputs, truth=truth)
    report(data, ct.centre_ras)
    print(f"\nAll of it took {duration(time.perf_counter() - began)}. The files are in {out.resolve()}:")
    for name, words in (
        ("overlay.png", "X-ray, DRR before and after, and how they fit: look at this first"),
        ("pose.h5", "the C-arm's pose; drag it into 3D Slicer"),
        ("result.json", "everything in numbers"),
        ("model.safetensors", "the prepared model, for further X-rays of this patient"),
        ("range.png", "simulated X-rays from the range that the model knows"),
    ):
        print(f"  {name:18} {words}")


def _generate(out: Path, args: argparse.Namespace) -> tuple[str, str, str]:
    """Make the patient, the X-ray and the truth; returns their paths."""
    import numpy as np

    from ..geometry.camera import Camera
    from ..geometry.pose_range import PoseRange, view_pose
    from ..imaging.phantom import phantom_ct, phantom_landmarks
    from ..workflow.result_file import write_json
    from ..workflow.simulate import simulate_xray, write_ct, write_xray_dicom

    ct, camera = phantom_ct(args.seed), Camera.from_json(arguments.DEFAULT_CAMERA)
    distance, _ = arguments.source_to_isocentre(args, camera, None)
    half_ranges = np.array([*_ROTATION_DEG, *_TRANSLATION_MM]) * _HIDDEN_SHARE
    centre = view_pose(args.view, ct.centre_ras, distance)
    hidden = PoseRange(centre, ct.centre_ras, tuple(half_ranges[:3]), tuple(half_ranges[3:]))
    # A stream of its own: the training, which uses the same seed, must not draw this very pose.
    pose = hidden.sample(np.random.default_rng([args.seed, 72]), 1)[0]
    image = simulate_xray(ct, camera, pose, seed=args.seed)
    write_ct(out / "ct.nrrd", ct)
    write_xray_dicom(out / "xray.dcm", image, camera, source_to_patient_mm=distance)
    truth = {
        "ct": "ct.nrrd",
        "image": "xray.dcm",
        "source": f"generated patient {args.seed}",
        "camera": camera.to_json(),
        "camera_to_world_ras_mm": pose,
        "landmarks_ras_mm": phantom_landmarks(args.seed),
    }
    write_json(out / "truth.json", truth)
    return str(out / "ct.nrrd"), str(out / "xray.dcm"), str(out / "truth.json")


def _say(step: int, text: str) -> None:
    print(f"[{step}/4] {text}.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
