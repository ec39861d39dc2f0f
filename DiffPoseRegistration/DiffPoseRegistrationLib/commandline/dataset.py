"""``diffpose dataset``: register a whole data set with known poses, and report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from . import arguments
from .prepare import add_pose_ranges
from .progress import TerminalProgress, compile_renderer

if TYPE_CHECKING:
    from ..datasets.dataset import Dataset, Prior

_EPILOG = """examples:
  the two specimens that FleXray holds out, a model prepared for each CT:
    diffpose dataset deepfluoro --data ipcai_2020_full_res_data.h5 --split held-out --out deepfluoro
  refinement alone, ten X-rays of each specimen:
    diffpose dataset deepfluoro --data ipcai_2020_full_res_data.h5 --perturb 15 30 --limit 10 --out refinement
  your own X-rays, each folder below cases/ with truth.json and its picture:
    diffpose dataset cases --ct cts --cases cases --view PA --source-to-isocentre 700 --out own

A run that was stopped goes on where it was when the same command is given again. --out then holds report.html (look at
this first), report.md, trials.csv (a row a trial), summary.json, the models, and pictures of the worst cases.
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "dataset",
        help="register a data set with known poses (DeepFluoro, Ljubljana, your own), and report",
        description="Register every X-ray of a data set with known poses: prepare a model for each subject's CT, "
        "register, measure, report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sets = parser.add_subparsers(title="data sets", metavar="DATASET", required=True)
    deepfluoro = sets.add_parser("deepfluoro", help="pelvic fluoroscopy of six cadavers (Grupp et al., 2020)")
    deepfluoro.add_argument("--data", required=True, metavar="H5", help="ipcai_2020_full_res_data.h5, unpacked")
    deepfluoro.add_argument(
        "--structures",
        choices=("without-femurs", "all"),
        default="without-femurs",
        help="whether the femurs, which moved, are painted over in the CT (default) or left",
    )
    deepfluoro.add_argument(
        "--questionable", action="store_true", help="with the four frames whose ground truth is questionable"
    )
    deepfluoro.add_argument("--split", choices=("held-out", "development"), help="specimens 1 and 2, or 3 to 6")
    deepfluoro.set_defaults(read=_read_deepfluoro)
    ljubljana = sets.add_parser("ljubljana", help="cerebral angiograms of ten patients (Mitrović et al., 2013)")
    ljubljana.add_argument("--data", required=True, metavar="H5", help="ljubljana.h5, unpacked")
    ljubljana.add_argument(
        "--views", nargs="+", choices=("ap", "lat"), default=["ap", "lat"], help="frontal, lateral (default: both)"
    )
    ljubljana.set_defaults(read=_read_ljubljana)
    cases = sets.add_parser("cases", help="your own X-rays with known poses")
    arguments.add_ct(cases, help="CT file, DICOM folder, or a folder of CT files of which each case names one")
    cases.add_argument(
        "--cases",
        required=True,
        nargs="+",
        metavar="DIR",
        help="folders of truth.json and X-ray, or holding such folders",
    )
    cases.add_argument(
        "--view", choices=arguments.VIEWS, default="AP", help="where the beam comes from, as of prepare (default AP)"
    )
    cases.add_argument("--source-to-isocentre", type=float, metavar="MM", help="from the source to the CT's centre")
    add_pose_ranges(cases)
    cases.set_defaults(read=_read_cases)
    for each in (deepfluoro, ljubljana, cases):
        _add_run(each)
        each.set_defaults(run=run)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the run; an unfinished one goes on")
    parser.add_argument("--subjects", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many X-rays a subject, spread over them")
    parser.add_argument("--minutes", type=float, default=2.0, metavar="M", help="of each preparation (default 2)")
    parser.add_argument("--steps", type=int, metavar="N", help="instead of --minutes: exactly so many training steps")
    parser.add_argument(
        "--perturb",
        type=float,
        nargs=2,
        metavar=("DEG", "MM"),
        help="no models: start from true poses disturbed by up to this in every coordinate",
    )
    parser.add_argument("--starts", type=int, default=1, metavar="N", help="disturbed starts an X-ray (default 1)")
    parser.add_argument("--worst", type=int, default=4, metavar="N", help="cases to show as pictures (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="of trainings and disturbances (default 0)")
    arguments.add_method(parser)
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> None:
    from ..workflow.dataset_run import RunSettings, run_dataset
    from ..workflow.record import published_command
    from ..workflow.summary import table

    settings = RunSettings(
        perturb=tuple(args.perturb) if args.perturb else None,
        starts=args.starts,
        minutes=args.minutes,
        steps=args.steps,
        seed=args.seed,
        limit=args.limit,
        method=args.method,
        device=args.device,
    )
    dataset = args.read(args)
    subjects = dataset.chosen(getattr(args, "split", None), tuple(args.subjects))
    command = published_command("scripts/diffpose", sys.argv[1:])
    compile_renderer()
    with TerminalProgress(dataset.name) as progress:
        done = run_dataset(dataset, subjects, args.out, settings, command=command, progress=progress)
    from ..workflow.dataset_report import write_dataset_report

    write_dataset_report(Path(args.out), dataset, subjects, done, worst=args.worst)
    print(table(done.summary))
    print(f"Wrote report.html, report.md, trials.csv and summary.json into {args.out}.")


def _read_deepfluoro(args: argparse.Namespace) -> Dataset:
    from ..datasets.deepfluoro import read_deepfluoro

    return read_deepfluoro(args.data, structures=args.structures, exclude=not args.questionable)


def _read_ljubljana(args: argparse.Namespace) -> Dataset:
    from ..datasets.ljubljana import read_ljubljana

    return read_ljubljana(args.data, tuple(args.views))


def _read_cases(args: argparse.Namespace) -> Dataset:
    from ..datasets.case_folder import read_case_folders

    return read_case_folders(args.ct, args.cases, prior=_prior_of(args), say=print)


def _prior_of(args: argparse.Namespace) -> Prior | None:
    """What the options say of where the C-arm may stand; None where models are not wanted."""
    if args.perturb:
        return None
    if args.source_to_isocentre is None:
        raise InputError(
            "Where the C-arm may stand has to be known to prepare models: give --source-to-isocentre MM (and --view), "
            "or start from disturbed true poses with --perturb DEG MM."
        )
    from ..datasets.dataset import Prior

    return Prior(args.view, args.source_to_isocentre, tuple(args.rotation), tuple(args.translation), "the command line")
