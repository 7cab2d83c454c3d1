"""The pipeline of the book: text notebooks → papermill → nbval → jupyter-book. `python -m tools --help` lists it."""
