"""Tables of real data: pinned, split without anything on both sides, and their points on the sphere."""

import numpy
import pytest
import torch

from icl_lib.classification import real_data
from icl_lib.classification.few_shot import FewShot
from icl_lib.running.streams import stream

DIGITS = FewShot("digits", 25, 5, 5)
ALL = (("digits", 5), ("wine", 3), ("breast cancer", 2))


@pytest.mark.parametrize(("name", "rows", "columns", "classes"), [("digits", 1797, 64, 10), ("wine", 178, 13, 3)])
def test_a_table_is_what_scikit_learn_ships(name: str, rows: int, columns: int, classes: int) -> None:
    table = real_data.load(name)
    assert table.x.shape == (rows, columns)
    assert table.x.dtype == torch.float64
    assert table.classes == classes


def test_other_data_are_refused_with_the_version_and_both_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    source = real_data.SOURCES["digits"]
    monkeypatch.setitem(real_data.SOURCES, "digits", source._replace(digest="0" * 64))
    real_data._loaded.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"'digits' of scikit-learn \S+ has the SHA-256 f6d9\w+, .* 0{64}: pip"):
            real_data.load("digits")
    finally:
        real_data._loaded.cache_clear()


def test_one_value_that_differs_changes_the_digest() -> None:
    x, label = numpy.arange(6.0).reshape(2, 3), numpy.array([0, 1])
    other = x.copy()
    other[1, 1] = numpy.nextafter(other[1, 1], 9)
    digests = {real_data._digest_of(*each) for each in ((x, label), (other, label), (x, label[::-1]))}
    assert len(digests) == 3


@pytest.mark.parametrize(("name", "classes"), ALL)
def test_two_sides_share_no_row_and_split_classes_no_class(name: str, classes: int) -> None:
    table = real_data.load(name)
    for split in range(6):
        sides = real_data.halves(table, classes, split)
        both = torch.cat([sides["fit"], sides["test"]])
        assert sorted(both.tolist()) == list(range(len(table.label)))
        seen = [set(table.label[rows].tolist()) for rows in sides.values()]
        assert seen[0].isdisjoint(seen[1]) if name == "digits" else seen[0] == seen[1]


def test_every_second_split_is_the_one_before_with_its_sides_exchanged() -> None:
    table = real_data.load("digits")
    first, second, third = (real_data.halves(table, 5, split) for split in range(3))
    assert first["fit"].equal(second["test"])
    assert first["test"].equal(second["fit"])
    assert not first["fit"].equal(third["fit"])


@pytest.mark.parametrize(("name", "classes"), ALL)
@pytest.mark.parametrize("d", [2, 5])
def test_how_rows_become_points_does_not_depend_on_the_rows_to_test(name: str, classes: int, d: int) -> None:
    table = real_data.load(name)
    sides = real_data.halves(table, classes, 0)
    x = real_data.on_sphere(name, table, sides["fit"], d)
    spoilt = table.x.clone()
    spoilt[sides["test"]] += 7.0
    moved = real_data.on_sphere(name, table._replace(x=spoilt), sides["fit"], d)
    assert moved[sides["fit"]].equal(x[sides["fit"]])
    assert not moved[sides["test"]].equal(x[sides["test"]])
    torch.testing.assert_close(x.norm(dim=1), torch.ones(len(x), dtype=torch.float64))


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    table = real_data.load("wine")
    rows = real_data.halves(table, 3, 0)["fit"]
    z = (table.x - table.x[rows].mean(0)) / table.x[rows].std(0)
    _, _, directions = torch.linalg.svd(z[rows], full_matrices=False)
    projected = (z - z[rows].mean(0)) @ directions[:2].T
    wanted = projected / projected.norm(dim=1, keepdim=True)
    got = real_data.on_sphere("wine", table, rows, 2)
    torch.testing.assert_close(got @ got.T, wanted @ wanted.T)


def test_a_dimension_above_the_rank_is_refused() -> None:
    table = real_data.load("digits")
    with pytest.raises(ValueError, match="d must be at most the rank 19 of the 20 rows that are fitted, got 63"):
        real_data.on_sphere("digits", table, torch.arange(20), 63)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("concentration", [None, 1.0])
