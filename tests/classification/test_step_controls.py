"""Steps with half a context, foreign rates and given widths, and the rule that judges the map."""

import math

import numpy
import pandas
import pytest
import torch
from scipy.stats import norm

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import fit, minimise_over_widths
from icl_lib.classification.fitted_steps import FittedSteps, collect, contexts
from icl_lib.classification.kernels import FIXED_RATE, LINEAR, OWN_TOKEN, SOFTMAX, KernelStep, Scores
from icl_lib.classification.regimes import (
    VARIANTS,
    ahead,
    by_cell,
    crossing_words,
    crossings,
    fitted_cells,
    greatest_deficits,
    measured,
    relative_quantiles,
    share_removed,
    simultaneous_limit,
    tally,
)
from icl_lib.classification.step_controls import STEPS, ForeignRateStep, NamedSteps, NearStep
from icl_lib.classification.summaries import crosses, crossing
from icl_lib.running.device import one_thread
from icl_lib.statistics import Measurement

TASK = SphereClassification(30, 4, 4, balance="none")
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """As experiments run: small arrays are slower on several threads."""
    with one_thread():
        yield


@pytest.mark.parametrize("centre", ["classes", "context"])
@pytest.mark.parametrize(("family", "rate"), [("linear", "n"), ("exponential", "context and query")])
def test_a_near_step_is_the_step_on_the_near_points(family, rate, centre):
    scores, _ = next(contexts(TASK, 1, "test", 0))
    near = scores.s[0] > 0
    kept = Scores(scores.s[:, near], scores.s_query, scores.y[:, near])
    found = NearStep(family, rate, centre=centre).features(scores, 3.0)
    plain = KernelStep(family, rate).features(kept, 3.0)
    if rate == "n":
        plain = plain * float(near.float().mean())
    if centre == "context":
        # The mean label taken out is that of the whole context.
        weights = torch.exp(3.0 * (kept.s - 1)) if family == "exponential" else kept.s
        total = weights.sum() / ((weights.sum() + 1) if family == "exponential" else TASK.n)
        plain = plain + (total / TASK.classes - total * scores.y.mean(-2)).unsqueeze(-1)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-6)


def test_a_query_alone_on_its_side_is_given_no_number_that_is_not_one():
    scores = Scores(torch.tensor([[-0.5, -0.1]]), torch.ones(1), torch.eye(2).unsqueeze(0))
    for step in (NearStep(rate="context and query"), NearStep("linear", "n")):
        assert torch.equal(step.features(scores, 2.0), torch.zeros(1, 2, 1))


def test_foreign_rates_are_the_same_rates_elsewhere():
    scores, _ = next(contexts(TASK, 6, "test", 0))
    fixed = KernelStep(rate="n").features(scores, 4.0)
    for rate in ("context", "context and query"):
        own, foreign = KernelStep(rate=rate).features(scores, 4.0), ForeignRateStep(rate=rate).features(scores, 4.0)
        torch.testing.assert_close((foreign / fixed).roll(-1, 0), own / fixed, rtol=1e-4, atol=1e-6)


def fitted(name, scores, y):
    step, widths, signs = STEPS[name]
    return fit(step, scores, y, widths, signs)


def test_widths_are_searched_on_the_side_allowed():
    scores, y = collect(contexts(TASK, 400, "tune", 0))
    plain = fit(OWN_TOKEN, scores, y)
    assert plain == fitted("softmax", scores, y)
    assert plain.beta == pytest.approx(fit(OWN_TOKEN, scores, y, (0.05, 5000.0), (1,)).beta, rel=2e-3)
    wrong = fitted("softmax, wrong sign", scores, y)
    assert wrong.beta < 0
    assert wrong.loss > plain.loss
    given = fitted("exponential, fixed rate, width 300", scores, y)
    assert given.beta == 300.0
    assert given.loss > fitted("exponential, fixed rate", scores, y).loss
    assert fitted("linear", scores, y) == fit(LINEAR, scores, y)


