"""Docstrings as they are written: a bar in them is a norm or an absolute value, not a substitution of Sphinx."""

from typing import Any

from sphinx.application import Sphinx


def setup(app: Sphinx) -> None:
    """Register the reading."""
    app.connect("autodoc-process-docstring", _keep_bars)


def _keep_bars(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace("|", "\\|") for line in lines]
