"""The chapters on the first paper test each of its claims, and the record answers each variable with a link."""

import re
from pathlib import Path

BOOK = Path(__file__).parents[2] / "book"
CLAIMS = {
    1: "the losses match",
    2: "differences fall, the cosine rises",
    3: "over document lengths",
    4: "over embedding sizes",
    5: "bounded shift, part 1",
    6: "bounded shift, part 2",
    7: "therefore close",
}


def test_each_claim_is_recorded() -> None:
    text = "\n".join(path.read_text() for path in sorted(BOOK.glob("*/*.md")))
    numbers = {int(number) for number in re.findall(r'id=f?"p1-(\d)-', text)}
    # The two parts of the theorem share a line of code, which counts them.
    if 'id=f"p1-{number + 4}-' in text:
        numbers |= {5, 6}
    assert numbers == set(CLAIMS)


def test_each_variable_of_the_record_is_answered_with_a_link() -> None:
    lines = (BOOK / "closeness/record.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    asked = ("pseudocode", "source code", "dataset", "splits", "hardware", "software", "set-up")
    assert {row[0] for row in rows} >= set(asked)
    for variable, _, answer in rows:
        assert "](" in answer or "{prf:ref}" in answer, f"{variable} has no link"
