"""The text, what is counted in it, and the vectors; that nothing of the test half is in them."""

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy
import pytest
import torch
from scipy.sparse.linalg import svds

from icl_lib.softmax_regression import text, word_vectors
from icl_lib.softmax_regression.text import Text
from icl_lib.softmax_regression.word_facts import WordFacts
from icl_lib.softmax_regression.word_vectors import cooccurrences, embed, mutual_information, of_the_text

CPU = torch.device("cpu")


@pytest.fixture
def reread() -> Iterator[None]:
    """The text is read anew, here and by those that come after."""
    text.load.cache_clear()
    yield
    text.load.cache_clear()


def test_docstrings_come_in_the_order_of_the_file() -> None:
    source = '"""One."""\nclass A:\n    """Two."""\n    def f(self):\n        """Three."""\ndef g():\n    x = "no"\n'
    assert text.docstrings(source) == "One.\n\nTwo.\n\nThree."
    with pytest.raises(ValueError, match=r"source must be Python, got .* in line 1"):
        text.docstrings("def (")


def test_prose_is_words_of_letters_without_code_and_directives() -> None:
    documentation = "Fit A 2nd `n_samples` Model.\n\n>>> fit(x)\nArray([1])\n\n.. [1] Bishop\nEnd"
    assert text.prose(documentation) == [("fit", "nd", "samples", "model"), ("end",)]


def test_no_line_is_in_both_halves() -> None:
    halves = text.divided(["one two\nthree four", "one two\nfive six", "seven\nfive six", "seven\neight"])
    assert halves == Text(["one", "two", "three", "four", "seven"], ["five", "six", "eight"])
    assert text.shared_runs(Text(["aa", "bb", "cc"], ["bb", "cc", "dd"]), 2) == 0.5


def test_the_installed_text_is_the_pinned_one(reread: None) -> None:
    halves = text.load()
    assert min(map(len, halves)) > 90_000
    assert text.shared_runs(halves, 10) < 0.02


