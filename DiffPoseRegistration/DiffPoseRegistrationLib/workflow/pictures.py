"""Pictures that let a person judge a registration: overlay of X-ray and DRR, montage of a pose range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..imaging.files import write_whole
from ..imaging.values import XRay
from .simulate import gaussian_blur

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
SHEET_PX = _MAX_SIDE = 1600
_BACKGROUND, _TEXT, _MUTED = (16, 18, 22), (232, 234, 238), (150, 156, 166)
_EDGE_COLOUR = np.array([255, 150, 30], dtype=np.float32)
_GAP, _TITLE_HEIGHT = 10, 26
_SHEET_PICTURE = 400


def overlay_picture(
    xray: XRay,
    drr_before: np.ndarray | None,
    drr_after: np.ndarray,
    *,
    title: str = "",
    note: str = "",
) -> Image.Image:
    """X-ray, DRR before and after, and three views of how they fit: edges, checkerboard, difference.

    Parameters
    ----------
    xray
        Any size and shape.
    drr_before, drr_after
        Line integrals [rows, columns] of the whole detector on any grid, at the initial pose (None: no such
        panel) and at the found one.
    title, note
        A line above and a line below the panels.
    """
    box = _box_of_interest(drr_before, drr_after)
    rows_mm = xray.camera.rows * xray.camera.pixel_spacing_mm[0] * (box[1] - box[0])
    columns_mm = xray.camera.columns * xray.camera.pixel_spacing_mm[1] * (box[3] - box[2])
    height, width = _panel_size(rows_mm, columns_mm)
    mask = resized(xray.mask.astype(np.float32), height, width, box) > 0.99
    real, found = (resized(image, height, width, box) for image in (xray.attenuation, drr_after))
    flat_real, flat_found = flattened(real, mask), flattened(found, mask)
    picture, after = windowed(flat_real, mask), windowed(flat_found, mask)

    panels: list[tuple[str, np.ndarray]] = [("X-ray", _grey(picture, mask))]
    if drr_before is not None:
        before = windowed(flattened(resized(drr_before, height, width, box), mask), mask)
        panels.append(("DRR before", _grey(before, mask)))
    panels.append(("DRR after", _grey(after, mask)))
    panels.append(("X-ray with edges of DRR after", _edges_on(picture, found, mask)))
    panels.append(("Checkerboard of X-ray and DRR after", _grey(_checkerboard(picture, after), mask)))
    panels.append(("Difference (orange: X-ray denser)", _difference(flat_real, flat_found, mask)))
    return _page(panels, 3 if drr_before is not None else 5, title, note)


def montage_picture(
    images: Sequence[np.ndarray], titles: Sequence[str] = (), *, title: str = "", note: str = ""
) -> Image.Image:
    """A page of X-rays or DRRs [rows, columns] of one size (for example of a training range)."""
    images = [np.asarray(image, dtype=np.float32) for image in images]
    columns = int(np.ceil(np.sqrt(len(images) * 1.3)))
    rows, across = images[0].shape
    height, width = _panel_size(rows, across, columns)
    panels = []
    for n, image in enumerate(images):
        small = resized(image, height, width)
        everywhere = np.ones(small.shape, bool)
        label = titles[n] if n < len(titles) else ""
        panels.append((label, _grey(windowed(flattened(small, everywhere), everywhere), everywhere)))
    return _page(panels, columns, title, note)


def sheet_columns(width: int) -> int:
    """How many pictures stand side by side on a contact sheet of so many pixels: each with room for its label."""
    return max(width // _SHEET_PICTURE, 2)


def contact_sheet(
    readings: Sequence[tuple[str, XRay, np.ndarray]], *, title: str = "", note: str = "", width: int = SHEET_PX
) -> Image.Image:
    """A page of readings of an X-ray: (label, X-ray, DRR [rows, columns] of the same size), each with the DRR's edges
    on the picture. The pictures may differ in size and shape."""
    across = sheet_columns(width)
    side = _panel_size(1, 1, across, width)[0]
    panels = []
    for label, xray, drr in readings:
        box = _box_of_interest(drr)
        rows_mm = xray.camera.rows * xray.camera.pixel_spacing_mm[0] * (box[1] - box[0])
        columns_mm = xray.camera.columns * xray.camera.pixel_spacing_mm[1] * (box[3] - box[2])
        rows, columns = (max(int(side * size / max(rows_mm, columns_mm)), 16) for size in (rows_mm, columns_mm))
        mask = resized(xray.mask.astype(np.float32), rows, columns, box) > 0.99
        picture = windowed(flattened(resized(xray.attenuation, rows, columns, box), mask), mask)
        panel = np.tile(np.array(_BACKGROUND, dtype=np.float32), (side, side, 1))
        top, left = (side - rows) // 2, (side - columns) // 2
        panel[top : top + rows, left : left + columns] = _edges_on(picture, resized(drr, rows, columns, box), mask)
        panels.append((label, panel))
    return _page(panels, across, title, note)


def write_png(picture: Image.Image, path: Path | str) -> None:
    """Save as PNG, whole or not at all. Raises InputError where the folder takes no file."""
    write_whole(path, lambda made: picture.save(made, format="PNG", compress_level=3))


# -- image operations ------------------------------------------------------------------------------


def resized(
    image: np.ndarray, rows: int, columns: int, box: tuple[float, float, float, float] = (0, 1, 0, 1)
) -> np.ndarray:
    """``image`` on another grid over the same area, antialiased, float32; ``box`` = (top, bottom, left, right)
    as fractions of the image takes a part of it."""
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    top, bottom, left, right = box
    area = (left * picture.width, top * picture.height, right * picture.width, bottom * picture.height)
    return np.asarray(picture.resize((columns, rows), Image.Resampling.BICUBIC, box=area), dtype=np.float32)


def flattened(image: np.ndarray, mask: np.ndarray, share: float = 0.8) -> np.ndarray:
    """``image`` less ``share`` of its surroundings' mean (inside the mask), so that bone shows behind any
    thickness of soft tissue; scaled to unit spread inside the mask."""
    sigma = 0.09 * max(image.shape)
    weight = gaussian_blur(mask.astype(np.float64), sigma)
    level = float(image[mask].mean()) if mask.any() else 0.0
    around = gaussian_blur(np.where(mask, image - level, 0.0).astype(np.float64), sigma)
    flat = (image - level - share * around / np.maximum(weight, 1e-3)).astype(np.float32)
    inside = flat[mask] if mask.any() else flat.ravel()
    low, high = np.percentile(inside, [5, 95])
    return (flat - np.median(inside)) / max(float(high - low), 1e-6)


def windowed(image: np.ndarray, mask: np.ndarray, low: float = 1.0, high: float = 99.7) -> np.ndarray:
    """``image`` mapped to 0..1 between two percentiles of its values inside the mask."""
    a, b = np.percentile(image[mask] if mask.any() else image, [low, high])
    return np.clip((image - a) / max(float(b - a), 1e-6), 0, 1)


def edges(image: np.ndarray, mask: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    """Strength 0..1 [rows, columns] of thin edges: ridges of the gradient's size (Canny, 1986)."""
    smooth = gaussian_blur(image.astype(np.float64), sigma)
    down, right = np.gradient(smooth)
    size = np.hypot(down, right)
    # The mask's own border is no edge of the picture.
    inner = gaussian_blur(mask.astype(np.float64), 2.0) > 0.97
    inner[[0, 1, -2, -1]] = inner[:, [0, 1, -2, -1]] = False
    octant = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(size.shape, bool)
    for n, (rows, columns) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = np.roll(size, (-rows, -columns), axis=(0, 1))
        behind = np.roll(size, (rows, columns), axis=(0, 1))
        ridge |= (octant == n) & (size >= ahead) & (size >= behind)
    if not inner.any():
        return np.zeros(size.shape, np.float32)
    # Thresholds from where there is something to see: a small bone leaves most of the picture empty.
    seen = size[inner & (size > 0.01 * size[inner].max())]
    if not seen.size:
        return np.zeros(size.shape, np.float32)
    weak, strong = np.percentile(seen, [75, 96])
    strength = np.clip((size - weak) / max(strong - weak, 1e-9), 0, 1)
    return (strength * ridge * inner).astype(np.float32)