def test_a_context_has_rows_of_its_side_and_its_query_is_none_of_them(
    concentration: float | None, rotated: bool
) -> None:
    task = FewShot("digits", 25, 64, 5, split=1, side="test", concentration_of_counts=concentration, rotated=rotated)
    context = task.sample(50, stream(0, "test"), dtype=torch.float64)
    table = real_data.load("digits")
    rows = real_data.halves(table, 5, 1)["test"]
    unit = real_data.on_sphere("digits", table, real_data.halves(table, 5, 1)["fit"], 64)[rows]
    points = torch.cat([context.x, context.x_query.unsqueeze(1)], dim=1)
    gram = points @ points.mT
    if not rotated:
        found = (points @ unit.T).max(-1)
        torch.testing.assert_close(found.values, torch.ones_like(found.values))
        classes = table.label[rows][found.indices]
        labels = torch.cat([context.y, context.y_query.unsqueeze(1)], dim=1).argmax(-1)
        for one, names in zip(classes, labels, strict=True):
            assert len({*zip(one.tolist(), names.tolist(), strict=True)}) == len(set(names.tolist()))
    # Two images of the table are nowhere as near to each other as an image is to itself.
    assert float((gram - torch.eye(26)).amax()) < 1 - 1e-4
    torch.testing.assert_close(gram.diagonal(dim1=1, dim2=2), torch.ones(50, 26, dtype=torch.float64))


def test_labels_mean_no_class() -> None:
    task = FewShot("digits", 5, 64, 5)
    context = task.sample(400, stream(0, "test"), dtype=torch.float64)
    table = real_data.load("digits")
    rows = real_data.halves(table, 5, 0)["fit"]
    unit = real_data.on_sphere("digits", table, rows, 64)[rows]
    classes = table.label[rows][(context.x_query @ unit.T).argmax(1)]
    asked = context.y_query.argmax(1)
    table_of = torch.stack([torch.bincount(asked[classes == c], minlength=5) for c in classes.unique()]).double()
    expected = table_of.sum(1, keepdim=True) * table_of.sum(0) / table_of.sum()
    # χ² with 16 degrees of freedom: above 45 in one of 7000 draws.
    assert float(((table_of - expected) ** 2 / expected).sum()) < 45


def test_counts_are_equal_or_dirichlet_and_no_class_has_more_points_than_rows() -> None:
    balanced = DIGITS.sample(20, stream(0, "test"))
    assert (balanced.y.sum(1) == 5).all()
    uneven = FewShot("wine", 30, 5, 3, concentration_of_counts=0.5)
    counts = uneven.sample(300, stream(0, "test")).y.sum(1)
    assert (counts.sum(1) == 30).all()
    assert counts.max() <= uneven.most == 23
    assert counts.std() > 2


def test_a_query_of_every_class_and_rotations_that_leave_inner_products() -> None:
    drawn = FewShot("digits", 25, 5, 5, rotated=True).sample_every_query(30, stream(0, "train"), dtype=torch.float64)
    assert drawn.x_query.shape == (30, 5, 5)
    assert drawn.y_query.argmax(-1).equal(torch.arange(5).expand(30, 5))
    same = DIGITS.sample_every_query(30, stream(0, "train"), dtype=torch.float64)
    torch.testing.assert_close(drawn.x @ drawn.x_query.mT, same.x @ same.x_query.mT)
    assert not torch.allclose(drawn.x, same.x)


def test_rotations_prefer_no_direction() -> None:
    drawn = FewShot("digits", 25, 2, 5, rotated=True).sample(4000, stream(0, "test"), dtype=torch.float64)
    # Of 4000 uniform directions the mean and both second moments have a deviation below 0.0112.
    assert float(drawn.x_query.mean(0).abs().max()) < 0.05
    assert float((drawn.x_query.mT @ drawn.x_query / 4000 - torch.eye(2) / 2).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"data": "iris"}, ValueError, "data must be one of"),
        ({"classes": 11}, ValueError, r"classes must be an integer in \[2, 10\], got 11"),
        ({"n": 24}, ValueError, "n must be a multiple of classes = 5 where they are equal, got 24"),
        ({"n": 1000}, ValueError, "n must be at most 865, as each of the 5 classes of 'digits' has 173 points"),
        ({"d": 65}, ValueError, r"d must be an integer in \[1, 64\], got 65"),
        ({"d": 63}, ValueError, "d must be at most the rank"),
        ({"side": "both"}, ValueError, "side must be one of"),
        ({"split": -1}, ValueError, "split must be"),
        ({"concentration_of_counts": 0.0}, ValueError, "concentration_of_counts must be"),
        ({"rotated": 1}, TypeError, "rotated must be True or False, got 1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        FewShot(**{"data": "digits", "n": 25, "d": 5, "classes": 5, **change})  # type: ignore[arg-type]


def test_shares_that_a_class_cannot_have_are_given_up() -> None:
    with pytest.raises(RuntimeError, match="no shares of 60 points with at most 23 of a class after 200 draws"):
        FewShot("wine", 60, 5, 3, concentration_of_counts=1e-9).sample(5, stream(0, "test"))
