"""``diffpose pretrain``: one network from the CTs of many people, to begin a patient's preparation with."""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from . import arguments
from .job import add_job, copy_result, run_as_job
from .prepare import (
    add_pose_ranges,
    add_training,
    centre_pose,
    machine,
    model_target,
    training_in_words,
    training_options,
)
from .progress import TerminalProgress, compile_renderer

if TYPE_CHECKING:
    from ..geometry.camera import Camera

DEFAULT_MINUTES = 60.0

_EPILOG = """examples:
  from all volumes in a folder, for two hours; stopped or killed, the same command goes on:
    diffpose pretrain volumes/ --camera camera.json --minutes 120 --job pretraining --out pretrained.safetensors
  and then, for a patient:
    diffpose prepare --ct ct.nrrd --xray xray.dcm --from pretrained.safetensors --minutes 0.5 --out model.safetensors
  two processes (or GPUs) that learn together:
    torchrun --nproc-per-node 2 scripts/diffpose pretrain volumes/ --camera camera.json --checkpoints state \\
        --out pretrained.safetensors

The first volume (in the order of names) is the reference: the view is about it, and the others are aligned with it.
The file keeps the mean of the volumes with 8 mm voxels, and no volume itself.
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "pretrain",
        help="train a network on many CTs (once for many patients)",
        description="Train a network on X-rays simulated out of many CTs, for 'prepare --from'.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "volumes", nargs="+", metavar="FOLDER", help="folders with volumes or DICOM series, or volume files"
    )
    parser.add_argument(
        "--match", default="*", metavar="PATTERN", help="of volume files only those of such a name, as ct.nii.gz"
    )
    parser.add_argument("--out", required=True, metavar="NETWORK.safetensors", help="where to write the network")
    arguments.add_xray(parser, required=False, help="an X-ray of the machine, for its geometry")
    arguments.add_xray_reading(parser)
    arguments.add_centre_pose(parser)
    add_pose_ranges(parser)
    add_training(parser, DEFAULT_MINUTES)
    arguments.add_mapping(parser, "ct")
    arguments.add_device(parser)
    add_job(parser)
    parser.add_argument(
        "--checkpoints",
        metavar="FOLDER",
        help="without a job: keep the state here and go on from it, several processes together; they must share it",
    )
    parser.set_defaults(run=run, angles_of_xray=False)


def run(args: argparse.Namespace) -> None:
    from ..encoder.distributed import launched, take_own_gpu

    rank, processes = launched()
    if processes == 1:
        _run(args, is_first=True)
        return
    if args.job:
        raise InputError("--job runs one process in the background; under torchrun give --checkpoints FOLDER instead.")
    take_own_gpu()
    with contextlib.nullcontext() if rank == 0 else contextlib.redirect_stdout(io.StringIO()):
        _run(args, is_first=rank == 0)


def _run(args: argparse.Namespace, is_first: bool) -> None:
    from ..encoder.presets import chosen_settings
    from ..encoder.pretrained import save_pretrained
    from ..geometry.angles import pose_in_words
    from ..geometry.pose_range import PoseRange
    from ..jobs.checkpoint import CheckpointStore
    from ..workflow.pretrain import find_volumes, pretrain, read_volumes

    out = model_target(args.out)
    options = training_options(args, DEFAULT_MINUTES)
    settings = chosen_settings(options["preset"], **{k: v for k, v in options.items() if k != "preset"})
    paths = find_volumes(args.volumes, args.match)
    mapping = args.mapping or "ct"
    camera = machine(args)
    if args.job:
        described = {
            "camera": camera.to_json(),
            "rotation_deg": list(args.rotation),
            "translation_mm": list(args.translation),
            "mapping": arguments.mapping_for_job(mapping),
            "device": args.device,
            **_centre_settings(args, camera),
        }
        job = run_as_job(args.job, "pretrain", {"volumes": paths}, {**described, **options}, "Pretraining")
        copy_result(job.result / "pretrained.safetensors", out)
        print(f"Wrote {out} from {len(paths)} volumes.")
        return
    volumes = read_volumes(paths, mapping, warn=_note, cancelled=lambda: False)
    reference = volumes[0]
    centre, origin = centre_pose(args, camera, reference)
    pose_range = PoseRange(centre, reference.centre_ras, tuple(args.rotation), tuple(args.translation))
    print(f"Centre of the range: {pose_in_words(centre, reference.centre_ras)} of {reference.name} (from {origin}).")
    compile_renderer()
    with TerminalProgress("Pretraining", stream=None if is_first else io.StringIO()) as progress:
        made = pretrain(
            volumes,
            camera,
            pose_range,
            settings,
            device=args.device,
            progress=progress,
            warn=_note,
            checkpoints=CheckpointStore(Path(args.checkpoints)) if args.checkpoints else None,
        )
    if is_first:
        save_pretrained(made, out)
        print(f"Wrote {out} from {len(volumes)} volumes after {training_in_words(made.training)}.")


def _centre_settings(args: argparse.Namespace, camera: Camera) -> dict[str, object]:
    """Where the C-arm stands, for a job that reads the reference itself."""
    from ..imaging.pose_file import read_pose

    if args.centre_pose:
        return {"centre_camera_to_world_ras_mm": read_pose(args.centre_pose, args.xray)}
    distance, _ = arguments.source_to_isocentre(args, camera, args.xray)
    return {"view": args.view, "source_to_isocentre_mm": distance}


def _note(sentence: str) -> None:
    print(f"Note: {sentence}", flush=True)
