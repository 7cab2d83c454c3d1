"""Lint of the chapters' code: `python -m tools.lint` gives ruff each chapter as a notebook."""

import shutil
import subprocess
import sys
from pathlib import Path

from tools import notebooks
from tools.files import visible, write_atomically
from tools.layout import PUBLISHED, Layout


def write_notebooks(layout: Layout, folder: Path) -> list[Path]:
    """Every text notebook of the book, in the book or not yet, as an `.ipynb` in `folder`; gives their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    written = []
    for source in visible(layout.book, "*.md"):
        notebook = notebooks.read_text_notebook(source)
        if notebooks.code_cells(notebook):
            path = folder / source.relative_to(layout.book).with_suffix(".ipynb")
            write_atomically(path, notebooks.to_bytes(notebook))
            written.append(path)
    return written


def main() -> int:
    """Write the notebooks and run ruff on them; gives its status."""
    layout = Layout(Path.cwd(), PUBLISHED)
    paths = write_notebooks(layout, layout.build / "lint")
    command = [sys.executable, "-m", "ruff", "check", "--quiet", *map(str, paths)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
