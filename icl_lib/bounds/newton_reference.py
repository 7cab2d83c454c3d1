"""scipy's trust-region Newton method on softmax regression, to hold `icl_lib.bounds.newton` against."""

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from icl_lib.running.checked import checked
from icl_lib.running.validation import check_number
from icl_lib.softmax_regression.problem import gradient, hessian, loss


@dataclass(frozen=True)
class Reference:
    """What scipy found: x (d,), ‖∇L‖ at the start and after each iteration, and whether it reached the tolerance."""

    x: Tensor
    gradient_norms: list[float]
    success: bool

    @property
    def iterations(self) -> int:
        """How many iterations it took."""
        return len(self.gradient_norms) - 1


@checked("A: n d, b: n, x0: d")
def trust_exact(A: Tensor, b: Tensor, x0: Tensor, tolerance: float = 1e-10) -> Reference:
    """`scipy.optimize.minimize(method="trust-exact")` on one problem, in float64: A (n, d), b (n,), x0 (d,).

    Raises `ValueError` or `TypeError` for shapes that do not fit and a tolerance that is not positive.
    """
    # Imported here: it takes a third of a kernel's start.
    from scipy.optimize import minimize

    check_number("tolerance", tolerance, above=0)
    way = [x0]
    with numpy.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            lambda x: float(loss(A, torch.from_numpy(x), b)),
            x0.numpy(),
            method="trust-exact",
            jac=lambda x: gradient(A, torch.from_numpy(x), b).numpy(),
            hess=lambda x: hessian(A, torch.from_numpy(x), b).numpy(),
            callback=lambda intermediate_result: way.append(torch.from_numpy(intermediate_result.x.copy())),
            options={"gtol": tolerance},
        )
    norms = [float(torch.linalg.vector_norm(gradient(A, x, b))) for x in way]
    return Reference(torch.from_numpy(found.x), norms, bool(found.success))
