import math

import pytest
import torch
from scipy.stats import kstest

from icl_lib.classification.circle import Arcs
from icl_lib.classification.contexts import SphereClassification
from icl_lib.running.streams import stream


def class_vectors(batch: int, classes: int) -> torch.Tensor:
    angle = 2 * math.pi * torch.rand(batch, classes, generator=stream(0, "test"), dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


@pytest.mark.parametrize("classes", [1, 2, 5, 20])
def test_arcs_part_the_circle(classes: int) -> None:
    """On a fine grid of the circle every point lies in exactly one arc, that of the nearest class vector."""
    w = class_vectors(200, classes)
    arcs = Arcs.of(w)
    torch.testing.assert_close(arcs.width.sum(-1), torch.full((200,), 2 * math.pi, dtype=torch.float64))
    angle = torch.linspace(-math.pi, math.pi, 997, dtype=torch.float64)
    nearest = (w @ torch.stack([angle.cos(), angle.sin()])).argmax(1)
    into = (angle - arcs.start.unsqueeze(-1)).remainder(2 * math.pi)
    inside = into < arcs.width.unsqueeze(-1)
    assert bool((inside.sum(1) == 1).all())
    assert torch.equal(inside.double().argmax(1), nearest)


def test_points_of_a_class_are_uniform_on_its_arc() -> None:
    w = class_vectors(50, 5)
    arcs = Arcs.of(w)
    labels = torch.randint(5, (50, 400), generator=stream(1, "test"))
    points = arcs.points(labels, stream(2, "test"))
    assert torch.equal((w @ points).argmax(1), labels)
    into = (torch.atan2(points[:, 1], points[:, 0]) - arcs.start.gather(1, labels)).remainder(2 * math.pi)
    share = (into / arcs.width.gather(1, labels)).flatten().numpy()
    assert kstest(share, "uniform").pvalue > 0.01
    assert kstest(share**1.03, "uniform").pvalue < 0.01


def test_vectors_off_the_plane_are_refused() -> None:
    with pytest.raises(ValueError, match="w must"):
        Arcs.of(torch.ones(2, 5, 3))


@pytest.mark.parametrize("changes", [{}, {"balance": "context"}, {"concentration_of_counts": 1.0}])
def test_contexts_on_the_circle_have_the_law_of_those_by_rejection(changes: dict[str, object]) -> None:
    """The same task once more by rejection, as it is for every other d: cosines with the query, alike and unlike."""
    task = SphereClassification(20, 2, 4, **changes)  # type: ignore[arg-type]
    # All of the dimensions are relevant, which changes nothing but the way of drawing.
    slow = SphereClassification(20, 2, 4, relevant=2, **changes)  # type: ignore[arg-type]
    found = []
    for k, one in enumerate((task, slow)):
        context = one.sample(6000, stream(k, "test"), dtype=torch.float64)
        s = (context.x @ context.x_query.unsqueeze(-1)).squeeze(-1)
        shared = (context.y @ context.y_query.unsqueeze(-1)).squeeze(-1)
        largest = context.y.sum(1).amax(1)
        values = {"near": s * shared, "far": s * (1 - shared), "shared": shared}
        found.append({name: value.mean(-1) for name, value in values.items()} | {"largest": largest})
    for name in found[0]:
        a, b = (one[name] for one in found)
        error = float((a.var() / len(a) + b.var() / len(b)).sqrt())
        assert abs(float(a.mean() - b.mean())) <= 3.5 * error + 1e-12, name


def test_every_point_of_a_context_may_have_every_class() -> None:
    """Classes stand in an order of chance, so that the first points of a context are no class of their own."""
    task = SphereClassification(8, 2, 4)
    first = [int(task.sample(3, stream(seed, "test")).y[0, 0].argmax()) for seed in range(60)]
    assert set(first) == {0, 1, 2, 3}
