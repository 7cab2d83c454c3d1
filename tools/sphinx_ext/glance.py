"""The directive {glance}: both results in one figure, drawn from the data that the pages of this build have saved."""

import io
import re
from pathlib import Path
from typing import ClassVar

import pandas
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.directives.patches import Figure
from sphinx.util import logging

from tools.pictures import compact
from tools.sphinx_ext.data import EXTRA

PICTURE = "_glance.svg"
SIZES = re.compile(r"embedding-n(\d+)-held")
HEADS = re.compile(r"classification-C(\d+)-n(\d+)-d(\d+)-(linear|softmax)")
STEPS = "authors-fitted"
WANTED = {STEPS: re.compile(STEPS), "embedding-n…-held": SIZES, "classification-…": HEADS}
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("glance", Glance)


class Glance(Figure):
    """A figure whose picture is made here; its content is the caption. Without data a warning takes its place."""

    required_arguments = 0
    option_spec: ClassVar = Figure.option_spec

    def run(self) -> list[nodes.Node]:
        """Draw the picture beside the sources, and show it."""
        source = Path(self.state.document.settings.env.srcdir)
        found = {path.stem: path for path in sorted((source / EXTRA / "data").glob("*.csv"))}
        files = {name: path for name, path in found.items() if any(one.fullmatch(name) for one in WANTED.values())}
        if missing := lacking(list(files)):
            logger.warning(
                "no data for the figure at a glance: %s",
                missing,
                location=(self.state.document.settings.env.docname, self.lineno),
            )
            return []
        for path in files.values():
            self.state.document.settings.env.note_dependency(str(path))
        (source / PICTURE).write_text(picture(files), encoding="utf-8")
        self.arguments = [f"/{PICTURE}"]
        return super().run()


def lacking(names: list[str]) -> str:
    """What of the data is not there, in words, or nothing."""
    return ", ".join(text for text, name in WANTED.items() if not any(name.fullmatch(one) for one in names))


def picture(files: dict[str, Path]) -> str:
    """The figure as SVG, the same bytes from the same data."""
    import matplotlib
    from matplotlib import pyplot as plt

    from icl_lib.display import figures, glance

    sizes = {int(match[1]): pandas.read_csv(path) for name, path in files.items() if (match := SIZES.fullmatch(name))}
    steps = pandas.read_csv(files[STEPS])
    C, n = int(steps.C.iloc[0]), int(steps.n.iloc[0])
    heads = []
    for name, path in files.items():
        match = HEADS.fullmatch(name)
        if match and (int(match[1]), int(match[2])) == (C, n):
            table = pandas.read_csv(path)
            heads.append(table[table.step == table.step.max()].assign(d=int(match[3]), attention=match[4]))
    out = io.StringIO()
    # The style is the figure's and not that of the process which builds the site.
    with matplotlib.rc_context():
        figures.use_style()
        drawn = glance.draw(dict(sorted(sizes.items())), steps[(steps.C == C) & (steps.n == n)], pandas.concat(heads))
        drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(drawn)
    return compact(out.getvalue())
