"""Which pages a book has, and what is said where its files do not fit."""

import json
from pathlib import Path

import pytest
from fixture_book import HEADER, replace, write_book

from tools import provenance
from tools.catalogue import load
from tools.digests import Library
from tools.errors import BookError
from tools.execute import Executed, in_order
from tools.layout import Layout
from tools.lint import write_notebooks
from tools.notebooks import read_chapter
from tools.references import refuse_extra
from tools.stage import Stager

RECORD = {
    **{"key": "", "notebook": "", "output": {}, "parts": {}, "cpu_seconds": 1.0, "peak_bytes": 1},
    "provenance": dict.fromkeys(provenance.ORDER, ""),
}


def test_pages_stand_in_reading_order(checkout: Path) -> None:
    catalogue = load(Layout(checkout))
    assert [page.name for page in catalogue.pages] == ["index", "sums", "part/curve", "part/curve-n3"]
    assert [page.name for page in catalogue.notebooks] == ["sums", "part/curve", "part/curve-n3"]
    assert catalogue.banner is None


def test_a_profile_and_a_page_override_the_chapter(checkout: Path) -> None:
    smoke = load(Layout(checkout, "smoke"))
    chapter = read_chapter(smoke.page("part/curve-n3"))
    assert chapter.given == {"rate": 0.25, "n": 3}
    assert chapter.defaults == {"n": 5, "rate": 0.5, "title": "line"}
    assert smoke.banner is not None


@pytest.mark.parametrize("name", ["sums", "book/sums.md", "./book/sums.md", "sums.md"])
def test_a_page_may_be_named_by_its_source(checkout: Path, name: str) -> None:
    assert load(Layout(checkout)).page(name).name == "sums"


def test_an_unknown_chapter_is_refused(checkout: Path) -> None:
    with pytest.raises(BookError, match="unknown chapter 'nope'; allowed: index, part/curve, part/curve-n3, sums"):
        load(Layout(checkout)).page("nope")


def test_an_unknown_profile_is_refused(checkout: Path) -> None:
    with pytest.raises(BookError, match="unknown profile 'fast'; allowed: paper, smoke"):
        load(Layout(checkout, "fast"))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("_toc.yml", "  - file: sums\n", "", "not listed in _toc.yml: book/sums.md"),
        ("_toc.yml", "file: sums", "file: product", "not listed in _toc.yml: book/sums.md"),
        ("_toc.yml", "root: index", "root: sums", "lists twice: sums"),
        ("_toc.yml", "      - file: part/curve-n3\n", "", "pages not listed in _toc.yml: part/curve-n3"),
        ("_toc.yml", "part/curve-n3", "part/curve-n4", "pages not listed in _toc.yml: part/curve-n3"),
        ("_toc.yml", "root", "[", "not YAML"),
        ("book/profiles.yml", "part/curve: {rate", "part/curves: {rate", "profile smoke: unknown chapter part/curves"),
        ("book/profiles.yml", "title: The", "heading: The", "unknown heading; allowed: chapter, parameters, title"),
        ("book/profiles.yml", "banner", "flag", "unknown flag; allowed: banner, leave_out, parameters, start_first"),
        ("book/profiles.yml", "  smoke:\n", "  smoke:\n    start_first: [nope]\n", "cannot start nope first; allowed:"),
        ("book/profiles.yml", "chapter: part/curve", "chapter: part/nope", "part/curve-n3: no file book/part/nope.md"),
        ("book/profiles.yml", "part/curve: {rate", "index: {rate", "index: book/index.md has no kernelspec"),
        (
            "book/profiles.yml",
            "{rate: 0.25}",
            "[rate]",
            "profile smoke: parameters of part/curve must hold `name: value`",
        ),
        (
            "book/profiles.yml",
            "profiles:\n",
            "profiles:\n  smoke2: 5\n",
            "profile smoke2 must hold `name: value`, got 5",
        ),
        ("book/profiles.yml", "profiles:\n", "profiles:\n  5: {}\n", "a name must be a text, got 5"),
        ("book/profiles.yml", "  smoke:\n", "  smoke:\n    leave_out: 3\n", "leave_out must be a list of pages, got 3"),
        ("book/profiles.yml", "  smoke:\n", "  smoke:\n    start_first: [1]\n", "start_first must be a list of pages"),
        ("book/profiles.yml", 'banner: "Smoke', 'banner: ["Smoke', "not YAML"),
        ("book/profiles.yml", "title: The same", "title: 5 #", "page part/curve-n3: title must be a text, got 5"),
        ("book/profiles.yml", "parameters: {n: 3}", "parameters: 3", "parameters must hold `name: value`, got 3"),
        ("book/profiles.yml", "chapter: part/curve", "chapter: ../part", "'../part' must lie below book/"),
        ("book/sums.md", HEADER, "", "header names no kernelspec"),
    ],
)
def test_files_that_do_not_fit_are_named(checkout: Path, file: str, old: str, new: str, message: str) -> None:
    replace(checkout / file, old, new)
    with pytest.raises(BookError, match=message):
        load(Layout(checkout, "smoke"))


