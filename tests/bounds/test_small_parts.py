"""Parts of the bounds' machinery on cases that can be worked out by hand."""

import math
from fractions import Fraction

import numpy
import pytest
import torch

from icl_lib.bounds import certificate, cumulants, curvature_inequalities, intervals, landscape, search, sharp
from icl_lib.bounds.inequality import Inequality, Setting
from tests.bound_settings import make


def vectors(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("f", "floor"),
    [
        # The second entry, the largest variance of an indicator, and the plane of the two largest, each once the most.
        ([0.4, 0.4, 0.2], 0.4),
        ([0.9, 0.05, 0.05], 1.5 * 0.09),
        ([0.5, 0.3, 0.1, 0.1], 0.5 * (0.8 - 0.04)),
    ],
)
def test_the_floor_of_the_jacobian_is_the_largest_of_three(f: list[float], floor: float) -> None:
    J = torch.diag(vectors(f)[0]) - torch.outer(vectors(f)[0], vectors(f)[0])
    found = sharp.jacobian_norm_floor(vectors(f))
    assert float(found) == pytest.approx(floor, rel=1e-12)
    assert floor <= float(torch.linalg.matrix_norm(J, ord=2)) + 1e-12


def test_two_words_that_change_places_attain_the_bounds_on_the_largest_change() -> None:
    """From the uniform f by a small step each way."""
    one = vectors([1.0])
    A = vectors([1.0], [-1.0]).unsqueeze(0)
    p = Setting(A, A, 0 * one, 1e-4 * one, vectors([0.5, 0.5]), one[0], one[0], one[0])
    named = {statement.key: statement for statement in sharp.FINITE_SHIFTS}
    for key in ("tanh-tv", "tanh-l2", "half-l2", "max-osc", "one-osc"):
        ratio = float(named[key].left(p) / named[key].right(p))
        assert 0.9999 < ratio <= 1 + 1e-12, key


def test_two_words_attain_the_bound_on_the_gradient_for_any_target() -> None:
    one = vectors([1.0])
    A = vectors([1.0], [-1.0]).unsqueeze(0)
    p = Setting(A, 2 * A, 1e-4 * one, one, vectors([0.5, 0.5]), one[0], one[0], one[0])
    named = {statement.key: statement for statement in curvature_inequalities.GRADIENTS}
    ratio = float(named["gradient-any-target"].left(p) / named["gradient-any-target"].right(p))
    assert 0.9999 < ratio <= 1 + 1e-12


def rearranged(p: Setting) -> Setting:
    """The same settings in two rows."""
    parts = (p.A, p.B, p.x, p.y, p.b, p.R, p.eta, p.s)
    return Setting(*(part.unflatten(0, (2, 3)) for part in parts))


@pytest.mark.parametrize("statement", cumulants.INEQUALITIES, ids=lambda one: one.key)
def test_cumulants_take_settings_in_any_arrangement(statement: Inequality) -> None:
    p = make("gaussian", 4, 3, 2.0, 0.5, 0, 6, torch.float64)
    for side in (statement.left, statement.right):
        torch.testing.assert_close(side(rearranged(p)), side(p).unflatten(0, (2, 3)))


def test_rounding_of_the_mixed_cumulant_is_that_of_its_three_directions() -> None:
    p = make("gaussian", 4, 3, 2.0, 0.5, 0, 6, torch.float64)
    assert cumulants.THIRD_MIXED.magnitude is not None
    sizes = [v.abs().amax(-1) for v in (p.by_x, p.by_A, p.b)]
    torch.testing.assert_close(cumulants.THIRD_MIXED.magnitude(p), sizes[0] * sizes[1] * sizes[2])


@pytest.mark.parametrize(("end", "eta", "s"), [(0.0, 0.01, 0.01), (math.pi / 2, 10.0, 3.0)])
def test_steps_and_scales_of_a_search_end_where_it_says(end: float, eta: float, s: float) -> None:
    family = search.Family(3, 0.5, 2.0)
    drawn = search.start(family, 4, torch.Generator().manual_seed(0))
    drawn["sizes"][:, 6:] = end
    found = search.setting(family, drawn)
    torch.testing.assert_close(found.eta, torch.full((4,), eta, dtype=torch.float64))
    spans = found.A @ found.A.mT
    D = (spans.amax(-1) - spans.amin(-1)).amax(-1)
    torch.testing.assert_close(found.s * D, torch.full((4,), s, dtype=torch.float64))


def test_a_violated_inequality_is_told_with_its_excess() -> None:
    false = Inequality(
        "half", "no statement", "none", "½", "none", "none",
        lambda p: p.R, lambda p: 0.5 * p.R + 0 * p.x.sum(-1), 0.98,
    )  # fmt: skip
    with pytest.raises(search.InequalityViolated, match=r"half: left/right = 1 \+ 1 at n = 3"):
        search.worst_ratio(false, search.Family(3, 0.5, 2.0), search.Ascent(2, 2), torch.Generator().manual_seed(0))


# (x₀ + x₁ + x₂ + x₃)⁴ is 1 on the whole simplex.
FOUR = {
    (a, b, c, 4 - a - b - c): math.factorial(4) // math.prod(math.factorial(k) for k in (a, b, c, 4 - a - b - c))
    for a in range(5)
    for b in range(5 - a)
    for c in range(5 - a - b)
}


def test_a_polynomial_that_is_its_limit_everywhere_is_proved_at_once() -> None:
    found = certificate.prove(FOUR, Fraction(1))
    assert (found.proved, found.simplices, found.attained) == (True, 1, 1)
    assert not certificate.prove(FOUR, Fraction(999, 1000)).proved


def test_the_largest_value_at_a_vertex_is_told() -> None:
    found = certificate.prove({(4, 0, 0, 0): 3, (0, 4, 0, 0): 7}, Fraction(7))
    assert (found.proved, found.attained) == (True, 7)


def test_a_box_is_done_as_soon_as_its_bound_is_the_float_below_the_limit() -> None:
    """The bound of the first box, which reaches 1 in a corner, rounded up."""
    top = float(intervals.upper_bound({(4, 0, 0, 0): 1}, numpy.zeros((4, 1)), numpy.ones((4, 1)))[0])
    found = intervals.prove({(4, 0, 0, 0): 1}, Fraction(math.nextafter(top, 2)))
    assert (found.proved, found.boxes) == (True, 1)
    assert intervals.prove({(4, 0, 0, 0): 1}, Fraction(top), most=10_000).boxes > 1


def test_descent_is_caught_where_it_ends_above_the_target_and_undecided_where_the_loss_is_flat() -> None:
    """The target wants the outer words more than any f = softmax(Ax) can; 0 is the minimum, by symmetry."""
    A, b = vectors([1.0], [0.0], [-1.0]), vectors([0.5, 0.0, 0.5])
    found = landscape.caught_from_zero(A[None], b)
    assert (found.caught.tolist(), found.undecided.tolist()) == ([True], [False])
    # A second dimension that no word has: there the loss does not change.
    found = landscape.caught_from_zero(torch.nn.functional.pad(A, (0, 1))[None], b)
    assert (found.caught.tolist(), found.undecided.tolist()) == ([False], [True])
