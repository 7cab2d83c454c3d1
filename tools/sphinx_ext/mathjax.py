"""Maths that renders without a network: one bundle of MathJax and its fonts, copied beside the pages."""

import importlib.util
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

# With all TeX packages, so that none is looked for while a page is read.
BUNDLE = "tex-chtml-full.js"
FONTS = Path("output/chtml/fonts/woff-v2")
FOLDER = "mathjax"


def setup(app: Sphinx) -> None:
    """Point Sphinx to the copy and make it."""
    app.connect("config-inited", _use_copy)
    app.connect("build-finished", _copy)


def _use_copy(_: Sphinx, config: Config) -> None:
    # Relative to _static, where a file of its own would become a script of every page.
    config.mathjax_path = f"../{FOLDER}/{BUNDLE}"


def _source() -> Path:
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("the package sphinx-mathjax-offline is not installed; run `make book`, which installs it")
    return Path(spec.origin).parent / "static" / "mathjax"


def _copy(app: Sphinx, failure: Exception | None) -> None:
    if failure is not None or app.builder.format != "html":
        return
    source, target = _source(), Path(app.outdir) / FOLDER
    (target / FONTS).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / BUNDLE, target / BUNDLE)
    for font in sorted((source / FONTS).glob("*.woff")):
        shutil.copyfile(font, target / FONTS / font.name)
