"""Numbers with their errors: how they are printed, made and compared with a limit."""

import math
from typing import Any

import numpy
import pytest
import torch
import xarray
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.statistics import (
    Measurement,
    largest,
    least,
    median,
    not_resolved_from,
    over_repetitions,
    over_runs,
    rounded,
    within,
)


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (Measurement(0.016092, 0.0077), "0.0161 ± 0.0077"),
        (Measurement(0.25, 0.0996), "0.25 ± 0.10"),
        (Measurement(0.5, 0.00099999), "0.5000 ± 0.0010"),
        (Measurement(12345.6, 678), "12350 ± 680"),
        (Measurement(12345.6, 6.78), "12345.6 ± 6.8"),
        (Measurement(1.2e-7, 3e-9), "1.200e-07 ± 0.030e-07"),
        (Measurement(4.81e-5, 1.6e-7), "0.00004810 ± 0.00000016"),
        (Measurement(4e-6, 1.2e-6), "0.0000040 ± 0.0000012"),
        (Measurement(0.5, 2e-9), "0.5000000000 ± 0.0000000020"),
        (Measurement(0.0, 2.5e-9), "0.0e-09 ± 2.5e-09"),
        (rounded(1.2e-8), "≈ 1.200e-08"),
        (Measurement(-0.00001, 0.01), "0.000 ± 0.010"),
        (rounded(0.31622), "≈ 0.3162"),
        (rounded(-0.31622), "≈ -0.3162"),
        (rounded(0.00012, 1.0), "≈ 0.000"),
        (rounded(0.00012, 0.99), "≈ 0.0001"),
        (rounded(7.0, 5e-324), "≈ 7"),
        (rounded(316222.2), "≈ 316200"),
        (Measurement(1 / 3), "0.3333"),
        (Measurement(2.0), "2"),
    ],
)
def test_a_number_is_printed_as_far_as_it_is_known(measured: Measurement, text: str) -> None:
    assert (repr(measured), f"{measured:>20}") == (text, f"{text:>20}")


@given(st.floats(-1e4, 1e4), st.floats(1e-7, 1e3))
def test_what_is_printed_is_within_a_twentieth_of_the_error(value: float, error: float) -> None:
    shown, shown_error = (float(part) for part in str(Measurement(value, error)).split(" ± "))
    assert abs(shown - value) <= 0.0501 * error
    assert shown_error == pytest.approx(error, rel=0.0501)


def test_the_mean_over_repetitions_has_its_standard_error() -> None:
    values = numpy.array([1.0, 2.0, 4.0])
    measured = over_repetitions(values)
    assert measured.value == pytest.approx(7 / 3)
    assert measured.standard_error == pytest.approx(values.std(ddof=1) / 3**0.5)
    assert measured.freedom == 2
    assert over_repetitions([2.0]) == over_repetitions([2.0, 2.0]) == rounded(2.0)
    assert over_repetitions([0.1], 2.0) == Measurement(0.1, scale=2.0)
    assert over_repetitions(values, 2.0) == measured
    assert over_repetitions([0.3] * 10).standard_error == 0


@pytest.mark.parametrize("repetitions", [2, 3, 5, 10, 30])
def test_few_repetitions_are_told_from_their_own_mean_no_more_often_than_many(repetitions: int) -> None:
    """A share 1 − Φ(2) on either side, whatever the number; with two standard errors alone it would be more."""
    draws = numpy.random.default_rng(0).standard_normal((20_000, repetitions))
    means, errors = draws.mean(-1), draws.std(-1, ddof=1) / math.sqrt(repetitions)
    margin = Measurement(0.0, 1.0, freedom=repetitions - 1).margin()
    assert (numpy.abs(means) > margin * errors).mean() == pytest.approx(math.erfc(math.sqrt(2)), abs=0.005)
    told = over_repetitions(draws[0])
    assert told.margin() == pytest.approx(margin * errors[0])
    assert (within(told, 0, math.inf) is None) == (abs(means[0]) <= margin * errors[0])
    if repetitions <= 10:
        assert (numpy.abs(means) > 2 * errors).mean() > 0.07


def test_the_margin_of_a_known_error_is_two_of_it() -> None:
    assert Measurement(1.0, 0.5).margin() == 1.0
    assert Measurement(1.0, 0.5).margin(3.0) == 1.5
    assert Measurement(1.0).margin() == 0


def test_a_difference_has_the_degrees_of_freedom_of_welch() -> None:
    one, other = (Measurement(value, 0.1, freedom=9) for value in (3.0, 1.0))
    apart = one.minus(other)
    assert (apart.value, apart.standard_error) == (2.0, math.hypot(0.1, 0.1))
    assert apart.freedom == pytest.approx(18)
    assert one.minus(Measurement(1.0)).freedom == pytest.approx(9)
    assert one.minus(Measurement(1.0, 0.1)).freedom == pytest.approx(36)
    assert Measurement(3.0).minus(Measurement(1.0)) == Measurement(2.0)


@pytest.mark.parametrize("freedom", [0.5, 0, -1, math.nan])
def test_a_freedom_below_one_is_refused(freedom: float) -> None:
    with pytest.raises(ValueError, match=r"freedom must be (at least 1 degree of freedom|a number), got"):
        Measurement(1.0, 0.1, freedom=freedom)


