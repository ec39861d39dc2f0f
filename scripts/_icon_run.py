"""What scripts/make_icon does once it is inside the environment: a C-arm whose rays pass through a pelvis onto the
detector."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
SIZE = 128
SCALE = 8  # drawn larger, then reduced: smooth edges without an anti-aliasing library

BACKGROUND_TOP, BACKGROUND_BOTTOM = (24, 44, 72), (10, 20, 36)
STEEL, STEEL_DARK = (214, 224, 236), (132, 150, 172)
RAY = (255, 196, 84)
BONE, BONE_EDGE = (244, 238, 222), (150, 140, 118)


def scaled(*values: float) -> list[float]:
    return [value * SCALE for value in values]


def mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed outline that is symmetric about x = 64, from its right half."""
    return points + [(128 - x, y) for x, y in reversed(points)]


def smooth_outline(points: list[tuple[float, float]], steps: int = 12) -> list[tuple[float, float]]:
    """A closed Catmull-Rom curve through ``points``."""
    curve = []
    for n in range(len(points)):
        p0, p1, p2, p3 = (points[(n + k) % len(points)] for k in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            curve.append(
                tuple(
                    0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
                    for a, b, c, d in zip(p0, p1, p2, p3)
                )
            )
    return curve


def background() -> Image.Image:
    gradient = Image.new("RGB", (1, SIZE * SCALE))
    for y in range(SIZE * SCALE):
        t = y / (SIZE * SCALE)
        colour = tuple(round(a + (b - a) * t) for a, b in zip(BACKGROUND_TOP, BACKGROUND_BOTTOM))
        gradient.putpixel((0, y), colour)
    image = gradient.resize((SIZE * SCALE, SIZE * SCALE)).convert("RGBA")
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle(scaled(2, 2, 125.5, 125.5), radius=22 * SCALE, fill=255)
    image.putalpha(mask)
    return image


def layer() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (SIZE * SCALE, SIZE * SCALE), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def polygon(draw: ImageDraw.ImageDraw, points, **style) -> None:
    draw.polygon([tuple(scaled(*p)) for p in points], **style)


def bones() -> Image.Image:
    """Two lumbar vertebrae and a pelvis seen from the front."""
    image, draw = layer()
    for top, half in ((34, 9.5), (46.5, 10.5)):
        body = mirrored([(64, top), (64 + half, top - 0.5), (64 + half - 1.8, top + 4.5), (64 + half, top + 9.5)])
        process = [(50, top + 2.5), (78, top + 2.5), (78, top + 6), (50, top + 6)]
        polygon(draw, smooth_outline(process), fill=BONE)
        polygon(draw, smooth_outline(body), fill=BONE)
    half = [
        (64, 60), (75, 59), (81, 62), (90, 57), (98, 63), (98, 73), (91, 81), (90, 88), (83, 97), (74, 96), (66, 92),
    ]  # fmt: skip
    polygon(draw, smooth_outline(mirrored(half)), fill=BONE)
    holes, cut = layer()
    polygon(cut, smooth_outline(mirrored([(64, 76), (73, 73), (78, 78), (72, 86), (64, 87)])), fill=(0, 0, 0, 255))
    for side in (1, -1):  # obturator foramina
        x = 64 + side * 15.5
        cut.ellipse(scaled(x - 3.6, 86.5, x + 3.6, 93), fill=(0, 0, 0, 255))
    image.putalpha(ImageChops.subtract(image.getchannel("A"), holes.getchannel("A")))
    edge = Image.new("RGBA", image.size, (*BONE_EDGE, 0))
    edge.putalpha(image.getchannel("A").filter(ImageFilter.MaxFilter(2 * SCALE // 2 + 1)))
    return Image.alpha_composite(edge, image)


def smaller(image: Image.Image, factor: float, about: tuple[float, float]) -> Image.Image:
    """The drawing shrunk by ``factor`` towards the point ``about``."""
    x, y = scaled(*about)
    inverse = (1 / factor, 0, x - x / factor, 0, 1 / factor, y - y / factor)
    return image.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)


def rays() -> Image.Image:
    image, draw = layer()
    polygon(draw, [(64, 24), (30, 107), (98, 107)], fill=(*RAY, 84))
    for x in (30, 47, 64, 81, 98):
        draw.line(scaled(64, 24, x, 107), fill=(*RAY, 150), width=round(0.9 * SCALE))
    return image


def c_arm() -> Image.Image:
    image, draw = layer()
    box = scaled(14, 13, 114, 113)
    draw.arc(box, 117, 275, fill=STEEL_DARK, width=10 * SCALE)
    draw.arc(scaled(15.5, 14.5, 112.5, 111.5), 117, 275, fill=STEEL, width=6 * SCALE)
    draw.rounded_rectangle(scaled(52, 9, 76, 24), radius=4 * SCALE, fill=STEEL, outline=STEEL_DARK, width=SCALE)
    draw.rounded_rectangle(scaled(59, 22, 69, 27), radius=1.5 * SCALE, fill=STEEL_DARK)
    draw.rounded_rectangle(scaled(26, 105, 102, 116), radius=3 * SCALE, fill=STEEL, outline=STEEL_DARK, width=SCALE)
    draw.rectangle(scaled(30, 105, 98, 107), fill=RAY)
    return image


def main(argv: list[str]) -> int:
    """Write the extension's and the module's icon; returns the exit code."""
    if argv:
        print("make_icon takes no arguments.")
        return 2
    icon = background()
    for part in (rays(), c_arm(), smaller(bones(), 0.74, about=(64, 72))):
        icon = Image.alpha_composite(icon, part)
    icon = icon.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    for path in (ROOT / "DiffPose.png", ROOT / "DiffPoseRegistration/Resources/Icons/DiffPoseRegistration.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        icon.save(path, optimize=True)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
    return 0
