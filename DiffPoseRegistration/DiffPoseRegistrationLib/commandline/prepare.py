"""``diffpose prepare``: train the encoder for one patient's CT and a range of poses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import arguments
from .job import add_job, copy_result, run_as_job
from .progress import TerminalProgress, compile_renderer, duration

if TYPE_CHECKING:
    import numpy as np

    from ..geometry.camera import Camera
    from ..imaging.values import CTVolume

DEFAULT_ROTATION_DEG = (30.0, 30.0, 30.0)
DEFAULT_TRANSLATION_MM = (60.0, 120.0, 60.0)
DEFAULT_MINUTES = 5.0
PRESETS = ("default", "diffpose", "xvr")

_EPILOG = """examples:
  for X-rays like this one (its file holds the geometry), taken about AP:
    diffpose prepare --ct ct.nrrd --xray xray.dcm --out model.safetensors
  until the error is below 10 mm, but no longer than half an hour, around the angles that the X-ray's file states:
    diffpose prepare --ct ct.nrrd --xray xray.dcm --angles-of-xray --until 10 --minutes 30 --out m.safetensors
  from a network that 'diffpose pretrain' made, half a minute:
    diffpose prepare --ct ct.nrrd --xray xray.dcm --from pretrained.safetensors --minutes 0.5 --out m.safetensors
  lateral views, ten minutes, a narrower range:
    diffpose prepare --ct ct.nrrd --camera camera.json --view LL --rotation 20 20 10 --minutes 10 --out m.safetensors

X-rays of one machine may differ in pose, not in camera: distance, pixel size and image size belong to the model.
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="train a model for one CT (once for each patient)",
        description="Train the model that finds the first pose of X-rays of this CT, from simulated X-rays.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_ct(parser)
    parser.add_argument("--out", required=True, metavar="MODEL.safetensors", help="where to write the model")
    arguments.add_xray(parser, required=False, help="an X-ray of the machine, for its geometry")
    arguments.add_xray_reading(parser)
    arguments.add_centre_pose(parser)
    parser.add_argument(
        "--angles-of-xray",
        action="store_true",
        help="instead of a view: the positioner angles that the file of --xray states",
    )
    add_pose_ranges(parser, by_preset=True)
    parser.add_argument(
        "--distribution",
        choices=("uniform", "gaussian"),
        help="gaussian: the ranges are standard deviations on the tangent space of the poses",
    )
    add_training(parser)
    parser.add_argument(
        "--from", dest="pretrained", metavar="NETWORK", help="begin with a network that 'diffpose pretrain' made"
    )
    parser.add_argument("--preview", metavar="PNG", help="also write a page of simulated X-rays from the range")
    parser.add_argument(
        "--segmentation", metavar="LABELS", help="structures of the CT, for losses that compare their projections"
    )
    arguments.add_mapping(parser, "ct")
    arguments.add_device(parser)
    add_job(parser)
    parser.set_defaults(run=run)


def add_pose_ranges(parser: argparse.ArgumentParser, *, by_preset: bool = False) -> None:
    """How far X-rays may be from the middle of the range; with ``by_preset`` None where nothing is given."""
    group = parser.add_argument_group("how far X-rays may be from there (half ranges)")
    group.add_argument(
        "--rotation",
        type=float,
        nargs=3,
        default=None if by_preset else DEFAULT_ROTATION_DEG,
        metavar="DEG",
        help="primary angle, secondary angle, roll (default {:g} {:g} {:g})".format(*DEFAULT_ROTATION_DEG),
    )
    group.add_argument(
        "--translation",
        type=float,
        nargs=3,
        default=None if by_preset else DEFAULT_TRANSLATION_MM,
        metavar="MM",
        help="across, along the beam, up-down (default {:g} {:g} {:g})".format(*DEFAULT_TRANSLATION_MM),
    )


def add_training(parser: argparse.ArgumentParser, default_minutes: float = DEFAULT_MINUTES) -> None:
    """For how long to train, and how."""
    group = parser.add_argument_group("for how long to train, and how")
    group.add_argument("--minutes", type=float, metavar="M", help=f"at most so long (default {default_minutes:g})")
    group.add_argument(
        "--until", type=float, metavar="MM", help="until the median error on unseen simulated X-rays is surely below"
    )
    group.add_argument(
        "--steps", type=int, metavar="N", help="instead of --minutes: at most so many steps, repeatable to the bit"
    )
    group.add_argument("--seed", type=int, default=0, help="of the training (default 0)")
    group.add_argument(
        "--preset", choices=PRESETS, default="default", help="train as ours (default) or as the papers' programs do"
    )
    group.add_argument(
        "--training",
        metavar="JSON",
        help="any other setting by name, as JSON or a file of it, such as '{\"batch_size\": 32}'; "
        "'diffpose info' shows those of a model",
    )


def training_options(args: argparse.Namespace, default_minutes: float = DEFAULT_MINUTES) -> dict[str, Any]:
    """The options of :func:`add_training`, checked, as keyword arguments of ``presets.chosen_settings``."""
    if args.minutes is not None and not 0 < args.minutes <= 1440:
        raise InputError(f"--minutes is {args.minutes:g}; give the training time in minutes, such as 5.")
    if args.until is not None and not 0 < args.until <= 1e4:
        raise InputError(f"--until is {args.until:g}; give an error in millimetres, such as 10.")
    if args.steps is not None and args.steps < 1:
        raise InputError(f"--steps is {args.steps}; give a whole number from 1 upwards.")
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; give a whole number from 0 upwards.")
    options: dict[str, Any] = {"seed": args.seed, "preset": args.preset}
    if args.minutes is not None or args.preset == "default":
        options["minutes"] = default_minutes if args.minutes is None else args.minutes
    if args.until is not None:
        options["until_mm"] = args.until
    if args.steps is not None:
        options["steps"] = args.steps
    if args.training is not None:
        options["training"] = _json(args.training)
    return options


