"""Arguments that fit, for every public function: from what it asks of its tensors, from annotations, from `GIVEN`."""

import inspect
import typing
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy
import torch
from torch import Generator, Tensor

from icl_lib.bounds import certificate, statements
from icl_lib.bounds.inequality import Setting
from icl_lib.bounds.search import Ascent, Family, setting, start
from icl_lib.claims import Claim, judge
from icl_lib.classification.closeness import paper_scale
from icl_lib.classification.contexts import ContextTask, Examples, SphereClassification
from icl_lib.classification.descent import Fit
from icl_lib.classification.few_shot import FewShot
from icl_lib.classification.kernels import LINEAR, SOFTMAX, Scores
from icl_lib.classification.stacks import StackWeights
from icl_lib.display.interactive import Control, State
from icl_lib.display.scale import Costs
from icl_lib.running.checked import parsed
from icl_lib.softmax_regression import reduced_sampling
from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import SoftmaxRegression
from icl_lib.softmax_regression.readings import Reading
from icl_lib.softmax_regression.text import Text
from icl_lib.statistics import Measurement

Given = Callable[["Source"], dict[str, Any]]
# Distributions over words or classes, one-hot labels, and sizes that are positive, by the names that they have.
DISTRIBUTIONS = {"f", "f2", "b", "b_query", "p", "q"}
LABELS = {"y", "y_query"}
POSITIVE = {"R", "eta", "s", "rate", "rates", "start", "x_norm"}


class Source:
    """Numbers of one call: a stream of its own, a dtype, and the sizes by their names."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = (torch.float64, torch.float32)[seed % 2]
        self.batch = ((), (2,), (3, 2))[seed % 3]
        self.fixed = {"C": 2 + seed % 2, "two": 2, "three": 3, "words": 1, "words_2": 1}

    def integer(self, low: int, high: int) -> int:
        """One of low, …, high."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def normal(self, *shape: int) -> Tensor:
        """Standard normals."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def size(self, name: str) -> int:
        """The size of this name, the same at every call."""
        return self.fixed.setdefault(name.rstrip("_"), self.integer(2, 4))

    def tensor(self, name: str, leading: bool, sizes: tuple[str, ...]) -> Tensor:
        """A tensor for the argument `name`."""
        shape = (*(self.batch if leading else ()), *map(self.size, sizes))
        if name in LABELS:
            return self.one_hot(*shape)
        drawn = self.normal(*shape)
        if name in DISTRIBUTIONS:
            return drawn.softmax(-1)
        return drawn.abs() + 0.5 if name in POSITIVE else drawn

    def one_hot(self, *shape: int) -> Tensor:
        """Labels, the classes along the last dimension."""
        return torch.eye(shape[-1], dtype=self.dtype)[torch.randint(shape[-1], shape[:-1], generator=self.generator)]

    def unit(self, *shape: int) -> Tensor:
        """Vectors on the sphere."""
        drawn = self.normal(*shape)
        return drawn / drawn.norm(dim=-1, keepdim=True)


def valid(name: str, function: Callable[..., Any], seed: int) -> dict[str, Any]:
    """Arguments by name with which `function`, called `name`, has a right answer."""
    source = Source(seed)
    given = GIVEN[name](source) if name in GIVEN else {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for one in parsed(getattr(function, "layout", "")):
        argument, _, part = one.path.partition(".")
        if argument not in given:
            leaf = part or argument
            tensors.setdefault(argument, {})[part] = source.tensor(leaf, one.leading, one.sizes)
    hints = _hints(function)
    for argument, parameter in inspect.signature(function).parameters.items():
        if argument in given:
            continue
        if argument in tensors:
            parts = tensors[argument]
            given[argument] = parts[""] if "" in parts else hints[argument](**parts)
        elif parameter.default is not parameter.empty or parameter.kind == parameter.VAR_KEYWORD:
            continue
        else:
            given[argument] = _of(hints[argument], argument, source)
    return given


def _of(hint: Any, argument: str, source: Source) -> Any:
    if hint in BY_CLASS:
        return BY_CLASS[hint](source)
    raise LookupError(f"no argument {argument} of {hint}: put one in GIVEN")


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that have a default, with it."""
    parameters = inspect.signature(function).parameters
    return {k: p.default for k, p in parameters.items() if p.default is not p.empty and not callable(p.default)}


