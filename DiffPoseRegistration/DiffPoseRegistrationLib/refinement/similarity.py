"""Normalised cross-correlation over windows, in least-squares form.

For one window let ``u`` and ``v`` be the X-ray and the simulated X-ray, centred and scaled to unit norm
(with pixel weights). Then ``1/2 |u - v|^2 = 1 - NCC``: correlation is a sum of squares, and with the pose
Jacobian J of the simulated image (centred to Jc, divided by the image's norm n)

    dv = (Jc - v (v . Jc)) / n                                  derivative of v
    g  = -dv^T u = -(u . Jc - NCC (v . Jc)) / n                 exact gradient of 1 - NCC
    A  = dv^T dv = (Jc^T Jc - (v . Jc)^T (v . Jc)) / n^2        Gauss-Newton matrix

One window over the whole image is global NCC; many small ones are the local NCC of DiffPose and xvr.
All of the above follow from sums of products over the window's pixels (:mod:`.window_sums`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .filters import filtered
from .scores import Scores, block_scores
from .window_sums import Cells, correlations

_BLOCKS = 16  # along the longest side: the pieces of a measure over the whole image


@dataclass(frozen=True)
class Windows:
    """Rectangles on an image, with their weights in the objective.

    bounds
        Array [w, 4], int32: (top, left, bottom, right), bottom and right exclusive.
    weight
        Array [w]: share of each in the objective; sums to one.
    """

    bounds: np.ndarray
    weight: np.ndarray


def sliding_windows(image: np.ndarray, pixel_weight: np.ndarray, side: int, stride: int) -> Windows:
    """Windows of ``side`` pixels every ``stride`` pixels, weighted by the structure that the X-ray shows there.

    Windows more than half masked are left out. A window's weight is its (weighted) standard deviation,
    up to the median of all: flat ones hold only noise, and very busy ones must not rule.
    """
    rows, columns = image.shape
    side_r, side_c = min(side, rows), min(side, columns)
    tops = np.array(sorted({*range(0, rows - side_r + 1, stride), rows - side_r}))
    lefts = np.array(sorted({*range(0, columns - side_c + 1, stride), columns - side_c}))
    w = np.asarray(pixel_weight, dtype=np.float64)
    x = np.asarray(image, dtype=np.float64)
    x = x - (w * x).sum() / max(w.sum(), 1e-12)  # small sums lose less

    down, across = (
        np.unique(np.concatenate([start, start + side])) for start, side in ((tops, side_r), (lefts, side_c))
    )

    def window_sums(values: np.ndarray) -> np.ndarray:
        """Over the windows at ``tops`` and ``lefts``, from the sums over everything above and left of a corner."""
        cells = np.add.reduceat(np.add.reduceat(values, down[:-1], axis=0), across[:-1], axis=1)
        corner = np.pad(cells.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        top, bottom = (np.searchsorted(down, at) for at in (tops, tops + side_r))
        left, right = (np.searchsorted(across, at) for at in (lefts, lefts + side_c))
        from_top = corner[bottom] - corner[top]
        return from_top[:, right] - from_top[:, left]

    total, first, second = (window_sums(values) for values in (w, w * x, w * x * x))
    seen = total >= 0.5 * side_r * side_c
    mean = first[seen] / total[seen]
    weight = np.sqrt(np.maximum(second[seen] / total[seen] - mean**2, 0))
    top, left = (at[seen] for at in np.meshgrid(tops, lefts, indexing="ij"))
    bounds = np.stack([top, left, top + side_r, left + side_c], axis=1).astype(np.int32)
    if weight.size:
        weight = np.minimum(weight, np.median(weight))
    # Of windows of one grey value, rounding leaves a little.
    keep = weight > 1e-6 * np.abs(x).max(initial=0)
    return Windows(bounds[keep], weight[keep] / max(weight[keep].sum(), 1e-12))


class WindowedNCC:
    """A weighted mixture of windowed NCC at several window sizes on one image scale.

    Parameters
    ----------
    xray, pixel_weight
        The X-ray and the weights of its pixels, [rows, columns], float32.
    sides
        Window sides in pixels; 0 stands for the whole image.
    shares
        Weight of each side in the mixture.
    robust_scale
        A window whose ``1 - NCC`` exceeds this is down-weighted (Geman-McClure): something is in front
        of it that the CT does not know.
    image_filter, sigma_px
        Linear filter applied to both images before they are compared, see :mod:`.filters`. With
        ``gradient`` and the whole image as window this is gradient NCC (G. Penney et al., "A comparison
        of similarity measures for use in 2-D-3-D medical image registration", IEEE TMI 17, 1998).
    """

    def __init__(
        self,
        xray: np.ndarray,
        pixel_weight: np.ndarray,
        sides: tuple[int, ...] = (0,),
        shares: tuple[float, ...] = (1.0,),
        robust_scale: float | None = None,
        image_filter: str = "none",
        sigma_px: float = 1.0,
    ) -> None:
        self.pixel_weight = np.ascontiguousarray(pixel_weight, dtype=np.float32)
        self.robust_scale = robust_scale
        self.image_filter, self.sigma_px = image_filter, sigma_px
        image = np.ascontiguousarray(xray, dtype=np.float32)
        channels = filtered(image[None, :, :, None], image_filter, sigma_px)
        self._xray_channels = [np.ascontiguousarray(c[0, :, :, 0]) for c in channels]
        bounds, weights, local = [], [], []
        for side, share in zip(sides, shares):
            if side == 0:
                windows = Windows(np.array([[0, 0, *image.shape]], np.int32), np.ones(1))
            else:
                windows = sliding_windows(image, self.pixel_weight, side, max(1, side // 2))
            bounds.append(windows.bounds)
            weights.append(share * windows.weight)
            local.append(np.full(len(windows.weight), side > 0))
        self.bounds = np.ascontiguousarray(np.concatenate(bounds))
        weight = np.concatenate(weights)
        self.weight = weight / max(weight.sum(), 1e-12)
        self._local = np.concatenate(local)
        self._cells = Cells.of(self.bounds)

    def terms(self, drr: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What :func:`.window_sums.correlations` gives of the filtered images, averaged over the filter's channels."""
        parts = [
            correlations(x, self.pixel_weight, d, j, self._cells)
            for x, d, j in zip(self._xray_channels, *self._channels(drr, jacobian))
        ]
        ncc, gradient, normal = (np.asarray(sum(p[n] for p in parts)) / len(parts) for n in range(3))
        return ncc, gradient, normal

    def scores(self, drr: np.ndarray, jacobian: np.ndarray) -> Scores:
        """What each window, and each block of the whole image, adds to the gradient of the cost at one image
        [rows, columns] with its Jacobian [rows, columns, p]."""
        ncc, gradient, normal = (term[0] for term in self.terms(drr[None], jacobian[None]))
        weight = self.weight * self._slope(1 - ncc)
        local = self._local
        centres = [(self.bounds[local, :2] + self.bounds[local, 2:] - 1) / 2]
        scores = [weight[local, None] * gradient[local]]
        if not local.all():
            side = -(-max(drr.shape) // _BLOCKS)
            channels = list(zip(self._xray_channels, *self._channels(drr[None], jacobian[None])))
            parts = [block_scores(x, self.pixel_weight, d[0], j[0], side) for x, d, j in channels]
            centres.append(parts[0][0])
            scores.append(weight[~local].sum() * sum(p[1] for p in parts) / len(parts))
        return Scores(np.concatenate(centres), np.concatenate(scores), np.einsum("w,wab->ab", weight, normal))

    def _channels(self, drr: np.ndarray, jacobian: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Simulated X-rays [n, rows, columns] and Jacobians [n, rows, columns, p], filtered: one entry a channel."""
        if self.image_filter == "none":
            return [drr], [jacobian]
        images = filtered(drr[..., None], self.image_filter, self.sigma_px)
        return (
            [np.ascontiguousarray(c[..., 0]) for c in images],
            filtered(jacobian, self.image_filter, self.sigma_px),
        )

    def _slope(self, loss: np.ndarray) -> np.ndarray:
        """Derivative of the robust cost by the ``loss`` of each window."""
        return np.ones_like(loss) if self.robust_scale is None else self._ratio(loss) ** 2

    def _ratio(self, loss: np.ndarray) -> np.ndarray:
        # rho(l) = l / (1 + l / s): the identity for small losses, at most s for large ones
        return np.where(self._local, 1 / (1 + np.maximum(loss, 0) / self.robust_scale), 1.0)

    def __call__(self, drr: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost [n], gradient [n, p] and Gauss-Newton matrix [n, p, p] of images [n, rows, columns] and Jacobians
        [n, rows, columns, p]."""
        ncc, gradient, normal = self.terms(drr, jacobian)
        loss = 1 - ncc
        cost = loss if self.robust_scale is None else loss * self._ratio(loss)
        weight = self.weight * self._slope(loss)
        return (
            (self.weight * cost).sum(axis=1),
            np.einsum("nw,nwa->na", weight, gradient),
            np.einsum("nw,nwab->nab", weight, normal),
        )
