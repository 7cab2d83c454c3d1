import dataclasses

import numpy
import pytest
import xarray

from icl_lib.claims import judge
from icl_lib.softmax_regression import closeness_claims
from icl_lib.softmax_regression.summaries import left_over
from icl_lib.statistics import Measurement

FIELDS = {"id": "c", "source": "s", "evidence": "e", "limitation": "l"}


def result(ratio: float, cosine: float, left: float = 0.05) -> xarray.Dataset:
    """A closeness result of two repetitions that ends with this ratio, this cosine and this share of the start."""
    ones = numpy.ones(2)
    measured = {
        "loss_gd": [ones, ones],
        "loss_sa": [4 * ones, ratio * ones],
        "preds_diff": [0.2 * ones, 0.2 * left * ones],
        "model_diff": [0.1 * ones, 0.1 * left * ones],
        "control_threefold_diff": [0.5 * ones, 0.5 * ones],
        "model_cos": [0 * ones, cosine * ones],
        "control_shuffled_cos": [0.01 * ones, 0.01 * ones],
    }
    data = {name: (("step", "repetition"), values) for name, values in measured.items()}
    return xarray.Dataset(data, {"step": [0, 1]})


def rivals(ratio: float = 0.9, cosine: float = 0.9, left: float = 0.5) -> xarray.Dataset:
    """A result of `Rivals` with one rival that has this ratio and cosine with the step, and this share of the start."""
    ones = numpy.ones((2, 2))
    measured = {
        "loss": ones * [1.0, ratio],
        "preds_diff_step": 0.2 * ones * [0.0, left],
        "model_diff_step": 0.1 * ones * [0.0, left],
        "model_cos_step": ones * [1.0, cosine],
    }
    data = {name: (("repetition", "rival"), values) for name, values in measured.items()}
    return xarray.Dataset(data, {"rival": ["step", "two-steps"]})


def test_the_worst_case_is_the_one_that_is_least_close() -> None:
    """And not the one that is nearest to a perfect 0 or 1."""
    far, near = result(1.0, 0.996, 0.09), result(1.0, 0.999, 0.01)
    for test in (closeness_claims.cosine, closeness_claims.differences):
        finding = judge(*test("held", {"far": far, "near": near}, {"far": rivals()}, "They meet", **FIELDS))
        assert (finding.verdict, finding.worst[0]) == ("holds", "far")


@pytest.mark.parametrize(
    ("query", "ratio", "verdict"),
    [("held", 1.025, "holds"), ("held", 1.04, "fails"), ("same", 1.04, "holds"), ("same", 0.96, "fails")],
)
def test_losses_are_judged_by_the_kind_of_query(query: str, ratio: float, verdict: str) -> None:
    finding = judge(
        *closeness_claims.losses(query, {"a": result(ratio, 1.0)}, {"a": rivals()}, "Losses match", **FIELDS)
    )
    assert finding.verdict == verdict
    assert finding.control.value == 0.9
    assert finding.claim.negative_control == "the rival nearest to passing, two tuned steps at a"
    assert finding.claim.statement.startswith("Losses match, on")


@pytest.mark.parametrize(("query", "cosine", "verdict"), [("held", 0.98, "fails"), ("same", 0.98, "holds")])
def test_the_cosine_is_judged_by_the_kind_of_query(query: str, cosine: float, verdict: str) -> None:
    finding = judge(*closeness_claims.cosine(query, {"a": result(1.0, cosine)}, {"a": rivals()}, "It rises", **FIELDS))
    assert (finding.verdict, finding.control.value) == (verdict, 0.9)


@pytest.mark.parametrize(("left", "verdict"), [(0.1, "holds"), (0.2, "fails")])
def test_differences_are_judged_by_the_larger_one(left: float, verdict: str) -> None:
    finding = judge(
        *closeness_claims.differences("held", {"a": result(1.0, 1.0, left)}, {"a": rivals()}, "They fall", **FIELDS)
    )
    assert finding.verdict == verdict
    assert finding.cases["a"].value == pytest.approx(left)
    assert finding.control.value == pytest.approx(0.5)
    numpy.testing.assert_allclose(left_over(result(1.0, 1.0, left), "model_diff"), left)


