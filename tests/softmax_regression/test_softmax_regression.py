import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_documents import documents, normal, seeds
from torch import Tensor

from icl_lib.linear_regression import LinearRegression
from icl_lib.running.streams import stream
from icl_lib.softmax_regression import problem as sr
from icl_lib.softmax_regression.documents import SoftmaxRegression

Document = tuple[Tensor, Tensor, Tensor]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@given(documents())
def test_prediction_is_the_definition(document: Document) -> None:
    A, x, _ = document
    weights = torch.exp((A @ x.unsqueeze(-1)).squeeze(-1))
    close(sr.predict(A, x), weights / weights.sum(-1, keepdim=True))


@given(documents())
def test_prediction_does_not_see_a_constant_added_to_all_logits(document: Document) -> None:
    A, x, _ = document
    close(sr.predict(A + normal(1, A.shape[-1]), x), sr.predict(A, x), 1e-11)


def test_prediction_stays_finite_at_large_logits() -> None:
    A = torch.tensor([[1e5], [0.0], [-1e5]], dtype=torch.float64)
    close(sr.predict(A, torch.ones(1, dtype=torch.float64)), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


@given(documents())
def test_gradient_is_that_of_the_loss(document: Document) -> None:
    A, x, b = document
    x = x.requires_grad_()
    (expected,) = torch.autograd.grad(sr.loss(A, x, b).sum(), x)
    close(sr.gradient(A, x.detach(), b), expected)


@given(documents(largest_n=8, largest_d=4))
def test_hessian_is_that_of_the_loss(document: Document) -> None:
    A, x, b = (t.reshape(-1, *t.shape[t.dim() - k :]) for t, k in zip(document, (2, 1, 1), strict=True))
    expected = [torch.autograd.functional.hessian(lambda v, i=i: sr.loss(A[i], v, b[i]), x[i]) for i in range(len(x))]
    close(sr.hessian(A, x, b), torch.stack(expected))


@given(documents())
def test_softmax_jacobian_is_diag_f_minus_ffT(document: Document) -> None:
    A, x, b = document
    f = sr.predict(A, x)
    J = torch.diag_embed(f) - f.unsqueeze(-1) * f.unsqueeze(-2)
    close(sr.apply_softmax_jacobian(f, b), (J @ b.unsqueeze(-1)).squeeze(-1))


@given(documents(), st.floats(-50, 50))
def test_a_step_goes_down_the_gradient(document: Document, rate: float) -> None:
    A, x, b = document
    close(sr.step(A, b, rate, x), x - rate * sr.gradient(A, x, b))
    zero = torch.zeros_like(x)
    close(sr.step(A, b, rate), -rate * sr.gradient(A, zero, b))


@given(documents())
def test_readout_is_blind_to_a_constant_in_b(document: Document) -> None:
    A, _, b = document
    close(sr.centred_readout(A, b + 3.0), sr.centred_readout(A, b), 1e-11)


def test_shapes_that_do_not_fit_are_named() -> None:
    A, x, b = torch.zeros(5, 3), torch.zeros(3), torch.zeros(5)
    for call in (sr.loss, sr.gradient, sr.hessian):
        with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., d=3\)"):
            call(A, torch.zeros(4), b)
        with pytest.raises(ValueError, match=r"b must have shape \(\.\.\., n=5\)"):
            call(A, x, torch.zeros(4))
    with pytest.raises(ValueError, match=r"A must have shape \(\.\.\., n, d\)"):
        sr.predict(torch.zeros(3), x)
    with pytest.raises(ValueError, match="rate must be a finite number, got nan"):
        sr.step(A, b, float("nan"))


@given(seeds, st.sampled_from([torch.float32, torch.float64]))
def test_results_keep_dtype_and_device(seed: int, dtype: torch.dtype) -> None:
    A, x, b = (normal(seed, *shape).to(dtype) for shape in ((5, 3), (3,), (5,)))
    for found in (sr.predict(A, x), sr.loss(A, x, b), sr.gradient(A, x, b), sr.hessian(A, x, b), sr.step(A, b, 1.0)):
        assert found.dtype == dtype
    meta = sr.hessian(A.to("meta"), x.to("meta"), b.to("meta"))
    assert meta.device.type == "meta"


@pytest.mark.parametrize("query", ["held", "same"])
def test_documents_are_what_the_task_says(query: str) -> None:
    tasks = SoftmaxRegression(25, 4, 2.0, query).sample(4000, stream(0, "test"), dtype=torch.float64)
    close(tasks.b, sr.predict(tasks.A, tasks.x))
    close(tasks.b_query, sr.predict(tasks.A_query, tasks.x))
    assert (tasks.A_query is tasks.A) == (query == "same")
    assert tasks.A.mean().item() == pytest.approx(0, abs=5 * 400_000**-0.5)
    assert tasks.A.var().item() == pytest.approx(1, abs=0.02)
    # ‖x*‖² has mean s² and, over 4000 tasks, a standard error of s² √(2/4) / √4000.
    assert tasks.x.square().sum(-1).mean().item() == pytest.approx(4, abs=5 * 4 * 0.5**0.5 / 4000**0.5)


def test_linear_tasks_are_linear() -> None:
    x, y, x_query, y_query = LinearRegression(10, 3).sample(200, stream(0, "test"), dtype=torch.float64)
    w = torch.linalg.lstsq(x, y).solution
    close(x_query.unsqueeze(-2) @ w, y_query.unsqueeze(-2), 1e-9)
    assert x.abs().max() <= 1


def test_bad_tasks_are_errors_before_anything_is_drawn() -> None:
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        SoftmaxRegression(0, 3)
    with pytest.raises(ValueError, match="d must be an integer >= 1, got -1"):
        LinearRegression(3, -1)
    with pytest.raises(ValueError, match="scale must be a finite number > 0, got nan"):
        SoftmaxRegression(3, 3, float("nan"))
    with pytest.raises(ValueError, match="query must be one of 'held', 'same', got 'other'"):
        SoftmaxRegression(3, 3, query="other")
    with pytest.raises(ValueError, match="batch must be an integer >= 1, got 0"):
        SoftmaxRegression(3, 3).sample(0, stream(0, "test"))
