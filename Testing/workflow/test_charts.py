"""Charts are well-formed SVG whose marks lie where the numbers say."""

import math
import xml.etree.ElementTree as ElementTree

import pytest
from DiffPoseRegistrationLib.workflow.charts import cumulative, scatter, strips

SVG = "{http://www.w3.org/2000/svg}"


def _parsed(svg):
    return ElementTree.fromstring(svg)


def _ticks(root, anchor):
    """Positions by value of the axis labels, which end at the axis (down) or are centred on it (across)."""
    found = {}
    for text in root.iter(f"{SVG}text"):
        if text.get("text-anchor") == anchor:
            try:
                found[float(text.text)] = float(text.get("x")), float(text.get("y"))
            except ValueError:
                continue
    return found


def test_the_cumulative_curve_steps_at_each_error():
    root = _parsed(cumulative({"ours": [0.1, 1.0, 10.0, math.inf]}, "TRE", "TRE [mm]"))
    line = next(root.iter(f"{SVG}polyline")).get("points")
    points = [tuple(map(float, pair.split(","))) for pair in line.split()]
    across, down = _ticks(root, "middle"), _ticks(root, "end")
    share = {value: y - 4 for value, (_, y) in down.items()}  # labels sit a little below their line
    height = share[0] - share[100]
    for number, error in enumerate((0.1, 1.0, 10.0)):
        x = across[error][0]
        at = [y for px, y in points if px == pytest.approx(x, abs=0.1)]
        assert min(at) == pytest.approx(share[0] - 0.25 * (number + 1) * height, abs=0.2)
    assert min(y for _, y in points) == pytest.approx(
        share[0] - 0.75 * height, abs=0.2
    )  # the failed one is never reached


def test_the_names_of_many_curves_stand_beside_them():
    names = [f"method {n}" for n in range(8)]
    root = _parsed(cumulative({name: [1.0 + n] for n, name in enumerate(names)}, "TRE", "TRE [mm]"))
    lines = [line.get("points") for line in root.iter(f"{SVG}polyline")]
    rightmost = max(float(pair.split(",")[0]) for line in lines for pair in line.split())
    written = {text.text: float(text.get("x")) for text in root.iter(f"{SVG}text")}
    assert all(rightmost < written[f"{name} (1)"] < float(root.get("width")) for name in names)
    assert len({line.get("stroke") for line in root.iter(f"{SVG}polyline")}) == 8
    few = _parsed(cumulative({"ours": [1.0]}, "TRE", "TRE [mm]"))
    assert float(few.get("width")) < float(root.get("width"))


def test_strips_have_a_point_for_each_trial_and_a_bar_at_the_median():
    root = _parsed(strips({"a": [1.0, 2.0, 5.0], "b & <c>": [10.0, None]}, "TRE by subject", "TRE [mm]"))
    assert len(list(root.iter(f"{SVG}circle"))) == 4
    assert [text.text for text in root.iter(f"{SVG}text")].count("x") == 1
    down = {value: y - 4 for value, (_, y) in _ticks(root, "end").items()}
    bars = [float(line.get("y1")) for line in root.iter(f"{SVG}line") if line.get("stroke") == "#000000"]
    assert bars == pytest.approx([down[2.0], down[10.0]], abs=0.1)
    assert "b & <c>" in [text.text for text in root.iter(f"{SVG}text")]


def test_scatter_is_square_about_the_line_of_equals():
    root = _parsed(scatter({"accept": [(1.0, 1.0)], "check": [(0.1, 10.0)]}, "t", "x [mm]", "y [mm]"))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    across, down = _ticks(root, "middle"), _ticks(root, "end")
    assert circles[0] == pytest.approx((across[1.0][0], down[1.0][1] - 4), abs=0.1)
    assert circles[1] == pytest.approx((across[0.1][0], down[10.0][1] - 4), abs=0.1)


@pytest.mark.parametrize("values", [[], [None], [0.0], [1e9], [5.0]])
def test_odd_numbers_draw_something(values):
    for svg in (cumulative({"a": values}, "t", "x"), strips({"a": values}, "t", "y")):
        assert "nan" not in svg.lower() and len(list(_parsed(svg).iter(f"{SVG}text"))) > 4
    assert len(list(_parsed(scatter({"a": []}, "t", "x", "y")).iter(f"{SVG}text"))) > 4
