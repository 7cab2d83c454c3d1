"""Where results and outputs lie: environment variables first, then `_build/` of the checkout one stands in."""

import os
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


def output_folder() -> Path:
    """Folder that takes figure data and claims: `ICL_OUTPUT`, else `_build/by-hand`."""
    named = os.environ.get("ICL_OUTPUT")
    return Path(named) if named else checkout() / "_build" / "by-hand"
