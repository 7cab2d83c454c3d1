"""A site of a few pages, built by Sphinx in this process."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def built(folder: Path, source: str, claims: Sequence[Any], extensions: Sequence[str]) -> tuple[str, str]:
    """The first page of a book with recorded claims, and the warnings."""
    (folder / "conf.py").write_text(f"extensions = {list(extensions)}\n")
    (folder / "_scorecard.json").write_text(json.dumps(claims))
    (folder / "index.rst").write_text(f"Page\n====\n\n{source}\n")
    told = io.StringIO()
    Sphinx(folder, folder, folder / "out", folder / "trees", "html", status=None, warning=told).build()
    # A second site of one process registers its nodes once more.
    lines = [line for line in told.getvalue().splitlines() if "already registered" not in line]
    return (folder / "out" / "index.html").read_text(), "\n".join(lines)
