"""``diffpose evaluate``: many registrations against known poses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import InputError
from . import arguments
from .job import add_job, copy_results, run_as_job
from .progress import TerminalProgress

_EPILOG = """examples:
  twenty disturbed starts a case:
    diffpose evaluate --ct thorax.nrrd --cases cases/* --perturb 15 30 --starts 20 --out evaluation
  from a model; cases that name another CT are left out:
    diffpose evaluate --ct thorax.nrrd --cases cases/* --model thorax.safetensors --out evaluation
  each X-ray also with a rod, a label, ... in it, and mirrored, and with the other patients' CTs:
    diffpose evaluate --ct cts --cases cases/* --perturb 20 40 --starts 2 --disturb all --impostors --out evaluation
  all CTs of a folder at once, each case with its own:
    diffpose evaluate --ct cts --cases cases/* --perturb 15 30 --starts 20 --out evaluation
  the two views of a biplane system together, and how many end within 0.5 mm and 0.7 degrees:
    diffpose evaluate --ct radius.nrrd --cases wrist --together --perturb 8 10 --starts 40 --within 0.5 0.7 --out wrist

a case is a folder with truth.json (ct, camera, camera_to_world_ras_mm, landmarks_ras_mm) and its X-ray (xray.dcm, or
the file that truth.json names as "image"); writes trials.csv (a row a trial), summary.json and predicted-error.svg
(what was predicted of each error, and what it was) into --out
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure accuracy on X-rays with known poses",
        description="Register X-rays whose poses are known, and tell how far off the results are.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_ct(parser, help="CT file, DICOM folder, or a folder of CT files of which each case names one")
    parser.add_argument("--cases", required=True, nargs="+", metavar="DIR", help="folders with truth.json and an X-ray")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--model", nargs="+", metavar="MODEL", help="prepared model; several for several CTs")
    start.add_argument(
        "--perturb", type=float, nargs=2, metavar=("DEG", "MM"), help="start from true poses disturbed by up to this"
    )
    parser.add_argument("--starts", type=int, default=1, metavar="N", help="disturbed starts a case (default 1)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for trials.csv and summary.json")
    parser.add_argument("--seed", type=int, default=0, help="of the disturbances (default 0)")
    parser.add_argument(
        "--together",
        action="store_true",
        help="the views of a folder share one pose: as their lab_to_camera_mm say, else as their true poses do",
    )
    parser.add_argument(
        "--within", type=float, nargs=2, metavar=("MM", "DEG"), help="tell how many trials end below this error"
    )
    parser.add_argument(
        "--disturb",
        nargs="+",
        default=[],
        metavar="KIND",
        help="register disturbed copies of each X-ray too: rod, label, text, collimated, bright-corner, dark-corner, "
        "inverted, or all",
    )
    parser.add_argument(
        "--impostors",
        action="store_true",
        help="register each X-ray also mirrored, and with the other patients' CTs, and tell how often that is accepted",
    )
    arguments.add_method(parser)
    arguments.add_xray_reading(parser)
    arguments.add_device(parser)
    add_job(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    if args.perturb and not (0 <= args.perturb[0] <= 180 and 0 <= args.perturb[1] <= 2000):
        raise InputError("--perturb takes degrees (0 to 180) and millimetres (0 to 2000).")
    if args.within and not (args.within[0] > 0 and args.within[1] > 0):
        raise InputError("--within takes millimetres and degrees, both above 0.")
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; give a whole number from 0 upwards.")
    from ..workflow.disturb import DISTURBANCES, known_disturbances
    from ..workflow.evaluate import evaluate
    from ..workflow.record import published_command
    from ..workflow.result_file import writable_folder
    from ..workflow.summary import table

    disturb = list(DISTURBANCES) if args.disturb == ["all"] else list(known_disturbances(args.disturb))
    writable_folder(args.out)
    if args.job:
        settings = {"perturb": args.perturb, "starts": args.starts, "seed": args.seed, "device": args.device}
        settings |= {"method": args.method, "together": args.together, "within": args.within, "disturb": disturb}
        settings["impostors"] = args.impostors
        inputs = {"ct": args.ct, "cases": args.cases, "models": args.model}
        settings.update(arguments.reading_settings(args))
        job = run_as_job(args.job, "evaluate", inputs, settings, "Evaluating")
        copy_results(job, Path(args.out), ("trials.csv", "summary.json", "predicted-error.svg"))
        print(table(json.loads((job.result / "summary.json").read_text(encoding="utf-8"))))
        print(f"Wrote trials.csv, summary.json and predicted-error.svg into {args.out}.")
        return
    models = []
    if args.model:
        from ..encoder.model_file import load_model

        models = [load_model(path) for path in args.model]
    with TerminalProgress("Evaluating") as progress:
        summary = evaluate(
            args.ct,
            args.cases,
            args.out,
            models=models,
            perturb=tuple(args.perturb) if args.perturb else None,
            starts=args.starts,
            seed=args.seed,
            method=args.method,
            together=args.together,
            within=tuple(args.within) if args.within else None,
            disturb=disturb,
            impostors=args.impostors,
            device=args.device,
            camera=arguments.given_camera(args),
            viewed_from=args.viewed_from,
            xray_options=arguments.reading_options(args),
            progress=progress,
            say=print,
            command=published_command("scripts/diffpose", sys.argv[1:]),
        )
    print(table(summary))
    print(f"Wrote trials.csv, summary.json and predicted-error.svg into {args.out}.")
