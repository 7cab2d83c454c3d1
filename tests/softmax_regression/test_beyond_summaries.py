"""The numbers of readings, transfers, wrong steps and stacks come with errors, and answers with a third way out."""

import numpy
import pytest
import torch
import xarray

from icl_lib.softmax_regression import beyond_summaries as summaries
from icl_lib.statistics import Measurement

STEPS = [0, 4, 8]


def losses(sa: list[list[float]], **others: float) -> xarray.Dataset:
    """A result with this loss of the layer (repetition, step), and the same number everywhere in other arrays."""
    array = xarray.DataArray(sa, dims=("repetition", "step"), coords={"step": STEPS})
    return xarray.Dataset({"loss_sa": array} | {name: 0 * array + value for name, value in others.items()})


def number(value: float, error: float = 0.01) -> Measurement:
    return Measurement(value, error)


def test_single_repetitions_have_no_error_and_are_read_against_one() -> None:
    found = summaries.spread_of_ratios(losses([[2.0, 1.5, 1.2], [2.0, 1.5, 0.9], [2.0, 1.5, 1.0]], loss_gd=1.0))
    assert (found["least"], found["largest"]) == (Measurement(0.9, scale=1.0), Measurement(1.2, scale=1.0))
    assert found["median"].value == 1.0
    assert found["median"].standard_error > 0


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [(True, True, True), (True, None, None), (None, None, None), (False, None, False), (True, False, False)],
)
def test_both_is_denied_by_one_and_open_while_one_is(first: bool | None, second: bool | None, answer: bool) -> None:
    assert summaries.both(first, second) is summaries.both(second, first) is answer


def test_a_match_says_something_from_a_fifth_on() -> None:
    answers = [summaries.says_something({"gain": number(gain)}) for gain in (0.3, 0.21, 0.1)]
    assert answers == [True, None, False]


@pytest.mark.parametrize(
    ("step", "layer", "who"),
    [
        (-0.3, -0.2, "both"),
        (-0.3, 0.2, "step"),
        (0.3, -0.2, "layer"),
        (0.3, 0.2, "neither"),
        (-0.3, 0.01, "not resolved"),
    ],
)
def test_who_loses_to_the_uniform_prediction_is_told_where_it_is_clear(step: float, layer: float, who: str) -> None:
    assert summaries.who_loses({"gain": number(step), "SA gain": number(layer)}) == who


def test_wrong_steps_are_measured_at_each_factor() -> None:
    array = xarray.DataArray(
        [[[0.2, 0.9], [0.4, 0.8]]] * 2, dims=("repetition", "x", "factor"), coords={"factor": [3.0, 10.0]}
    )
    result = xarray.Dataset({"wrong_preds_diff": array, "wrong_cos": array, "gd_shift": ("repetition", [0.1, 0.3])})
    found = summaries.wrong_steps(result.isel(x=0), 3.0, 10.0)
    assert list(found) == ["× 3: rel", "× 3: cos", "× 10: rel", "× 10: cos"]
    assert found["× 3: rel"].value == pytest.approx(1.0)
    assert found["× 3: rel"].standard_error > 0
    assert found["× 10: cos"] == Measurement(0.9, scale=0.9)


def test_a_stack_has_converged_if_its_loss_stands_still() -> None:
    still, moving = (losses([[2, 1.0, end], [2, 1.001, end]] * 5) for end in (1.0, 0.9))
    assert summaries.since(moving, 0.5).value == pytest.approx(0.9 / 1.0005)
    answers = [summaries.converged({"last quarter": summaries.since(result, 0.5)}) for result in (still, moving)]
    assert answers == [True, False]
    assert summaries.converged({"last quarter": Measurement(0.996, 0.001)}) is None


def test_a_stack_is_told_with_the_scatter_of_its_ratio_even_for_two_repetitions() -> None:
    names = ("loss_gd", "loss_gd_common", "loss_uniform", "preds_diff", "preds_diff_fewer", "gd_shift", "model_cos")
    ends = (1.0, 1.1, 1.3)
    results = [losses([[2, 1.5, end] for end in ends[:size]], **dict.fromkeys(names, 1.0)) for size in (2, 3)]
    two, three = (summaries.stack_summary(result) for result in results)
    assert two["its SD"].value == pytest.approx(0.1 / 2**0.5)
    assert three["its SD"].value == pytest.approx(numpy.std(ends, ddof=1))
    assert three["its SD"].standard_error > 0
    assert three["L_SA / L_GD"].value == pytest.approx(3.4 / 3)


def test_layers_that_are_multiples_of_the_identity_have_no_distance_from_it() -> None:
    noise = numpy.random.default_rng(0).standard_normal((4, 3, 3, 3))
    clean = 0 * noise + numpy.eye(3) * numpy.array([0.4, 0.1, 0.0])[:, None, None]
    axes = ("repetition", "layer", "row", "column")
    found = summaries.layers_of_stack(xarray.Dataset({"M": (axes, clean)}), 2)
    assert [c.value for c in found["c"]] == pytest.approx([0.4, 0.1])
    assert max(m.value for m in found["distance"]) < 1e-7
    noisy = summaries.layers_of_stack(xarray.Dataset({"M": (axes, clean + 0.05 * noise)}), 2)
    assert all(mean < single for mean, single in zip(noisy["of the mean"], noisy["distance"], strict=True))
    assert torch.tensor([m.standard_error for name in noisy for m in noisy[name]]).min() > 0
