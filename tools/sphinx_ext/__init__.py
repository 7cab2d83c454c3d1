"""Sphinx extension of the book: offline maths and fonts, figures and their data, the scorecard, provenance."""

from typing import Any

from sphinx.application import Sphinx

from tools.sphinx_ext import (
    accessible,
    argument,
    data,
    docstrings,
    fonts,
    glance,
    interactive,
    mathjax,
    one_page,
    parameters,
    provenance,
    scorecard,
    verdicts,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all parts."""
    for part in (
        accessible,
        argument,
        data,
        docstrings,
        fonts,
        glance,
        interactive,
        mathjax,
        one_page,
        parameters,
        provenance,
        scorecard,
        verdicts,
    ):
        part.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
