"""Other documents and targets than the Gaussian task: what is varied to test a reading or to leave its distribution."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression.documents import QUERIES, Documents

TARGETS = ("softmax", "dirichlet", "gaussian", "uniform")
WORDS = ("gaussian", "uniform")


@dataclass(frozen=True)
class VariedDocuments:
    """Documents A with independent entries of standard deviation `row_scale`, and their targets.

    x* ~ N(0, scale² I/d), so the logits A x* have standard deviation scale · row_scale. `words`: Gaussian
    entries, or uniform ones of the same variance. `target`: b = softmax(A x*); or one that knows nothing of A:
    `"dirichlet"` (uniform on the simplex), `"gaussian"` (entries N(0, 1)), `"uniform"` (entries U(0, 1)). The last
    two are no distributions. A target without x* has no held-out document, so it needs `query="same"`.
    """

    n: int
    d: int
    query: str = "held"
    target: str = "softmax"
    words: str = "gaussian"
    scale: float = 1.0
    row_scale: float = 1.0

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1)
        check_integer("d", self.d, 1)
        check_choice("query", self.query, QUERIES if self.target == "softmax" else ("same",))
        check_choice("target", self.target, TARGETS)
        check_choice("words", self.words, WORDS)
        check_number("scale", self.scale, above=0)
        check_number("row_scale", self.row_scale, above=0)

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Documents:
        """`batch` tasks; with `query="same"` the query is the document, without a copy.

        Random numbers are float32 whatever `dtype` is; targets are computed in `dtype`.
        """
        check_integer("batch", batch, 1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device).to(dtype)

        def words() -> Tensor:
            if self.words == "gaussian":
                drawn = normal(batch, self.n, self.d)
                return drawn if self.row_scale == 1 else drawn * self.row_scale
            drawn = torch.rand(batch, self.n, self.d, generator=generator, device=device).to(dtype)
            return (drawn - 0.5) * (math.sqrt(12) * self.row_scale)

        x = normal(batch, self.d) * (self.scale / math.sqrt(self.d))
        A = words()
        b = self._target(A, x, generator)
        if self.query == "same":
            return Documents(A, b, A, b, x)
        A_query = words()
        return Documents(A, b, A_query, self._target(A_query, x, generator), x)

    def _target(self, A: Tensor, x: Tensor, generator: Generator) -> Tensor:
        if self.target == "softmax":
            return torch.softmax((A @ x.unsqueeze(-1)).squeeze(-1), dim=-1)
        shape, device = A.shape[:-1], A.device
        if self.target == "gaussian":
            return torch.randn(shape, generator=generator, device=device).to(A.dtype)
        drawn = torch.rand(shape, generator=generator, device=device).to(A.dtype)
        if self.target == "uniform":
            return drawn
        # Exponentials over their sum are uniform on the simplex.
        weights = -torch.log1p(-drawn)
        return weights / weights.sum(-1, keepdim=True)
