"""Which processor learns."""

from __future__ import annotations

from ..errors import InputError

DEVICES = ("auto", "cpu", "cuda")


def resolved_device(device: str) -> str:
    """``"cpu"`` or ``"cuda"``; ``"auto"`` takes a CUDA GPU where torch sees one.

    Raises
    ------
    InputError
        If a GPU is asked for and torch sees none.
    """
    import torch

    if device not in DEVICES:
        raise InputError(f"Device {device!r} is not known; choose one of {', '.join(DEVICES)}.")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("No CUDA GPU is visible to torch; use --device cpu, or install the CUDA build of torch.")
    return "cuda" if device != "cpu" and available else "cpu"
