"""The pages of the part on bounds name every inequality, and the chapter that it says proves it."""

from pathlib import Path

import pytest

from icl_lib.bounds import statements
from icl_lib.bounds.inequality import Inequality

BOOK = Path(__file__).parent.parent / "book"
every = pytest.mark.parametrize("inequality", statements.ALL, ids=lambda q: q.key)


@every
def test_its_chapter_holds_the_statement(inequality: Inequality) -> None:
    page = (BOOK / f"{inequality.page}.md").read_text()
    kind = "{prf:conjecture}" if not inequality.proved else ("{prf:lemma}", "{prf:theorem}", "{prf:proposition}")
    block = page.split(f":label: {inequality.label}\n")[0].rsplit("```{prf:", 1)[1]
    assert ("{prf:" + block).startswith(kind if isinstance(kind, str) else (*kind, "{prf:corollary}"))


@every
def test_the_summary_names_it_and_where_it_is_proved(inequality: Inequality) -> None:
    rows = [line for line in (BOOK / "bounds/summary.md").read_text().splitlines() if f"`{inequality.key}`" in line]
    assert len(rows) == 1
    assert f"{{prf:ref}}`{inequality.label}`" in rows[0] or inequality.key in (
        "gradient-of-shifted-problem",
        "shift-x-diameter",
    )
