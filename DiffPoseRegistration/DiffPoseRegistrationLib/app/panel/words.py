"""Small texts that several sections show."""

from __future__ import annotations

from slicer.i18n import tr as _

from ...jobs.launcher import State


def duration(seconds: float) -> str:
    """A time for a person, such as "1 min 20 s"."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return _("{s} s").format(s=seconds)
    if seconds < 3600:
        return _("{m} min {s} s").format(m=seconds // 60, s=seconds % 60)
    return _("{h} h {m} min").format(h=seconds // 3600, m=seconds % 3600 // 60)


def state_in_words(state: State, problem: str) -> str:
    """How a job stands; ``problem`` is why it ended without a result."""
    if state is State.FINISHED and not problem:
        return _("Finished.")
    return {
        State.STARTING: _("Starting..."),
        State.RUNNING: _("Running..."),
        State.CANCELLING: _("Cancelling..."),
        State.CANCELLED: _("Cancelled."),
    }.get(state, problem)


def verdict_in_words(verdict: str) -> str:
    """The verdict of a registration as the panel calls it."""
    return {"accept": _("Accept"), "check": _("Check"), "reject": _("Reject")}.get(verdict, verdict)


def next_step(verdict: str) -> str:
    """What to do after a verdict."""
    return {
        "accept": _("Compare X-ray and simulated X-ray once in the slice view; then the pose can be used."),
        "check": _(
            "Compare X-ray and simulated X-ray in the slice view before you rely on the pose. A prepared model, a "
            "thorough search or a second X-ray can settle it."
        ),
        "reject": _(
            "Do not use this pose. Look at X-ray and simulated X-ray in the slice view: if one is mirrored change Seen "
            "from, if bright and dark are exchanged change Bright pixels; else prepare for another view or a wider "
            "range, or place the X-ray by hand and start from there."
        ),
    }.get(verdict, "")


# Readable on a light and on a dark panel.
_COLOURS = {"accept": "#2e8b40", "check": "#d07000", "reject": "#d03030"}


def verdict_style(verdict: str | None) -> str:
    """The style sheet of a label that shows a verdict; empty for any other text."""
    return f"color: {_COLOURS[verdict]}; font-weight: bold" if verdict in _COLOURS else ""


def error_in_words(millimetres: float | None) -> str:
    """A predicted error for a person; a dash where it could not be told."""
    if millimetres is None:
        return "-"
    return _("{e:.1f} mm").format(e=millimetres) if millimetres >= 0.1 else _("below 0.1 mm")


def progress_in_words(progress, otherwise: str) -> str:
    """What a running job last said, with the remaining time."""
    words = [str(progress.metrics.get("text") or otherwise)]
    if progress.eta_s is not None:
        words.append(_("{time} left").format(time=duration(progress.eta_s)))
    return ", ".join(words) + "."
