"""Charts of errors as SVG text: no package is needed to draw them, and every browser and code host shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from ..metrics.rates import GROSS_MM, SUBMILLIMETRE_MM, SUCCESS_MM

# Told apart by people with any kind of colour vision (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#000000")
_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 56
_LOWEST, _HIGHEST = 0.01, 1000.0  # errors outside are drawn at the edge
_BESIDE = 250  # where the names of many curves stand, so that they hide none
_MARKS = (SUBMILLIMETRE_MM, SUCCESS_MM, GROSS_MM)
_SMALL, _LARGE = 12, 15

Errors = Sequence[float | None]


def cumulative(series: Mapping[str, Errors], title: str, label: str) -> str:
    """Share of trials below each error, a step curve for each of ``series``; the error's axis is logarithmic. Trials
    without a number (None, NaN, infinity) count, and are never reached."""
    across = _Log(_range(series.values()), _LEFT, _WIDTH - _RIGHT)
    down = _Linear((0.0, 100.0), _HEIGHT - _BOTTOM, _TOP)
    beside = _BESIDE if len(series) > 3 else 0
    parts = [*_frame(title, label, "trials below [%]", beside), *_grid(across, down)]
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        finite = np.sort(_finite(values))
        points = [(across(across.low), down(0))]
        for rank, value in enumerate(finite, 1):
            points += [(across(value), points[-1][1]), (across(value), down(100 * rank / len(values)))]
        points.append((across(across.high), points[-1][1]))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += _legend(number, f"{name} ({len(values)})", colour, _WIDTH - _RIGHT if beside else _LEFT)
    return _svg(parts, _WIDTH + beside)


def strips(groups: Mapping[str, Errors], title: str, label: str) -> str:
    """Each trial a point, a column for each of ``groups`` with a bar at its median; the error's axis is logarithmic.
    Trials without a number are crosses at the top."""
    down = _Log(_range(groups.values()), _HEIGHT - _BOTTOM, _TOP)
    width = (_WIDTH - _RIGHT - _LEFT) / max(len(groups), 1)
    parts = [*_frame(title, "", label), *_grid(None, down)]
    for number, (name, values) in enumerate(groups.items()):
        middle = _LEFT + (number + 0.5) * width
        finite = _finite(values)
        spread = 0.3 * width * np.random.default_rng(0).uniform(-1, 1, len(values))
        for value, aside in zip(finite, spread):
            parts.append(_dot(middle + aside, down(value), COLOURS[0]))
        for aside in spread[len(finite) :]:
            parts.append(_text(middle + aside, _TOP + 4, "x", "middle", COLOURS[1]))
        if finite:
            y, half = down(float(np.median(finite))), 0.36 * width
            parts.append(_line(middle - half, y, middle + half, y, "#000000", 2))
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 18, _shortened(name, width), "middle"))
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 34, f"n = {len(values)}", "middle", "#666666"))
    return _svg(parts)


def scatter(groups: Mapping[str, Sequence[tuple[float, float]]], title: str, x_label: str, y_label: str) -> str:
    """Pairs of errors on logarithmic axes, a colour for each of ``groups``, with the line where both are equal."""
    pairs = [pair for values in groups.values() for pair in values]
    reach = _range([[value for pair in pairs for value in pair]])
    across, down = _Log(reach, _LEFT, _WIDTH - _RIGHT), _Log(reach, _HEIGHT - _BOTTOM, _TOP)
    parts = [*_frame(title, x_label, y_label), *_grid(across, down)]
    parts.append(_line(across(reach[0]), down(reach[0]), across(reach[1]), down(reach[1]), "#666666", 1))
    for number, (name, values) in enumerate(groups.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += [_dot(across(x), down(y), colour) for x, y in values]
        parts += _legend(number, f"{name} ({len(values)})", colour)
    return _svg(parts)


# -- axes -----------------------------------------------------------------------------------------------------------


class _Linear:
    """Values from ``low`` to ``high`` on the page from ``start`` to ``end``; what lies outside is drawn at the edge."""

    def __init__(self, reach: tuple[float, float], start: float, end: float) -> None:
        self.low, self.high = reach
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (self._scale(value) - self._scale(self.low)) / (self._scale(self.high) - self._scale(self.low))
        return self._start + min(max(share, 0.0), 1.0) * (self._end - self._start)

    def _scale(self, value: float) -> float:
        return value

    def ticks(self) -> list[float]:
        return [self.low + n / 5 * (self.high - self.low) for n in range(6)]


class _Log(_Linear):
    def _scale(self, value: float) -> float:
        return math.log10(max(value, 1e-12))

    def ticks(self) -> list[float]:
        found = [m * 10.0**n for n in range(-4, 5) for m in (1, 2, 5)]
        return [tick for tick in found if self.low <= tick * 1.0001 and tick <= self.high * 1.0001]


def _range(values: Iterable[Errors]) -> tuple[float, float]:
    """Limits at 1, 2 or 5 times a power of ten around all finite values."""
    finite = [value for some in values for value in _finite(some)]
    low, high = (min(finite), max(finite)) if finite else (0.1, 10.0)
    low, high = max(low, _LOWEST), min(max(high, low * 1.01, SUCCESS_MM), _HIGHEST)
    ticks = [m * 10.0**n for n in range(-3, 5) for m in (1, 2, 5)]
    return max(tick for tick in ticks if tick <= low * 1.0001), min(tick for tick in ticks if tick >= high)


def _finite(values: Errors) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]


# -- marks ----------------------------------------------------------------------------------------------------------


def _frame(title: str, x_label: str, y_label: str, beside: int = 0) -> list[str]:
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    return [
        f'<rect width="{_WIDTH + beside}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(_LEFT, 22, title, "start", "#000000", _LARGE),
        _text(middle_x, _HEIGHT - 10, x_label, "middle"),
        f'<g transform="translate(18,{middle_y}) rotate(-90)">{_text(0, 0, y_label, "middle")}</g>',
    ]


def _grid(across: _Linear | None, down: _Linear) -> list[str]:
    parts = []
    axes = [(down, True)] if across is None else [(down, True), (across, False)]
    for axis, is_down in axes:
        for tick in axis.ticks():
            at, strong = axis(tick), isinstance(axis, _Log) and any(math.isclose(tick, mark) for mark in _MARKS)
            colour = "#999999" if strong else "#e4e4e4"
            if is_down:
                parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, colour, 1))
                parts.append(_text(_LEFT - 8, at + 4, f"{tick:g}", "end"))
            else:
                parts.append(_line(at, _TOP, at, _HEIGHT - _BOTTOM, colour, 1))
                parts.append(_text(at, _HEIGHT - _BOTTOM + 18, f"{tick:g}", "middle"))
    return parts


def _legend(number: int, name: str, colour: str, left: float = _LEFT) -> list[str]:
    y = _TOP + 16 + 18 * number
    return [_line(left + 12, y - 4, left + 34, y - 4, colour, 4), _text(left + 40, y, name, "start")]


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" fill-opacity="0.65"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333333", size: int = _SMALL) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
    )


def _shortened(name: str, width: float) -> str:
    longest = max(int(width / 6.5), 3)
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _svg(parts: list[str], width: int = _WIDTH) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" '
    return head + f'height="{_HEIGHT}" font-family="Helvetica, Arial, sans-serif">\n' + "\n".join(parts) + "\n</svg>\n"
