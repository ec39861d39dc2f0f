"""What the benchmarks share: timing side by side, versions, tables."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from _requirements import pins
from DiffPoseRegistrationLib.jobs.files import atomic_file


def seconds_side_by_side(
    cases: Mapping[str, Callable[[], object]],
    rounds: int,
    warmup: int = 1,
    synchronise: Callable[[], object] | None = None,
) -> dict[str, list[float]]:
    """Wall-clock seconds of each case, one a round.

    Each round runs every case once, beginning with another one each time, so that a machine that slows down or is
    shared with others slows all of them alike. ``synchronise`` (such as ``torch.cuda.synchronize``) waits for work
    that a case only started. The ``warmup`` rounds, in which kernels compile and memory is first touched, are not
    returned.
    """
    if rounds < 1 or not cases:
        raise ValueError("at least one case and one round are needed")
    wait = synchronise or (lambda: None)
    names = list(cases)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmup, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wait()
            start = time.perf_counter()
            cases[name]()
            wait()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes of a list of numbers, with their count."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {
        "median": quartiles[1],
        "lower_quartile": quartiles[0],
        "upper_quartile": quartiles[2],
        "minimum": min(values),
        "maximum": max(values),
        "count": len(values),
    }


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """The spread of the quotients round by round of two lists from ``seconds_side_by_side``.

    The median of quotients is steadier than the quotient of medians where the machine's speed drifts.
    """
    if len(numerator) != len(denominator):
        raise ValueError(f"paired lists differ in length: {len(numerator)} and {len(denominator)}")
    return spread([above / below for above, below in zip(numerator, denominator)])


def versions() -> dict[str, str]:
    """The installed versions of the pinned packages."""
    found = {}
    for package in [*pins("runtime"), *pins("benchmark")]:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table, aligned for reading as text; its columns are the keys in order of first appearance."""
    columns = _columns(rows)
    body = [[_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [all(_is_number(row.get(column)) for row in rows) for column in columns]
    widths = [max(3, len(column), *(len(line[i]) for line in body)) for i, column in enumerate(columns)]

    def joined(cells: Sequence[str]) -> str:
        fitted = [cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(cells, widths, numeric)]
        return "| " + " | ".join(fitted) + " |"

    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric)]
    return "\n".join([joined(columns), joined(rule), *(joined(line) for line in body)])


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all; full precision, unlike the printed table."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=_columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as stream:
        stream.write(text.getvalue().encode("utf-8"))


def write_page(
    path: Path,
    title: str,
    explanation: str,
    rows: Sequence[Mapping[str, Any]],
    values: Mapping[str, float],
    facts: Mapping[str, Any],
) -> None:
    """A Markdown page with a table of ``rows``, one of ``values`` by name and one of the machine and versions."""
    named = [{"what": name, "value": value} for name, value in values.items()]
    known = [{"what": name, "value": value} for name, value in {**facts, **versions()}.items()]
    parts = [f"# {title}", explanation, markdown_table(rows)]
    parts += [markdown_table(named)] if named else []
    parts += ["## Machine and versions", markdown_table(known)]
    with atomic_file(path) as stream:
        stream.write(("\n\n".join(parts) + "\n").encode("utf-8"))


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10000 else f"{value:.0f}"
    return str(value).replace("|", "\\|")
