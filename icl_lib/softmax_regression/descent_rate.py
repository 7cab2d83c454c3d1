"""The line search that gives gradient descent its rate on a set of tuning tasks."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_number


@checked()
def minimise_over_rates(loss: Callable[[float], float], lowest: float = 1e-3, highest: float = 1e3) -> float:
    """The positive rate in [lowest, highest] with the least loss: a coarse grid in log rate, then Brent's search.

    The grid finds the right valley where the loss has more than one; Brent refines inside it.
    Raises `ValueError` for bounds that are not 0 < lowest < highest.
    """
    # Imported here: it takes a third of a kernel's start, and a chapter whose results are stored needs none of it.
    from scipy.optimize import minimize_scalar

    check_number("lowest", lowest, above=0)
    check_number("highest", highest, above=lowest)
    width = math.log(highest / lowest) / 24
    grid = [math.log(lowest) + k * width for k in range(25)]
    best = min(grid, key=lambda t: loss(math.exp(t)))
    found = minimize_scalar(
        lambda t: loss(math.exp(t)), bounds=(best - width, best + width), method="bounded", options={"xatol": 1e-9}
    )
    return math.exp(found.x)


@checked("A_query: B n d, h: B d, b_query: B n")
def best_rate(A_query: Tensor, h: Tensor, b_query: Tensor) -> float:
    """η/n with the least mean of ½‖softmax(A_q (η/n) h) − b_q‖² over tasks.

    `A_query` (B, n, d), `h` = Aᵀ(b − mean b) (B, d), `b_query` (B, n).
    """
    logits = torch.einsum("...nd,...d->...n", A_query, h)

    def loss(rate: float) -> float:
        return float((torch.softmax(rate * logits, dim=-1) - b_query).square().sum(-1).mean())

    return minimise_over_rates(loss)
