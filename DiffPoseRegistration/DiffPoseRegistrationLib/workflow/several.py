"""Several X-rays of one patient at once: calibrated ones share one pose, others get each their own.

Calibrated X-rays were taken by cameras whose places in a common frame, the *lab*, are known (``imaging.calibration``),
while the patient did not move between them. What is found is then where the patient was in the lab:

    camera_to_world of view k  =  lab_to_world @ camera_to_lab of view k.

"World" is the CT's RAS space, as everywhere, so ``lab_to_world`` takes lab coordinates to the CT, and its inverse tells
where the CT (a bone) is in the lab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..geometry import rigid
from ..imaging.pose_file import Truth
from ..imaging.values import CTVolume, XRay
from ..refinement.verdict import VERDICTS
from ..refinement.views import View
from .result_file import Inputs, plain, result_as_json, writable_folder, write_json, write_result

if TYPE_CHECKING:
    from .register import RegistrationResult


@dataclass(frozen=True)
class Shot:
    """One of several X-rays, with what is known of it.

    name
        Of its folder of results; unlike all others.
    camera_to_lab
        [4, 4], mm; of all X-rays or of none.
    initial
        Initial pose [4, 4]; None without one.
    """

    name: str
    xray: XRay
    camera_to_lab: np.ndarray | None = None
    initial: np.ndarray | None = None
    truth: Truth | None = None

    @property
    def in_lab(self) -> np.ndarray:
        """``camera_to_lab`` of a calibrated X-ray."""
        assert self.camera_to_lab is not None
        return self.camera_to_lab


def register_several(
    ct: CTVolume,
    shots: Sequence[Shot],
    register: Callable[..., RegistrationResult],
    *,
    progress: Callable[[float, str, float | None], None] | None = None,
    **options: Any,
) -> list[RegistrationResult]:
    """One result for all of ``shots`` if they are calibrated, else one for each.

    ``register`` and ``options`` are :func:`.register.register` and what it takes besides. Of calibrated X-rays one
    initial pose is enough; with more, each is a hypothesis.

    Raises
    ------
    InputError
        If an X-ray has nothing to start from, or as ``register`` does.
    """
    model = options.get("model")
    if is_together(shots):
        views = View.calibrated([shot.xray for shot in shots], [shot.in_lab for shot in shots])
        given = [s.initial @ rigid.inverse(v.from_first) for s, v in zip(shots, views) if s.initial is not None]
        if not given and model is None:
            raise InputError("None of the X-rays has an initial pose; give that of the first with --initial.")
        return [register(ct, views, initial=np.stack(given) if given else None, progress=progress, **options)]
    missing = [shot.name for shot in shots if shot.initial is None]
    if missing and model is None:
        raise InputError(
            f"{' and '.join(missing)} has no initial pose; X-rays that are not calibrated to one another need one "
            "each, in order."
        )
    results = []
    for number, shot in enumerate(shots):

        def of_this(done: float, text: str, _left: float | None, number: int = number, name: str = shot.name) -> None:
            if progress is not None:
                progress((number + done) / len(shots), f"{name}: {text}", None)

        results.append(register(ct, shot.xray, initial=shot.initial, progress=of_this, **options))
    return results


def is_together(shots: Sequence[Shot]) -> bool:
    """Whether the shots share one pose."""
    return all(shot.camera_to_lab is not None for shot in shots)


def write_several(
    folder: Path | str,
    results: Sequence[RegistrationResult],
    ct: CTVolume,
    shots: Sequence[Shot],
    *,
    inputs: Inputs,
    xray_inputs: Sequence[Path | str | dict[str, Any]],
) -> dict[str, Any]:
    """Write into ``folder`` a folder for each X-ray with what a registration of it alone writes, and last
    ``result.json`` for all of them, which is returned.

    Parameters
    ----------
    inputs, xray_inputs
        The files that all share by role, and those of the X-rays, as for ``write_result``.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    folder = writable_folder(folder)
    of_views = {
        name: write_result(folder / name, result, ct, **of_view)
        for name, result, of_view in _by_view(results, shots, inputs, xray_inputs)
    }
    data = _of_all(results, shots, of_views)
    write_json(folder / "result.json", data)
    return data


def several_as_json(
    results: Sequence[RegistrationResult],
    ct: CTVolume,
    shots: Sequence[Shot],
    *,
    inputs: Inputs,
    xray_inputs: Sequence[Path | str | dict[str, Any]],
) -> dict[str, Any]:
    """What ``result.json`` says of all X-rays: whether they share one pose, the verdict (of several the worst), and
    under ``views`` by name what each one's own ``result.json`` says. Of a shared pose ``lab_to_world_ras_mm`` too.
    """
    parts = _by_view(results, shots, inputs, xray_inputs)
    return _of_all(results, shots, {name: result_as_json(result, ct, **of_view) for name, result, of_view in parts})


def _by_view(
    results: Sequence[RegistrationResult],
    shots: Sequence[Shot],
    inputs: Inputs,
    xray_inputs: Sequence[Path | str | dict[str, Any]],
) -> Iterator[tuple[str, RegistrationResult, dict[str, Any]]]:
    """Name, result, and what ``write_result`` takes besides, of each X-ray."""
    together = is_together(shots)
    for number, (shot, file) in enumerate(zip(shots, xray_inputs)):
        of_view = {
            "inputs": {**inputs, "xray": file},
            "truth": _truth_of(shots, number),
            "view": number if together else 0,
        }
        yield shot.name, results[0] if together else results[number], of_view


def _of_all(
    results: Sequence[RegistrationResult], shots: Sequence[Shot], of_views: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    worst = max(results, key=lambda result: VERDICTS.index(result.verdict))
    data: dict[str, Any] = {
        "pose_is_shared": is_together(shots),
        "verdict": worst.verdict,
        "verdict_reasons": list(worst.verdict_reasons),
        "similarity": float(np.mean([result.similarity for result in results])),
        "renders": sum(result.renders for result in results),
        "views": dict(of_views),
    }
    if is_together(shots):
        data["lab_to_world_ras_mm"] = results[0].camera_to_world @ rigid.inverse(shots[0].in_lab)
    return plain(data)


def _truth_of(shots: Sequence[Shot], number: int) -> Truth | None:
    """A shot's own truth; of calibrated ones else that of the first that has one, seen from this camera."""
    shot = shots[number]
    known = next(((other, other.truth) for other in shots if other.truth is not None), None)
    if shot.truth is not None or known is None or not is_together(shots):
        return shot.truth
    other, truth = known
    between = rigid.inverse(other.in_lab) @ shot.in_lab
    return Truth(truth.camera_to_world @ between, truth.landmarks_ras_mm)
