"""Where results and outputs lie: environment variables first, then `_build/` of the checkout one stands in."""

import os
import re
from pathlib import Path


def checkout() -> Path:
    """The nearest folder upwards from the working directory that holds `_toc.yml`, else the working directory."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "_toc.yml").is_file()), here)


def store_folder() -> Path | None:
    """Folder of the result store: `ICL_STORE`, else `_build/results`; None where `ICL_STORE` is `off`."""
    named = os.environ.get("ICL_STORE")
    if named == "off":
        return None
    return Path(named) if named else checkout() / "_build" / "results"


def output_file(kind: str, name: str, suffix: str) -> Path:
    """The file of a figure's data or of a claim below `kind` of the output folder, which is made.

    Raises `ValueError` for a name that could lead out of there.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise ValueError(f"name must be letters, digits and any of . _ + - (a file is called so), got {name!r}")
    folder = output_folder() / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}{suffix}"


def output_folder() -> Path:
    """Folder that takes figure data and claims: `ICL_OUTPUT`, else `_build/by-hand`."""
    named = os.environ.get("ICL_OUTPUT")
    return Path(named) if named else checkout() / "_build" / "by-hand"
