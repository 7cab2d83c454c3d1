"""The pages of the part on bounds hold every inequality: its statement in its chapter, its name in the summary."""

from pathlib import Path

import test_bounds_identities

from icl_lib.bounds import statements

BOOK = Path(__file__).parents[2] / "book"
PROVED = ("lemma", "theorem", "proposition", "corollary")


def test_each_chapter_holds_its_statements() -> None:
    for inequality in statements.ALL:
        page = (BOOK / f"{inequality.page}.md").read_text()
        before, label, _ = page.partition(f":label: {inequality.label}\n")
        assert label, f"{inequality.page} has no {inequality.label}"
        kind = before.rsplit("```{prf:", 1)[1].split("}")[0]
        assert kind in (PROVED if inequality.proved else ("conjecture",)), f"{inequality.label} is a {kind}"


def _rows() -> dict[str, list[str]]:
    """The rows of the summary's tables, each with the names in its last column."""
    lines = (BOOK / "bounds/summary.md").read_text().splitlines()
    return {row: row.removesuffix(" |").rsplit(" | ", 1)[1].split(", ") for row in lines if row.startswith("| ")}


def test_the_summary_names_each_inequality_and_where_it_is_proved() -> None:
    rows = _rows()
    for inequality in statements.ALL:
        found = [row for row, keys in rows.items() if inequality.key in keys]
        assert len(found) == 1, f"{inequality.key} stands in {len(found)} rows"
        assert f"{{prf:ref}}`{inequality.label}`" in found[0]


def test_every_name_in_the_summary_is_tested() -> None:
    keys = {q.key for q in statements.ALL}
    tests = {name for name in vars(test_bounds_identities) if name.startswith("test_")}
    for row, names in _rows().items():
        if "tested as" not in row:
            assert names, row
            unknown = [n for n in names if n not in keys | tests and "tests/" not in n]
            assert not unknown, f"{unknown} in {row}"
