"""An exception as a sentence about the person's data, and what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import InputError
from . import events

_FULL = {errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT}


def explain(error: BaseException, job: str, folder: Path) -> events.Failed:
    """The event that tells a person why the job in ``folder`` ended with ``error``."""
    if isinstance(error, InputError):
        return events.Failed(job, str(error), "Mend this, then resume the job or start a new one.", of_input=True)
    # torch.OutOfMemoryError is a RuntimeError, known by its name since torch is not imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return events.Failed(
            job,
            f"There was not enough memory for the job in {folder}.",
            "Close other programs or choose smaller images or a smaller batch, then resume the job.",
        )
    if isinstance(error, OSError):
        return _explain_os_error(error, job, folder)
    return events.Failed(
        job,
        f"The job in {folder} met a fault in the program ({type(error).__name__}).",
        "Nothing that was finished is lost; worker.log in that folder has the details to report.",
    )


def _explain_os_error(error: OSError, job: str, folder: Path) -> events.Failed:
    path = Path(error.filename) if isinstance(error.filename, str) else folder
    if error.errno in _FULL:
        return events.Failed(
            job,
            f"The disk is full: {path} could not be written.",
            "Free some space on that disk, then resume the job; what was finished is kept.",
        )
    if error.errno in _UNWRITABLE and (path == folder or folder in path.parents):
        return events.Failed(
            job,
            f"The job folder cannot be written: {path} ({error.strerror}).",
            "Give yourself permission to write there, or start the job in another folder.",
        )
    return events.Failed(
        job,
        f"{path} could not be read or written ({error.strerror or error}).",
        "Check that the disk is connected and the file is not in use, then resume the job.",
    )