@pytest.mark.parametrize(
    "task", [SphereClassification(100, 5, 5, balance="none"), SphereClassification(40, 2, 5, balance="none")]
)
def test_rounding_does_not_move_a_fitted_width(task):
    """What another processor does to float32 scores; a search in float32 ends up to 10⁻³ from where it would."""
    (batch,), y = collect(contexts(task, 300, "tune", 0))
    exact = fit(SOFTMAX, [batch], y)
    for seed in range(3):
        noise = 1e-7 * torch.randn(batch.s.shape, generator=torch.Generator().manual_seed(seed))
        moved = fit(SOFTMAX, [batch._replace(s=batch.s * (1 + noise))], y)
        assert moved.beta == pytest.approx(exact.beta, rel=1e-5)
        assert moved.eta == pytest.approx(exact.eta, rel=1e-5)


def test_named_steps_are_those_of_the_comparison_of_fitted_steps():
    named = NamedSteps(TASK, ("linear", "softmax"), tuning=300, test=400).compute(CPU)
    plain = FittedSteps(TASK, (LINEAR, OWN_TOKEN), tuning=300, test=400).compute(CPU)
    assert named.step.values.tolist() == ["linear", "softmax"]
    numpy.testing.assert_array_equal(named.difference, plain.difference)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ()}, "names must hold at least one entry"),
        ({"names": ("cubic",)}, "names must be one of"),
        ({"tuning": 0}, "tuning must be an integer >= 1"),
        ({"test": 0}, "test must be an integer >= 1"),
        ({"device": "abacus"}, "device must be one of"),
    ],
)
def test_bad_named_steps_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        NamedSteps(TASK, **change)


def test_the_limit_is_undercut_in_one_map_of_twenty():
    assert simultaneous_limit(1) == pytest.approx(norm.ppf(0.95))
    limit = simultaneous_limit(48)
    assert (1 - norm.cdf(-limit)) ** 48 == pytest.approx(0.95)
    with pytest.raises(ValueError, match="cells must be an integer >= 1"):
        simultaneous_limit(0)
    with pytest.raises(ValueError, match="level must be a finite number"):
        simultaneous_limit(3, level=0.0)


def test_a_limit_for_two_sides_is_exceeded_as_often():
    limit = simultaneous_limit(24, sides=2)
    assert (norm.cdf(limit) - norm.cdf(-limit)) ** 24 == pytest.approx(0.95)
    assert limit > simultaneous_limit(24)
    with pytest.raises(ValueError, match="sides must be an integer in"):
        simultaneous_limit(24, sides=3)


def cells():
    """A map of two rows: the first crosses, the second is negative throughout."""
    return pandas.DataFrame(
        {
            "d": [2, 2, 5, 5],
            "n": [10, 1000, 10, 1000],
            "difference": [-0.1, 0.1, -0.3, -0.2],
            "standard_error": [0.05, 0.01, 0.01, 0.01],
        }
    )


def test_crossings_are_listed_by_dimension():
    found = crossings(cells().sample(frac=1, random_state=0)).set_index("d")
    assert found.crossing[2] == pytest.approx(100)
    assert math.isnan(found.crossing[5])
    assert found.ahead_at_last.to_dict() == {2: "softmax", 5: "linear"}
    assert found.answer.to_dict() == {2: "yes", 5: "no"}


def test_a_crossing_is_for_good():
    assert crossing([10, 100, 1000], [-0.1, 0.1, -0.1], [0.01] * 3) is None
    exact = crossing([10, 1000], [-0.1, 0.1], [0.0, 0.0])
    assert exact is not None
    assert exact.standard_error == 0
    assert exact.value == pytest.approx(100)


def test_errors_may_decide_whether_there_is_a_crossing():
    assert crosses([10, 100], [-0.1, 0.1], [0.01, 0.01]) is True
    assert crosses([10, 100], [-0.2, -0.1], [0.01, 0.01]) is False
    assert crosses([10, 100], [-0.1, 0.01], [0.01, 0.01]) is None
    assert crosses([10, 100], [-0.1, -0.01], [0.01, 0.01]) is None


def test_a_crossing_within_its_errors_is_not_told():
    unsure = cells().assign(standard_error=[0.05, 0.1, 0.01, 0.15])
    found = crossings(unsure)
    assert found.answer.tolist() == ["not resolved", "not resolved"]
    assert found.crossing.isna().all()
    assert found.ahead_at_last.tolist() == ["not resolved", "not resolved"]


def test_crossings_are_numbers_or_words_in_a_table():
    clear, none = crossing_words(crossings(cells().assign(standard_error=0.01)))
    assert isinstance(clear, Measurement)
    assert clear.standard_error > 0
    assert none == "none"
    assert crossing_words(crossings(cells().assign(standard_error=0.2)))[0] == "not resolved"


