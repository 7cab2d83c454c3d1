"""What a chapter's parameters may be."""

import math
import re
import shlex

import pytest
from fixture_book import REPOSITORY

from tools.catalogue import load
from tools.errors import BookError
from tools.layout import Layout
from tools.notebooks import read_chapter
from tools.parameters import declared, from_command_line, validate

DEFAULTS = {"n": 25, "rate": 0.5, "query": "held", "fast": True, "lengths": [200, 25], "device": None, "sizes": (1.0,)}


def test_names_and_defaults_are_read_without_running() -> None:
    source = "n = 25  # words\nrate: float = -0.5\nlengths = [200, 25]\ndevice = None"
    assert declared(source, "chapter x") == {"n": 25, "rate": -0.5, "lengths": [200, 25], "device": None}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os", "only `name = literal`, got `import os`"),
        ("n = 10**3", r"the default of parameter n must be a literal, got `10 \*\* 3`"),
        ("a, b = 1, 2", "only `name = literal`"),
        ("n: int", "only `name = literal`"),
        ("n = (", "not Python"),
    ],
)
def test_a_cell_of_something_else_is_refused(source: str, message: str) -> None:
    with pytest.raises(BookError, match=message):
        declared(source, "chapter x")


@pytest.mark.parametrize(
    "given",
    [
        {"n": 5},
        {"rate": 2},
        {"rate": math.inf},
        {"fast": False, "query": "same"},
        {"lengths": []},
        {"device": "cuda"},
        {"sizes": [1, 2.5]},
    ],
)
def test_values_of_the_right_type_pass(given: dict[str, object]) -> None:
    assert validate(given, DEFAULTS, "chapter x") == given


def test_a_whole_number_for_a_float_becomes_one() -> None:
    assert isinstance(validate({"rate": 2}, DEFAULTS, "chapter x")["rate"], float)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"m": 5}, "chapter x: unknown parameter 'm'; allowed: device, fast, lengths, n, query, rate, sizes"),
        ({"n": 5.0}, "parameter n must be of type int, got 5.0 of type float"),
        ({"n": True}, "parameter n must be of type int, got True of type bool"),
        ({"n": "many"}, "parameter n must be of type int, got 'many' of type str"),
        ({"fast": 1}, "parameter fast must be of type bool"),
        ({"rate": "high"}, "parameter rate must be of type float"),
        ({"lengths": 5}, "parameter lengths must be of type list"),
        ({"lengths": [5, "x"]}, r"parameter lengths\[1\] must be of type int"),
        ({"query": None}, "parameter query must be of type str"),
    ],
)
def test_other_values_are_refused_by_name(given: dict[str, object], message: str) -> None:
    with pytest.raises(BookError, match=message):
        validate(given, DEFAULTS, "chapter x")


def test_the_command_line_is_papermills() -> None:
    words = ["-p", "n", "50", "-p", "rate", "1e-3", "-p", "fast", "True", "-r", "query", "7", "-y", "lengths: [1, 2]"]
    assert from_command_line(words) == {"n": 50, "rate": 1e-3, "fast": True, "query": "7", "lengths": [1, 2]}


@pytest.mark.parametrize("words", [["-p", "n"], ["--no-such-option"], ["-y", "a: [1"], ["-y", "7"]])
def test_what_papermill_does_not_understand_is_refused(words: list[str]) -> None:
    with pytest.raises(BookError, match="parameters "):
        from_command_line(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-b", "bjogNQ=="], "--parameters_base64 of papermill is not taken here; allowed: -p NAME VALUE"),
        (["-p", "n", "5", "-k", "julia"], "--kernel of papermill is not taken"),
        (["--cwd", "/"], "--cwd of papermill"),
        (["--report-mode"], "--report-mode of papermill"),
        (["-f", "/none"], "cannot read /none: No such file or directory"),
        (["-f", "/"], "cannot read /: Is a directory"),
        (["--help"], "hold no parameter; allowed: -p NAME VALUE"),
        (["--version"], "hold no parameter"),
        (["-y", "5: 1"], "a name must be a text, got 5; write it in quotes"),
    ],
)
def test_what_would_be_dropped_or_cannot_be_read_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(BookError, match=message):
        from_command_line(words)


@pytest.mark.parametrize("text", ["1e-3", "1E3", "-2e5", "1.e6"])
def test_a_number_that_yaml_takes_for_text_is_one(text: str) -> None:
    given = from_command_line(["-y", f"rate: {text}"])
    assert validate(given, DEFAULTS, "chapter x") == {"rate": float(text)}
    assert validate({"query": text}, DEFAULTS, "chapter x") == {"query": text}


@pytest.mark.parametrize("name", ["README.md", "book/appendix/commands.md", "Makefile"])
def test_the_commands_shown_to_a_reader_are_taken(name: str) -> None:
    """Each `make chapter C=… P="…"` names a chapter and parameters that it has."""
    shown = re.findall(r'make chapter C=(\S+) P="([^"]+)"', (REPOSITORY / name).read_text())
    assert shown
    catalogue = load(Layout(REPOSITORY))
    for page, words in shown:
        assert read_chapter(catalogue.page(page), from_command_line(shlex.split(words))).given
