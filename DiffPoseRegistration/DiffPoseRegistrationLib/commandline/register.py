"""``diffpose register``: the pose of an X-ray, or of several."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import arguments
from .job import add_job, copy_results, run_as_job
from .progress import TerminalProgress, compile_renderer

if TYPE_CHECKING:
    import numpy as np

    from ..encoder.model_file import PreparedModel
    from ..imaging.volume_mapping import VolumeMapping
    from ..workflow.register import RegistrationResult, Search
    from ..workflow.several import Shot

_EPILOG = """examples:
  with a prepared model:
    diffpose register --ct ct.nrrd --xray xray.dcm --model model.safetensors --out result
  from a rough pose that was saved from 3D Slicer:
    diffpose register --ct ct.nrrd --xray xray.dcm --initial rough.h5 --out result
  a PNG with its geometry in a JSON of several views, scored against a reference:
    diffpose register --ct ct.nrrd --xray cam1.png --camera rig.json:cam1 --initial start.json --truth rig.json:cam1
  two X-rays of a calibrated biplane system, which share one pose; the initial pose is that of the first:
    diffpose register --ct bone.nrrd --xray cam1.png cam2.png --camera cam1.txt cam2.txt --initial rough.h5 --out result

writes into --out: result.json, pose.h5 (opens in 3D Slicer) and overlay.png; of several X-rays these files in a folder
for each, and a result.json for all
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "register",
        help="find the pose of an X-ray, or of several",
        description="Find where an X-ray of a CT was taken from. Several X-rays share one pose if their cameras tell "
        "where they stand to one another (lab_to_camera_mm in JSON, or a calibration of MayaCam 2.0, RTK or "
        "plastimatch); else each gets its own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_ct(parser)
    arguments.add_mapping(parser, "what the model was made with, else ct")
    parser.add_argument(
        "--xray", required=True, nargs="+", metavar="XRAY", help="X-ray, or several: DICOM, .png, .tif, .nrrd, .mha"
    )
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--model", metavar="MODEL", help="model that 'prepare' made for this CT")
    start.add_argument(
        "--initial",
        nargs="+",
        metavar="POSE",
        help="initial pose: JSON with camera_to_world_ras_mm, .h5 or .tfm; of several X-rays one for each in order, of "
        "calibrated ones that of the first is enough",
    )
    parser.add_argument(
        "--truth", nargs="+", metavar="JSON", help="known pose and landmarks; used only to score the result"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--separately", action="store_true", help="each X-ray gets its own pose, even if the cameras are calibrated"
    )
    arguments.add_xray_reading(parser, several=True)
    _add_search(parser)
    parser.add_argument(
        "--landmarks",
        metavar="FILE",
        help="points at which to predict the error: JSON with landmarks_ras_mm, or a point list of 3D Slicer "
        "(.mrk.json, .fcsv)",
    )
    arguments.add_device(parser)
    add_job(parser)
    parser.set_defaults(run=run)


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to search")
    arguments.add_method(group)
    group.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("DEG", "MM"),
        help="how far off the initial pose may be, in rotation and across the beam (default 20 60; for a single bone "
        "cut out of its CT 5 10)",
    )
    group.add_argument("--twins", action="store_true", help="look from the opposite side too: AP may be PA")
    group.add_argument(
        "--grid",
        nargs=2,
        type=float,
        metavar=("DEG", "MM"),
        help="start from a grid this far about the initial pose too",
    )
    group.add_argument(
        "--distance-tolerance",
        type=float,
        default=0.0,
        metavar="MM",
        help="refine the source-to-detector distance too, within so much of what the camera says",
    )
    group.add_argument(
        "--principal-point-tolerance",
        type=float,
        default=0.0,
        metavar="PX",
        help="refine the principal point too, within so many pixels along columns and rows",
    )
    group.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="take the best pose after so much time (of each registration); reading and pictures come on top",
    )


def run(args: argparse.Namespace) -> None:
    from ..workflow.result_file import writable_folder

    if args.out:
        writable_folder(args.out)
    if args.job:
        _run_as_job(args)
        return

    model = _model(args)
    ct = arguments.load_ct(args.ct, _mapping(args, model))
    shots = _shots(args)
    landmarks = _landmarks(args)

    from ..workflow.register import register

    options = {"model": model, "method": args.method, "device": args.device, **_given_search(args)}
    if landmarks is not None:
        options["landmarks"] = landmarks
    inputs = {"ct": args.ct, "model": args.model}
    compile_renderer()
    result: RegistrationResult | list[RegistrationResult]
    with TerminalProgress("Registering") as progress:
        if len(shots) == 1:
            result = register(ct, shots[0].xray, initial=shots[0].initial, progress=progress, **options)
        else:
            from ..workflow.several import register_several

            result = register_several(ct, shots, register, progress=progress, **options)
    _tell(args, _written(args, result, ct, shots, inputs), ct.centre_ras)


