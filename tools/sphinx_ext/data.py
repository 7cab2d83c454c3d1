"""The role {data}: a link from a figure's caption to the figure's data."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from tools.sphinx_ext.paths import to_root

# Filled by the pipeline; what lies in it is copied to the root of the site.
EXTRA = "_extra"
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> None:
    """Register the role and copy the data."""
    app.add_role("data", DataRole())
    app.connect("builder-inited", _add_extra)


def _add_extra(app: Sphinx) -> None:
    if (Path(app.srcdir) / EXTRA).is_dir() and EXTRA not in app.config.html_extra_path:
        app.config.html_extra_path = [*app.config.html_extra_path, EXTRA]


class DataRole(SphinxRole):
    """{data}`name` → a link to `data/name.csv`, relative to the page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link; a name without data is a warning."""
        file = f"data/{self.text}.csv"
        if not (Path(self.env.srcdir) / EXTRA / file).is_file():
            known = sorted(path.stem for path in (Path(self.env.srcdir) / EXTRA / "data").glob("*.csv"))
            logger.warning(
                "no figure data %r; written by the chapters: %s",
                self.text,
                ", ".join(known) or "none",
                location=self.get_location(),
            )
        link = nodes.reference("", f"{self.text}.csv", refuri=to_root(self.env) + file, classes=["figure-data"])
        return [link], []
