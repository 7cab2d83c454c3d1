"""Steps that explain a comparison or must fail it: half of a context, a rate from elsewhere, a width that is wrong."""

from dataclasses import dataclass, replace

import torch
import xarray
from torch import Tensor

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.descent import SIGNS, WIDTHS, fit
from icl_lib.classification.fitted_steps import collect, compare, contexts
from icl_lib.classification.kernels import FIXED_RATE, LINEAR, OWN_TOKEN, SOFTMAX, KernelStep, Scores
from icl_lib.running.device import DEVICES
from icl_lib.running.validation import check_choice, check_instance, check_integer, check_tuple


@dataclass(frozen=True)
class NearStep(KernelStep):
    """The step from the points on the query's side alone: those with ⟨x_i, x_query⟩ ≤ 0 weigh nothing."""

    def checked_features(self, scores: Scores, beta: float) -> Tensor:
        """As `KernelStep`'s; far points count in n, so that a rate over n is the same with and without them."""
        nothing = 0.0 if self.family == "linear" else -torch.inf
        return super().checked_features(scores._replace(s=torch.where(scores.s > 0, scores.s, nothing)), beta)


@dataclass(frozen=True)
class ForeignRateStep(KernelStep):
    """The kernel step with rates of the adaptive form, each given to the next context; width and gain are its own."""

    def checked_features(self, scores: Scores, beta: float) -> Tensor:
        """As `KernelStep`'s with the factor n/(S + m) of another context, S = Σ e^{β(⟨x_j, x_query⟩ − 1)}.

        m = 1 with the rate over `"context and query"`, else 0.
        """
        fixed = FIXED_RATE.checked_features(scores, beta)
        total = torch.exp(beta * (scores.s - 1)).sum(-1) + (self.rate == "context and query")
        rate = scores.s.shape[-1] / total
        return fixed * rate.roll(1, dims=-1)[..., None, None]


# Each with the sizes of width allowed, one number twice where it is given, and the signs. "softmax" has the query's own
# token, "masked" has not.
STEPS: dict[str, tuple[KernelStep, tuple[float, float], tuple[int, ...]]] = {
    "linear": (LINEAR, WIDTHS, SIGNS),
    "masked": (SOFTMAX, WIDTHS, SIGNS),
    "masked, β > 0": (SOFTMAX, WIDTHS, (1,)),
    "masked, foreign rate": (ForeignRateStep(), WIDTHS, (1,)),
    "softmax": (OWN_TOKEN, WIDTHS, SIGNS),
    "linear, near side": (NearStep("linear", "n"), WIDTHS, SIGNS),
    "softmax, near side": (NearStep(rate="context and query"), WIDTHS, (1,)),
    "linear, centred": (KernelStep("linear", "n", centre="context"), WIDTHS, SIGNS),
    "softmax, centred": (replace(OWN_TOKEN, centre="context"), WIDTHS, SIGNS),
    "linear, near side, centred": (NearStep("linear", "n", centre="context"), WIDTHS, SIGNS),
    "softmax, wrong sign": (OWN_TOKEN, WIDTHS, (-1,)),
    "exponential, fixed rate": (FIXED_RATE, WIDTHS, (1,)),
    "exponential, fixed rate, width 300": (FIXED_RATE, (300.0, 300.0), (1,)),
}


@dataclass(frozen=True)
class NamedSteps:
    """Fit the `STEPS` called `names` on `tuning` contexts, then compare them with the first on `test` others."""

    task: SphereClassification
    names: tuple[str, ...] = ("linear", "softmax")
    tuning: int = 3000
    test: int = 6000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_instance("task", self.task, SphereClassification)
        check_tuple("names", self.names, "names of steps")
        for name in self.names:
            check_choice("names", name, STEPS)
        check_integer("tuning", self.tuning, 1)
        check_integer("test", self.test, 1)
        check_integer("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)

    def compute(self, device: torch.device) -> xarray.Dataset:
        """What `compare` returns, with the names along `step`. Arithmetic is the CPU's, as for other fitted steps."""
        scores, y = collect(contexts(self.task, self.tuning, "tune", self.seed))
        fits = [fit(step, scores, y, widths, signs) for step, widths, signs in (STEPS[name] for name in self.names)]
        tested = compare(fits, contexts(self.task, self.test, "test", self.seed))
        return tested.assign_coords(step=list(self.names))
