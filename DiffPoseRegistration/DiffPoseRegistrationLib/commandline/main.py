"""The headless tool's entry: commands, exit codes, errors as sentences."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import __version__
from ..errors import Cancelled, InputError
from ..jobs.command import add_jobs_command
from ..jobs.output import REPLACEMENT, private_pattern
from . import dataset, evaluate, info, prepare, pretrain, register, simulate

OK, FAULT, INPUT_ERROR, INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = """Finds where an X-ray was taken from: 2D/3D registration of X-rays to CT.

The usual order of work:
  diffpose prepare  --ct CT --xray XRAY --out MODEL.safetensors   once for each patient, minutes
  diffpose register --ct CT --xray XRAY --model MODEL.safetensors --out DIR   for each X-ray, seconds
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 an input is wrong (one sentence on stderr), 1 a
    fault of the program (one sentence with the path of a log), 130 interrupted."""
    parser = build_parser()
    args = parser.parse_args(argv)
    return run_guarded(lambda: args.run(args))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diffpose", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"diffpose {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (simulate, prepare, register, pretrain, evaluate, dataset, info):
        command.add_command(subparsers)
    add_jobs_command(subparsers)
    return parser


def run_guarded(work: Callable[[], int | None]) -> int:
    """Call ``work`` (None: all is well) and turn what it raises into an exit code and one sentence on stderr."""
    try:
        return work() or OK
    except InputError as error:
        print(f"diffpose: {error}", file=sys.stderr)
        return INPUT_ERROR
    except (KeyboardInterrupt, Cancelled):
        print("diffpose: stopped; nothing half-written was left behind.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) went away
        sys.stderr.close()
        return OK
    except Exception as error:
        log = _write_fault_log()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"diffpose: the program failed ({what}); please report it with {log}", file=sys.stderr)
        return FAULT


def _write_fault_log() -> Path:
    """What a developer needs to know of the present exception, for the owner's eyes only and without the names of the
    files at work, which may be a patient's."""
    descriptor, log = tempfile.mkstemp(prefix=f"diffpose-fault-{time.strftime('%Y%m%d-%H%M%S')}-", suffix=".log")
    text = f"diffpose {__version__}\n{sys.argv[1:]}\n{traceback.format_exc()}"
    files = [path for path in map(Path, sys.argv[1:]) if path.parent.name or path.exists()]
    names = {name for path in files for name in (str(path), str(path.absolute()), path.name) if len(name) > 2}
    pattern = private_pattern(list(names))
    text = pattern.sub(REPLACEMENT, text) if pattern else text
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    return Path(log)


if __name__ == "__main__":
    sys.exit(main())
