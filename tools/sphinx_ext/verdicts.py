"""The directive {verdicts}: which claims carry over to which setting, one verdict a cell, from what was recorded."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tools.sphinx_ext.scorecard import again, evidence, measured, recorded, table, verdict

logger = logging.getLogger(__name__)
NOT_TRIED = "–"


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("verdicts", VerdictsDirective)


class VerdictsDirective(SphinxDirective):
    """A table whose lines are `claim | id | id | …`, the first `claims | setting | setting | …`.

    A cell holds ids of claims separated by blanks, or nothing where none was tried. It shows for each the verdict, what
    was measured, and a link to the evidence. An id that was not recorded is a warning.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table."""
        head, *body = [[cell.strip() for cell in line.split("|")] for line in self.content if line.strip()]
        if odd := [row[0] for row in body if len(row) != len(head)]:
            raise self.error(f"verdicts must have {len(head)} cells in every line, got another number in: {odd[0]}")
        claims = {claim["id"]: claim for claim in recorded(self.env)}
        rows = [[self._words(row[0]), *[self._cell(cell, claims) for cell in row[1:]]] for row in body]
        widths = [2 if k == 0 else 1 for k in range(len(head))]
        return [table("verdicts", widths, [self._words(title) for title in head], rows)]

    def _words(self, text: str) -> list[nodes.Node]:
        content, messages = self.state.inline_text(text, self.lineno)
        return [nodes.paragraph("", "", *content, *messages)]

    def _cell(self, ids: str, claims: dict[str, dict[str, Any]]) -> list[nodes.Node]:
        """What was found of the claims called `ids`."""
        if not ids:
            return [nodes.paragraph("", NOT_TRIED)]
        if unknown := [one for one in ids.split() if one not in claims]:
            logger.warning("no claim %r has been recorded", unknown[0], location=self.get_location())
        parts: list[nodes.Node] = []
        for claim in (claims[one] for one in ids.split() if one in claims):
            told = nodes.Text(f" {measured(claim)} ")
            parts.append(nodes.paragraph("", "", verdict(claim["verdict"]), told, evidence(claim)))
            parts += again(claim)
        return parts
