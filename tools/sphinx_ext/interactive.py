"""Interactive figures: plotly and the script that draws them, copied beside the pages and named only where needed."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from tools.interactive import CLASS, FOLDER

SCRIPT = Path(__file__).with_name("interactive.js")


def setup(app: Sphinx) -> None:
    """Name the script on the pages that need it, and copy what it loads."""
    app.connect("html-page-context", _name_script)
    app.connect("build-finished", _copy)


def _name_script(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if app.builder.name == "html" and f'class="{CLASS}"' in str(context.get("body", "")):
        # Relative to _static, where a file of its own would become a script of every page.
        app.add_js_file(f"../{FOLDER}/{SCRIPT.name}", loading_method="defer")


def _plotly() -> Path:
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise ExtensionError("the package plotly is not installed; run `make book`, which installs it")
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


def _copy(app: Sphinx, failure: Exception | None) -> None:
    target = Path(app.outdir) / FOLDER
    # Figures lie there already if any chapter has made one.
    if failure is None and app.builder.name == "html" and target.is_dir():
        shutil.copyfile(SCRIPT, target / SCRIPT.name)
        shutil.copyfile(_plotly(), target / "plotly.min.js")
