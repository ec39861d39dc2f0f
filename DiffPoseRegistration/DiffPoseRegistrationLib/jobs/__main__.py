"""``python -m DiffPoseRegistrationLib.jobs run FOLDER | serve | --diagnose``: the worker process."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import diagnose, worker


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m DiffPoseRegistrationLib.jobs", description=__doc__)
    parser.add_argument("--diagnose", action="store_true", help="say what this Python can do, then end")
    parser.add_argument("--json", action="store_true", help="with --diagnose: as one JSON object")
    parser.add_argument("--folder", type=Path, help="with --diagnose: whether this folder can be written")
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="do the job in FOLDER, from its last checkpoint on")
    run.add_argument("folder", type=Path)
    run.add_argument("--owned", action="store_true", help="orders come on standard input; end when it ends")
    serve = commands.add_parser("serve", help="stay warm and take jobs from standard input")
    serve.add_argument("--idle", type=float, default=worker.DEFAULT_IDLE_S, help="seconds without work before it ends")
    for command in (run, serve):
        command.add_argument("--parent", type=int, help="process id of the program to end with")
        command.add_argument(
            "--grace",
            type=float,
            default=worker.DEFAULT_GRACE_S,
            help="seconds in which a task may stop when that program is gone (default %(default)g)",
        )
        # The module that does the work; another one only in tests, which have no CT to register.
        command.add_argument("--tasks", default=worker.TASKS_MODULE, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.diagnose:
        return diagnose.main(options.folder, as_json=options.json)
    if options.command is None:
        parser.print_help()
        return worker.REFUSED
    common = {"tasks": options.tasks, "parent": options.parent, "grace_s": options.grace}
    if options.command == "run":
        return worker.run_one(options.folder, owned=options.owned, **common)
    return worker.serve(idle_s=options.idle, **common)


if __name__ == "__main__":
    sys.exit(main())