def variadic(function: Callable[..., Any]) -> list[str]:
    """The arguments of which there may be any number."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind == p.VAR_POSITIONAL]


def anything(function: Callable[..., Any]) -> list[str]:
    """The arguments whose entries may be of any type."""
    return [name for name, hint in _hints(function).items() if Any in typing.get_args(hint)]


def may_be_none(function: Callable[..., Any]) -> list[str]:
    """The arguments that may be None by their annotation."""
    return [name for name, hint in _hints(function).items() if type(None) in typing.get_args(hint)]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function.__init__ if inspect.isclass(function) else inspect.unwrap(function))


def _examples(source: Source, **sizes: int) -> Examples:
    B, n, d, C = 3, 4, 3, 2
    labels = torch.eye(C, dtype=source.dtype)

    def one(*shape: int) -> Tensor:
        return labels[torch.randint(C, shape, generator=source.generator)]

    return Examples(source.unit(B, n, d), one(B, n), source.unit(B, d), one(B))


def _setting(source: Source) -> Setting:
    return setting(Family(3, 0.5, 2.0), start(Family(3, 0.5, 2.0), 4, source.generator))


def _reduced(source: Source) -> reduced_sampling.ReducedTasks:
    return reduced_sampling.draw(SoftmaxRegression(3, 2), 4, [source.generator] * 2, torch.device("cpu"), source.dtype)


BY_CLASS: dict[Any, Callable[[Source], Any]] = {
    int: lambda s: s.integer(2, 3),
    float: lambda s: 0.25 + 0.5 * float(torch.rand((), generator=s.generator)),
    bool: lambda s: bool(s.integer(0, 1)),
    Generator: lambda s: s.generator,
    torch.dtype: lambda s: s.dtype,
    torch.device: lambda s: torch.device("cpu"),
    Examples: _examples,
    Setting: _setting,
    Measurement: lambda s: Measurement(0.5, 0.1),
    SphereClassification: lambda s: SphereClassification(4, 3, 2),
    ContextTask: lambda s: SphereClassification(4, 3, 2),
    FewShot: lambda s: FewShot("wine", 12, 3, 3),
    SoftmaxRegression: lambda s: SoftmaxRegression(3, 2),
    Closeness: lambda s: SMALL,
    Reading: lambda s: Reading(3, 2, repetitions=2, steps=2, batch=3, tuning=4, test=4),
    Family: lambda s: Family(3, 0.5, 2.0),
    Ascent: lambda s: Ascent(4, 3),
    Costs: lambda s: Costs(0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1000),
}
SMALL = Closeness(3, 2, repetitions=2, steps=2, batch=3, tuning=4, test=4)
POLYNOMIAL = certificate.cases()[0].polynomial
CASES = {"one": Measurement(0.5, 0.1), "other": Measurement(0.7, 0.1)}
CLAIM = Claim("a", 1, "a", "a", "a", 0.0, 1.0, "a", "a", "a")
FIT = Fit(SOFTMAX, 1.0, (2.0,), 0.5)


def _labelled(*batch: int) -> Given:
    """Contexts on the sphere."""
    return lambda s: {"x": s.unit(*batch, 4, 3), "y": s.one_hot(*batch, 4, 2), "x_query": s.unit(*batch, 3)}


def _posterior(source: Source) -> dict[str, Any]:
    task = SphereClassification(4, 3, 2, balance="none")
    (x, y, x_query, _), w = task.sample_with_classes(3, source.generator, dtype=source.dtype)
    return {"x": x, "y": y, "x_query": x_query, "w": w, "sweeps": 3}


def _posterior_on_circle(source: Source) -> dict[str, Any]:
    context = SphereClassification(30, 2, 3).sample(3, source.generator, dtype=source.dtype)
    return {"x": context.x, "y": context.y, "x_query": context.x_query, "draws": 60}


def _stack(source: Source) -> dict[str, Any]:
    context = Examples(source.unit(2, 4, 3), source.one_hot(2, 4, 2), source.unit(2, 2, 3), source.one_hot(2, 2, 2))
    matrices = [source.normal(2, 5, 5) for _ in range(4)]
    return {"kind": "softmax", "context": context, "weights": StackWeights(*matrices, source.normal(2, 5))}


def _scores(source: Source) -> dict[str, Any]:
    return {"step": SOFTMAX, "scores": [Scores.of_examples(_examples(source))], "y": source.one_hot(3, 2)}


def _weight_gradient(source: Source) -> dict[str, Any]:
    weights = {name: source.normal(2, 5, 5) for name in ("W_Q", "W_K", "W_V")}
    given = {"tokens": source.normal(2, 3, 5, 4), "x_query": source.normal(2, 3, 1, 3)}
    return {"kind": "softmax", "weights": weights, "y_query": source.one_hot(2, 3, 1, 2), **given}


def _words(**values: Any) -> Given:
    return lambda _: dict(values)


def _attention(source: Source) -> dict[str, Any]:
    """Rows of attention of two sentences of three words."""
    rows = source.normal(6, 3)
    present, places = torch.ones_like(rows), torch.tensor([0, 1, 2] * 2).to(rows.dtype)
    return {"weights": rows.softmax(-1), "present": present, "places": places}


def _of_attention(*names: str, predicted: bool = False) -> Given:
    """Some of `_attention`, and perhaps other rows beside."""

    def given(source: Source) -> dict[str, Any]:
        found = {name: value for name, value in _attention(source).items() if name in names}
        return found | ({"predicted": source.normal(6, 3).softmax(-1)} if predicted else {})

    return given


GIVEN: dict[str, Given] = {
    "attention.self_attention": _words(kind="softmax"),
    "bounds.certificate.bernstein": _words(polynomial=POLYNOMIAL),
    "bounds.certificate.prove": _words(polynomial={(4, 0, 0, 0): 1}, limit=Fraction(2)),
    "bounds.intervals.prove": _words(polynomial={(4, 0, 0, 0): 1}, limit=Fraction(2)),
    "bounds.intervals.in_three_variables": _words(polynomial=POLYNOMIAL),
    "bounds.intervals.upper_bound": _words(
        terms={(1, 0): 2, (0, 2): -1}, low=numpy.zeros((2, 3)), high=numpy.ones((2, 3))
    ),
    "bounds.curvature.convexity_weight": lambda s: {"A": s.normal(*s.batch, 4, 2)},
    "bounds.inequality.rounding": lambda s: {"setting": _setting(s)},
    "bounds.search.Family": _words(n=3, R_low=0.5, R_high=2.0),
    "bounds.closeness.mirror_images": _words(x=1.0, dA=0.5, A=1.0, dx=0.25),
    "bounds.search.worst_ratio": _words(inequality=statements.ALL[0]),
    "bounds.search.setting": lambda s: {"parameters": start(Family(3, 0.5, 2.0), 4, s.generator)},
    "bounds.statements.by_key": _words(key="pl"),
    "bounds.sharp.norm_law": _words(p=1.5, q=2.0),
    "bounds.tightness.Tightness": _words(inequality="pl", families=((3, 0.5, 2.0),)),
    "bounds.newton.gradient_descent": _words(iterations=5),
    "bounds.newton.line_search_descent": _words(iterations=5),
    "bounds.newton.newton": _words(iterations=5),
    "bounds.landscape.caught_from_zero": _words(iterations=5),
    "claims.Claim": _words(**vars(CLAIM)),
    "claims.describe": _words(verdict="holds"),
    "claims.judge": _words(claim=CLAIM, cases=CASES, control=Measurement(2.0, 0.1)),
    "claims.answer": _words(passed=True),
    "classification.classifiers.nearest_neighbours": _labelled(3),
    "classification.classifiers.logistic_regression": _labelled(3),
    "classification.classifiers.kernel_logistic_regression": _labelled(3),
    "classification.classifiers.posterior": _posterior,
    "classification.circle_posterior.posterior_on_circle": _posterior_on_circle,
    "classification.stacks.Stack": _words(attention="softmax"),
    "classification.stacks.stacked_logits": _stack,
    "classification.stacks.least_squares_stack": _words(kind="softmax"),
    "classification.stack_rivals.preconditioned_steps": lambda s: {"x": s.unit(3, 4, 3), "y": s.one_hot(3, 4, 2)},
    "classification.stack_rivals.newton_steps": lambda s: {"x": s.unit(3, 4, 3), "y": s.one_hot(3, 4, 2)},
    "running.training.clipped": lambda s: {"slopes": {"a": s.normal(2, 3)}},
    "classification.descent.check_context": lambda s: _labelled(*s.batch)(s),
    "classification.descent.linear_classifier_step": lambda s: _labelled(*s.batch)(s),
    "classification.descent.kernel_classifier_step": lambda s: _labelled(*s.batch)(s) | {"adaptive": False},
    "classification.descent.check_on_sphere": lambda s: {"name": "x", "x": s.unit(3, 2)},
    "classification.descent.minimise_over_widths": _words(loss=lambda width: (width - 1) ** 2),
    "classification.descent.fit": _scores,
    "classification.asymptotics.noise_ratio": _words(kernel="exponential"),
    "classification.asymptotics.single_point_loss": _words(step="softmax"),
    "classification.asymptotics.best_single_point": _words(step="linear"),
    "classification.asymptotics.best_width": _words(d=3),
    "classification.asymptotics.limiting_ratio": _words(d=3),
    "classification.kernels.log_kernel": lambda s: {"family": "cauchy", "s": s.normal(3).tanh(), "beta": 1.5},
    "classification.head.logits": _words(kind="softmax"),
    "classification.head.sensitivity": _words(kind="softmax"),
    "classification.head.gradient": _words(kind="softmax"),
    "classification.head.weight_gradient": _weight_gradient,
    "classification.head.token_columns": lambda s: {"context": _examples(s)},
    "classification.contexts.SphereClassification": _words(n=4, d=3, classes=2),
    "classification.closeness.ClassifierCloseness": _words(attention="softmax"),
    "classification.closeness.paper_scale": _words(attention="softmax"),
    "classification.closeness.step_weights": _words(
        config=paper_scale(SphereClassification(4, 3, 2), "softmax"), fitted=FIT
    ),
    "classification.closeness.step_row": _words(
        config=paper_scale(SphereClassification(4, 3, 2), "softmax"), fitted=FIT
    ),
    "classification.class_counts.check_concentration": _words(concentration_of_counts=1.0),
    "classification.class_counts.class_counts": _words(concentration_of_counts=1.0),
    "classification.few_shot.FewShot": _words(data="wine", n=12, d=3, classes=3),
    "classification.few_shot_steps.over_splits": _words(values=[0.1, 0.3, 0.2, 0.5]),
    "classification.real_data.load": _words(name="wine"),
    "classification.fitted_steps.contexts": _words(purpose="test"),
    "classification.fitted_steps.MixedLengths": _words(steps=(LINEAR, SOFTMAX), lengths=(4, 6), test_lengths=(4,)),
    "classification.ladder.ReferenceLadder": _words(
        task=SphereClassification(4, 3, 2, balance="none"), sampled=2, test=3
    ),
    "classification.model_heads.share_ceiling": _words(rank=2, d=4),
    "classification.model_heads.whitened": lambda s: {
        "M": s.normal(3, 3),
        "covariance": torch.eye(3, dtype=s.dtype) + 0.1,
    },
    "classification.model_heads.attention_rows": lambda s: {
        "scores": s.normal(2, 3),
        "present": torch.eye(2, 3).to(s.dtype),
    },
    "classification.model_heads.fit_width": lambda s: (
        _of_attention("weights", "present")(s) | {"inner": s.normal(6, 3)}
    ),
    "classification.model_heads.divergence_explained": _of_attention("weights", "present", predicted=True),
    "classification.model_heads.squares_explained": _of_attention("weights", "present", predicted=True),
    "classification.model_heads.mean_by_offset": lambda s: _attention(s) | {"largest": 2},
    "classification.model_heads.rows_by_offset": lambda s: (
        _of_attention("present", "places")(s) | {"means": s.normal(5).abs()}
    ),
    "classification.printed.agrees_by_ratio": _words(allowed=1.5),
    "classification.printed.allowed_ratio": _words(ratios=[1.5, 2.0]),
    "classification.summaries.crossing": _words(
        n=[1, 2, 4], difference=[-1.0, 0.5, 1.0], error=[0.1, 0.1, 0.1], draws=5
    ),
    "classification.summaries.crosses": _words(
        n=[1, 2, 4], difference=[-1.0, 0.5, 1.0], error=[0.1, 0.1, 0.1], draws=5
    ),
    "classification.regimes.relative_quantiles": _words(values=[1.0, 2.0, 3.0, 4.0], levels=[0.5], groups=2),
    "classification.regimes.share_removed": _words(uniform=2.0),
    "constructions.with_projection": lambda s: {"weights": tuple(s.normal(s.size("e"), s.size("e")) for _ in range(3))},
    "display.interactive.Control": _words(label="n", values=(1, 2)),
    "display.interactive.figure": _words(
        name="a", controls=[Control("n", (1, 2))], draw=lambda n: State([{"x": [n]}], "note"), layout={}
    ),
    "display.interactive.arrow": _words(start=[0.0, 0.0], end=[1.0, 1.0], name="a", color="#000000"),
    "linear_regression.query_weights": lambda s: {
        "moment": s.normal(2, 4, 4),
        "weights": {name: s.normal(4, 4) for name in ("W_Q", "W_K", "W_V")},
        "d": 3,
    },
    "running.device.choose": _words(device="cpu"),
    "running.normals.standard_normal": _words(shape=[2, 3]),
    "running.streams.stream": _words(purpose="train"),
    "running.training.recorded_steps": _words(steps=5, every=2),
    "running.training.check_recorded": _words(record_at=[0, 2], steps=3),
    "running.graph.with_parents": _words(name="a.b"),
    "softmax_regression.beyond_summaries.both": _words(first=True, second=None),
    "softmax_regression.beyond_summaries.says_something": _words(numbers={"gain": Measurement(0.5, 0.1)}),
    "softmax_regression.beyond_summaries.who_loses": _words(numbers={"gain": CASES["one"], "SA gain": CASES["one"]}),
    "softmax_regression.beyond_summaries.converged": _words(numbers={"last quarter": Measurement(1.0, 0.001)}),
    "softmax_regression.closeness_claims.both_close": _words(
        query="held", end={"L_SA / L_GD": Measurement(1.0, 0.001), "Model Cos": Measurement(1.0, 0.001)}
    ),
    "softmax_regression.closeness_claims.verdicts": _words(findings=[judge(CLAIM, CASES, Measurement(2.0, 0.1))]),
    "softmax_regression.summaries.beside": _words(cases={"one": CASES}),
    "softmax_regression.summaries.named": _words(cases=CASES, chosen="one"),
    "softmax_regression.rival_summaries.most_alike": _words(
        measured={"step": {"rel": CASES["one"]}, "truth": {"rel": CASES["other"]}}, measure="rel"
    ),
    "softmax_regression.rivals.Rivals": _words(trained=SMALL, tuning=2),
    "softmax_regression.population.expected_loss": _words(loss="squared"),
    "softmax_regression.population.best_multiple": _words(loss="squared"),
    "softmax_regression.population.best_matrix": _words(loss="squared"),
    "softmax_regression.population.turned_overlap": lambda s: {
        "tasks": SoftmaxRegression(3, 2).sample(4, s.generator, dtype=s.dtype)
    },
    "softmax_regression.covariance.root": lambda s: {"covariance": torch.eye(3, dtype=s.dtype) + 0.1, "d": 3},
    "softmax_regression.covariance.inverse": lambda s: {"covariance": torch.eye(3, dtype=s.dtype) + 0.1, "d": 3},
    "softmax_regression.covariance.spread_evenly": _words(d=3, condition=2.0),
    "softmax_regression.documents.SoftmaxRegression": _words(condition=2.0),
    "softmax_regression.descent_rate.minimise_over_rates": _words(loss=lambda rate: (rate - 1) ** 2),
    "softmax_regression.depth.tune_own_rates": _words(start=[0.1, 0.2]),
    "softmax_regression.text.docstrings": _words(source='"""Some words."""'),
    "softmax_regression.text.prose": _words(documentation="Some words.\n\n>>> code"),
    "softmax_regression.text.divided": _words(documents=["Some words.", "Some more."]),
    "softmax_regression.text.shared_runs": _words(text=Text(["one", "two"], ["one", "two", "one"])),
    "softmax_regression.word_vectors.vocabulary": _words(words=["one", "two", "one"], size=2),
    "softmax_regression.word_vectors.numbered": _words(words=["one", "two", "three"], known=["two", "one"]),
    "softmax_regression.word_vectors.cooccurrences": _words(numbers=[0, 1, 2, 0], size=3),
    "softmax_regression.word_vectors.mutual_information": lambda s: {"counts": s.normal(3, 3).abs()},
    "softmax_regression.word_vectors.embed": lambda s: {"information": s.normal(5, 5).abs(), "d": 2},
    "softmax_regression.word_vectors.alike": lambda s: {"vectors": s.normal(3, 2)},
    "softmax_regression.word_vectors.nearest": _words(vectors=torch.eye(3) + 0.1, number=1, count=2),
    "softmax_regression.layers.stacked_direction": lambda s: {
        "matrices": [s.normal(3, 3), s.normal(3, 3)],
        "A": s.normal(2, 4, 3),
        "b": s.normal(2, 4).softmax(-1),
    },
    "softmax_regression.layers.token_direction": _words(entry=1),
    "softmax_regression.reduced_sampling.draw": lambda s: {"generators": [s.generator]},
    "softmax_regression.reduced_sampling.draw_normals": lambda s: {"shape": (3, 4), "generators": [s.generator]},
    "softmax_regression.reduced_sampling.assemble": lambda s: {
        "task": SoftmaxRegression(3, 2),
        "queries": ("same", "held"),
        "words": s.normal(2, 2, 4, 3),
        "inputs": s.normal(2, 3, 4, 2),
        "own": s.normal(2, 4, 3),
    },
    "softmax_regression.reduced_sampling.logits": lambda s: {"tasks": _reduced(s), "w": s.normal(2, 4, 2)},
    "softmax_regression.reduced_sampling.matrix_gradient": lambda s: {"tasks": _reduced(s), "M": s.normal(2, 2, 2)},
    "statistics.over_repetitions": _words(values=[1.0, 2.0, 4.0]),
    "statistics.median": _words(values=[1.0, 2.0, 4.0]),
    "statistics.least": _words(cases=CASES),
    "statistics.largest": _words(cases=CASES),
    "statistics.within": _words(low=0.0, high=1.0),
    "statistics.not_resolved_from": _words(cases=CASES, chosen="one"),
    "statistics.wilson": _words(successes=1, trials=3),
    "statistics.Measurement": _words(value=1.0, standard_error=0.1),
}