def test_columns_become_measurements():
    frame = cells().assign(difference=[-0.1, math.nan, -0.3, -0.2])
    assert measured(frame)[:2] == [Measurement(-0.1, 0.05), ""]
    assert list(by_cell(frame)) == ["n = 10, d = 2", "n = 10, d = 5", "n = 1000, d = 5"]


def test_who_is_ahead_is_counted_where_it_is_clear():
    assert ahead(Measurement(0.1, 0.01)) == "softmax"
    assert ahead(Measurement(-0.1, 0.01)) == "linear"
    assert ahead(Measurement(0.0)) == ahead(Measurement(0.1, 0.04), 3.0) == "not resolved"
    assert tally(cells().assign(standard_error=[0.06, 0.01, 0.01, 0.01])) == {
        "softmax": 1,
        "linear": 2,
        "not resolved": 1,
    }


def test_the_cells_of_a_map_are_fitted_steps_of_their_variant():
    frame = fitted_cells("authors", [(3, 20, 2), (4, 20, 2)], 60, 80, 0)
    assert frame.n.tolist() == [18, 20]
    same = FittedSteps(VARIANTS["authors"].task(4, 20, 2), (LINEAR, SOFTMAX), tuning=60, test=80).compute(CPU)
    assert frame.difference[1] == pytest.approx(float(same.difference[1]))
    uniform = VARIANTS["uniform"]
    assert (uniform.task(3, 20, 2).n, uniform.task(3, 20, 2).balance, uniform.softmax) == (20, "none", OWN_TOKEN)
    with pytest.raises(ValueError, match="variant must be one of"):
        fitted_cells("ours", [(3, 20, 2)], 60, 80, 0)


def test_a_row_is_judged_by_its_greatest_deficit():
    assert greatest_deficits(cells()) == {2: Measurement(0.1, 0.05), 5: Measurement(0.3, 0.01)}


def test_quantiles_over_the_median_have_the_error_that_repeats_show():
    draws = numpy.random.default_rng(0).lognormal(size=(200, 1000))
    measured_ones = [relative_quantiles(row, [0.9])[0] for row in draws]
    assert measured_ones[0].value == pytest.approx(numpy.quantile(draws[0], 0.9) / numpy.median(draws[0]))
    spread = numpy.std([one.value for one in measured_ones])
    assert numpy.mean([one.standard_error for one in measured_ones]) == pytest.approx(spread, rel=0.2)
    with pytest.raises(ValueError, match="groups must be an integer in"):
        relative_quantiles([1.0, 2.0], [0.5], groups=3)


def test_a_share_removed_has_the_largest_error_that_its_parts_allow():
    share = share_removed(1.6, Measurement(0.3, 0.02), Measurement(0.6, 0.05))
    assert share.value == pytest.approx((1.6 - 0.9) / (1.6 - 0.6))
    assert share.standard_error == pytest.approx(0.02 / 1.0 + 0.3 * 0.05 / 1.0**2)


@pytest.mark.parametrize(("shallow", "deep"), [(-7.0, 5.0), (5.0, -7.0)])
def test_a_search_finds_the_deeper_of_two_minima_whichever_comes_first(shallow, deep):
    def loss(width):
        t = math.log(width)
        return min((t - shallow) ** 2, (t - deep) ** 2 - 5) / 10

    assert minimise_over_widths(loss) == pytest.approx(math.exp(deep), rel=0.01)


def test_a_compact_kernel_is_not_left_on_the_plateau_where_it_is_linear():
    """In class-balanced contexts a wide kernel is as good as a linear one, and a little narrower worse than both."""
    scores, y = collect(contexts(SphereClassification(50, 2, 5), 600, "tune", 0))
    step = KernelStep("compact")
    found, plateau = fit(step, scores, y), fit(step, scores, y, (1e-4, 1e-3))
    assert found.beta > 3
    assert found.loss < plateau.loss - 0.05


def test_a_width_at_which_a_kernel_overflows_is_no_candidate():
    scores, y = collect(contexts(SphereClassification(10, 5, 5), 300, "tune", 0))
    found = fit(FIXED_RATE, scores, y, (1.0, 5000.0), (-1,))
    assert -500 < found.beta < 0
    assert found.loss < math.log(5)
