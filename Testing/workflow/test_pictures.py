"""Pictures are readable for any shape of X-ray and show a misfit where there is one."""

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.values import XRay
from DiffPoseRegistrationLib.workflow.pictures import edges, montage_picture, overlay_picture, write_png
from PIL import Image


def _bars(rows, columns, shift=0.0):
    """A soft-edged cross on a slope, standing in for bone in soft tissue."""
    r, c = np.mgrid[:rows, :columns] / max(rows, columns)
    c = c - shift
    vertical = 1 / (1 + np.exp((np.abs(c - 0.5) - 0.08) * 150))
    horizontal = 1 / (1 + np.exp((np.abs(r - 0.4) - 0.05) * 150))
    return (3 + r + np.maximum(vertical, horizontal)).astype(np.float32)


@pytest.mark.parametrize("shape", [(120, 120), (60, 200), (300, 90), (1760, 1760)])
def test_overlay_of_any_shape(shape, tmp_path):
    camera = Camera(1000, *shape, (0.5, 0.5))
    mask = np.ones(shape, bool)
    mask[:, : shape[1] // 8] = False
    small = [max(n * 128 // max(shape), 8) for n in shape]
    drr = _bars(*small)
    picture = overlay_picture(XRay(_bars(*shape), camera, mask), drr, drr, title="Größe", note="nothing")
    assert max(picture.size) <= 2000 and min(picture.size) > 100
    write_png(picture, tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as again:
        assert again.size == picture.size
    assert [p.name for p in tmp_path.iterdir()] == ["overlay.png"]


def _difference_panel_colour(shift):
    xray = XRay(_bars(256, 256), Camera(1000, 256, 256, (1.0, 1.0)))
    picture = np.asarray(overlay_picture(xray, _bars(256, 256), _bars(256, 256, shift)), dtype=float)
    panel = picture[picture.shape[0] // 2 + 40 :, picture.shape[1] * 2 // 3 + 20 :]
    return np.abs(panel[..., 0] - panel[..., 2]).mean()


def test_difference_is_coloured_only_where_it_does_not_fit():
    assert _difference_panel_colour(0.0) < 3
    assert _difference_panel_colour(0.05) > 10


def test_edges_lie_on_the_edge():
    image = _bars(200, 200)
    found = edges(image, np.ones(image.shape, bool))
    columns = np.flatnonzero(found[150] > 0.3)
    # The cross's upright has its borders at 0.5 -+ 0.08 of 200 pixels.
    assert np.abs(columns[:, None] - np.array([84, 116])).min(axis=1).max() <= 1.5
    assert len(columns) >= 2


def test_montage_of_a_range():
    picture = montage_picture([_bars(60, 80)] * 7, [f"{n} deg" for n in range(7)], title="Range")
    assert picture.size[0] <= 1700


def test_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        write_png(Image.new("RGB", (8, 8)), tmp_path / "file" / "overlay.png")
