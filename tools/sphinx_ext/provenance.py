"""The directive {provenance}: where, when and with what the chapter ran, read from a file beside the page."""

from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tools.sphinx_ext.paths import to_root

FOLDER = "provenance"
TEMPLATE = """<section class="provenance" aria-labelledby="provenance-title">
<p class="rubric" id="provenance-title">Provenance</p>
<dl id="provenance-values"></dl>
<p><a href="{base}.txt">Provenance as text</a></p>
<script src="{base}.js"></script>
</section>
"""


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("provenance", ProvenanceDirective)


class ProvenanceDirective(SphinxDirective):
    """Shows the values of `provenance/<page>.js`, which differ from build to build; the page's own bytes do not."""

    def run(self) -> list[nodes.Node]:
        """A place that the script fills, and a link for readers without scripts; nothing where all pages are one."""
        if self.env.app.builder.name == "singlehtml":
            return []
        base = f"{to_root(self.env)}{FOLDER}/{self.env.docname}"
        return [nodes.raw("", TEMPLATE.format(base=escape(base)), format="html")]
