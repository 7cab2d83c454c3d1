"""Every public function of the science names the statement of the book that it computes, by a label that exists."""

import ast
from pathlib import Path

import pytest
from fixture_book import REPOSITORY

from tools.labels import DEFINITIONS
from tools.sphinx_ext.docstrings import labels_of, linked

LIBRARY = REPOSITORY / "icl_lib"
# Modules that run, keep, tell or draw results. What is in no list here is science.
OTHER = {
    *("claims", "bounds.inequality", "bounds.search", "bounds.statements"),
    *("classification.figures", "softmax_regression.closeness_claims"),
}
# Rooms without science, and modules with an experiment in them.
OTHER_ROOMS = ("display", "running")
WITHOUT_STATEMENT = {
    "checks of what is given": """
        classification.descent.check_context classification.descent.check_labels
        classification.descent.check_on_sphere classification.kernels.sphere_tolerance""",
    "searches for the best rate or width": """
        classification.descent.fit_rate classification.descent.minimise_over_widths
        softmax_regression.descent_rate.best_rate softmax_regression.descent_rate.minimise_over_rates""",
    "numbers with their errors": "statistics.*",
    "summaries of results: means, scores, tables": """
        alignment.cosine alignment.entropy classification.parts.*
        classification.regimes.* classification.summaries.*
        softmax_regression.beyond_summaries.* softmax_regression.rival_summaries.*
        softmax_regression.summaries.*""",
    "other solvers and classifiers, for comparison": """
        bounds.newton.* bounds.newton_reference.* classification.classifiers.*""",
    "drawing of tasks": "softmax_regression.blocks.* softmax_regression.reduced_sampling.*",
    "stacks of layers, which a chapter defines in its text": "softmax_regression.layers.stacked_direction",
    "arithmetic that keeps a proof exact or a shift accurate": """
        bounds.certificate.bernstein bounds.intervals.in_three_variables bounds.intervals.upper_bound
        bounds.shifts.exp_remainder bounds.shifts.log_mean_exp bounds.shifts.prediction_remainder
        bounds.spread.eigenvalues""",
}
# A config and the function from it to a result: the science that it calls has statements of its own.
EXPERIMENTS = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
    for path in LIBRARY.rglob("*.py")
    if "    def compute(self, device" in path.read_text()
}
EXCUSED = [name for names in WITHOUT_STATEMENT.values() for name in names.split()]


def _functions() -> dict[str, tuple[str, ...]]:
    """The labels that each public function of the science names, by its name below the library."""
    found = {name.removeprefix("icl_lib."): labels for name, labels in labels_of(LIBRARY).items()}
    return {
        name: labels
        for name, labels in found.items()
        for module, _, own in [name.rpartition(".")]
        if own[0].islower() and module not in OTHER and module.split(".")[0] not in OTHER_ROOMS
        if module not in EXPERIMENTS
    }


def _excused(name: str) -> bool:
    return name in EXCUSED or f"{name.rpartition('.')[0]}.*" in EXCUSED


def _defined() -> set[str]:
    pages = [p for p in (REPOSITORY / "book").rglob("*.md") if not {"reference", "_examples"} & set(p.parts)]
    return {match["name"] for p in pages for pattern in DEFINITIONS for match in pattern.finditer(p.read_text())}


def test_every_function_of_the_science_names_a_statement_or_is_excused() -> None:
    functions = _functions()
    assert len(functions) > 100
    assert not [name for name, labels in functions.items() if not labels and not _excused(name)]


def test_the_excuses_are_needed() -> None:
    """An excuse for what names a statement by now, or is gone, is taken back."""
    functions = _functions()
    for name in EXCUSED:
        meant = [k for k in functions if k == name or f"{k.rpartition('.')[0]}.*" == name]
        assert any(not functions[k] for k in meant), name
    modules = {p.relative_to(LIBRARY).with_suffix("").as_posix().replace("/", ".") for p in LIBRARY.rglob("*.py")}
    assert modules >= OTHER


def test_every_label_that_a_docstring_names_is_defined_in_the_book() -> None:
    named = {label for labels in labels_of(LIBRARY).values() for label in labels}
    assert len(named) > 30
    assert not named - _defined()


@pytest.mark.parametrize(
    ("line", "link"),
    [
        ("See `thm-tanh`.", "See :prf:ref:`thm-tanh`."),
        ("See `eq-cumulants` and `sec-attention`.", "See equation :eq:`eq-cumulants` and :ref:`sec-attention`."),
        ("Raises as `newton`; ``thm-tanh`` in code.", "Raises as `newton`; ``thm-tanh`` in code."),
    ],
)
def test_a_label_becomes_a_link(line: str, link: str) -> None:
    assert linked(line) == link


def test_labels_are_those_of_public_functions(tmp_path: Path) -> None:
    library = tmp_path / "library"
    (library / "part").mkdir(parents=True)
    (library / "part" / "one.py").write_text(
        'def f():\n    """See `lem-a`, `lem-a` and `eq-b`."""\ndef _g():\n    """`lem-c`"""\ndef h():\n    pass\n'
    )
    assert labels_of(library) == {"library.part.one.f": ("lem-a", "eq-b"), "library.part.one.h": ()}


def test_no_property_is_told_as_a_type() -> None:
    """Sphinx takes what stands before a colon in the first line for the type of the property."""
    told = {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and any("property" in ast.unparse(d) for d in node.decorator_list)
    }
    assert len(told) > 20
    assert not {name: line for name, line in told.items() if ": " in line}
