"""The Bayes-optimal prediction for classes on the circle, where the class counts of a context were given."""

import math

import torch
from torch import Generator, Tensor

from icl_lib.classification.descent import check_context
from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_last_dimensions, check_number


@checked("x: B n d, y: B n C, x_query: B d")
def posterior_on_circle(
    x: Tensor, y: Tensor, x_query: Tensor, draws: int, generator: Generator, smoothing: float = 0.01
) -> Tensor:
    """The Bayes-optimal prediction (B, C) where the class counts of context and query were given, for odd C.

    Boundaries between classes lie in the gaps between points of different classes. For an odd number of classes they
    and the class vectors determine each other by a linear map, so uniform class vectors are uniform boundaries, of
    which those count where every class vector lies in its own arc. A point of class c is uniform there, with the
    density 1/|arc_c|: a draw has the weight ∏ |arc_c|^(−n_c), and one factor more for the class that has the query.
    Predictions are (shares + smoothing/m) / (1 + C · smoothing/m) with m = (Σ weight)²/Σ weight², the number of draws
    that count. Raises `ValueError` for an even number of classes, for one that has no point in a context or points on
    both sides of another class, for vectors that are not in the plane, and where no draw is possible for a context.
    See `sec-layers-rivals`.
    """
    check_context(x, y, x_query)
    check_last_dimensions("x", x, n=None, d=2)
    check_count("draws", draws)
    check_number("smoothing", smoothing, above=0)
    classes = y.shape[-1]
    if classes % 2 == 0:
        raise ValueError(f"y must have an odd number of classes, got {classes}")
    low, high, label = _gaps(x, y)
    share = torch.rand(draws, *low.shape, generator=generator, dtype=x.dtype, device=x.device)
    ends = low + share * (high - low)
    width, inside = _arcs_between(ends)
    if not bool(inside.any(0).all()):
        raise ValueError(f"draws must be more where points are so few: of {draws} none is possible for some context")
    counts = y.sum(-2).gather(1, label)
    place = _arc_of(x_query, ends)
    log_width = width.clamp_min(torch.finfo(x.dtype).tiny).log()
    log_weight = -(counts * log_width).sum(-1) - log_width.gather(-1, place).squeeze(-1)
    weight = torch.softmax(log_weight.masked_fill(~inside, -torch.inf), dim=0)
    won = label.expand(draws, -1, -1).gather(-1, place).squeeze(-1)
    shares = torch.zeros(len(x), classes, dtype=x.dtype, device=x.device).scatter_add_(1, won.T, weight.T)
    share_of_one = smoothing * weight.square().sum(0).unsqueeze(-1)
    return (shares + share_of_one) / (1 + classes * share_of_one)


def _arc_of(x_query: Tensor, ends: Tensor) -> Tensor:
    """In which of the arcs that end at `ends` (..., B, C) the queries lie: as many as end before it, (..., B, 1)."""
    angle = torch.atan2(x_query[:, 1], x_query[:, 0]).unsqueeze(-1)
    start = ends[..., -1:]
    passed = torch.remainder(ends[..., :-1] - start, 2 * math.pi) < torch.remainder(angle - start, 2 * math.pi)
    return passed.sum(-1, keepdim=True)


def _gaps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the arcs of the classes end, at least and at most, and the classes in that order, (B, C) each.

    Classes stand as they follow on the circle; an end is that of the arc of its class, before the next one's.
    """
    angle, order = torch.atan2(x[..., 1], x[..., 0]).sort(-1)
    label = y.argmax(-1).gather(1, order)
    after = torch.cat([angle[:, 1:], angle[:, :1] + 2 * math.pi], dim=1)
    changes = label != label.roll(-1, 1)
    if not bool((changes.sum(1) == y.shape[-1]).all()):
        raise ValueError("y must have points of every class, and those of a class next to each other on the circle")
    places = changes.nonzero()[:, 1].view(len(x), -1)
    return angle.gather(1, places), after.gather(1, places), label.gather(1, places)


def _arcs_between(ends: Tensor) -> tuple[Tensor, Tensor]:
    """Widths (..., C) of the arcs that end there, and whether every class vector with these ends lies in its own."""
    before = torch.cat([ends[..., -1:] - 2 * math.pi, ends[..., :-1]], dim=-1)
    # The end of arc k is half way between the vectors k and k + 1, so v_{k+1} = 2 e_k − v_k; all the way round the
    # first one is found from the alternating sum.
    signs = torch.ones(ends.shape[-1], dtype=ends.dtype, device=ends.device)
    signs[1::2] = -1
    vectors = [(ends * signs).sum(-1) - math.pi]
    for k in range(ends.shape[-1] - 1):
        vectors.append(2 * ends[..., k] - vectors[-1])
    v = torch.stack(vectors, dim=-1)
    return ends - before, ((v > before) & (v < ends)).all(-1)
