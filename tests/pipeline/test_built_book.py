"""A whole small book: built once, then changed in one way after another."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_book import replace, write_book

from tools import references
from tools.catalogue import load
from tools.check import Checker
from tools.cli import main
from tools.differences import Difference
from tools.errors import BookError
from tools.execute import FIELDS, Executed, Executor, Surroundings, plan
from tools.files import digest_tree
from tools.layout import Layout
from tools.notebooks import read_chapter
from tools.processes import Children
from tools.progress import Progress
from tools.provenance import ORDER
from tools.stage import Stager
from tools.timings import Timings


def build(checkout: Path, command: str = "book") -> int:
    return main(["--root", str(checkout), command, "--jobs", "2"])


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that has been built; tests work on copies."""
    checkout = write_book(tmp_path_factory.mktemp("built") / "checkout")
    assert build(checkout, "reference") == 0
    assert build(checkout) == 0
    return checkout


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built checkout."""
    shutil.copytree(built, tmp_path / "checkout")
    return tmp_path / "checkout"


def executed(checkout: Path) -> list[Executed]:
    layout = Layout(checkout)
    chapters = [read_chapter(page) for page in load(layout).notebooks]
    return plan(layout, chapters, Surroundings.of(layout))


def stale(checkout: Path) -> set[str]:
    """The pages that a build would execute."""
    return {one.page.name for one in executed(checkout) if not one.is_good()}


def check(checkout: Path) -> list[Difference]:
    """The check alone."""
    return Checker(Layout(checkout), 2, Progress(), Children()).run(executed(checkout), Timings(2))


def test_the_site_has_all_that_other_programs_read(built: Path) -> None:
    build_folder = built / "_build"
    html = build_folder / "html"
    for name in (
        "index.html",
        "sums.html",
        "part/curve.html",
        "part/curve-n3.html",
        "data/curve.csv",
        "data/curve3.csv",
    ):
        assert (html / name).is_file(), name
    scorecard = json.loads((build_folder / "scorecard.json").read_text())
    assert [(claim["id"], claim["page"]) for claim in scorecard] == [
        ("line-5", "part/curve"),
        ("line-3", "part/curve-n3"),
    ]
    timings = json.loads((build_folder / "timings.json").read_text())
    assert {entry["stage"] for entry in timings["entries"]} >= {"execute", "check", "stage", "site"}
    assert all(
        entry["peak_megabytes"] > 1 for entry in timings["entries"] if entry["page"] and entry["stage"] == "execute"
    )


def test_pages_link_to_data_claims_and_provenance(built: Path) -> None:
    html = built / "_build/html"
    curve = (html / "part/curve.html").read_text()
    assert 'href="../data/curve.csv"' in curve
    assert 'alt="A rising line."' in curve
    assert "../provenance/part/curve.js" in curve
    rerun = (html / "part/curve-n3.html").read_text()
    assert "The same curve with three points" in rerun
    assert 'href="#fig-line-part-curve-n3"' in rerun
    index = (html / "index.html").read_text()
    assert 'href="part/curve.html#fig-line"' in index
    assert 'href="part/curve-n3.html#fig-line-part-curve-n3"' in index
    provenance = (html / "provenance/part/curve.js").read_text()
    assert all(f'"{name}"' in provenance for name in ("commit", "versions", "device", "threads", "seeds", "wall time"))


def test_nothing_is_fetched_from_outside(built: Path) -> None:
    html = built / "_build/html"
    for page in html.glob("*.html"):
        assert 'src="http' not in page.read_text()
        assert "cdn" not in page.read_text()
    assert (html / "mathjax/tex-chtml-full.js").is_file()
    assert sum(path.stat().st_size for path in (html / "mathjax").rglob("*")) < 3e6


def test_a_second_build_does_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digest_tree(copy / "_build/html")
    assert build(copy) == 0
    out = capsys.readouterr().out
    assert "..." not in out
    assert str(copy / "_build/html/index.html") in out
    assert digest_tree(copy / "_build/html") == before


def test_a_change_of_prose_runs_no_chapter_and_reaches_the_page(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(copy / "book/part/curve.md", "A line of $n$ points", "A straight line")
    replace(copy / "book/sums.md", "seen again", "seen once more")
    assert build(copy) == 0
    out = capsys.readouterr().out
    assert "execute  " not in out.split("where the time went")[0]
    assert "check    " not in out.split("where the time went")[0]
    assert "A straight line" in (copy / "_build/html/part/curve.html").read_text()
    assert "seen once more" in (copy / "_build/html/sums.html").read_text()


def test_another_build_gives_the_same_bytes(built: Path, copy: Path) -> None:
    one = next(one for one in executed(copy) if one.page.name == "part/curve")
    one.record_path.unlink()
    (copy / "_build/site.json").unlink()
    assert build(copy) == 0
    for name in ("executed", "stage", "html"):
        old, new = digest_tree(built / "_build" / name), digest_tree(copy / "_build" / name)
        changed = {file for file in {*old, *new} if old.get(file) != new.get(file)}
        assert changed <= {"provenance/part/curve.js", "provenance/part/curve.txt", "part/curve.json"}


def test_only_the_changed_chapter_would_run(copy: Path) -> None:
    assert stale(copy) == set()
    replace(copy / "icl_lib/numbers.py", "0.0", "0.0  # zero")
    assert stale(copy) == set()
    replace(copy / "icl_lib/numbers.py", "0.0", "0.5 - 0.5")
    assert stale(copy) == {"sums"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one.path.write_bytes(one.path.read_bytes()[:-10]),
        lambda one: one.path.unlink(),
        lambda one: one.record_path.unlink(),
        lambda one: (one.output / "data" / "curve.csv").write_text("x\n"),
        lambda one: (one.output / "data" / "other.csv").write_text("x\n"),
        lambda one: shutil.rmtree(one.output),
    ],
)
def test_what_a_run_left_is_trusted_only_as_a_whole(copy: Path, spoil: Callable[[Executed], object]) -> None:
    one = next(one for one in executed(copy) if one.page.name == "part/curve")
    spoil(one)
    assert stale(copy) == {"part/curve"}


def test_a_changed_number_is_found_with_chapter_cell_expected_and_got(copy: Path) -> None:
    """And what passes beside it is kept."""
    passed = copy / "_build/checked/sums.json"
    passed.unlink()
    change_reference(copy, "slope 0.16666666666666666", "slope 0.16670000000000000")
    (found,) = check(copy)
    assert passed.is_file()
    assert (found.page, found.kind, found.cell) == ("part/curve", "differs", 3)
    assert found.expected == "slope 0.16670000000000000 points 5"
    assert found.got == "slope 0.16666666666666666 points 5"
    assert "chapter part/curve, code cell 3 of its reference: print(" in str(found)


def test_a_number_that_differs_is_shown_and_withholds_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_reference(copy, "slope 0.16666666666666666", "slope 0.16670000000000000")
    assert build(copy) == 1
    html = copy / "_build/html"
    error = capsys.readouterr().err
    site = html / "index.html"
    last = f"1 difference from the references on 1 page; the site is built and says so: {site}"
    assert error.strip().splitlines()[-1] == last
    (found,) = json.loads((copy / "_build/differences.json").read_text())
    assert (found["page"], found["cell"], found["error"]) == ("part/curve", 3, None)
    page = (html / "part/curve.html").read_text()
    assert page.index("A curve</h1>" if "A curve</h1>" in page else "A curve") < page.index("0.16670000000000000")
    assert "part/curve.html" in site.read_text().split("In this build not all is as it should be")[1]
    assert "does not agree with the reference" not in (html / "sums.html").read_text()
    change_reference(copy, "slope 0.16670000000000000", "slope 0.16666666666666666")
    assert build(copy) == 0
    assert json.loads((copy / "_build/differences.json").read_text()) == []
    assert "0.16670000000000000" not in (html / "part/curve.html").read_text()
    assert "not all is as it should be" not in site.read_text()


def test_a_chapter_that_fails_withholds_no_other_page(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(copy / "book/sums.md", "print(f", "raise ValueError('n must be <= 3, got 4')\nprint(f")
    replace(copy / "book/part/curve.md", "shows $y = r x$", "shows the line $y = r x$")
    assert build(copy) == 1
    html = copy / "_build/html"
    assert "1 chapter failed; the site is built" in capsys.readouterr().err
    page = (html / "sums.html").read_text()
    assert "n must be &lt;= 3, got 4" in page
    assert "code cell 1 of 1" in page
    assert "shows the line" in (html / "part/curve.html").read_text()
    assert "the chapter failed" in (html / "index.html").read_text()
    (found,) = json.loads((copy / "_build/differences.json").read_text())
    assert (found["page"], found["kind"]) == ("sums", "failed")
    assert (copy / found["trace"]).is_file()
    replace(copy / "book/sums.md", "raise ValueError('n must be <= 3, got 4')\nprint(f", "print(f")
    assert build(copy) == 0
    assert "sum 0.3" in (html / "sums.html").read_text()


def test_a_page_without_a_reference_is_shown_and_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references.path_of(Layout(copy), "sums").unlink()
    assert build(copy) == 1
    assert "without a reference" in capsys.readouterr().err
    assert "does not agree with the reference" in (copy / "_build/html/sums.html").read_text()


def test_a_reference_of_no_page_is_refused_before_work_starts(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = references.path_of(Layout(copy), "sums")
    shutil.copy(reference, reference.with_name("older.ipynb"))
    replace(copy / "book/sums.md", "total([0.1, 0.2])", "total([0.1, 0.3])")
    assert build(copy) == 1
    captured = capsys.readouterr()
    assert "but no chapter of the book: older; remove it" in captured.err
    assert "execute " not in captured.out


def test_a_page_that_shows_another_number_than_its_reference_is_found(copy: Path) -> None:
    """Nbval compares what it computes itself, so it would pass."""
    one = next(one for one in executed(copy) if one.page.name == "part/curve")
    layout, reference = Layout(copy), references.read(Layout(copy), "part/curve")
    assert references.compare_texts(layout, "part/curve", reference, one.notebook()) == []
    replace(one.path, "slope 0.16666666666666666", "slope 0.16670000000000000")
    (found,) = references.compare_texts(layout, "part/curve", reference, one.notebook())
    assert (found.message, found.expected) == ("the page differs", "slope 0.16666666666666666 points 5")
    replace(one.path, "slope 0.16670000000000000", "")
    assert references.compare_texts(layout, "part/curve", reference, one.notebook())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"print(',
            '"# NBVAL_IGNORE_OUTPUT\\n",\n    "print(',
            "asks nbval to compare less by '# NBVAL_IGNORE_OUTPUT'",
        ),
        ('"rtol-1e-4"', '"rtol-1e-4", "nbval-ignore-output"', "tags that nbval may obey, nbval-ignore-output"),
    ],
)
def test_a_reference_that_asks_nbval_for_less_is_found(copy: Path, old: str, new: str, message: str) -> None:
    change_reference(copy, old, new)
    (found,) = check(copy)
    assert message in found.message


def test_options_of_pytest_from_outside_change_no_check(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nbval-lax")
    change_reference(copy, "slope 0.16666666666666666", "slope 0.16670000000000000")
    monkeypatch.setattr(references, "compare_texts", lambda *_: [])
    (found,) = check(copy)
    assert found.expected == "slope 0.16670000000000000 points 5"


@pytest.mark.parametrize("text", ["open({0!r}, 'a').write('ONE = 1\\n')", "open({0!r}, 'w').write('ZERO = 0.0\\n')"])
def test_a_library_that_changes_while_a_chapter_runs_ends_the_build(
    copy: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Its result would be kept under the key of the library as it was planned; also where the old text is back."""
    module = copy / "icl_lib/numbers.py"
    replace(copy / "book/sums.md", "print(f", f"{text.format(str(module))}\nprint(f")
    assert build(copy) == 1
    assert "chapter sums: icl_lib/numbers.py changed while it ran; run again" in capsys.readouterr().err
    assert stale(copy) == {"sums"}