def runs(*columns: list[float]) -> xarray.Dataset:
    return xarray.Dataset({name: ("repetition", values) for name, values in zip("xy", columns, strict=False)})


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = [1.0, 2.0, 4.0, 8.5]
    found = over_runs(lambda result: {"mean": float(result.x.mean())}, runs(values))["mean"]
    assert found.value == pytest.approx(over_repetitions(values).value)
    assert found.standard_error == pytest.approx(over_repetitions(values).standard_error)


def test_the_jackknife_of_a_ratio_is_that_of_the_delta_method() -> None:
    generator = numpy.random.default_rng(0)
    x, y = 3 + 0.1 * generator.standard_normal(400), 2 + 0.1 * generator.standard_normal(400)
    found = over_runs(lambda r: {"ratio": float(r.x.mean() / r.y.mean())}, runs(list(x), list(y)))["ratio"]
    residual = (x - x.mean() / y.mean() * y) / y.mean()
    assert found.standard_error == pytest.approx(residual.std(ddof=1) / 20, rel=0.01)


def test_a_median_is_known_as_well_as_samples_of_it_scatter_and_nothing_far_out_moves_it() -> None:
    samples = numpy.random.default_rng(0).standard_normal((400, 20))
    errors = [median(sample).standard_error for sample in samples]
    assert numpy.mean(errors) == pytest.approx(numpy.median(samples, axis=1).std(), rel=0.15)
    far = samples[0].copy()
    far[far.argmax()] = 1e9
    assert median(far) == median(samples[0])
    assert median([3.0]) == median([3.0, 3.0, 3.0]) == Measurement(3.0, scale=3.0)
    # What lies apart by less than rounding, at its own size, is equal.
    assert median([1e6, 1e6 + 2e-7, 1e6 + 4e-7]).standard_error == 0
    assert median([1e6, 1e6 + 2e-5, 1e6 + 4e-5]).standard_error > 0


def test_a_single_run_has_no_error() -> None:
    assert over_runs(lambda r: {"x": float(r.x.mean())}, runs([0.25])) == {"x": rounded(0.25)}


@pytest.mark.parametrize(
    ("measured", "answer"),
    [
        (Measurement(0.5, 0.1), True),
        (Measurement(0.9, 0.1), None),
        (Measurement(1.1, 0.1), None),
        (Measurement(1.3, 0.1), False),
        (Measurement(1.0), True),
        (Measurement(0.5, 10.0), None),
        (Measurement(-0.3, 0.1), False),
    ],
)
def test_a_limit_within_two_standard_errors_resolves_nothing(measured: Measurement, answer: bool | None) -> None:
    assert within(measured, 0.0, 1.0) is answer


def test_extremes_know_what_they_cannot_be_told_from() -> None:
    cases = {"a": Measurement(1.0, 0.1), "b": Measurement(1.2, 0.1), "c": Measurement(2.0, 0.1)}
    assert (least(cases)[0], largest(cases)[0]) == ("a", "c")
    assert not_resolved_from(cases, "a") == ["b"]
    assert not_resolved_from(cases, "c") == []


def test_units_change_value_and_error() -> None:
    assert str(Measurement(0.123, 0.012).times(-100)) == "-12.3 ± 1.2"
    assert -Measurement(0.5, 0.1) == Measurement(-0.5, 0.1)
    assert float(rounded(0.5)) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan,), "value must be a finite number, got nan"),
        ((1.0, -1.0), "standard_error must be a finite number >= 0, got -1"),
        ((1.0, 0.0, -1.0), "scale must be a finite number >= 0, got -1"),
        ((1.0, 0.1, 1.0), r"scale must be 0 beside a standard error \(0\.1\), got 1"),
    ],
)
def test_bad_measurements_are_errors(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measurement(*arguments)


@pytest.mark.parametrize("values", [[2.5], [2.5, 2.5, 2.5]])
def test_equal_values_have_their_mean_and_no_error(values: list[float]) -> None:
    found = over_repetitions(values)
    assert (found.value, found.standard_error, found.scale) == (2.5, 0.0, 2.5)


def test_a_spread_above_rounding_is_an_error_however_many_there_are() -> None:
    """Of a thousand values that differ by ten times what counts as equal."""
    found = over_repetitions([1.0, 1.0 + 2e-11] * 500)
    assert found.standard_error == pytest.approx(1e-11 / math.sqrt(999), rel=1e-3)


def test_no_value_has_no_mean() -> None:
    with pytest.raises((ValueError, RuntimeWarning)):
        over_repetitions([])


@pytest.mark.parametrize("kind", [float, numpy.float32, numpy.asarray, torch.tensor, xarray.DataArray])
def test_a_number_may_stand_in_an_array_of_no_dimension(kind: Any) -> None:
    """As a reduction of any library leaves it."""
    assert rounded(kind(0.5), kind(2.0)) == Measurement(kind(0.5), scale=kind(2.0)) == Measurement(0.5, scale=2.0)
    with pytest.raises(TypeError, match="value must be a finite number"):
        rounded(torch.tensor([0.5, 0.5]))  # type: ignore[arg-type]
