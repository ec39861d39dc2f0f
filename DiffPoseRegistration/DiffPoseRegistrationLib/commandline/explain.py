"""``diffpose info --explain``: which reading of an X-ray explains its picture best."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import InputError
from . import arguments
from .progress import TerminalProgress, compile_renderer

if TYPE_CHECKING:
    import numpy as np

    from ..geometry.camera import Camera
    from ..rendering.renderer import Renderer
    from ..workflow.explain import BothPolarities, Explanation
    from ..workflow.explained import Conclusion


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("explaining an X-ray")
    group.add_argument(
        "--explain",
        action="store_true",
        help="try the picture mirrored, turned, inverted and with other pixel spacings against the CT, and say what "
        "explains it best; nothing is changed",
    )
    group.add_argument("--ct", metavar="CT", help="CT file or DICOM folder")
    group.add_argument(
        "--initial", metavar="POSE", help="rough pose of the picture as it should be: pose JSON, .h5 or .tfm"
    )
    group.add_argument(
        "--within",
        type=float,
        nargs=2,
        default=(10.0, 20.0),
        metavar=("DEG", "MM"),
        help="how far off that pose may be (default 10 20)",
    )
    group.add_argument("--out", metavar="PNG", help="contact sheet: each reading with the CT's edges on it")


def run(args: argparse.Namespace) -> None:
    """Say what explains the X-ray; raises InputError if something is missing."""
    if args.ct is None or args.initial is None or len(args.files) != 1:
        raise InputError("--explain takes one X-ray, and --ct and --initial (a rough pose) with it.")
    from ..imaging.pose_file import read_pose
    from ..rendering.renderer import Renderer
    from ..workflow.explain import explain
    from ..workflow.explained import Conclusion, sheet
    from ..workflow.pictures import write_png

    both, notes = _read(args)
    pose = read_pose(args.initial)
    ct = arguments.load_ct(args.ct)
    compile_renderer()
    renderer = Renderer(ct)
    with TerminalProgress("Explaining") as progress:
        found = explain(renderer, both, pose, range_deg_mm=tuple(args.within), progress=progress)
    conclusion = Conclusion.of(found)
    for line in (*notes, *_table(found), "", _verdict(conclusion), *_remedies(conclusion, both, pose, renderer)):
        print(line)
    if args.out:
        write_png(sheet(found, renderer, f"What happened to {both.as_read.name}"), args.out)
        print(f"Wrote {args.out}.")


def _read(args: argparse.Namespace) -> tuple[BothPolarities, list[str]]:
    """The X-ray, also where it is on its side and the camera given is not."""
    from ..geometry.turned_image import turned_clockwise
    from ..workflow.explain import read_both_polarities

    options = {"viewed_from": args.viewed_from, **arguments.reading_options(args)}
    camera: Camera | None = arguments.given_camera(args)
    try:
        return read_both_polarities(args.files[0], camera, **options), []
    except InputError:
        if camera is None or camera.rows == camera.columns:
            raise
        both = read_both_polarities(args.files[0], turned_clockwise(camera)[0], **options)
    return both, ["Note: the picture is on its side by its size; its camera was turned likewise."]


def _table(found: list[Explanation]) -> list[str]:
    lines = ["similarity  1 - similarity  what happened to the picture"]
    for one in found:
        ratio = "" if one.gap == 0 else f"{one.gap + 1:.3g} x the first's"
        lines.append(f"{one.similarity:10.3f}  {ratio:>14}  {one.change.words}")
    return lines


def _verdict(conclusion: Conclusion) -> str:
    best, as_it_is = conclusion.best, conclusion.as_it_is
    if not conclusion.is_explained:
        return (
            f"Nothing explains the picture (best similarity {best.similarity:.2f}): check the rough pose, whether CT "
            "and X-ray show the same part, and the distance from source to detector; or widen --within."
        )
    if not conclusion.is_changed:
        words = f"The picture is explained best as it is (similarity {best.similarity:.2f})."
    else:
        words = (
            f"The picture was probably changed: {best.change.words}. Read so, its similarity is "
            f"{best.similarity:.2f}; as it is, "
            + ("the CT does not project into it." if as_it_is is None else f"{as_it_is.similarity:.2f}.")
        )
    if conclusion.rival is not None:
        words += f" But it is not clear: this explains it nearly as well: {conclusion.rival.change.words}."
    return words


def _remedies(conclusion: Conclusion, both: BothPolarities, pose: np.ndarray, renderer: Renderer) -> list[str]:
    """What to do about it; nothing was changed."""
    from ..workflow.explained import camera_of_reading

    change = conclusion.best.change
    lines: list[str] = []
    if not conclusion.is_changed:
        return lines
    camera = both.as_read.camera
    column = camera.principal_point_px[0]
    # Read from the other side, the principal point stays where it is in the picture; mirrored, it does not.
    is_central = abs(column - (camera.columns - 1) / 2) < 1
    if (change.mirrored, change.turned_deg) == (True, 0) and is_central:
        other = "detector" if camera.viewed_from == "source" else "source"
        lines.append(f"To read it so: --viewed-from {other}, or flip the picture.")
    elif change.mirrored or change.turned_deg:
        lines.append("To read it so: undo that in the picture (3D Slicer: Rotate picture, Flip picture), then save it.")
    if change.inverted:
        lines.append(f"To read it so: --polarity {both.polarity}.")
    if change.spacing != "stated":
        spacing = camera_of_reading(change, both, pose, renderer).pixel_spacing_mm
        lines.append("To read it so: --camera with pixel_spacing_mm [{:.6g}, {:.6g}].".format(*spacing))
    return [*lines, "Nothing was changed."]