def test_what_changed_after_it_was_read_and_before_it_runs_ends_the_build(copy: Path) -> None:
    """Its result would be kept under the key of the text that was read, which may come back."""
    replace(copy / "book/sums.md", "[0.1, 0.2]", "[0.1, 0.3]")
    layout, planned = Layout(copy), executed(copy)
    replace(copy / "icl_lib/numbers.py", "0.0", "0.5")
    executor = Executor(layout, Surroundings.of(layout), 1, Progress(), Children())
    with pytest.raises(BookError, match="chapter sums: what it depends on changed after this build had read it"):
        executor.run(planned, Timings(1))


def stage(checkout: Path, planned: list[Executed]) -> bool:
    """Stage the book; says whether that was done anew."""
    marks = {path: path.stat().st_ino for path in (checkout / "_build/stage").glob("*")}
    Stager(Layout(checkout), load(Layout(checkout))).run(planned, [], Timings(1))
    return marks != {path: path.stat().st_ino for path in (checkout / "_build/stage").glob("*")}


@pytest.mark.parametrize(("name", "old"), [("sums.md", "sum, seen again"), ("index.md", "sum in {doc}")])
def test_prose_that_changes_after_it_was_read_is_staged_by_the_next_build(copy: Path, name: str, old: str) -> None:
    planned = executed(copy)
    replace(copy / "book" / name, old, f"large {old}")
    stage(copy, planned)
    assert stage(copy, executed(copy)) == (name == "sums.md")
    staged = copy / "_build/stage" / name
    text = (staged if staged.is_file() else staged.with_suffix(".ipynb")).read_text()
    assert "large sum" in text
    assert not stage(copy, executed(copy))


