"""Contexts: labelled points and a query, drawn as in the experiments."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Generator, Tensor

from icl_lib.classification.circle import Arcs
from icl_lib.classification.class_counts import class_counts
from icl_lib.running.normals import standard_normal
from icl_lib.running.training import even_parts
from icl_lib.running.validation import check_choice, check_integer, check_number


class Examples(NamedTuple):
    """A batch of supervised contexts: x (B, n, d), y (B, n, C), the query x_query (B, d) and its y_query (B, C).

    With several queries a context, x_query is (B, Q, d) and y_query (B, Q, C).
    """

    x: Tensor
    y: Tensor
    x_query: Tensor
    y_query: Tensor

    def double(self) -> "Examples":
        """The same in float64: a search then ends at one place on every processor."""
        return Examples(*(part.double() for part in self))


@runtime_checkable
class ContextTask(Protocol):
    """What contexts are drawn from, a dataclass: n points in d dimensions of so many classes, and a query."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def n(self) -> int:
        """Labelled points."""
        ...

    @property
    def d(self) -> int:
        """Dimensions."""
        ...

    @property
    def classes(self) -> int:
        """Classes of a context."""
        ...

    @property
    def balance(self) -> str:
        """What is balanced, one of `BALANCES`."""
        ...

    @property
    def draws_alike(self) -> bool:
        """Whether every batch is the same program, with no context drawn again and no table from the CPU."""
        ...

    def of_repetition(self, repetition: int) -> Self:
        """What a repetition of an experiment draws from."""
        ...

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` contexts with one query each."""
        ...

    def sample_every_query(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` contexts with one query of each class."""
        ...


BALANCES = ("none", "context", "context and query")
INPUTS = ("uniform", "gaussian", "clusters")
LABELS = ("nearest", "own")
NOISY = ("context", "context and query")

# But on the circle a context with given class counts is drawn by rejection from pools of n · _POOLS points; one whose
# smallest class is still short after the last pool is replaced by a new one, class vectors included.
_POOLS = (2, 6, 20, 64)
_ROUNDS = 200
# Points of such contexts drawn at a time on a CPU: more would leave its caches.
_CPU_BLOCK = 2**16


@dataclass(frozen=True)
class SphereClassification:
    """Classes on the unit sphere: y is the class c with the largest ⟨w_c, x⟩, w_c uniform on S^{d−1}.

    `n` labelled points, `d` dimensions, `classes` classes. As the authors of the second paper draw them, every class
    is equally often in the context and as likely as any other for the query, which takes an n that C divides. All else
    is a variation of that task:
    `balance`: equal classes in the `"context and query"`, in the `"context"` only, or `"none"`: points and query
    uniform on the sphere, their classes as they fall; `concentration_of_counts`: in the context the classes have
    shares p ~ Dirichlet(α, …, α) with this α, rounded to whole points, in place of equal ones (any n);
    `inputs`: uniform on the sphere, Gaussian with covariance I/d, or `"clusters"`: von Mises–Fisher round a
    class vector drawn uniformly, with density ∝ e^{concentration ⟨w_c, x⟩}; `labels`: the nearest class vector,
    or the cluster's `"own"`; `prototypes`: class vectors a class has, the best one counts; `offset`: standard
    deviation of a Gaussian constant added to each class's score (unequal classes); `noise`: chance that a label
    is replaced by a uniform one, in the context or, by `noisy`, for the query too; `relevant`: dimensions that
    w_c lies in (all where None).

    With `balance` other than `"none"` a context with a class too small to be found among 64 n points is drawn anew
    (but for one vector a class on the circle, where points of a class are drawn at once).
    Raises `TypeError` or `ValueError` for what is out of range or does not combine; `sample` raises `RuntimeError`
    where balanced contexts are too rare to be drawn.
    See `def-sphere-classification`.
    """

    n: int
    d: int
    classes: int
    balance: str = "context and query"
    concentration_of_counts: float | None = None
    inputs: str = "uniform"
    concentration: float = 10.0
    labels: str = "nearest"
    prototypes: int = 1
    offset: float = 0.0
    noise: float = 0.0
    noisy: str = "context"
    relevant: int | None = None

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1)
        check_integer("d", self.d, 2)
        check_integer("classes", self.classes, 2)
        check_choice("balance", self.balance, BALANCES)
        if self.balance != "none" and self.concentration_of_counts is None and self.n % self.classes:
            raise ValueError(
                f"n must be a multiple of classes = {self.classes} with balance={self.balance!r}, got {self.n}"
            )
        if self.concentration_of_counts is not None:
            check_number("concentration_of_counts", self.concentration_of_counts, above=0)
            check_choice("balance", self.balance, BALANCES[1:])
        check_choice("inputs", self.inputs, INPUTS)
        check_number("concentration", self.concentration, above=0)
        check_choice("labels", self.labels, LABELS if self.inputs == "clusters" else LABELS[:1])
        check_integer("prototypes", self.prototypes, 1)
        check_number("offset", self.offset, minimum=0)
        check_number("noise", self.noise, minimum=0, maximum=1)
        check_choice("noisy", self.noisy, NOISY)
        if self.relevant is not None:
            check_integer("relevant", self.relevant, 1, self.d)
        if self.balance != "none" and self.noise > 0:
            raise ValueError(f"noise must be 0 with balance={self.balance!r}, got {self.noise}")
        if self.balance != "none" and self.relevant == 1 and self.classes > 2:
            # On a line there are two directions, so a third class has no points of its own.
            raise ValueError(f"relevant must be above 1 with balance={self.balance!r} and classes > 2, got 1")

    @property
    def draws_alike(self) -> bool:
        """Whether every batch is the same program, with no context drawn again and no table from the CPU."""
        return self.balance == "none" and self.inputs != "clusters"

    def of_repetition(self, repetition: int) -> Self:
        """The same for all."""
        return self

    def sample(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` contexts with one query each; their points lie token-last in memory: `x.mT` runs along the points."""
        return self.sample_with_classes(batch, generator, device, dtype)[0]

    def sample_every_query(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Examples:
        """`batch` contexts with one query of each class: x_query (batch, C, d), y_query (batch, C, C).

        A mean over the C queries has the mean of one whose class is drawn, and less noise. Raises `ValueError` unless
        `balance` is `"context and query"`.
        """
        check_integer("batch", batch, 1)
        check_choice("balance", self.balance, BALANCES[2:])
        return _SphereDraw(self, generator, device, dtype).balanced(batch, every_class=True)[0]

    def sample_with_classes(
        self,
        batch: int,
        generator: Generator,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Examples, Tensor]:
        """The same contexts as `sample` and the class vectors behind them, (batch, C · prototypes, d)."""
        check_integer("batch", batch, 1)
        draw = _SphereDraw(self, generator, device, dtype)
        if self.balance != "none":
            return draw.balanced(batch)
        w, offset = draw.classes(batch)
        x, y = draw.points(w, offset, self.n + 1)
        y = draw.noisy(y)
        context = Examples(x[..., : self.n].mT, y[..., : self.n].mT, x[..., self.n], y[..., self.n])
        return context, w


@dataclass(frozen=True)
class _SphereDraw:
    """The draws that make up a batch of `task`, all token-last: points (B, d, n), one-hot labels (B, C, n)."""

    task: SphereClassification
    generator: Generator
    device: torch.device | str | None
    dtype: torch.dtype

    def _normal(self, *shape: int) -> Tensor:
        return standard_normal(*shape, generator=self.generator, device=self.device, dtype=self.dtype)

    def classes(self, batch: int) -> tuple[Tensor, Tensor]:
        """Class vectors (B, C · prototypes, d) and score offsets (B, C, 1)."""
        task = self.task
        w = self._normal(batch, task.classes * task.prototypes, task.d)
        if task.relevant is not None:
            w[..., task.relevant :] = 0
        w = w / w.norm(dim=-1, keepdim=True)
        if task.offset == 0:
            return w, torch.zeros(batch, task.classes, 1, device=w.device, dtype=self.dtype)
        return w, task.offset * self._normal(batch, task.classes, 1)

    def points(self, w: Tensor, offset: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """`count` points a context and their one-hot labels."""
        task = self.task
        x = self._normal(len(w), task.d, count)
        own = None
        if task.inputs == "clusters":
            cluster = self._uniform_classes(len(w), count, w.shape[1])
            own = _one_hot(cluster, w.shape[1], self.dtype)
            x = self._round_centres(w.mT @ own, x)
        else:
            x = x / math.sqrt(task.d) if task.inputs == "gaussian" else _normalised(x)
        if task.labels == "own" and own is not None:
            y = own.unflatten(1, (task.classes, task.prototypes)).sum(2)
        else:
            y = self._nearest(w, offset, x)
        return x, y

    def _nearest(self, w: Tensor, offset: Tensor, x: Tensor) -> Tensor:
        scores = w @ x
        if self.task.prototypes > 1:
            scores = scores.unflatten(1, (self.task.classes, self.task.prototypes)).amax(2)
        if self.task.offset > 0:
            scores = scores + offset
        # 1 where the score is the largest, else 0, without a detour through booleans.
        best = scores.sub_(scores.amax(1, keepdim=True)).sign_().add_(1)
        # Two classes tie about once in 10⁷ points in float32, and the first takes the point. On the CPU a look at their
        # numbers tells whether any do; on a GPU the training loop would wait for it.
        if best.device.type == "cpu" and float(best.sum(1).amax()) == 1:
            return best
        return best.mul_(best.cumsum(1) == 1)

    def _round_centres(self, centre: Tensor, normal: Tensor) -> Tensor:
        """Von Mises–Fisher points round unit columns `centre` (B, d, n): the angle's distribution from a table."""
        kappa, d = self.task.concentration, self.task.d
        angles = torch.linspace(0, math.pi, 4097, dtype=torch.float64)
        density = angles.sin() ** (d - 2) * torch.exp(kappa * (angles.cos() - 1))
        share = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumulative_trapezoid(density)])
        table, angles = (share / share[-1]).to(centre), angles.to(centre)
        u = torch.rand(
            centre.shape[0], 1, centre.shape[2], generator=self.generator, device=self.device, dtype=self.dtype
        )
        k = torch.searchsorted(table, u, right=True).clamp(1, len(table) - 1)
        below, above = table[k - 1], table[k]
        angle = angles[k - 1] + (angles[k] - angles[k - 1]) * (u - below) / (above - below)
        tangent = _normalised(normal - centre * (centre * normal).sum(1, keepdim=True))
        return angle.cos() * centre + angle.sin() * tangent

    def _uniform_classes(self, batch: int, count: int, classes: int) -> Tensor:
        return torch.randint(classes, (batch, count), generator=self.generator, device=self.device)

    def noisy(self, y: Tensor) -> Tensor:
        """Labels (B, C, n + 1), the query's last, with the task's noise."""
        if self.task.noise == 0:
            return y
        batch, classes, count = y.shape
        flip = torch.rand(batch, 1, count, generator=self.generator, device=self.device) < self.task.noise
        if self.task.noisy == "context":
            flip[..., -1] = False
        return torch.where(flip, _one_hot(self._uniform_classes(batch, count, classes), classes, self.dtype), y)

    def balanced(self, batch: int, every_class: bool = False) -> tuple[Examples, Tensor]:
        """Contexts with given numbers of points of each class; with queries of `every_class`, C each."""
        task = self.task
        plain = (task.inputs, task.prototypes, task.offset, task.relevant) == ("uniform", 1, 0, None)
        draw = self._on_circle if task.d == 2 and plain else self._by_rejection
        on_cpu = torch.device(self.device or "cpu").type == "cpu"
        sizes = even_parts(batch, max(1, _CPU_BLOCK // task.n)) if on_cpu else [batch]
        parts = [draw(size, every_class) for size in sizes]
        x, y, x_query, y_query, w = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        queries = (part.mT if every_class else part.squeeze(-1) for part in (x_query, y_query))
        return Examples(x.mT, y.mT, *queries), w

    def _on_circle(self, batch: int, every_class: bool) -> tuple[Tensor, ...]:
        """x, y, x_query, y_query, token-last, and w: each point drawn in the arc of its class.

        The classes stand in an order of chance, one for the batch.
        """
        w, offset = self.classes(batch)
        arcs = Arcs.of(w)
        ends = self._quota(batch).squeeze(-1).cumsum(1)
        order = torch.randperm(self.task.n, generator=self.generator, device=self.device)
        labels = torch.searchsorted(ends, order.to(ends).expand(batch, -1).contiguous(), right=True)
        x, y = arcs.points(labels, self.generator), _one_hot(labels, self.task.classes, self.dtype)
        if self.task.balance == "context":
            return x, y, *self.points(w, offset, 1), w
        if every_class:
            asked = torch.arange(self.task.classes, device=self.device).expand(batch, -1)
        else:
            asked = self._uniform_classes(batch, 1, self.task.classes)
        return x, y, arcs.points(asked, self.generator), _one_hot(asked, self.task.classes, self.dtype), w

    def _by_rejection(self, batch: int, every_class: bool) -> tuple[Tensor, ...]:
        """The same from the points of a pool, until every class has enough."""
        done: list[tuple[Tensor, ...]] = []
        missing = batch
        for _ in range(_ROUNDS):
            w, offset = self.classes(missing)
            quota, query = self._quota(missing), self._query_classes(missing, every_class)
            for pool in _POOLS:
                x, y = self.points(w, offset, pool * self.task.n)
                count = y.cumsum(2)
                full = (count[..., -1:] >= quota + query).all((1, 2))
                if bool(full.any()):
                    # Often a pool is enough for all of its contexts, which then need not be copied.
                    chosen = slice(None) if bool(full.all()) else full
                    context = self._assemble(*(part[chosen] for part in (x, y, count, quota, query, w, offset)))
                    done.append((*context, w[chosen]))
                w, offset, quota, query = w[~full], offset[~full], quota[~full], query[~full]
                if not len(w):
                    break
            missing = len(w)
            if not missing:
                break
        else:
            raise RuntimeError(f"no balanced contexts after {_ROUNDS} draws for {missing} of {batch} of {self.task}")
        # Contexts with small classes were finished last; a permutation makes every part of a batch alike.
        order = torch.randperm(batch, generator=self.generator, device=self.device)
        return tuple(torch.cat(part)[order] for part in zip(*done, strict=True))

    def _quota(self, batch: int) -> Tensor:
        """Points wanted of each class, (B, C, 1): n/C, or n times Dirichlet shares rounded to a sum of n."""
        task = self.task
        counts = class_counts(batch, task.n, task.classes, task.concentration_of_counts, self.generator)
        return counts.unsqueeze(-1).to(self.device, self.dtype)

    def _query_classes(self, batch: int, every_class: bool) -> Tensor:
        """How many queries a class has, (B, C, 1): one class drawn has one, or every class; none for a free query."""
        classes = self.task.classes
        if every_class:
            return torch.ones(batch, classes, 1, device=self.device, dtype=self.dtype)
        if self.task.balance == "context":
            return torch.zeros(batch, classes, 1, device=self.device, dtype=self.dtype)
        return _one_hot(self._uniform_classes(batch, 1, classes), classes, self.dtype)

    def _assemble(
        self, x: Tensor, y: Tensor, count: Tensor, quota: Tensor, query: Tensor, w: Tensor, offset: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token-last contexts of a pool's first points of each class, as many as its quota: x, y and the queries'.

        `count` is the pool's number of points of each class so far. The queries are the next points of their classes,
        or a fresh point where no class was drawn for it.
        """
        rank, wanted = (count * y).sum(1), (quota.mT @ y).squeeze(1)
        kept = rank <= wanted
        if self.task.balance == "context":
            x_query, y_query = self.points(w, offset, 1)
        else:
            asked = (rank > wanted) & (rank <= wanted + (query.mT @ y).squeeze(1))
            x_query, y_query = (_columns(part, asked) for part in (x, y))
        return _columns(x, kept), _columns(y, kept), x_query, y_query


def _columns(v: Tensor, chosen: Tensor) -> Tensor:
    """The columns of v (B, k, P) where `chosen` (B, P) holds, equally many in each row: (B, k, chosen)."""
    places = chosen.nonzero()[:, 1].view(len(v), 1, -1)
    return v.gather(2, places.expand(-1, v.shape[1], -1))


def _normalised(x: Tensor) -> Tensor:
    """Columns of x (B, d, n) on the unit sphere; by hand, as torch's norm is slow over a short inner dimension."""
    return x * x.square().sum(1, keepdim=True).rsqrt()


def _one_hot(index: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """One-hot columns of an integer (B, n) as (B, classes, n)."""
    return (index.unsqueeze(1) == torch.arange(classes, device=index.device).unsqueeze(-1)).to(dtype)
