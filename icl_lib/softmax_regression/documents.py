"""Documents: tasks of softmax regression, drawn as in the experiments."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from icl_lib.running.validation import check_choice, check_integer, check_number
from icl_lib.softmax_regression.covariance import spread_evenly

QUERIES = ("held", "same")
# What `checked` asks of the argument `tasks`.
TASKS = "tasks.A: B n d, tasks.b: B n, tasks.A_query: B n_query d, tasks.b_query: B n_query, tasks.x: B d"


class Documents(NamedTuple):
    """A batch of softmax-regression tasks: documents A (B, n, d) and targets b (B, n), with their queries."""

    A: Tensor
    b: Tensor
    A_query: Tensor
    b_query: Tensor
    x: Tensor


@dataclass(frozen=True)
class SoftmaxRegression:
    """Gaussian documents: A has N(0, 1) entries, x* ~ N(0, scale² I/d), b = softmax(A x*).

    `n` words, `d` embedding dimensions; `scale` is the standard deviation of the logits. The query document
    is another one with the same x* (`query="held"`) or the document itself (`"same"`). With a `condition` above 1
    words have the covariance Σ of `covariance.spread_evenly`, and weights are Σ^{-1/2} x*: targets stay what they are.
    See `def-softmax-regression`.
    """

    n: int
    d: int
    scale: float = 1.0
    query: str = "held"
    condition: float = 1.0

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1)
        check_integer("d", self.d, 1)
        check_number("scale", self.scale, above=0)
        check_choice("query", self.query, QUERIES)
        _ = self.covariance

    @property
    def covariance(self) -> Tensor:
        """Σ (d, d) of the words, in float64."""
        return spread_evenly(self.d, self.condition)

    @property
    def root(self) -> Tensor:
        """Σ^{1/2} (d, d) in float64, by which a document of N(0, 1) entries is multiplied."""
        # Of a diagonal matrix it is taken entry by entry, without a look at a value that a GPU would wait for.
        return self.covariance.sqrt()

    def stretch(self, Z: Tensor) -> Tensor:
        """Words Z Σ^{1/2} (..., n, d) with the covariance of this task, from words with the covariance I."""
        return Z if self.condition == 1 else Z @ self.root.to(Z)

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Documents:
        """`batch` explicit tasks; with `query="same"` the query is the document, without a copy."""
        check_integer("batch", batch, 1)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

        x = normal(batch, self.d) * (self.scale / math.sqrt(self.d))
        if self.condition != 1:
            x = x @ torch.linalg.inv(self.root).to(x)
        A = self.stretch(normal(batch, self.n, self.d))
        b = torch.softmax((A @ x.unsqueeze(-1)).squeeze(-1), dim=-1)
        if self.query == "same":
            return Documents(A, b, A, b, x)
        A_query = self.stretch(normal(batch, self.n, self.d))
        return Documents(A, b, A_query, torch.softmax((A_query @ x.unsqueeze(-1)).squeeze(-1), dim=-1), x)