@pytest.mark.parametrize("name", ["_toc.yml", "book/profiles.yml", "book/sums.md"])
def test_a_source_that_is_no_utf_8_is_named(checkout: Path, name: str) -> None:
    (checkout / name).write_bytes((checkout / name).read_bytes() + "# é".encode("latin-1"))
    with pytest.raises(BookError, match=rf"{name} must be UTF-8, got the byte 0xe9"):
        load(Layout(checkout))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tags: [hide-input]", "tags: 5", "curve.md is no MyST notebook: 5 is not of type 'array'"),
        ("tags: [hide-input]", "tags: [hide-input", r"curve\.md is no MyST notebook"),
        ("  image: {alt:", "  image: 5\n  other: {alt:", "image must hold `name: value`, got 5"),
        ("name: fig-line", "name: 7", "name must be a text, got 7; write it in quotes"),
        ("mystnb:\n", "mystnb: 3\nother:\n", "mystnb must hold `name: value`, got 3"),
    ],
)
def test_bad_metadata_of_a_cell_are_named(checkout: Path, old: str, new: str, message: str) -> None:
    replace(checkout / "book/part/curve.md", old, new)
    with pytest.raises(BookError, match=message):
        read_chapter(load(Layout(checkout)).page("part/curve"))


def test_a_page_that_is_not_listed_is_named_wherever_the_checkout_lies(tmp_path: Path) -> None:
    for name in ("plain", "_hidden"):
        root = write_book(tmp_path / name)
        (root / "book/extra.md").write_text("# Extra\n")
        (root / "book/_drafts").mkdir()
        (root / "book/_drafts/draft.md").write_text("# Draft\n")
        with pytest.raises(BookError, match=r"not listed in _toc.yml: book/extra\.md$"):
            load(Layout(root))


def test_what_editors_keep_beside_a_file_is_no_source(checkout: Path) -> None:
    layout = Layout(checkout)
    keys = Library(checkout).reached(["import icl_lib"])
    for name in ("book/.ipynb_checkpoints/sums-checkpoint.md", "book/part/.curve.md.swp", "book/part/curve.md~"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("```{code-cell} ipython3\nx = (\n```\n")
    for name in ("icl_lib/.ipynb_checkpoints/table.csv", "icl_lib/.numbers.py.swp"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("")
    reference = layout.references / ".ipynb_checkpoints/sums-checkpoint.ipynb"
    reference.parent.mkdir(parents=True)
    reference.write_text("{}")
    catalogue = load(layout)
    refuse_extra(layout, [])
    assert Library(checkout).reached(["import icl_lib"]) == keys
    assert {path.stem for path in write_notebooks(layout, checkout / "lint")} == {"sums", "curve"}
    assert not [path for path in Stager(layout, catalogue)._sources() if "checkpoint" in path.name or "~" in path.name]


def test_a_profile_can_leave_out_a_further_run(checkout: Path) -> None:
    replace(checkout / "book/profiles.yml", "  smoke:\n", "  smoke:\n    leave_out: [part/curve-n3]\n")
    left = load(Layout(checkout, "smoke"))
    assert [page.name for page in left.pages] == ["index", "sums", "part/curve"]
    assert "part/curve-n3" not in str(left.contents)
    assert "part/curve-n3" in str(load(Layout(checkout)).contents)


def test_only_a_further_run_can_be_left_out(checkout: Path) -> None:
    replace(checkout / "book/profiles.yml", "  smoke:\n", "  smoke:\n    leave_out: [sums]\n")
    with pytest.raises(BookError, match="cannot leave out sums; allowed: part/curve-n3"):
        load(Layout(checkout, "smoke"))


def test_a_page_without_source_is_named(checkout: Path) -> None:
    (checkout / "book/sums.md").unlink()
    with pytest.raises(BookError, match=r"page sums: no file book/sums\.md"):
        load(Layout(checkout))


def test_two_cells_of_parameters_are_refused(checkout: Path) -> None:
    source = checkout / "book/part/curve.md"
    source.write_text(source.read_text() + "\n```{code-cell} ipython3\n:tags: [parameters]\n\nm = 1\n```\n")
    with pytest.raises(BookError, match="2 cells are tagged `parameters`"):
        read_chapter(load(Layout(checkout)).page("part/curve"))


def test_what_is_long_starts_first(checkout: Path) -> None:
    """Pages that a profile names, in its order; then by what the last run took; then in reading order."""
    replace(checkout / "book/profiles.yml", "  smoke:\n", "  smoke:\n    start_first: [part/curve-n3]\n")
    layout = Layout(checkout, "smoke")
    pages = load(layout).notebooks

    def planned() -> list[str]:
        chosen = [Executed(read_chapter(page), "key", layout.executed) for page in pages]
        return [one.page.name for one in in_order(chosen)]

    assert planned() == ["part/curve-n3", "sums", "part/curve"]
    for name, seconds in (("sums", 1.0), ("part/curve", 2.0), ("part/curve-n3", 0.1)):
        path = layout.executed / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**RECORD, "seconds": seconds}))
    assert planned() == ["part/curve-n3", "part/curve", "sums"]
