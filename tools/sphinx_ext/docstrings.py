"""Docstrings on their page, linked to the statements of the book that they name by label, and those to them.

In a docstring `` `thm-tanh` `` is the theorem with that label. A bar is a norm or an absolute value, not a substitution
of Sphinx.
"""

import ast
import functools
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import icl_lib

LABEL = re.compile(r"(?<!`)`(?P<label>(?P<kind>thm|lem|prop|cor|conj|def|eq|sec)-[a-z0-9-]+)`(?!`)")
ROLES = {"eq": "equation :eq:", "sec": ":ref:"}
STATEMENT = ":prf:ref:"


def setup(app: Sphinx) -> None:
    """Register both directions."""
    app.connect("autodoc-process-docstring", _read)
    app.connect("doctree-read", _name_functions)


def _read(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [linked(line.replace("|", "\\|")) for line in lines]


def linked(line: str) -> str:
    """The line with every label as a link to what it names."""
    return LABEL.sub(lambda match: f"{ROLES.get(match['kind'], STATEMENT)}`{match['label']}`", line)


@functools.cache
def labels_of(library: Path) -> dict[str, tuple[str, ...]]:
    """The labels that the docstring of each public function and class names, by its full name."""
    named = {}
    for path in sorted(library.rglob("*.py")):
        module = ".".join(path.relative_to(library.parent).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                text = ast.get_docstring(node) or ""
                named[f"{module}.{node.name}"] = tuple(dict.fromkeys(m["label"] for m in LABEL.finditer(text)))
    return named


def _name_functions(app: Sphinx, doctree: nodes.document) -> None:
    """Under each statement, what computes it."""
    named = labels_of(Path(icl_lib.__file__).parent)
    for node in doctree.findall(lambda node: isinstance(node, nodes.Element) and "realtype" in node):
        functions = [name for name, labels in named.items() if node["label"] in labels]
        if functions:
            node += _computed_by(functions)


def _computed_by(functions: list[str]) -> nodes.paragraph:
    told = nodes.paragraph("", "Computed by ", classes=["computed-by"])
    for k, name in enumerate(functions):
        link = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=name, refexplicit=True, refwarn=False, refspecific=False
        )
        link += nodes.literal("", name.removeprefix(f"{icl_lib.__name__}."))
        told += [nodes.Text(", "), link] if k else [link]
    return told