def run(args: argparse.Namespace) -> None:
    from ..encoder.presets import chosen_settings, preset
    from ..geometry.angles import pose_in_words
    from ..geometry.pose_range import PoseRange
    from ..workflow.pictures import write_png
    from ..workflow.preview import range_picture

    out = model_target(args.out)
    options = training_options(args)
    if args.pretrained and args.preset != "default":
        raise InputError("--from goes on as its network was trained; leave --preset out.")
    rest = {k: v for k, v in options.items() if k != "preset"}
    pretrained = None
    if args.pretrained:
        from ..encoder.pretrained import load_pretrained
        from ..workflow.prepare import finetuning

        pretrained = load_pretrained(args.pretrained)
        settings = finetuning(pretrained, **rest)
    else:
        settings = chosen_settings(options["preset"], **rest)
    mapping = args.mapping or "ct"
    ct = arguments.load_ct(args.ct, mapping)
    camera = machine(args)
    centre, origin = centre_pose(args, camera, ct)
    usual = preset(args.preset)
    rotation, translation = args.rotation or usual.rotation_deg, args.translation or usual.translation_mm
    pose_range = PoseRange(
        centre, ct.centre_ras, tuple(rotation), tuple(translation), args.distribution or usual.distribution
    )
    print(f"Centre of the range: {pose_in_words(centre, ct.centre_ras)} (from {origin}).")

    if args.preview:
        compile_renderer()
        write_png(range_picture(ct, camera, pose_range, seed=args.seed), args.preview)

    if args.job:
        described = {
            "camera": camera.to_json(),
            "centre_camera_to_world_ras_mm": centre,
            "rotation_deg": list(rotation),
            "translation_mm": list(translation),
            "distribution": pose_range.distribution,
            "mapping": arguments.mapping_for_job(mapping),
            "device": args.device,
        }
        inputs = {"ct": args.ct}
        if args.segmentation:
            inputs["segmentation"] = args.segmentation
        if args.pretrained:
            inputs["pretrained"] = args.pretrained
        job = run_as_job(args.job, "prepare", inputs, {**described, **options}, "Preparing")
        copy_result(job.result / "model.safetensors", out)
        print(f"Wrote {out} for {ct.name}.")
        return

    from ..encoder.model_file import save_model
    from ..imaging.segmentation import read_labels
    from ..workflow.prepare import prepare

    labels = read_labels(args.segmentation, ct) if args.segmentation else None
    compile_renderer()
    with TerminalProgress("Preparing") as progress:
        model = prepare(
            ct,
            camera,
            pose_range,
            settings,
            labels=labels,
            pretrained=pretrained,
            device=args.device,
            progress=progress,
            warn=lambda sentence: print(f"Note: {sentence}"),
        )
    save_model(model, out)
    print(f"Wrote {out} for {ct.name} after {training_in_words(model.training)}.")


def training_in_words(record: dict[str, Any]) -> str:
    """What a training's record says that matters."""
    words = f"{duration(record['seconds'])} and {record['images']} simulated X-rays"
    return (
        f"{words}; error on {record['unseen_images']} unseen ones: median {record['median_error_mm']:.1f} mm, 95th "
        f"percentile {record['percentile95_error_mm']:.1f} mm (disturbed as real ones may be: "
        f"{record['disturbed_median_error_mm']:.1f} and {record['disturbed_percentile95_error_mm']:.1f} mm)"
    )


def machine(args: argparse.Namespace) -> Camera:
    """The camera of ``--xray`` or ``--camera``."""
    if args.xray is not None:
        return arguments.load_xray(args).camera
    camera = arguments.given_camera(args)
    if camera is None:
        raise InputError("prepare needs the X-ray machine's geometry: give --xray XRAY or --camera JSON.")
    return camera


def centre_pose(args: argparse.Namespace, camera: Camera, ct: CTVolume) -> tuple[np.ndarray, str]:
    """The middle of the range, and where it comes from."""
    from ..geometry.angles import pose_at_angles
    from ..geometry.pose_range import view_pose
    from ..imaging.pose_file import read_pose

    if args.centre_pose:
        return read_pose(args.centre_pose, args.xray), args.centre_pose
    distance, origin = arguments.source_to_isocentre(args, camera, args.xray)
    if not args.angles_of_xray:
        return view_pose(args.view, ct.centre_ras, distance), origin
    angles = arguments.positioner_angles_of(args.xray)
    return pose_at_angles(*angles, ct.centre_ras, distance), f"the X-ray's positioner angles; {origin}"


def _json(text: str) -> Any:
    """The JSON in a file or in the text itself."""
    try:
        return json.loads(Path(text).read_text(encoding="utf-8") if text.endswith(".json") else text)
    except (OSError, ValueError) as error:
        raise InputError(f"--training {text!r} is neither JSON nor a readable .json file ({error}).") from None


def model_target(path: str) -> Path:
    """``path`` for a model file, known to be writable before minutes go into training."""
    from ..workflow.result_file import writable_folder

    target = Path(path)
    if target.suffix.lower() != ".safetensors":
        raise InputError(f"{target} must end in .safetensors, the format of models.")
    if target.is_dir():
        raise InputError(f"{target} is a folder; name the model file to write with --out.")
    writable_folder(target.parent)
    return target
