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


def test_the_worst_case_is_the_one_that_is_least_close() -> None:
    """And not the one that is nearest to a perfect 0 or 1."""
    far, near = result(1.0, 0.996, 0.09), result(1.0, 0.999, 0.01)
    for test in (closeness_claims.cosine, closeness_claims.differences):
        finding = judge(*test("held", {"far": far, "near": near}, "They meet", **FIELDS))
        assert (finding.verdict, finding.worst[0]) == ("holds", "far")


@pytest.mark.parametrize(
    ("query", "ratio", "verdict"),
    [("held", 1.025, "holds"), ("held", 1.04, "fails"), ("same", 1.04, "holds"), ("same", 0.96, "fails")],
)
def test_losses_are_judged_by_the_kind_of_query(query: str, ratio: float, verdict: str) -> None:
    finding = judge(*closeness_claims.losses(query, {"a": result(ratio, 1.0)}, "Losses match", **FIELDS))
    assert finding.verdict == verdict
    assert finding.control.value == 4
    assert finding.claim.statement.startswith("Losses match, on")


@pytest.mark.parametrize(("query", "cosine", "verdict"), [("held", 0.98, "fails"), ("same", 0.98, "holds")])
def test_the_cosine_is_judged_by_the_kind_of_query(query: str, cosine: float, verdict: str) -> None:
    finding = judge(*closeness_claims.cosine(query, {"a": result(1.0, cosine)}, "It rises", **FIELDS))
    assert (finding.verdict, finding.control.value) == (verdict, 0.01)


@pytest.mark.parametrize(("left", "verdict"), [(0.1, "holds"), (0.2, "fails")])
def test_differences_are_judged_by_the_larger_one(left: float, verdict: str) -> None:
    finding = judge(*closeness_claims.differences("held", {"a": result(1.0, 1.0, left)}, "They fall", **FIELDS))
    assert finding.verdict == verdict
    assert finding.cases["a"].value == pytest.approx(left)
    assert finding.control.value == pytest.approx(2.5)
    numpy.testing.assert_allclose(left_over(result(1.0, 1.0, left), "model_diff"), left)


def test_a_control_that_passes_decides_nothing() -> None:
    untrained = result(1.0, 1.0)
    untrained["loss_sa"][:] = 1
    assert judge(*closeness_claims.losses("held", {"a": untrained}, "x", **FIELDS)).verdict == "undecidable"


def test_verdicts_hold_one_row_a_case() -> None:
    results = {"a": result(1.0, 1.0), "b": result(1.2, 1.0)}
    finding = judge(*closeness_claims.losses("held", results, "Losses match", **FIELDS))
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
        test("both", {"a": result(1.0, 1.0)}, "x", **FIELDS)
    with pytest.raises(ValueError, match="results must hold at least one"):
        test("held", {}, "x", **FIELDS)


def test_tests_are_ready_for_the_record() -> None:
    claim = closeness_claims.losses("same", {"a": result(1.0, 1.0)}, "x", **FIELDS).claim
    assert dataclasses.asdict(claim)["paper"] == 1
