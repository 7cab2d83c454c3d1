"""Claims from another root seed: what is computed, what is recorded, and what the scorecard makes of it."""

import json
from pathlib import Path

import pytest
from fixture_book import REPOSITORY, replace

from tools import commands, replication
from tools.catalogue import Catalogue, load
from tools.errors import BookError
from tools.layout import Layout
from tools.progress import Progress
from tools.sphinx_ext import scorecard
from tools.tolerance import agree

JUDGE = """import json
import os
from pathlib import Path


def record(seed, factor):
    parts = ["id", "source", "test", "standard_error", "tolerance", "evidence", "limitation", "negative_control"]
    claim = dict.fromkeys(parts, "fig-line") | {"id": "seeded", "paper": "1", "statement": "It is small."}
    claim |= {"value": factor * seed, "measured": f"{factor * seed}", "verdict": "fails" if seed > 2 else "holds"}
    folder = Path(os.environ["ICL_OUTPUT"]) / "claims"
    folder.mkdir(exist_ok=True)
    (folder / "seeded.json").write_text(json.dumps(claim))
"""

CELLS = """
```{code-cell} ipython3
:tags: [parameters]

seed = 0  # root of all random streams
factor = 10  # what a parameter of the chapter is
```

```{code-cell} ipython3
from icl_lib.claims import record

record(seed, factor)
```
"""


@pytest.fixture
def layout(checkout: Path) -> Layout:
    """A checkout in which a chapter judges a claim by its seed."""
    (checkout / "icl_lib" / "claims.py").write_text(JUDGE)
    sums = checkout / "book" / "sums.md"
    sums.write_text(sums.read_text() + CELLS)
    return Layout(checkout)


def replicate(layout: Layout, seed: int, *names: str) -> Catalogue:
    catalogue = load(layout)
    commands.replicate(layout, catalogue, [catalogue.page(name) for name in names], seed, 1)
    return catalogue


def beside(layout: Layout) -> dict:
    """What is recorded of the claim, as a build of this checkout sees it."""
    page = load(layout).page("sums")
    (done,) = commands.execute_all(layout, [page], 1, Progress())
    return replication.Record.of(layout).of_claims(done)["seeded"]


def test_another_verdict_from_another_seed_stands_on_the_scorecard_as_not_resolved(layout: Layout) -> None:
    replicate(layout, 3)
    page = json.loads((layout.book / "replication.json").read_text())["pages"]["sums"]
    assert page["claims"] == {"seeded": {"verdict": "fails", "measured": "30"}}
    assert page["cpu_seconds"] > 0
    assert all(page[name] for name in ("machine", "versions", "commit"))
    catalogue = load(layout)
    commands.reference(layout, catalogue, [], 2)
    assert commands.book(layout, catalogue, 2)
    claims = {claim["id"]: claim for claim in json.loads((layout.build / "scorecard.json").read_text())}
    assert (claims["seeded"]["value"], claims["seeded"]["verdict"]) == (0, "holds")
    assert claims["seeded"]["replicated"] == {"seed": 3, "verdict": "fails", "measured": "30", "is_current": True}
    index = (layout.html / "index.html").read_text()
    assert "From seed 3" in index
    assert "seed 3: fails, so not resolved" in index
    # The two claims that were not tried say nothing.
    assert index.count("seed 3:") == 1


def test_a_change_of_code_makes_the_record_older_and_one_of_words_does_not(layout: Layout) -> None:
    replicate(layout, 2)
    assert beside(layout) == {"seed": 2, "verdict": "holds", "measured": "20", "is_current": True}
    for path, old, new in (
        (layout.root / "icl_lib" / "claims.py", "seed > 2", "seed > 3"),
        (layout.book / "sums.md", "record(seed, factor)", "record(seed, factor + 1)"),
        (layout.book / "sums.md", "The sum, seen again", "Another word for it"),
    ):
        replace(path, old, new)
        assert beside(layout)["is_current"] == (old == "The sum, seen again")
        replace(path, new, old)


@pytest.mark.parametrize("is_current", [True, False])
def test_below_the_verdict_stands_what_another_seed_gave_and_whether_by_older_code(is_current: bool) -> None:
    for verdict, another, told in (
        ("undecidable", "undecidable", "the same"),
        ("holds", "undecidable", "not telling, so not resolved"),
        ("holds", "not resolved", "not resolved"),
    ):
        again = {"seed": 2, "verdict": another, "measured": "20", "is_current": is_current}
        (shown,) = scorecard.again({"verdict": verdict, "replicated": again})
        assert shown.astext() == f"seed 2: {told}{'' if is_current else ', by older code'}"
    assert scorecard.again({"verdict": "holds"}) == []


@pytest.mark.parametrize("damage", ["{", "[]", '{"seed": 1, "pages": {"sums": {"claims": {"seeded": "holds"}}}}'])
def test_a_damaged_record_is_none(layout: Layout, damage: str) -> None:
    (layout.book / "replication.json").write_text(damage)
    assert replication.Record.of(layout).pages == {}


def test_only_pages_that_judge_claims_are_run_from_a_seed_that_is_another(layout: Layout) -> None:
    assert [page.name for page in replication.judging(load(layout))] == ["sums"]
    with pytest.raises(BookError, match=r"part/curve: no claim is judged there; allowed: sums"):
        replicate(layout, 1, "part/curve")
    for seed in (0, -1):
        with pytest.raises(BookError, match=rf"SEED must be at least 0 and not that of chapter sums, got {seed}"):
            replicate(layout, seed)
    replicate(layout, 1, "sums")
    with pytest.raises(BookError, match="SEED must be 1, as in the record, where only some pages are computed, got 2"):
        replicate(layout, 2, "sums")
    replicate(layout, 2)
    assert replication.Record.of(layout).seed == 2


def test_the_smoke_profile_has_no_record_and_writes_none(layout: Layout) -> None:
    replicate(layout, 1)
    smoke, before = Layout(layout.root, "smoke"), (layout.book / "replication.json").read_bytes()
    assert replication.Record.of(smoke).pages == {}
    with pytest.raises(BookError, match="PROFILE must be paper, of which the record is, got smoke"):
        replicate(smoke, 1)
    assert (layout.book / "replication.json").read_bytes() == before


@pytest.mark.parametrize("paper", [1, 2])
def test_the_cheapest_recorded_claim_of_each_paper_comes_out_again(paper: int, tmp_path: Path) -> None:
    """At the scale of the book, with the code of this checkout."""
    # Nothing below the build folder of the checkout is touched: a build may be at work there.
    layout = Layout(REPOSITORY, apart=str(tmp_path))
    record, catalogue = replication.Record.of(layout), load(layout)
    of_paper = {
        name: {key: claim for key, claim in page["claims"].items() if key.startswith(f"p{paper}-")}
        for name, page in record.pages.items()
    }
    name = min((name for name in of_paper if of_paper[name]), key=lambda name: record.pages[name]["cpu_seconds"])
    assert record.seed is not None
    (chapter,) = replication.chapters(layout, catalogue, [catalogue.page(name)], record.seed)
    (done,) = commands.run_in(layout.executed, layout, [chapter], 1)
    found = replication.found(done)["claims"]
    for key, claim in of_paper[name].items():
        assert found[key]["verdict"] == claim["verdict"]
        assert agree(claim["measured"], found[key]["measured"])