def test_a_staged_page_that_was_damaged_is_staged_again(copy: Path) -> None:
    assert not stage(copy, executed(copy))
    replace(copy / "_build/stage/sums.ipynb", "seen again", "seen never")
    assert stage(copy, executed(copy))
    assert "seen again" in (copy / "_build/stage/sums.ipynb").read_text()


def test_what_another_text_of_the_pipeline_has_staged_is_not_trusted(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(copy / "book/sums.md", "seen again", "seen once more")
    monkeypatch.setattr("tools.stage.changed_since_start", lambda _: ["stage.py"])
    assert stage(copy, executed(copy))
    monkeypatch.undo()
    assert stage(copy, executed(copy))
    assert not stage(copy, executed(copy))


@pytest.mark.parametrize("name", [*FIELDS, *ORDER])
@pytest.mark.parametrize("value", [None, [5]])
def test_a_record_that_lacks_a_field_is_as_absent(copy: Path, name: str, value: object) -> None:
    one = next(one for one in executed(copy) if one.page.name == "sums")
    record = json.loads(one.record_path.read_text())
    (record if name in FIELDS else record["provenance"])[name] = value
    one.record_path.write_text(json.dumps(record))
    assert one.record == {}
    assert not one.is_good()


def test_a_damaged_site_is_built_again(copy: Path) -> None:
    page = copy / "_build/html/part/curve.html"
    whole = page.read_bytes()
    page.write_bytes(whole[:-100])
    assert build(copy) == 0
    assert page.read_bytes() == whole


def test_noise_within_the_tolerance_passes_and_is_not_checked_again(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_reference(copy, "slope 0.16666666666666666", "slope 0.16666668333333333")
    check(copy)
    assert "1 references" in capsys.readouterr().out
    check(copy)
    assert "nbval" not in capsys.readouterr().out


def test_a_warning_of_sphinx_fails_the_build_until_it_is_mended_and_withholds_nothing(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(copy / "book/part/curve.md", "{data}`curve`", "{data}`curves`")
    replace(copy / "book/sums.md", "seen again", "seen once more")
    for _ in range(2):
        assert build(copy) == 1
        assert "no figure data 'curves'; written by the chapters: curve, curve3" in capsys.readouterr().err
        assert "seen once more" in (copy / "_build/html/sums.html").read_text()


def test_a_figure_without_alt_text_fails_without_running_anything(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(copy / "book/part/curve.md", '  image: {alt: "A rising line."}\n', "")
    assert build(copy) == 1
    captured = capsys.readouterr()
    assert "chapter part/curve, code cell 2 of 3: import json\n  shows a figure without alt text" in captured.err
    assert "execute  " not in captured.out


def test_a_chapter_alone_ends_with_its_page(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(checkout), "chapter", "part/curve"]) == 0
    page = checkout / "_build/chapter/html/part/curve.html"
    assert f"the page: {page}" in capsys.readouterr().out
    text = page.read_text()
    assert 'alt="A rising line."' in text
    assert "slope 0.16666666666666666 points 5" in text
    assert not (checkout / "_build/html").exists()
    assert stale(checkout) == {"sums", "part/curve-n3"}
    assert main(["--root", str(checkout), "chapter", "part/curve", "-p", "rate", "1.0"]) == 0
    assert "slope 0.3333333333333333 points 5" in page.read_text()
    assert stale(checkout) == {"sums", "part/curve-n3"}


def change_reference(checkout: Path, old: str, new: str) -> None:
    """Change the text of the reference of part/curve."""
    replace(references.path_of(Layout(checkout), "part/curve"), old, new)