@pytest.mark.parametrize(
    ("test", "passing"),
    [
        (closeness_claims.losses, rivals(ratio=1.0)),
        (closeness_claims.cosine, rivals(cosine=0.999)),
        (closeness_claims.differences, rivals(left=0.01)),
    ],
)
def test_a_rival_that_passes_at_one_point_makes_the_test_tell_nothing(test: object, passing: xarray.Dataset) -> None:
    assert callable(test)
    close = {"a": result(1.0, 1.0), "b": result(1.0, 1.0)}
    finding = judge(*test("held", close, {"a": rivals(), "b": passing}, "x", **FIELDS))
    assert finding.verdict == "undecidable"
    assert finding.claim.negative_control.endswith("two tuned steps at b")
    assert judge(*test("held", close, {"a": rivals(), "b": rivals()}, "x", **FIELDS)).verdict == "holds"


@pytest.mark.parametrize(
    ("cosine", "step", "verdict"), [(0.998, 0.9, "holds"), (0.9, 0.85, "fails"), (0.998, 0.995, "undecidable")]
)
def test_the_preconditioned_step_is_judged_where_words_have_a_covariance(
    cosine: float, step: float, verdict: str
) -> None:
    """With the covariance I there is none apart from the step, and that point does not count."""
    names = ["step", "two-steps", "preconditioned"]
    found = xarray.Dataset(
        {"model_cos": (("repetition", "rival"), numpy.ones((2, 3)) * [step, 0.8, cosine])}, {"rival": names}
    )
    isotropic = found.sel(rival=["step", "two-steps"])
    finding = judge(*closeness_claims.preconditioned("held", {"round": isotropic, "long": found}, "x", **FIELDS))
    assert (finding.verdict, list(finding.cases)) == (verdict, ["long"])
    assert finding.control.value == step


def test_verdicts_hold_one_row_a_case() -> None:
    results = {"a": result(1.0, 1.0), "b": result(1.2, 1.0)}
    finding = judge(*closeness_claims.losses("held", results, {"a": rivals()}, "Losses match", **FIELDS))
    table = closeness_claims.verdicts([finding])
    assert table["case"].tolist() == ["a", "b"]
    assert set(table.verdict) == {"holds with a condition"}
    assert table.allowed[0] == "between 0.98 and 1.03"
    assert table["as claimed"].tolist() == ["yes", "no"]


@pytest.mark.parametrize(
    ("ratio", "cosine", "close"),
    [
        (Measurement(1.0, 0.01), Measurement(0.995, 0.001), True),
        (Measurement(1.0, 0.02), Measurement(0.995, 0.001), None),
        (Measurement(1.0, 0.02), Measurement(0.98, 0.001), False),
    ],
)
def test_a_layer_is_close_by_loss_and_by_cosine(ratio: Measurement, cosine: Measurement, close: bool | None) -> None:
    assert closeness_claims.both_close("held", {"L_SA / L_GD": ratio, "Model Cos": cosine}) is close


@pytest.mark.parametrize("test", [closeness_claims.losses, closeness_claims.differences, closeness_claims.cosine])
def test_what_cannot_be_judged_is_refused(test: object) -> None:
    assert callable(test)
    with pytest.raises(ValueError, match="query must be one of 'held', 'same', got 'both'"):
        test("both", {"a": result(1.0, 1.0)}, {"a": rivals()}, "x", **FIELDS)
    with pytest.raises(ValueError, match="results must hold at least one"):
        test("held", {}, {"a": rivals()}, "x", **FIELDS)
    with pytest.raises(ValueError, match="rivals must hold at least one"):
        test("held", {"a": result(1.0, 1.0)}, {}, "x", **FIELDS)


def test_tests_are_ready_for_the_record() -> None:
    claim = closeness_claims.losses("same", {"a": result(1.0, 1.0)}, {"a": rivals()}, "x", **FIELDS).claim
    assert dataclasses.asdict(claim)["paper"] == 1
