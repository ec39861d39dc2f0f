"""What scripts/coverage does once it is inside the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = "DiffPoseRegistration/DiffPoseRegistrationLib/"
LEAST_PERCENT = 85.0
# Tests of the library's folders with functions that numba compiles.
COMPILED = ("Testing/rendering", "Testing/refinement")


def main(argv: list[str]) -> int:
    """Run pytest under coverage and print the report; returns pytest's exit code, or 1 where the library's lines are
    covered to less than ``LEAST_PERCENT``.

    Processes that the tests start are measured too. A compiled function counts as run where numba compiles it, so the
    tests of the folders that have such functions run first and begin without any compiled code; the others, and their
    processes, find it in the cache. (If each compiled for itself, that would take most of the time.)
    """
    arguments = [argument for argument in argv if argument != "--slow"]
    if "--slow" not in argv and "-m" not in argv:
        arguments = ["-m", "not slow", *arguments]
    others = [f"--ignore={folder}" for folder in COMPILED]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "COVERAGE_FILE": str(Path(folder) / "data"),
            "COVERAGE_CORE": "ctrace",  # the one that numba reports to
            "NUMBA_CACHE_DIR": str(Path(folder) / "numba"),
            "QT_QPA_PLATFORM": "offscreen",
        }

        def coverage(*words: str, **variables: str) -> int:
            command = [sys.executable, "-m", "coverage", *words]
            return subprocess.run(command, cwd=REPOSITORY, env=environment | variables, check=False).returncode

        tests = coverage("run", "-m", "pytest", "-m", "not slow", *COMPILED, NUMBA_JIT_COVERAGE="1")
        tests = coverage("run", "-m", "pytest", *others, *arguments) or tests
        report = Path(folder) / "report.json"
        if coverage("combine", "-q") or coverage("json", "-q", "-o", str(report)):
            return tests or 1
        percent = show(json.loads(report.read_text(encoding="utf-8"))["files"])
    return tests or int(percent < LEAST_PERCENT)


def show(files: dict[str, dict]) -> float:
    """Print the table by folder and the lines that were not run; returns the per cent of the library's lines."""
    library = {name.replace("\\", "/").partition(LIBRARY)[2]: data for name, data in files.items()}
    library = {name: data for name, data in library.items() if name}
    rooms: dict[str, list[dict]] = defaultdict(list)
    for name, data in library.items():
        rooms[name.rpartition("/")[0].partition("/")[0] or "."].append(data["summary"])
    print("\nlines not run:")
    for name, data in sorted(library.items()):
        if data["missing_lines"]:
            print(f"  {name:44} {_ranges(data['missing_lines'])}")
    print(f"\n{'folder':16} {'lines':>6} {'run':>6} {'share':>7}")
    everything = [summary for summaries in rooms.values() for summary in summaries]
    for room, summaries in [*sorted(rooms.items()), ("all", everything)]:
        lines, run = (sum(summary[key] for summary in summaries) for key in ("num_statements", "covered_lines"))
        percent = 100 * run / max(lines, 1)
        print(f"{room:16} {lines:6} {run:6} {percent:6.1f}%")
    return percent


def _ranges(numbers: list[int]) -> str:
    """Line numbers as ``3-5, 9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
