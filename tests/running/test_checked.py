import math
from typing import NamedTuple

import pytest
import torch
from torch import Generator, Tensor

from icl_lib.running.checked import check_tensors, checked
from icl_lib.running.training import SGD, train


class Pair(NamedTuple):
    one: Tensor
    other: Tensor


@checked("A: ... n d, x?: ... d, pair.one: n; pair.other: ... n", counts=("times",), numbers=("rate",))
def product(A: Tensor, x: Tensor | None, pair: Pair, times: int = 1, rate: float = 1.0, flag: bool = True) -> Tensor:
    return times * rate * A if x is None else times * rate * (A @ x.unsqueeze(-1)).squeeze(-1)


@checked("t: ...", result="log", lowest=("t",))
def logarithm(t: Tensor) -> Tensor:
    return t.log() if bool((t >= 0).all()) else t


@checked()
def exponential(x: float, generator: Generator | None = None, dtype: torch.dtype = torch.float64) -> float:
    return math.exp(x)


A, X, PAIR = torch.ones(2, 3, 4), torch.ones(4), Pair(torch.ones(3), torch.ones(5, 3))


def test_what_fits_goes_through() -> None:
    assert product(A, X, PAIR).shape == (2, 3)
    assert torch.equal(product(A, None, PAIR), A)
    assert logarithm(torch.zeros(2)).isneginf().all()
    assert logarithm(torch.tensor(-torch.inf)).isneginf()
    assert exponential(1) == math.e


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"A": [[1.0]]}, TypeError, "A must be a tensor of shape"),
        ({"A": torch.ones(4)}, ValueError, r"A must have shape \(\.\.\., n, d\)"),
        ({"A": torch.ones(2, 0, 4)}, ValueError, "A must have shape .* with sizes >= 1"),
        (
            {"A": torch.ones(2, 3, 4).half()},
            TypeError,
            "dtype of A must be torch.float32 or torch.float64, got torch.float16",
        ),
        ({"x": torch.ones(5)}, ValueError, "x must have shape"),
        ({"x": torch.ones(4).double()}, TypeError, "x must be of torch.float32 on cpu as A is, got torch.float64"),
        ({"x": torch.ones(5, 4)}, ValueError, r"x must have leading dimensions that broadcast with \(2,\), got \(5,\)"),
        ({"x": torch.tensor([1, 2, math.nan, 4])}, ValueError, "x must hold finite numbers, got nan or infinity"),
        ({"pair": Pair(torch.ones(2), PAIR.other)}, ValueError, "pair.one must have shape"),
        ({"pair": Pair(torch.ones(2, 3), PAIR.other)}, ValueError, "pair.one must have shape"),
        ({"pair": 3}, TypeError, "pair must be of type Pair, got 3 of type int"),
        ({"times": 0}, ValueError, "times must be an integer >= 1, got 0"),
        ({"times": 10**9}, ValueError, "times must be an integer <= 10000000"),
        ({"rate": math.inf}, ValueError, "rate must be a finite number, got inf"),
        ({"rate": "1"}, TypeError, "rate must be a finite number, got '1' of type str"),
        ({"flag": 1}, TypeError, "flag must be of type bool, got 1 of type int"),
        ({"rate": 1e300}, ValueError, r"rate must be such that product is finite, got 1e\+300"),
        ({"A": 1e38 * A}, ValueError, r"A must be such that product is finite, got numbers of the size 1e\+38"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        product(**{"A": A, "x": 10 * X, "pair": PAIR, **given})  # type: ignore[arg-type]


def test_a_logarithm_may_be_minus_infinity_and_nothing_else() -> None:
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="t must hold finite numbers"):
            logarithm(torch.tensor(wrong))


def test_a_number_that_leaves_the_floats_is_named() -> None:
    with pytest.raises(ValueError, match=r"x must be such that exponential is finite, got 1000\.0"):
        exponential(1000.0)
    with pytest.raises(TypeError, match="generator must be of type Generator or NoneType, got 3 of type int"):
        exponential(1.0, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"dtype must be torch\.float32 or torch\.float64, got torch\.int64"):
        exponential(1.0, dtype=torch.int64)


def test_within_a_call_and_a_training_only_the_call_is_checked() -> None:
    seen: list[bool] = []

    @checked("t: ...")
    def inner(t: Tensor) -> Tensor:
        seen.append(bool(t.isnan().all()))
        return t

    @checked()
    def outer() -> None:
        inner(torch.tensor(math.nan))
        with pytest.raises(ValueError, match="t must hold finite numbers"):
            check_tensors("t: ...", t=torch.tensor(math.nan))

    outer()
    train({"M": torch.zeros(())}, lambda p: {"M": inner(math.nan * p["M"])}, SGD(0.1, 1), [0])
    assert seen == [True, True]
    with pytest.raises(ValueError, match="t must hold finite numbers"):
        inner(torch.tensor(math.nan))


def test_a_tensor_under_a_transform_has_no_contents_to_look_at() -> None:
    slopes = torch.func.vmap(torch.func.grad(lambda x: product(A[0], x, PAIR).sum()))(torch.ones(3, 4))
    torch.testing.assert_close(slopes, torch.full((3, 4), 3.0))