def _model(args: argparse.Namespace) -> PreparedModel | None:
    if not args.model:
        return None
    from ..encoder.model_file import load_model

    return load_model(args.model)


def _mapping(args: argparse.Namespace, model: PreparedModel | None) -> VolumeMapping | str:
    """How the CT is read: as asked for, else as for the model."""
    return args.mapping or ("ct" if model is None else model.mapping)


def _written(args: argparse.Namespace, result: Any, ct: Any, shots: list[Shot], inputs: dict[str, Any]) -> dict:
    """What ``result.json`` says; written where there is a folder for it."""
    from ..workflow.result_file import result_as_json, write_result
    from ..workflow.several import several_as_json, write_several

    if len(shots) > 1:
        files = {"inputs": inputs, "xray_inputs": args.xray}
        if args.out:
            return write_several(args.out, result, ct, shots, **files)
        return several_as_json(result, ct, shots, **files)
    files = {"inputs": {**inputs, "xray": args.xray[0]}, "truth": shots[0].truth}
    if args.out:
        return write_result(args.out, result, ct, **files)
    return result_as_json(result, ct, **files)


def _shots(args: argparse.Namespace) -> list[Shot]:
    """The X-rays with what the options say of each; where they are calibrated, with their cameras' places."""
    from ..imaging.calibration import are_calibrated, read_placement
    from ..imaging.pose_file import read_pose, read_truth
    from ..workflow.several import Shot

    each = arguments.one_by_one(args)
    placements = [read_placement(one.camera, one.xray) if one.camera else None for one in each]
    together = not args.separately and are_calibrated([Path(one.xray).name for one in each], placements)
    return [
        Shot(
            name=name,
            xray=arguments.load_xray(one),
            camera_to_lab=place.camera_to_lab if together and place else None,
            initial=read_pose(one.initial, one.xray) if one.initial else None,
            truth=read_truth(one.truth, one.xray) if one.truth else None,
        )
        for name, one, place in zip(_names(each), each, placements)
    ]


def _names(each: list[argparse.Namespace]) -> list[str]:
    """A name for each X-ray that a folder may have: its camera's view, else its file; made different by numbers."""
    from ..imaging.file_views import split_view

    names: list[str] = []
    for one in each:
        view = split_view(one.camera)[1] if one.camera else None
        stem = re.sub(r"[^\w.-]+", "_", view or Path(one.xray).stem).strip(".") or "xray"
        name, number = stem, 2
        while name.lower() in (other.lower() for other in names):
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names


def _landmarks(args: argparse.Namespace) -> np.ndarray | None:
    if args.landmarks is None:
        return None
    from ..imaging.landmark_file import read_landmarks

    return read_landmarks(args.landmarks)


def _given_search(args: argparse.Namespace) -> dict[str, Search]:
    """The search that the options ask for, if they ask for any."""
    tolerances = (args.distance_tolerance, args.principal_point_tolerance)
    if not (args.range or args.twins or args.grid or args.seconds is not None or any(tolerances)):
        return {}
    from ..refinement.schedule import IntrinsicsTolerance
    from ..workflow.register import Search

    intrinsics = IntrinsicsTolerance(*tolerances)
    return {"search": Search(_pair(args.range), args.twins, _pair(args.grid), intrinsics, args.seconds)}


def _pair(values: list[float] | None) -> tuple[float, float] | None:
    return (values[0], values[1]) if values else None


def _run_as_job(args: argparse.Namespace) -> None:
    from ..imaging.ct_reader import read_ct

    settings = {
        **arguments.reading_options(args),
        "viewed_from": args.viewed_from,
        "method": args.method,
        "device": args.device,
        "range_deg_mm": args.range,
        "twins": args.twins or None,
        "grid_deg_mm": args.grid,
        "distance_tolerance_mm": args.distance_tolerance,
        "principal_point_tolerance_px": args.principal_point_tolerance,
        "seconds": args.seconds,
        "mapping": None if args.mapping is None else arguments.mapping_for_job(args.mapping),
        "landmarks_ras_mm": _landmarks(args),
    }
    each = arguments.one_by_one(args)
    if len(each) == 1:
        settings.update(_as_settings(each[0]))
    else:
        settings["views"] = [
            {"name": shot.name, "camera_to_lab_mm": shot.camera_to_lab, **_as_settings(one)}
            for shot, one in zip(_shots(args), each)
        ]
    inputs = {"ct": args.ct, "xray": args.xray[0] if len(each) == 1 else args.xray, "model": args.model}
    job = run_as_job(args.job, "register", inputs, settings, "Registering")
    data = json.loads((job.result / "result.json").read_text(encoding="utf-8"))
    if args.out:
        copy_results(job, Path(args.out))
    _tell(args, data, read_ct(args.ct, _mapping(args, _model(args))).centre_ras)


