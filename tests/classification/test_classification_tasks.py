"""The classification task: labels are what they say, variants do what they name, bad input is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ive

from icl_lib.classification.contexts import SphereClassification, _SphereDraw
from icl_lib.classification.regimes import deviation_of_counts
from icl_lib.running.device import one_thread
from icl_lib.running.streams import stream


@pytest.fixture(scope="module", autouse=True)
def single_thread():
    """Small arrays are slower on several threads."""
    with one_thread():
        yield


def draw(task, batch=200, **kwargs):
    return task.sample_with_classes(batch, stream(0, "test"), **kwargs)


@given(n=st.integers(1, 30), d=st.integers(2, 6), classes=st.integers(2, 7))
def test_points_lie_on_the_sphere_and_labels_are_the_nearest_class(n, d, classes):
    context, w = draw(SphereClassification(n, d, classes, balance="none"), 5, dtype=torch.float64)
    assert context.x.shape == (5, n, d)
    assert context.y.shape == (5, n, classes)
    assert context.x_query.shape == (5, d)
    assert context.y_query.shape == (5, classes)
    torch.testing.assert_close(context.x.norm(dim=-1), torch.ones(5, n, dtype=torch.float64))
    assert torch.equal(context.y.argmax(-1), (context.x @ w.mT).argmax(-1))
    assert torch.equal(context.y.sum(-1), torch.ones(5, n, dtype=torch.float64))
    assert torch.equal(context.y_query.argmax(-1), (w @ context.x_query.unsqueeze(-1)).squeeze(-1).argmax(-1))


def test_storage_is_token_last():
    context = SphereClassification(10, 3, 4, balance="none").sample(6, stream(0, "test"))
    assert context.x.stride(-2) == 1
    assert context.y.stride(-2) == 1


def test_points_are_uniform_on_the_sphere():
    x = (
        SphereClassification(100, 4, 3, balance="none")
        .sample(400, stream(0, "test"), dtype=torch.float64)
        .x.reshape(-1, 4)
    )
    moment = x.mT @ x / len(x)
    torch.testing.assert_close(moment, torch.eye(4, dtype=torch.float64) / 4, atol=0.006, rtol=0)
    assert x.mean(0).abs().max() < 0.01


@pytest.mark.parametrize("balance", ["context", "context and query"])
@pytest.mark.parametrize(("n", "classes"), [(20, 5), (24, 4), (5, 5)])
def test_balanced_contexts_hold_every_class_equally_often(balance, n, classes):
    context, w = draw(SphereClassification(n, 3, classes, balance=balance))
    counts = context.y.sum(1)
    assert context.x.shape == (200, n, 3)
    assert torch.all(counts == n // classes)
    assert torch.equal(context.y.argmax(-1), (context.x @ w.mT).argmax(-1))
    assert torch.equal(context.y_query.argmax(-1), (w @ context.x_query.unsqueeze(-1)).squeeze(-1).argmax(-1))


def test_balanced_contexts_that_there_are_not_are_refused_or_end_in_an_error(monkeypatch):
    """A third class has no points on a line; and where some exist but are rare, drawing ends."""
    with pytest.raises(ValueError, match="relevant must be above 1 with balance='context' and classes > 2, got 1"):
        SphereClassification(12, 3, 3, relevant=1, balance="context")
    draw(SphereClassification(10, 3, 2, relevant=1, balance="context"))
    monkeypatch.setattr("icl_lib.classification.contexts._ROUNDS", 2)
    with pytest.raises(RuntimeError, match="no balanced contexts after 2 draws for 200 of 200"):
        draw(SphereClassification(10, 3, 2, offset=1e6, balance="context"))


def test_the_standard_is_the_authors_setting():
    assert SphereClassification(100, 5, 5).balance == "context and query"


def test_every_class_has_a_query_of_its_own():
    context = SphereClassification(20, 3, 4).sample_every_query(300, stream(0, "test"), dtype=torch.float64)
    assert context.x.shape == (300, 20, 3)
    assert torch.all(context.y.sum(1) == 5)
    assert context.x_query.shape == (300, 4, 3)
    assert torch.all(context.y_query.sum(1) == 1)
    assert torch.all(context.y_query.sum(2) == 1)
    # Points of one class have positive cosines with each other more often than with other classes' points.
    same = context.x_query @ context.x.mT
    own = (context.y_query @ context.y.mT) > 0
    assert same[own].mean() > 0.2 > same[~own].mean()
    with pytest.raises(ValueError, match="balance must be one of 'context and query', got 'context'"):
        SphereClassification(20, 3, 4, balance="context").sample_every_query(3, stream(0, "test"))


@pytest.mark.parametrize("alpha", [0.3, 3.0, 1e6])
def test_unequal_class_counts_have_the_moments_of_dirichlet_shares(alpha):
    n, classes = 100, 4
    task = SphereClassification(n, 3, classes, concentration_of_counts=alpha)
    context, w = draw(task, 1500)
    counts = context.y.sum(1).double()
    assert torch.all(counts.sum(1) == n)
    assert torch.equal(context.y.argmax(-1), (context.x @ w.mT).argmax(-1))
    variance = n**2 * (1 / classes) * (1 - 1 / classes) / (1 + classes * alpha)
    assert counts.var(0).mean() == pytest.approx(variance, rel=0.12, abs=0.2)
    assert deviation_of_counts(task) == pytest.approx(math.sqrt(variance))
    assert (context.y_query.mean(0) - 1 / classes).abs().max() < 0.06


def test_balanced_points_are_uniform_within_their_class():
    # Two classes on the circle: a region is a half circle, and the mean cosine with its middle is 2/π.
    context, w = draw(SphereClassification(20, 2, 2, balance="context"), 500, dtype=torch.float64)
    normal = torch.nn.functional.normalize(w[:, 0] - w[:, 1], dim=-1)
    cosines = (context.x @ normal.unsqueeze(-1)).squeeze(-1)
    assert cosines[context.y[..., 0] > 0].mean() == pytest.approx(2 / math.pi, abs=0.01)


def test_query_classes_are_uniform_only_where_the_query_is_balanced():
    free = draw(SphereClassification(20, 5, 5, balance="context"), 4000)
    balanced = draw(SphereClassification(20, 5, 5, balance="context and query"), 4000)
    frequency = [context.y_query.mean(0) for context, _ in (free, balanced)]
    assert all((f - 0.2).abs().max() < 0.025 for f in frequency)
    # A free query falls into a class in proportion to its region, so the class of the largest region leads.
    area = [(torch.nn.functional.normalize(torch.randn(500, 5), dim=-1) @ w.mT).argmax(-1) for _, w in (free, balanced)]
    largest = [torch.stack([(a == c).sum(-1) for c in range(5)], -1).argmax(-1) for a in area]
    hit = [(c.y_query.argmax(-1) == top).double().mean() for (c, _), top in zip((free, balanced), largest, strict=True)]
    assert hit[0] > 0.25
    assert abs(hit[1] - 0.2) < 0.03


@pytest.mark.parametrize(("d", "kappa"), [(2, 3.0), (5, 3.0), (5, 10.0)])
def test_clusters_have_the_mean_cosine_of_von_mises_and_fisher(d, kappa):
    task = SphereClassification(50, d, 3, inputs="clusters", concentration=kappa, labels="own", balance="none")
    context, w = draw(task, 800, dtype=torch.float64)
    centre = context.y @ w
    cosine = (centre * context.x).sum(-1)
    torch.testing.assert_close(context.x.norm(dim=-1), torch.ones_like(cosine))
    expected = ive(d / 2, kappa) / ive(d / 2 - 1, kappa)
    assert float(cosine.mean()) == pytest.approx(expected, abs=4 * float(cosine.std()) / math.sqrt(cosine.numel()))


def test_nearest_labels_of_clusters_differ_from_their_own():
    task = SphereClassification(50, 3, 4, inputs="clusters", concentration=3.0, balance="none")
    context, w = draw(task)
    assert torch.equal(context.y.argmax(-1), (context.x @ w.mT).argmax(-1))


def test_prototypes_share_a_class():
    context, w = draw(SphereClassification(30, 4, 3, prototypes=2, balance="none"))
    assert w.shape == (200, 6, 4)
    assert torch.equal(context.y.argmax(-1), (context.x @ w.mT).argmax(-1) // 2)


def test_noise_replaces_labels_in_the_context_only_unless_asked():
    clean, w = draw(SphereClassification(50, 3, 4, noise=0.4, balance="none"), 2000)
    wrong = (clean.y.argmax(-1) != (clean.x @ w.mT).argmax(-1)).double().mean()
    assert float(wrong) == pytest.approx(0.4 * 3 / 4, abs=0.01)
    assert torch.equal(clean.y_query.argmax(-1), (w @ clean.x_query.unsqueeze(-1)).squeeze(-1).argmax(-1))
    noisy, w = draw(SphereClassification(50, 3, 4, noise=0.4, noisy="context and query", balance="none"), 2000)
    changed = noisy.y_query.argmax(-1) != (w @ noisy.x_query.unsqueeze(-1)).squeeze(-1).argmax(-1)
    assert float(changed.double().mean()) == pytest.approx(0.3, abs=0.04)


def test_irrelevant_dimensions_do_not_move_labels():
    context, w = draw(SphereClassification(30, 5, 3, relevant=2, balance="none"))
    assert torch.equal(w[..., 2:], torch.zeros_like(w[..., 2:]))
    torch.testing.assert_close(w.norm(dim=-1), torch.ones(200, 3))
    assert context.x[..., 2:].abs().max() > 0


def test_offsets_make_classes_unequal_and_gaussian_inputs_leave_the_sphere():
    spread = [
        draw(SphereClassification(100, 5, 5, offset=o, balance="none"))[0].y.mean(1).std(-1).mean() for o in (0.0, 0.5)
    ]
    assert spread[1] > 1.5 * spread[0]
    x = draw(SphereClassification(100, 5, 5, inputs="gaussian", balance="none"))[0].x
    assert float(x.square().sum(-1).mean()) == pytest.approx(1, abs=0.02)
    assert x.norm(dim=-1).std() > 0.2


def test_where_classes_tie_the_first_takes_the_point():
    task = SphereClassification(6, 3, 4, balance="none")
    own = _SphereDraw(task, stream(0, "test"), None, torch.float32)
    w, offset = own.classes(5)
    w[:, 2] = w[:, 1]
    x, y = own.points(w, offset, 60)
    first = (w @ x).argmax(1)
    assert not y[:, 2].any()
    assert y[:, 1].any()
    assert torch.equal(y.sum(1), torch.ones(5, 60))
    assert torch.equal(y.argmax(1), torch.where(first == 2, 1, first))


def test_streams_repeat():
    task = SphereClassification(12, 3, 4, balance="context")
    first, second = (task.sample(7, stream(1, "tune", 2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "classes must be an integer >= 2, got 1"),
        ({"d": 1}, "d must be an integer >= 2, got 1"),
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"balance": "all"}, "balance must be one of"),
        ({"inputs": "cube"}, "inputs must be one of"),
        ({"labels": "own"}, "labels must be one of 'nearest', got 'own'"),
        ({"noise": 1.5}, "noise must be a finite number"),
        ({"n": 12, "balance": "context"}, "n must be a multiple of classes = 5 with balance='context', got 12"),
        ({"concentration_of_counts": 1.0}, "balance must be one of 'context', 'context and query'"),
        ({"concentration_of_counts": 0.0, "balance": "context"}, "concentration_of_counts must be a finite number > 0"),
        ({"noise": 0.1, "balance": "context"}, "noise must be 0 with balance='context'"),
        ({"relevant": 6}, r"relevant must be an integer in \[1, 5\], got 6"),
        ({"concentration": 0.0}, "concentration must be a finite number > 0"),
    ],
)
def test_bad_tasks_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SphereClassification(**{"n": 10, "d": 5, "classes": 5, "balance": "none", **change})


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="batch must be an integer >= 1"):
        SphereClassification(3, 3, 3, balance="none").sample(0, stream(0, "test"))
