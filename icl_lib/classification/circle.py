"""Classes on the circle: the arc of points that are nearest to each class vector, and points drawn in given arcs."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from icl_lib.running.validation import check_last_dimensions


class Arcs(NamedTuple):
    """Arcs of the circle, one a class: where they begin, an angle in [−2π, π], and how wide they are, (..., C) each."""

    start: Tensor
    width: Tensor

    @classmethod
    def of(cls, w: Tensor) -> "Arcs":
        """The arc of each of the class vectors w (..., C, 2) on which no other has a larger inner product.

        Raises `TypeError` or `ValueError` for vectors that are not in the plane. See `def-sphere-classification`.
        """
        check_last_dimensions("w", w, C=None, d=2)
        angle, order = torch.atan2(w[..., 1], w[..., 0]).sort(-1)
        # An arc ends half way to the next class vector, where the next arc begins.
        before = angle.roll(1, -1)
        before[..., 0] -= 2 * math.pi
        start = (before + angle) / 2
        end = start.roll(-1, -1)
        end[..., -1] += 2 * math.pi
        back = order.argsort(-1)
        return cls(start.gather(-1, back), (end - start).gather(-1, back))

    def points(self, labels: Tensor, generator: Generator) -> Tensor:
        """Points of the `labels` (B, n), each uniform on its class's arc, as columns (B, 2, n)."""
        share = torch.rand(labels.shape, generator=generator, device=labels.device, dtype=self.start.dtype)
        angle = share.mul_(self.width.gather(-1, labels)).add_(self.start.gather(-1, labels))
        drawn = torch.empty(len(labels), 2, labels.shape[1], device=labels.device, dtype=angle.dtype)
        torch.cos(angle, out=drawn[:, 0])
        torch.sin(angle, out=drawn[:, 1])
        return drawn
