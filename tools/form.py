"""The form in which JupyterLab saves a chapter: `python -m tools.form` brings the chapters, committed so, into it."""

import sys
from pathlib import Path

from tools.catalogue import has_kernel
from tools.files import read_text, visible, write_if_changed
from tools.layout import Layout

# What JupyterLab writes of the kernel that `ipykernel` installs.
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def chapters(layout: Layout) -> list[Path]:
    """Every text notebook below `book/`, and the example of the page for authors."""
    return [path for path in visible(layout.book, "*.md") if has_kernel(path)] + [
        *visible(layout.book / "_examples", "*.md.txt")
    ]


def saved(path: Path) -> str:
    """The text of a chapter when it has been opened in JupyterLab and saved, with nothing changed."""
    import jupytext
    from jupytext.config import load_jupytext_config

    settings = load_jupytext_config(str(path.resolve()))
    notebook = jupytext.reads(read_text(path), fmt="md:myst", config=settings)
    notebook.metadata.kernelspec = KERNEL
    # By way of a notebook's file, which sorts the names in the metadata of a cell.
    shown = jupytext.reads(jupytext.writes(notebook, fmt="ipynb"), fmt="ipynb")
    return jupytext.writes(shown, fmt="md:myst", config=settings)


def main() -> int:
    """Bring the chapters of the checkout into their form, and name those that were in another."""
    for path in chapters(Layout(Path.cwd())):
        if write_if_changed(path, saved(path).encode()):
            print(path.relative_to(Path.cwd()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