def test_another_text_is_one_error(reread: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('"""Some words."""')
    monkeypatch.setattr(text, "_folder", lambda: tmp_path)
    expected = r"must be that of scikit-learn 1\.9\.1 with the digest a5385.*, got scikit-learn .* with .*: install"
    with pytest.raises(RuntimeError, match=expected):
        text.load()


def test_without_the_package_the_error_says_how_to_install_it(reread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "distribution", lambda _: distribution("a-package-that-nobody-has"))
    with pytest.raises(ModuleNotFoundError, match="scikit-learn, which is not installed: pip install -r requirements"):
        text.load()


def test_words_are_counted_within_reach_on_both_sides() -> None:
    counts = cooccurrences([0, 1, 2, 0], 3, 2)
    expected = torch.tensor([[0, 2, 2], [2, 0, 1], [2, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(counts, expected)
    information = mutual_information(counts)
    # N = 10, and words 0, 1, 2 have 4, 3 and 3 of it.
    assert information[0, 1].item() == pytest.approx(torch.tensor(2 * 10 / 12).log().item())
    assert information[1, 2].item() == pytest.approx(torch.tensor(10 / 9).log().item())
    assert not information.diag().any()


def test_vectors_are_the_largest_singular_ones_by_the_root_of_their_values() -> None:
    drawn = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    information = (drawn + drawn.mT).clamp_min(0)
    vectors = embed(information, 3)
    left, values, _ = torch.linalg.svd(information)
    whole = left[:, :3] * values[:3].sqrt()
    centred = whole - whole.mean(0)
    centred = centred / centred.square().mean().sqrt()
    # Up to the sign of a column, which is that of its largest entry before centring.
    signs = left[:, :3].gather(0, left[:, :3].abs().argmax(0, keepdim=True)).sign()
    torch.testing.assert_close(vectors, centred * signs)
    assert vectors.square().mean().item() == pytest.approx(1)


def test_a_dimension_that_is_rounding_is_empty() -> None:
    words = torch.arange(1.0, 8.0, dtype=torch.float64)
    vectors = embed(torch.outer(words, words), 2)
    centred = words - words.mean()
    torch.testing.assert_close(vectors[:, 0], centred / centred.square().mean().sqrt() * 2**0.5)
    assert not vectors[:, 1].any()


def test_the_vectors_of_the_text_hang_on_no_rounding() -> None:
    """Singular values are apart, and so are the entry that gives a sign and the largest one of the other sign."""
    found = of_the_text(20, 2000)
    information = mutual_information(cooccurrences(found.train.tolist(), 2000, word_vectors.REACH))
    left, values, _ = svds(information.numpy(), 21)
    values.sort()
    assert (numpy.diff(values) / values[1:]).min() > 1e-3
    assert numpy.abs(left.max(0) + left.min(0)).min() > 1e-3
    assert found.words[0] == "the"
    near = word_vectors.nearest(found.vectors, found.words.index("kernel"), 4)
    assert {"rbf", "kernels"} <= {found.words[k] for k in near}


def test_the_test_half_is_in_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.randint(40, (900,), generator=torch.Generator().manual_seed(0)).sqrt().int().tolist()
    train = [chr(97 + k) * 2 for k in drawn]
    found = []
    for test in (["aa", "bb", "cc", "new"], ["bb"] * 500 + ["new"] * 500):
        monkeypatch.setattr(text, "load", lambda test=test: Text(train, test))
        found.append(of_the_text.__wrapped__(2, 6))
    one, other = found
    assert (one.words, one.train.tolist()) == (other.words, other.train.tolist())
    torch.testing.assert_close(one.vectors, other.vectors)
    assert [one.words[k] for k in one.test.tolist()] == [word for word in ("aa", "bb", "cc") if word in one.words]
    assert len(other.test) == 500 * ("bb" in one.words)


def test_facts_are_those_of_the_text() -> None:
    facts = WordFacts(vocabulary=500, shown=("kernel",), near=2).compute(CPU)
    halves = text.load()
    assert facts["words"].values.tolist() == [len(halves.train), len(halves.test)]
    assert 0.5 < facts.known.values[1] < facts.known.values[0] < 1
    assert len(facts.nearest.values[0].split(", ")) == 2
    with pytest.raises(ValueError, match=r"shown must be one of .*, got 'cucumber'"):
        WordFacts(vocabulary=50, shown=("cucumber",)).compute(CPU)


def test_numbers_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="numbers must hold at least two words, got 1"):
        cooccurrences([0], 3, 1)
    with pytest.raises(ValueError, match=r"numbers must be an integer in \[0, 2\], got 3"):
        cooccurrences([0, 3], 3, 1)


def test_lengths_of_vectors_are_alike_or_kept() -> None:
    unit, kept = of_the_text(3, 50), of_the_text(3, 50, "kept")
    torch.testing.assert_close(unit.vectors.square().mean(-1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(word_vectors.alike(kept.vectors), unit.vectors)
    assert kept.vectors.square().mean(-1).std() > 0.1
    with pytest.raises(ValueError, match="lengths must be one of 'unit', 'kept', got 'long'"):
        of_the_text(3, 50, "long")
    with pytest.raises(ValueError, match="vectors must all have a direction"):
        word_vectors.alike(torch.zeros(2, 3))


def test_what_cannot_be_embedded_is_refused() -> None:
    with pytest.raises(ValueError, match="counts must be >= 0 with a pair for each word"):
        mutual_information(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="information must tell words apart"):
        embed(torch.ones(4, 4, dtype=torch.float64), 1)
    # One direction in two dimensions: the second is rounding, and any vector, at every call another one.
    for _ in range(20):
        with pytest.raises(ValueError, match="information must tell words apart, got the same vector for all"):
            embed(torch.ones(5, 5, dtype=torch.float64), 2)
    with pytest.raises(ValueError, match="information must tell words apart, got zeros"):
        embed(torch.zeros(4, 4, dtype=torch.float64), 1)
    with pytest.raises(ValueError, match=r"d must be an integer in \[1, 3\], got 4"):
        embed(torch.eye(4, dtype=torch.float64), 4)
