"""What is gathered from the runs of a book."""

import json
from pathlib import Path

import pytest
from nbformat.v4 import new_output

from tools.catalogue import Catalogue, Page
from tools.errors import BookError
from tools.execute import Executed
from tools.layout import Layout
from tools.notebooks import Chapter, read_text_notebook
from tools.stage import CLAIM_FIELDS, Stager, _unbroken, merged

CLAIM = {**dict.fromkeys(CLAIM_FIELDS), "id": "a", "verdict": "holds"}
del CLAIM["page"]


def run_of(checkout: Path, name: str, files: dict[str, str]) -> Executed:
    """A page that has been run, as far as its output goes."""
    page = Page(name, name, checkout / "book" / f"{name}.md", True)
    one = Executed(Chapter(page, read_text_notebook(checkout / "book/sums.md"), {}, {}), "key", checkout / "executed")
    for file, text in files.items():
        path = one.output / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return one


def claims(checkout: Path, **changes: object) -> str:
    return json.dumps({**CLAIM, **changes})


def test_claims_are_listed_with_their_page(checkout: Path) -> None:
    one = run_of(checkout, "a", {"claims/a.json": claims(checkout)})
    two = run_of(checkout, "b", {"claims/b.json": claims(checkout, id="b", worst_case="n = 3")})
    found = Stager(Layout(checkout), Catalogue(()))._claims([one, two])
    assert [(claim["id"], claim["page"]) for claim in found] == [("a", "a"), ("b", "b")]
    assert set(CLAIM_FIELDS) <= set(found[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(CLAIM), "chapter b: claim b: the id is taken by chapter a"),
        (json.dumps({**CLAIM, "verdict": "maybe"}), "unknown verdict 'maybe'; allowed: conditional, fails, holds"),
        (json.dumps({"id": "b", "verdict": "holds"}), "chapter b: claim b: lacks evidence, limitation"),
        ("[]", "holds no JSON object"),
    ],
)
def test_a_claim_that_does_not_fit_is_named(checkout: Path, text: str, message: str) -> None:
    one = run_of(checkout, "a", {"claims/a.json": claims(checkout)})
    two = run_of(checkout, "b", {"claims/b.json": text})
    with pytest.raises(BookError, match=message):
        Stager(Layout(checkout), Catalogue(()))._claims([one, two])


def test_equal_figure_data_of_two_runs_is_one_file_and_different_data_an_error(checkout: Path) -> None:
    stager = Stager(Layout(checkout), Catalogue(()))
    one = run_of(checkout, "a", {"data/x.csv": "n\n1\n"})
    same = run_of(checkout, "b", {"data/x.csv": "n\n1\n"})
    assert list(stager._figure_data([one, same])) == ["x.csv"]
    other = run_of(checkout, "c", {"data/x.csv": "n\n2\n"})
    with pytest.raises(BookError, match=r"chapters a and c write different figure data to x\.csv"):
        stager._figure_data([one, same, other])


def test_names_of_figure_data_follow_the_parameters(checkout: Path) -> None:
    source = checkout / "book/sums.md"
    source.write_text(source.read_text() + "\n{data}`loss-n{lengths[0]}-d{d}`, {data}`plain`.\n")
    assert "{data}`loss-n200-d20`, {data}`plain`." in last_prose(checkout, {"lengths": [200, 25], "d": 20})
    with pytest.raises(BookError, match=r"chapter sums: \{data\}`loss-n.* names no parameter; allowed: d$"):
        last_prose(checkout, {"d": 20})


def last_prose(checkout: Path, defaults: dict[str, object]) -> str:
    page = Page("sums", "sums", checkout / "book/sums.md", True)
    notebook = read_text_notebook(page.source)
    one = Executed(Chapter(page, notebook, defaults, {}), "key", checkout / "executed")
    one.path.parent.mkdir(exist_ok=True)
    from tools.notebooks import to_bytes

    one.path.write_bytes(to_bytes(notebook))
    return str(merged(one, set()).cells[-2].source)


def test_no_line_breaks_between_a_number_and_its_error() -> None:
    data = {"text/markdown": "| 0.5 ± 0.1 | ≈ -3 | a ± b |", "image/svg+xml": "<svg>1 ± 2</svg>"}
    shown = _unbroken(new_output("display_data", data=data))
    assert shown.data["text/markdown"] == "| 0.5\u00a0±\u00a00.1 | ≈\u00a0-3 | a ± b |"
    assert shown.data["image/svg+xml"] == data["image/svg+xml"]
    stream = new_output("stream", text="1 ± 2")
    assert _unbroken(stream) is stream
