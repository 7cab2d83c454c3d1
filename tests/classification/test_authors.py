"""The authors' printed numbers beside ours: what agreement is, and that it can fail."""

import math

import pytest

from icl_lib.classification import printed
from icl_lib.classification.authors import RUNGS, agreement_of_fits, agreement_of_losses, fits_at, ladder, table_of_fits
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import fit
from icl_lib.classification.fitted_steps import FittedSteps, collect, contexts
from icl_lib.classification.kernels import LINEAR, SOFTMAX
from icl_lib.running.device import one_thread
from icl_lib.statistics import Measurement


@pytest.fixture(scope="module")
def found():
    with one_thread():
        return fits_at([2], tuning=600, test=400, groups=4, seed=0)


def test_grids_and_widths_are_those_of_the_notebook():
    assert printed.spacing(2.5) ** 99 == pytest.approx(10**2.5)
    assert printed.width_of(printed.PRINTED[2].c_qk, 2) == pytest.approx(352.5, abs=0.1)
    # Neighbouring points of a grid lie within half a step of what lies between them, and not two apart.
    step = printed.spacing(3.0)
    allowed = printed.allowed_ratio(0.0, step)
    assert printed.agrees_by_ratio(10.0, 10.0 * step**0.49, allowed)
    assert not printed.agrees_by_ratio(10.0, 10.0 * step**0.51, allowed)
    assert printed.allowed_ratio(0.1, step) > printed.allowed_ratio(0.0, step)
    assert printed.allowed_ratio(0.0, step, step) == pytest.approx(step)


def test_a_loss_read_off_a_figure_may_miss_by_its_error():
    assert printed.allowed_difference(Measurement(0.4, 0.0), 0.0) == printed.READING_ERROR
    allowed = printed.allowed_difference(Measurement(0.4, 0.003), 0.7)
    assert allowed == pytest.approx(0.015 + 2 * math.hypot(0.003, 0.7 / math.sqrt(512)))
    with pytest.raises(ValueError, match="deviation must be a finite number >= 0"):
        printed.allowed_difference(Measurement(0.4, 0.0), -1.0)


def test_few_contexts_already_find_the_authors_numbers_on_the_circle(found):
    fits = agreement_of_fits(found).set_index("quantity")
    assert list(fits.index) == ["rate", "ηβ", "|β|"]
    assert fits.ours["rate"] == pytest.approx(printed.PRINTED[2].rate, rel=0.4)
    assert fits.relative_error["rate"] > 0
    losses = agreement_of_losses(found)
    assert losses.step.tolist() == ["linear", "softmax"]
    # The control has another rate: its own token takes a share of the weights.
    own = agreement_of_fits(found, masked=False).set_index("quantity")
    assert own.ours["ηβ"] != fits.ours["ηβ"]


def test_the_table_and_the_ladder_add_up(found):
    (row,) = table_of_fits(found).to_dict("records")
    assert row["difference"] == pytest.approx(row["loss_linear"] - row["loss_softmax"])
    rungs = ladder(found).set_index("rung")
    assert tuple(rungs.index) == RUNGS
    assert rungs.gained["adaptive rate"] == pytest.approx(row["fixed_minus_adaptive"])
    assert rungs.gained["kernel"] + rungs.gained["adaptive rate"] == pytest.approx(row["difference"])
    assert found[2].foreign_rate.value < 0 < found[2].softmax_ahead.value


def test_fits_on_groups_are_fits_of_those_contexts():
    task = SphereClassification(20, 3, 4)
    with one_thread():
        result = FittedSteps(task, (LINEAR, SOFTMAX), groups=2, tuning=100, test=50).compute("cpu")
        (scores,), y = collect(contexts(task, 100, "tune", 0))
        half = fit(SOFTMAX, [type(scores)(*(part[50:] for part in scores))], y[50:])
    assert float(result.beta_group[1, 1]) == pytest.approx(half.beta)
    assert result.eta_group.shape == (2, 2)
    with pytest.raises(ValueError, match="signs must hold 1, -1 or both, got"):
        fit(SOFTMAX, [scores], y, signs=(0,))
