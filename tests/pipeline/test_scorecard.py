"""The directive {scorecard}: claims counted and grouped by paper and part, another seed's verdict included."""

import re
from pathlib import Path

import pytest
import yaml
from small_site import built

REST = {"measured": "0.10 ± 0.02", "tolerance": None, "source": "s", "test": "t", "limitation": "l", "evidence": "fig"}


def claim(paper: int, page: str, verdict: str, **more: object) -> dict[str, object]:
    return {"paper": paper, "page": page, "verdict": verdict, "statement": page, "negative_control": "", **REST, **more}


CLAIMS = [
    claim(1, "one/a", "holds"),
    claim(2, "two/b", "undecidable"),
    claim(1, "two/b", "fails"),
    claim(1, "one/a", "holds", replicated={"verdict": "fails", "measured": "3 ± 1", "seed": 1, "is_current": True}),
    claim(2, "one/c", "holds", replicated={"verdict": "holds", "measured": "3 ± 1", "seed": 1, "is_current": False}),
]


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The first page of a book of two parts, one of whose pages stands below another."""
    parts = [
        {"caption": "First", "chapters": [{"file": "one/a", "sections": [{"file": "one/c"}]}]},
        {"caption": "Second", "chapters": [{"file": "two/b"}]},
    ]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "index", "parts": parts}))
    for name in ("one/a", "one/c", "two/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.rst").write_text(f"{name}\n=====\n")
    found, told = built(tmp_path, ".. scorecard::", CLAIMS, ["sphinx_external_toc", "tools.sphinx_ext.scorecard"])
    assert not told
    return found


def words(html: str) -> list[str]:
    return re.sub(r"<[^>]+>", " ", html).split()


def test_claims_are_counted_by_paper_and_outcome(page: str) -> None:
    """What another seed judges otherwise is counted as not resolved."""
    (counts,) = re.findall(r"<table[^>]*scorecard-counts.*?</table>", page, re.DOTALL)
    head, *rows = (words(row) for row in re.findall(r"<tr.*?</tr>", counts, re.DOTALL))
    assert head == ["Outcome", "Paper", "1", "Paper", "2"]
    assert [" ".join(row) for row in rows] == [
        "holds 1 1",
        "conditional 0 0",
        "not resolved 1 0",
        "not telling 0 1",
        "fails 1 0",
    ]


def test_claims_stand_together_by_paper_and_part_in_the_order_of_the_book(page: str) -> None:
    titles = re.findall(r'<p class="rubric">(.*?)</p>', page)
    assert titles == ["Paper 1: First", "Paper 1: Second", "Paper 2: First", "Paper 2: Second"]
    groups = [
        [words(one)[0] for one in re.findall(r"<summary.*?</summary>", group, re.DOTALL)]
        for group in page.split('class="rubric"')[1:]
    ]
    assert groups == [["one/a", "one/a"], ["two/b"], ["one/c"], ["two/b"]]


def test_a_row_carries_the_outcome_by_which_it_is_counted(page: str) -> None:
    rows = re.findall(r'<tr class="[^"]*(outcome-[a-z-]+)', page)
    assert rows == [f"outcome-{one}" for one in ("holds", "not-resolved", "fails", "holds", "undecidable")]
