"""The pages of the part on bounds hold every inequality: its statement in its chapter, its name in the summary."""

from pathlib import Path

from icl_lib.bounds import statements

BOOK = Path(__file__).parent.parent / "book"
PROVED = ("lemma", "theorem", "proposition", "corollary")
# Proved under another label of the same row.
ELSEWHERE = ("gradient-of-shifted-problem", "shift-x-diameter")


def test_each_chapter_holds_its_statements() -> None:
    for inequality in statements.ALL:
        page = (BOOK / f"{inequality.page}.md").read_text()
        before, label, _ = page.partition(f":label: {inequality.label}\n")
        assert label, f"{inequality.page} has no {inequality.label}"
        kind = before.rsplit("```{prf:", 1)[1].split("}")[0]
        assert kind in (PROVED if inequality.proved else ("conjecture",)), f"{inequality.label} is a {kind}"


def test_the_summary_names_each_inequality_and_where_it_is_proved() -> None:
    lines = (BOOK / "bounds/summary.md").read_text().splitlines()
    rows = {row: row.removesuffix(" |").rsplit(" | ", 1)[1].split(", ") for row in lines if row.startswith("| ")}
    for inequality in statements.ALL:
        found = [row for row, keys in rows.items() if inequality.key in keys]
        assert len(found) == 1, f"{inequality.key} stands in {len(found)} rows"
        assert f"{{prf:ref}}`{inequality.label}`" in found[0] or inequality.key in ELSEWHERE
