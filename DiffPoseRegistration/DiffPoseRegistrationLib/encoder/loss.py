"""The loss of a training: its terms, weighted as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..imaging.values import CTVolume
from ..rendering.renderer import Renderer
from . import losses
from .image_term import images_at
from .lesson import Lesson
from .network import COORDINATE_MM, Outputs
from .parameterisation import Seen
from .settings import TrainingSettings
from .simulator import TrainingSimulator

_WEIGHING_MM = 10.0  # errors of the hypotheses that differ by less hardly matter to their weights
_BODY = 0.05  # line integral of a few mm of tissue
_LOSERS_SHARE = 0.05  # of the loss of the hypotheses that were not the best, so that none is left behind


class TrainingLoss:
    """The loss of predictions on one CT.

    Parameters
    ----------
    landmarks
        Points [m, 3] (RAS, mm) of the landmark distance.
    structures
        Parts of the CT, all else air, whose projections are compared.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        simulator: TrainingSimulator,
        landmarks: np.ndarray,
        structures: Sequence[CTVolume] = (),
    ) -> None:
        self._settings, self._simulator = settings, simulator
        self._parameterisation = settings.parameterisation(simulator.frame)
        self._points = torch.tensor(simulator.frame.points(landmarks), dtype=torch.float32)
        self._lever_arm_mm = settings.lever_arm_mm or simulator.camera.source_to_detector_mm / 2
        self._structures: list[tuple[Renderer, float]] = []
        if settings.dice_weight > 0:
            self._structures = [_with_usual_value(part, simulator) for part in structures]

    def __call__(self, predicted: Seen, outputs: Outputs, lesson: Lesson, late: bool) -> Tensor:
        """The mean loss of a batch.

        Parameters
        ----------
        predicted
            Hypotheses [b, h] of where the aimed cameras were.
        outputs
            What the network gave, the predicted poses among it.
        late
            Whether the images count, too.
        """
        true = lesson.true
        if outputs.weights.shape[1] == 1:
            winner = Seen(predicted.rotation[:, 0], predicted.position[:, 0])
            loss = self._of_poses(winner, true).mean()
        else:
            winner, loss = self._of_hypotheses(predicted, outputs.weights, true)
        if self._settings.consistency_weight > 0:
            apart = losses.consistency(winner, true, self._lever_arm_mm)
            loss = loss + self._settings.consistency_weight * apart.mean()
        if outputs.coordinates is not None and outputs.votes is not None:
            loss = loss + self._of_cells(outputs.coordinates, outputs.votes, lesson)
        return loss + self._of_images(winner, lesson).to(loss.device) if late else loss

    @property
    def compares_images(self) -> bool:
        """Whether there is a term that needs further rendering."""
        return self._settings.image_weight > 0 or bool(self._structures)

    def _of_poses(self, predicted: Seen, true: Seen) -> Tensor:
        settings = self._settings
        loss = predicted.position.new_zeros(predicted.position.shape[:-1])
        if settings.landmark_weight > 0:
            points = self._points.to(loss.device)
            loss = loss + settings.landmark_weight * losses.landmark_distance(predicted, true, points)
        if settings.geodesic_weight > 0:
            loss = loss + settings.geodesic_weight * losses.double_geodesic(predicted, true, self._lever_arm_mm)
        if settings.log_weight > 0:
            loss = loss + settings.log_weight * losses.log_distance(predicted, true)
        return loss

    def _of_hypotheses(self, predicted: Seen, logits: Tensor, true: Seen) -> tuple[Seen, Tensor]:
        """The best hypotheses, and the loss that teaches them and, a little, the others, and the weights.

        The best of several guesses is learned from (A. Guzman-Rivera et al., NeurIPS 2012), relaxed so that none is
        left behind (C. Rupprecht et al., ICCV 2017); the weights learn to tell which one it is.
        """
        loss = self._of_poses(predicted, Seen(true.rotation[:, None], true.position[:, None]))
        with torch.no_grad():
            points = self._points.to(loss.device)
            apart = losses.landmark_distance(predicted, Seen(true.rotation[:, None], true.position[:, None]), points)
            best = apart.argmin(1)
            likely = (-apart / _WEIGHING_MM).softmax(1)
        every = torch.arange(len(best), device=best.device)
        learned = (1 - _LOSERS_SHARE) * loss[every, best] + _LOSERS_SHARE * loss.mean(1)
        weighing = -(likely * logits.log_softmax(1)).sum(1)
        return Seen(predicted.rotation[every, best], predicted.position[every, best]), (learned + 0.1 * weighing).mean()

    def _of_cells(self, coordinates: Tensor, votes: Tensor, lesson: Lesson) -> Tensor:
        """What the network's cells get wrong; those beside the body say nothing."""
        settings, true = self._settings, lesson.true
        rows, columns = coordinates.shape[2:]
        camera = self._simulator.camera.resampled(rows, columns)
        pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        rays = camera.pixels_to_camera(pixels) / camera.source_to_detector_mm
        shows = torch.from_numpy(lesson.clean > _BODY)[:, None].to(coordinates.device) & lesson.usable
        shares = torch.nn.functional.adaptive_avg_pool2d(shows.float(), (rows, columns))[:, 0]
        on_device = torch.from_numpy(rays.astype(np.float32)).to(coordinates.device)
        loss = coordinates.new_zeros(())
        if settings.coordinate_weight > 0:
            apart = losses.scene_distance(coordinates * COORDINATE_MM, true, lesson.zooms, on_device, shares)
            loss = loss + settings.coordinate_weight * apart.mean()
        if settings.vote_weight > 0:
            voted = self._parameterisation(votes.flatten(2).transpose(1, 2)).through(lesson.zooms[:, None])
            apart = losses.vote_distance(voted, true, self._points.to(votes.device), shares.flatten(1))
            loss = loss + settings.vote_weight * apart.mean()
        return loss

    def _of_images(self, predicted: Seen, lesson: Lesson) -> Tensor:
        settings, simulator = self._settings, self._simulator
        zooms = lesson.zooms.cpu().double().numpy()
        loss = torch.zeros(())
        if settings.image_weight > 0:
            renderer = simulator.renderers[lesson.contrast]
            image = images_at(predicted, simulator.frame, renderer, simulator.camera, simulator.level, zooms)
            apart = losses.ncc_distance(image, torch.from_numpy(lesson.clean), settings.image_patch_px)
            loss = loss + settings.image_weight * apart.mean()
        if self._structures:
            camera, level = simulator.camera, simulator.level
            poses = simulator.frame.poses(*(part.cpu().double().numpy() for part in lesson.true))
            found, sought = [], []
            for renderer, value in self._structures:
                image = images_at(predicted, simulator.frame, renderer, camera, level, zooms)
                found.append(_silhouette(image, value))
                sought.append(_silhouette(torch.from_numpy(renderer.render_batch(camera, poses, level, zooms)), value))
            loss = (
                loss + settings.dice_weight * losses.dice_distance(torch.stack(found, 1), torch.stack(sought, 1)).mean()
            )
        return loss


def _silhouette(image: Tensor, value: float) -> Tensor:
    """Nearly one where a structure is and zero beside it, with a slope on which a gradient can stand."""
    return 1 - torch.exp(-image / value)


def _with_usual_value(part: CTVolume, simulator: TrainingSimulator) -> tuple[Renderer, float]:
    """A renderer of ``part`` and a line integral that is low for it."""
    renderer = Renderer(part, levels=4)
    image = renderer.render(simulator.camera, simulator.frame.centre, simulator.level)
    inside = image[image > 0]
    return renderer, float(np.quantile(inside, 0.25)) if inside.size else 1.0
