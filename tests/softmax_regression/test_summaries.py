import numpy
import pytest
import torch
import xarray
from random_documents import normal

from icl_lib.matrices import distance_from_identity, nearest_multiple
from icl_lib.softmax_regression.summaries import (
    average_cosine,
    baseline_summary,
    beside,
    differences_ratio,
    gap_closed,
    matrix_summary,
    named,
    rate_spread,
    search_excess,
    spread_times,
)
from icl_lib.statistics import Measurement


def ending(last: int = 20, **ends: list[float]) -> xarray.Dataset:
    """A result of two recorded steps whose measures start at 1 and end, by repetition, at these."""
    data = {name: (("step", "repetition"), [[1.0] * len(end), end]) for name, end in ends.items()}
    return xarray.Dataset(data, {"step": [0, last]})


def matrices_of(repetitions: int, d: int, noise: float, rates: list[float]) -> xarray.Dataset:
    """Learned matrices that are the identity with independent noise."""
    M = torch.eye(d).double() + noise * normal(0, repetitions, d, d)
    axes = ("repetition", "row", "column")
    common = [sum(rates) / repetitions] * repetitions
    return xarray.Dataset({"M": (axes, M.numpy()), "rate": ("repetition", common), "own_rate": ("repetition", rates)})


def test_the_ratio_of_the_differences_is_one_of_means() -> None:
    assert differences_ratio(ending(model_diff=[0.2, 0.4], preds_diff=[0.1, 0.5])).value == pytest.approx(1.0)
    alike = differences_ratio(ending(model_diff=[0.2, 0.4], preds_diff=[0.1, 0.2]))
    assert (alike.value, alike.standard_error) == (pytest.approx(2.0), 0)


def test_the_gap_that_a_decaying_rate_closes_is_measured_by_pairs() -> None:
    constant, half_way = [0.6, 0.8, 0.9], [0.8, 0.9, 0.95]
    paired = gap_closed(ending(model_cos=constant), ending(15, model_cos=half_way))
    assert paired.value == pytest.approx(0.5)
    unpaired = gap_closed(ending(model_cos=constant), ending(15, model_cos=half_way[::-1]))
    assert unpaired.value == pytest.approx(0.5)
    assert unpaired.standard_error > 0.1 > paired.standard_error


def test_cosines_are_averaged_repetition_by_repetition() -> None:
    opposite = average_cosine([ending(model_cos=[0.8, 0.9]), ending(model_cos=[0.9, 0.8])])
    assert opposite.value == pytest.approx(0.85)
    assert opposite.standard_error < 1e-12
    assert average_cosine([ending(model_cos=[0.8, 0.9])]).standard_error == pytest.approx(0.05)


def test_the_spread_of_the_rate_is_in_units_of_its_mean() -> None:
    spread = rate_spread(matrices_of(4, 2, 0.1, [1.0, 3.0, 1.0, 3.0]))
    assert spread.value == pytest.approx(2 / 3**0.5 / 2)
    assert spread.standard_error > 0
    assert rate_spread(matrices_of(2, 2, 0.1, [1.0, 3.0])).standard_error == 0


def test_independent_noise_of_the_matrices_averages_out() -> None:
    result = matrices_of(9, 60, 0.005, [0.9, 1.1, 1.0] * 3)
    looks, M = matrix_summary(result), torch.from_numpy(result.M.values)
    assert looks["c / (η/n)"].value == pytest.approx(float(nearest_multiple(M).mean()))
    assert looks["of the mean"].value == pytest.approx(float(distance_from_identity(M.mean(0))))
    share = looks["of the mean / distance"]
    assert abs(share.value - 1 / 3) < 0.02
    assert 0 < share.standard_error < 0.02
    assert looks["largest σ / |c|"].value > 1 > looks["least σ / |c|"].value


def test_two_repetitions_leave_no_error_of_a_spread() -> None:
    looks = matrix_summary(matrices_of(2, 5, 0.1, [0.9, 1.1]))
    assert looks["c"].standard_error > 0
    for name in ("spread of c", "spread of η/n", "of the mean / distance"):
        assert (looks[name].standard_error, looks[name].scale) == (0, 1)


def test_a_worse_rate_costs_a_part_of_the_loss() -> None:
    found = search_excess(ending(loss_gd=[0.2, 0.2], loss_gd_own=[0.22, 0.2]))
    assert (found.value, found.standard_error) == (pytest.approx(0.05), pytest.approx(0.05))


def test_how_many_times_as_much_the_rate_scatters_is_a_median() -> None:
    results = [matrices_of(6, 3, 0.1, [1 - s, 1 + s] * 3) for s in (0.01, 0.02, 0.4)]
    times = spread_times(results)
    of_the_second = rate_spread(results[1]).value / matrix_summary(results[1])["spread of c"].value
    assert times.value == pytest.approx(of_the_second)
    assert times.standard_error > 0
    assert spread_times([matrices_of(2, 3, 0.1, [0.9, 1.1])]).standard_error == 0


def test_the_baseline_is_summed_up_by_ratios_of_means() -> None:
    measured = ending(loss_sa=[0.2, 0.6], loss_gd=[0.3, 0.5], loss_zero=[1.0, 1.0], preds_diff=[0.1, 0.3])
    end = baseline_summary(measured.assign(model_cos=measured.loss_zero))
    values = [measurement.value for measurement in end.values()]
    numpy.testing.assert_allclose(values, [1.0, 0.6, 0.2, 1.0])
    assert end["L_SA / L_GD"].standard_error > 0


def test_cases_stand_beside_one_another() -> None:
    one, other = Measurement(1.0, 0.1), Measurement(2.0, 0.1)
    table = beside({"held": {"gain": one}, "same": {"gain": other}})
    assert list(table.columns) == ["measure", "held", "same"]
    assert table.values.tolist() == [["gain", one, other]]


def test_a_case_is_named_with_those_that_are_not_resolved_from_it() -> None:
    cases = {"a": Measurement(1.0, 0.1), "b": Measurement(1.1, 0.1), "c": Measurement(2.0, 0.1)}
    assert named(cases, "a") == "a (not resolved from b)"
    assert named(cases, "c") == "c"
