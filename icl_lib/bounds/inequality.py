"""What an inequality is here: a pair of functions of one setting, its left side and its right side."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from icl_lib.running.checked import checked


@dataclass(frozen=True)
class Setting:
    """Two documents, two parameter vectors and a target, with the radius they obey; any leading batch dimensions.

    A, B (..., n, d); x, y (..., d); b (..., n) with b ≥ 0 and Σ b ≤ 1; R (...) with ‖A‖, ‖B‖, ‖x‖, ‖y‖ ≤ R.
    `eta` (...) is a step size and `s` (...) the scale of an attention kernel, for the statements that have one.
    """

    A: Tensor
    B: Tensor
    x: Tensor
    y: Tensor
    b: Tensor
    R: Tensor
    eta: Tensor
    s: Tensor

    @property
    def n(self) -> int:
        """Number of words."""
        return self.A.shape[-2]

    @property
    def z(self) -> Tensor:
        """Logits A x, shape (..., n)."""
        return apply(self.A, self.x)

    @property
    def by_x(self) -> Tensor:
        """A (y − x), the change of the logits when x moves to y; shape (..., n)."""
        return apply(self.A, self.y - self.x)

    @property
    def by_A(self) -> Tensor:
        """(B − A) x, the change of the logits when A moves to B; shape (..., n)."""
        return apply(self.B - self.A, self.x)


@checked("A: ... n d, x: ... d")
def apply(A: Tensor, x: Tensor) -> Tensor:
    """A x for A (..., n, d) and x (..., d), shape (..., n)."""
    return (A @ x.unsqueeze(-1)).squeeze(-1)


Side = Callable[[Setting], Tensor]


@dataclass(frozen=True)
class Inequality:
    """left(setting) ≤ right(setting) for every setting, or a conjecture of that form.

    `key` names it; `statement` and `bound` describe it in a table, `constant` is its constant as text; `label` is
    the book's label of the theorem that proves it and `page` the chapter. With `log` both sides are natural
    logarithms. `fails_at` < 1 is a factor for the right side with which the inequality is false: the negative
    control that a search must find. `magnitude` is the size of what the left side subtracts, where it does. The
    statement is about n ≥ `least_n` words.
    """

    key: str
    statement: str
    bound: str
    constant: str
    label: str
    page: str
    left: Side
    right: Side
    fails_at: float
    log: bool = False
    proved: bool = True
    magnitude: Side | None = None
    least_n: int = 1

    def log_ratio(self, setting: Setting) -> Tensor:
        """log(left / right), shape (...): ≤ 0 where it holds; −∞ where the left side is ≤ 0 or both vanish."""
        left, right = self.left(setting), self.right(setting)
        if not self.log:
            left, right = left.clamp_min(0).log(), right.log()
        return torch.where(left == -torch.inf, left, left - right)

    def excess(self, setting: Setting) -> Tensor:
        """How far left exceeds right beyond rounding, shape (...): ≤ 0 where the inequality holds as computed.

        The rounding allowed is τ = 8 (n + d) ε (1 + max|Ax|), relative for plain sides and absolute for
        logarithms, plus τ times `magnitude`: a logit of size |z| is known to about ε |z|, whatever one does next.
        """
        left, right = self.left(setting), self.right(setting)
        allowed = rounding(setting)
        slack = allowed if self.log else allowed * right
        if self.magnitude is not None:
            slack = slack + allowed * self.magnitude(setting)
        # Where both sides are −∞ (log 0) the inequality holds, but the difference is not a number.
        return torch.where(left == -torch.inf, left, left - right - slack)

    def with_factor(self, factor: float) -> "Inequality":
        """The same statement with its right side multiplied by `factor` > 0."""
        change = torch.tensor(factor, dtype=torch.float64).log().item() if self.log else factor
        right = self.right

        def scaled(setting: Setting) -> Tensor:
            return right(setting) + change if self.log else right(setting) * change

        return replace(self, right=scaled, key=f"{self.key} × {factor:g}")


@checked("setting.A: ... n d, setting.x: ... d")
def rounding(setting: Setting) -> Tensor:
    """τ = 8 (n + d) ε (1 + max|Ax|) in the setting's dtype, shape (...): the error stated for every pair."""
    n, d = setting.A.shape[-2:]
    eps = torch.finfo(setting.A.dtype).eps
    return 8 * (n + d) * eps * (1 + setting.z.abs().amax(-1))
