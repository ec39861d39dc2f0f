"""What scripts/make_overlay does once it is inside the environment: the demonstration on the generated patient, or a
folder that it has made already, and its overlay.png at the width that a README shows."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from DiffPoseRegistrationLib.commandline import demo
from PIL import Image

PICTURE = Path(__file__).resolve().parents[1] / "Resources" / "demo-overlay.png"
WIDTH = 1000


def main(argv: list[str]) -> int:
    if len(argv) > 1 or any(word.startswith("-") for word in argv):
        print("make_overlay takes nothing, or the folder of a demonstration.", file=sys.stderr)
        return 2
    if argv:
        return keep(Path(argv[0]) / "overlay.png")
    with tempfile.TemporaryDirectory(prefix="diffpose-") as folder:
        return demo.main(["--out", folder]) or keep(Path(folder) / "overlay.png")


def keep(overlay: Path, picture: Path = PICTURE) -> int:
    """Write ``overlay`` as ``picture``, ``WIDTH`` pixels wide; returns the exit code."""
    if not overlay.is_file():
        print(f"{overlay} is not there; name a folder that scripts/demo has made.", file=sys.stderr)
        return 2
    with Image.open(overlay) as page:
        page.resize((WIDTH, round(page.height * WIDTH / page.width)), Image.Resampling.LANCZOS).save(picture)
    return 0
