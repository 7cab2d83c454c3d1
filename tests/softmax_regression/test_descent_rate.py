import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_lib.softmax_regression.descent_rate import minimise_over_rates


@given(st.floats(2e-3, 5e2))
def test_the_minimum_is_found(best: float) -> None:
    found = minimise_over_rates(lambda rate: math.log(rate / best) ** 2)
    assert found == pytest.approx(best, rel=1e-6)


def test_the_deeper_of_two_valleys_is_found() -> None:
    def loss(rate: float) -> float:
        t = math.log(rate)
        return min((t + 4) ** 2, (t - 3) ** 2 - 0.5)

    assert minimise_over_rates(loss) == pytest.approx(math.exp(3), rel=1e-6)


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_bad_bounds_are_errors(lowest: float, highest: float) -> None:
    with pytest.raises(ValueError, match="must be a finite number >"):
        minimise_over_rates(abs, lowest, highest)
