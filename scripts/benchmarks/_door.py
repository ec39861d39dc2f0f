"""scripts/benchmark: runs one measurement, prints its table and keeps its figures as JSON."""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.jobs.files import write_json
from DiffPoseRegistrationLib.workflow.record import circumstances, published, published_command

from ._common import markdown_table, versions

FOLDER = Path(__file__).resolve().parent


def available(folder: Path = FOLDER) -> list[str]:
    """The names of the benchmarks in a folder."""
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def main(argv: list[str]) -> int:
    """Run the benchmark named first in ``argv``; returns the exit code (2 where the person's input is at fault)."""
    names = available()
    if not argv or argv[0].startswith("-"):
        parser = _help(names)
        parser.parse_args(argv or ["--help"])
        parser.error("NAME comes first")
    name = argv[0]
    try:
        if name not in names:
            raise InputError(
                f"There is no benchmark named {name}; there is {', '.join(names)}." if names else "No benchmark exists."
            )
        benchmark = importlib.import_module(f"{__package__}.{name}")
        arguments = _parser(name, benchmark).parse_args(argv[1:])
        _make_folder(arguments.out)
        report = measure(name, benchmark, arguments, argv)
        target = arguments.out / f"{name}.json"
        try:
            write_json(target, report)
        except OSError as error:
            raise InputError(f"{target} cannot be written ({error.strerror}); choose another --out.") from error
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(_table(report))
    print(f"\n{target}")
    return 0


def measure(name: str, benchmark: Any, arguments: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """What ``benchmark.run`` returns, with where, when and with what it was measured. Folders of this machine are left
    out of paths, so that the record can be published."""
    options = {key: published(value) for key, value in vars(arguments).items() if key != "out"}
    report = {
        **circumstances(name, published_command("scripts/benchmark", argv)),
        "versions": versions(),  # of more packages
        "arguments": options,
    }
    start = time.perf_counter()
    result = benchmark.run(arguments)
    report["seconds"] = round(time.perf_counter() - start, 3)
    return {**report, "ratios": {}, **result}


def _help(names: list[str]) -> argparse.ArgumentParser:
    """The parser of a command line that does not begin with a benchmark's name."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Runs one measurement, prints a table and writes DIR/NAME.json (figures and ratios by name, "
        "machine, package versions, revision, date). NAME --help shows a measurement's own options.",
        epilog=_listing(names),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="which measurement; it comes first")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for NAME.json, made if missing")
    return parser


def _parser(name: str, benchmark: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"scripts/benchmark {name}",
        description=benchmark.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help=f"folder for {name}.json")
    if hasattr(benchmark, "add_arguments"):
        benchmark.add_arguments(parser)
    return parser


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}); choose another --out.") from error


def _listing(names: list[str]) -> str:
    """The benchmarks with the first line of each docstring, without importing them."""
    lines = []
    for name in names:
        tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
        lines.append(f"  {name:<12} {(ast.get_docstring(tree) or '').partition(chr(10))[0]}")
    return "measurements:\n" + ("\n".join(lines) or "  none yet")


def _table(report: dict[str, Any]) -> str:
    """The rows, if the benchmark gave any, then figures and ratios by name."""
    parts = []
    if report.get("rows"):
        parts.append(markdown_table(report["rows"]))
    for kind, heading in (("figures", "figure"), ("ratios", "ratio")):
        flat = _flat(report[kind])
        if flat:
            parts.append(markdown_table([{heading: key, "value": value} for key, value in flat.items()]))
    return "\n\n".join(parts)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
