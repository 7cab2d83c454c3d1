"""The pages that are drawn from other pages, and those that must name everything."""

import json
import re
from pathlib import Path

import pytest
import yaml
from fixture_book import REPOSITORY

from tools.sphinx_ext import argument, parameters

CONTENTS = {
    "parts": [
        {"caption": "One", "chapters": [{"file": "a"}, {"file": "one/b"}]},
        {"caption": "Two", "chapters": [{"file": "two/c"}]},
    ]
}
PARAMETERS = "n = 5  # words of a document\nrates = [1.0, 2.0]\nname = 'x # y'   # a text\nshare: float = 0.5  # of all"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """Three chapters, of which the second is an executed notebook."""
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(CONTENTS))
    (tmp_path / "a.md").write_text("# First\n\n```{prf:lemma} L\n:label: lem-a\n```\n\nYou need nothing.\n")
    cells = [
        {
            "cell_type": "markdown",
            "source": ["# Second *one*\n", "\n", "You need {prf:ref}`lem-a`\n", "and luck."],
            "metadata": {},
        },
        {"cell_type": "code", "source": PARAMETERS, "metadata": {"tags": ["parameters"]}},
        {"cell_type": "markdown", "source": "More of [c](../two/c.ipynb).", "metadata": {}},
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "b.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "c.md").write_text(
        "# Third\n\nWords. You need [b](../one/b.ipynb) and [a](../a.md#place).\n\nSee {prf:ref}`lem-a`.\n"
    )
    return tmp_path


def test_needs_are_those_of_the_sentence_that_says_so(staged: Path) -> None:
    first, second, third = argument.chapters(staged)
    assert (first.needs, second.needs, third.needs) == ((), ("a",), ("one/b", "a"))
    assert (second.title, second.part) == ("Second *one*", "One")


def test_the_drawing_has_a_box_for_each_chapter_and_a_line_for_each_need(staged: Path) -> None:
    drawn = argument.drawing(argument.chapters(staged))
    assert drawn.count("<rect") == 3
    assert drawn.count("<path") == 3
    assert 'aria-label="Map of 3 chapters in 2 parts with 3 lines' in drawn


def test_parameters_are_read_with_default_and_meaning(staged: Path) -> None:
    assert parameters.declared(staged, "a") == []
    name, rates, text, typed = parameters.declared(staged, "one/b")
    assert name == ("n", "5", "words of a document")
    assert rates == ("rates", "[1.0, 2.0]", "words of a document")
    assert text == ("name", "'x # y'", "a text")
    assert typed == ("share", "0.5", "of all")


def test_every_parameter_of_the_book_says_what_it_means() -> None:
    """A line without a word follows the one that explains both, or the notation explains it."""
    silent = []
    notation = set(re.findall(r"\| `(\w+)` \|", (REPOSITORY / "book" / "notation.md").read_text()))
    assert "classes" in notation
    for path in sorted((REPOSITORY / "book").rglob("*.md")):
        cell = re.search(r"```\{code-cell\} ipython3\n:tags: \[parameters\]\n\n(.*?)```", path.read_text(), re.DOTALL)
        lines = [line for line in cell[1].splitlines() if re.match(r"\w+ = ", line)] if cell else []
        told = ["#" in line for line in lines]
        silent += [
            f"{path.stem}: {line}"
            for k, line in enumerate(lines)
            if not any(told[max(0, k - 1) : k + 1]) and line.split()[0] not in notation
        ]
    assert not silent


def test_every_command_and_variable_is_in_the_table() -> None:
    page = (REPOSITORY / "book" / "appendix" / "commands.md").read_text()
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"(?m)^([a-z-]+):.*## ", makefile)
    assert len(targets) > 10
    assert not [name for name in targets if f"`make {name}" not in page]
    library = "".join(path.read_text() for path in (REPOSITORY / "icl_lib").rglob("*.py"))
    variables = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", library))
    assert {"JOBS", "ICL_STORE"} <= variables
    assert not [name for name in variables if f"`{name}`" not in page]


def test_the_buttons_appear_when_the_repository_is_known(tmp_path: Path) -> None:
    """One place turns on the buttons to the repository, Binder and Colab; without it none of them is there."""
    from tools.layout import Layout
    from tools.site import configuration

    text = (REPOSITORY / "_config.yml").read_text()
    (tmp_path / "_config.yml").write_text(text)
    bare = yaml.safe_load(configuration(Layout(tmp_path), None))
    assert "launch_buttons" not in bare
    assert bare["html"]["use_repository_button"] is False
    (tmp_path / "_config.yml").write_text(text.replace('url: ""', "url: https://example.org/book"))
    full = yaml.safe_load(configuration(Layout(tmp_path), None))
    assert full["launch_buttons"]["binderhub_url"].startswith("https://")
    assert full["launch_buttons"]["colab_url"].startswith("https://")
    assert full["html"]["use_repository_button"] is True


def test_every_module_of_the_library_is_on_one_page_and_in_the_list_of_all() -> None:
    appendix = REPOSITORY / "book" / "appendix"
    listed = re.findall(r"(?m)^   (icl_lib\S+)$", (appendix / "api.md").read_text())
    shown = [name for path in appendix.glob("api-*.md") for name in re.findall(r"automodule:: (\S+)", path.read_text())]
    files = [path for path in (REPOSITORY / "icl_lib").rglob("*.py") if path.stem != "__init__"]
    modules = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in files}
    assert len(modules) > 40
    assert sorted(modules) == sorted(listed) == sorted(shown)


# The parts whose pages are chapters, and among them tables chapters, or the same few figures at further
# settings: nothing is learnt there that wants practice.
PARTS = {"foundations", "closeness", "bounds", "kernel", "real", "explore"}
TABLES = {
    "bounds/summary", "closeness/overview", "closeness/point", "closeness/record", "kernel/authors", "kernel/record",
    "kernel/setting", "real/carries-over",
}  # fmt: skip


def chapters_to_learn_from() -> dict[str, str]:
    book = REPOSITORY / "book"
    parts = [path for path in book.glob("*/*.md") if path.parent.name in PARTS]
    names = {path.relative_to(book).with_suffix("").as_posix(): " ".join(path.read_text().split()) for path in parts}
    assert set(names) > TABLES
    return {name: text for name, text in names.items() if name not in TABLES}


def test_every_chapter_says_what_it_asks_teaches_needs_and_answers() -> None:
    chapters = chapters_to_learn_from()
    assert len(chapters) > 25
    wanted = {
        "its question": r"\*\*Question\.\*\* .*?\?",
        "what is learnt": r"You (will|learn|see)",
        "what it needs": r"(You|you|It) needs? ",
        "its answer": r" ## Answer ",
        "what was not shown": r"\*\*Not shown\.\*\* ",
    }
    silent = [
        (name, part) for name, text in chapters.items() for part, told in wanted.items() if not re.search(told, text)
    ]
    assert not silent


def test_every_chapter_has_exercises_with_solutions_that_are_executed() -> None:
    for name, text in chapters_to_learn_from().items():
        exercises = re.findall(r"```\{exercise\} [^`]*?:label: (ex-[a-z0-9-]+)", text)
        solutions = re.findall(r"```\{solution-start\} (ex-[a-z0-9-]+)(.*?)```\{solution-end\}", text)
        assert 2 <= len(exercises) <= 4, name
        assert [label for label, _ in solutions] == exercises, name
        assert all("```{code-cell}" in solution and "assert " in solution for _, solution in solutions), name
