"""What the benchmarks share: timing side by side, the machine's description, tables."""

from __future__ import annotations

import csv
import io
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from _requirements import REPOSITORY, pins
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


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system and GPU; nothing that names the computer or its owner."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": _gpu(),
        "threads": {name: os.environ[name] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if name in os.environ},
    }


def versions() -> dict[str, str]:
    """The installed versions of the pinned packages."""
    found = {}
    for package in [*pins("runtime"), *pins("benchmark")]:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def revision() -> dict[str, Any]:
    """The commit of the source tree, and whether tracked files differ from it; None where git does not say."""
    commit = _output(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"])
    if commit is None:
        return {"commit": None, "modified": None}
    changes = _output(["git", "-C", str(REPOSITORY), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


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


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.processor()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    if sys.platform == "win32":
        import ctypes

        # MEMORYSTATUSEX: two 32-bit words (its size, the load), then seven 64-bit ones, the first the total.
        status = (ctypes.c_uint64 * 8)()
        status[0] = ctypes.sizeof(status)
        return round(status[1] / 1e9, 1) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
