"""How many points of a context each class has."""

import numpy
import torch
from torch import Generator, Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_count, check_integer, check_number

# How often shares are drawn anew before they are called too rare.
ROUNDS = 200


@checked()
def check_concentration(concentration_of_counts: float | None, n: int, classes: int) -> None:
    """Raise unless counts can be drawn: equal ones need an n that the number of classes divides.

    See `def-sphere-classification`.
    """
    check_count("n", n)
    check_count("classes", classes)
    if concentration_of_counts is not None:
        check_number("concentration_of_counts", concentration_of_counts, above=0)
    elif n % classes:
        raise ValueError(f"n must be a multiple of classes = {classes} where they are equal, got {n}")


@checked()
def class_counts(
    batch: int,
    n: int,
    classes: int,
    concentration_of_counts: float | None,
    generator: Generator,
    most: int | None = None,
) -> Tensor:
    """Points of each class, (B, C), in float64: n/C, or n times Dirichlet(α, …, α) shares rounded to a sum of n.

    α is the `concentration_of_counts`, None for equal counts. Shares that give a class more than `most` points are
    drawn again. Raises `ValueError` for an n that cannot be shared so, and `RuntimeError` where too few shares can.
    See `def-sphere-classification`.
    """
    check_count("batch", batch)
    check_concentration(concentration_of_counts, n, classes)
    if most is not None:
        check_integer("most", most, 1)
    if most is not None and most * classes < n:
        raise ValueError(f"most must be at least n / classes = {n / classes:g}, got {most}")
    if concentration_of_counts is None:
        return torch.full((batch, classes), n // classes, dtype=torch.float64, device=generator.device)
    whole = _dirichlet_counts(batch, n, classes, concentration_of_counts, generator)
    for _ in range(ROUNDS):
        over = (whole > (n if most is None else most)).any(1)
        if not bool(over.any()):
            return whole.to(generator.device)
        whole[over] = _dirichlet_counts(int(over.sum()), n, classes, concentration_of_counts, generator)
    raise RuntimeError(f"no shares of {n} points with at most {most} of a class after {ROUNDS} draws")


def _dirichlet_counts(batch: int, n: int, classes: int, concentration_of_counts: float, generator: Generator) -> Tensor:
    # PyTorch's Dirichlet law takes no generator, numpy's does.
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    share = n * torch.from_numpy(numpy.random.default_rng(seed).dirichlet([concentration_of_counts] * classes, batch))
    whole = share.floor()
    # The points that rounding down leaves over go to the largest remainders.
    rank = (share - whole).argsort(1, descending=True).argsort(1)
    whole += rank < (n - whole.sum(1, keepdim=True)).round()
    return whole