# -- panels ----------------------------------------------------------------------------------------


def _grey(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    dimmed = np.where(mask, image, 0.25 * image)
    return np.repeat((dimmed * 255)[..., None], 3, axis=-1)


def _edges_on(picture: np.ndarray, drr: np.ndarray, mask: np.ndarray) -> np.ndarray:
    strength = edges(drr, mask)
    thick = np.maximum(strength, 0.55 * np.maximum(np.roll(strength, 1, axis=0), np.roll(strength, 1, axis=1)))
    return _grey(0.85 * picture, mask) * (1 - thick[..., None]) + _EDGE_COLOUR * thick[..., None]


def _checkerboard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    tile = max(max(a.shape) // 8, 1)
    rows, columns = np.indices(a.shape) // tile
    return np.where((rows + columns) % 2 == 0, a, b)


def _difference(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> np.ndarray:
    scale = float(np.sum(a[mask] * b[mask]) / max(np.sum(b[mask] ** 2), 1e-9)) if mask.any() else 1.0
    difference = np.where(mask, np.clip((a - max(scale, 0.0) * b) / 0.8, -1, 1), 0)
    warm, cool = np.maximum(difference, 0)[..., None], np.maximum(-difference, 0)[..., None]
    base = _grey(0.22 * windowed(a, mask), mask)
    return base * (1 - warm - cool) + warm * _EDGE_COLOUR + cool * np.array([60, 150, 255], np.float32)


def _box_of_interest(*drrs: np.ndarray | None) -> tuple[float, float, float, float]:
    """The part (top, bottom, left, right; fractions) of the detector that the CT covers, with a margin: all
    of it for a trunk, a quarter for a single bone."""
    boxes = []
    for drr in drrs:
        if drr is None or not drr.max() > 0:
            continue
        covered = drr > 0.03 * drr.max()
        box = []
        for axis in (1, 0):
            where = np.flatnonzero(covered.any(axis=axis))
            box += [where[0] / covered.shape[1 - axis], (where[-1] + 1) / covered.shape[1 - axis]]
        boxes.append(box)
    if not boxes:
        return 0.0, 1.0, 0.0, 1.0
    top, bottom = min(b[0] for b in boxes), max(b[1] for b in boxes)
    left, right = min(b[2] for b in boxes), max(b[3] for b in boxes)
    # A strip is no picture: at least a third of the detector, and no side less than half the other.
    half_height = max((bottom - top) * 0.7, (right - left) * 0.35, 0.17)
    half_width = max((right - left) * 0.7, (bottom - top) * 0.35, 0.17)
    down, across = (top + bottom) / 2, (left + right) / 2
    top, bottom = max(down - half_height, 0.0), min(down + half_height, 1.0)
    return top, bottom, max(across - half_width, 0.0), min(across + half_width, 1.0)


def _panel_size(height: float, width: float, columns: int = 3, page: int = _MAX_SIDE) -> tuple[int, int]:
    """Pixels (rows, columns) of one panel, so that ``columns`` of them make a page of ``page`` pixels."""
    side = (page - (columns + 1) * _GAP) // columns
    factor = side / max(height, width)
    return max(int(height * factor), 16), max(int(width * factor), 16)


def _page(panels: list[tuple[str, np.ndarray]], columns: int, title: str, note: str) -> Image.Image:
    height, width = panels[0][1].shape[:2]
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    top, bottom = (34 if title else 6), (28 if note else 6)
    cell = height + _TITLE_HEIGHT + 4
    page = Image.new("RGB", (columns * (width + _GAP) + _GAP, top + rows * cell + bottom), _BACKGROUND)
    draw = ImageDraw.Draw(page)
    small, large = ImageFont.load_default(14), ImageFont.load_default(18)
    draw.text((_GAP, 8), _fitted(draw, title, large, page.width - 2 * _GAP), _TEXT, font=large)
    for n, (label, image) in enumerate(panels):
        x, y = _GAP + (n % columns) * (width + _GAP), top + (n // columns) * cell
        draw.text((x, y + 4), _fitted(draw, label, small, width), _TEXT, font=small)
        page.paste(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), (x, y + _TITLE_HEIGHT))
    draw.text((_GAP, page.height - 23), _fitted(draw, note, small, page.width - 2 * _GAP), _MUTED, font=small)
    return page


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: _Font, width: int) -> str:
    """``text``, its end cut off where it would run out of its place."""
    # Pillow's own font has Latin letters only; anything else would show as boxes.
    text = text.encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."