def _as_settings(one: argparse.Namespace) -> dict[str, Any]:
    """One X-ray's camera, initial pose and truth as settings of a job."""
    from ..imaging.pose_file import read_pose, read_truth

    camera = arguments.given_camera(one)
    settings: dict[str, Any] = {"camera": None if camera is None else camera.to_json()}
    if one.initial:
        settings["initial_camera_to_world_ras_mm"] = read_pose(one.initial, one.xray)
    if one.truth:
        truth = read_truth(one.truth, one.xray)
        settings["truth"] = {
            "camera_to_world_ras_mm": truth.camera_to_world,
            "landmarks_ras_mm": truth.landmarks_ras_mm,
        }
    return settings


def _tell(args: argparse.Namespace, data: dict[str, Any], isocentre: np.ndarray) -> None:
    if "views" in data:
        report_several(data, isocentre)
        files = f"result.json, and of each X-ray {', '.join(f'{name}/' for name in data['views'])},"
    else:
        report(data, isocentre)
        files = "result.json, pose.h5 and overlay.png"
    if args.out:
        print(f"Wrote {files} into {args.out}.")


def report(data: dict[str, Any], isocentre: np.ndarray) -> None:
    """Print a result (what ``result.json`` says) for a person."""
    _print_pose(data, isocentre)
    _print_trust(data)
    _print_score(data)


def report_several(data: dict[str, Any], isocentre: np.ndarray) -> None:
    """Print the result of several X-rays for a person."""
    for name, view in data["views"].items():
        print(f"{name}:")
        _print_pose(view, isocentre)
        if not data["pose_is_shared"]:
            _print_trust(view)
        _print_score(view)
    if data["pose_is_shared"]:
        print("All X-rays together: lab to world (RAS, mm):")
        _print_matrix(data["lab_to_world_ras_mm"])
        for name, view in data["views"].items():
            print(
                f"  {name}: similarity {view['similarity']:.4f}; alone it would be {view['disagreement_mm']:.2f} mm off"
            )
        first = next(iter(data["views"].values()))
        _print_trust({**first, "similarity": data["similarity"]})


def _print_pose(data: dict[str, Any], isocentre: np.ndarray) -> None:
    import numpy as np

    from ..geometry.angles import pose_in_words, positioner_angles

    pose = np.array(data["camera_to_world_ras_mm"])
    print(f"Pose: {pose_in_words(pose, isocentre)}.")
    print("      positioner angles primary {:.2f}, secondary {:.2f}, roll {:.2f} deg".format(*positioner_angles(pose)))
    print("      camera to world (RAS, mm):")
    _print_matrix(pose)


def _print_matrix(matrix: Any) -> None:
    for row in matrix:
        print("        " + " ".join(f"{value:12.5f}" for value in row))


def _print_trust(data: dict[str, Any]) -> None:
    print(f"Similarity {data['similarity']:.4f}, {data['renders']} renders, {_times(data['seconds'])}.")
    predicted, weak = data["predicted_error_mm"], data["weak_direction"]
    print(f"Verdict: {data['verdict']}" + (f", predicted error {predicted:.2f} mm." if predicted is not None else "."))
    if weak["predicted_error_mm"] is not None:
        along, across = weak["predicted_error_mm"], weak["predicted_error_across_mm"]
        print(f"  least certain {weak['words']}: ±{along:.2g} mm; across that ±{across:.2g} mm")
    for name, found in (data.get("refined_intrinsics") or {}).items():
        if found["standard_deviation"]:
            change, deviation = found["change"], found["standard_deviation"]
            print(f"  {name} changed by {change:+.2f} ± {deviation:.2f}")
    for number, error in enumerate(data.get("predicted_landmark_errors_mm") or []):
        print(f"  landmark {number + 1}: ±{error:.2g} mm")
    for reason in data["verdict_reasons"]:
        print(f"  - {reason}")


def _print_score(data: dict[str, Any]) -> None:
    if "tre_mm" in data:
        print(
            f"Against the reference: TRE {data['tre_mm']:.3f} mm (before: {data['initial_tre_mm']:.1f} mm), on the "
            f"detector {data['projection_error_mm']:.3f} mm, rotation {data['rotation_deg']:.3f} deg, in plane "
            f"{data['in_plane_mm']:.3f} mm, depth {data['depth_mm']:.3f} mm ({data['landmarks']})."
        )


def _times(seconds: dict[str, float]) -> str:
    return ", ".join(f"{phase} {value:.2f} s" for phase, value in seconds.items())
