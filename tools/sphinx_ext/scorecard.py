"""The directive {scorecard}: every claim with its verdict, from what the chapters recorded."""

import json
from pathlib import Path
from typing import Any, ClassVar, cast

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

SCORECARD = "_scorecard.json"
COLUMNS = (("Claim", 34), ("Verdict", 12), ("Measured", 18), ("Evidence", 14), ("Limits", 22))
logger = logging.getLogger(__name__)


class EvidenceLink(nodes.Inline, nodes.TextElement):
    """A link to a figure or page whose labels are known only when all pages are read."""


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("scorecard", ScorecardDirective)
    app.add_node(EvidenceLink)
    app.connect("doctree-resolved", _resolve)


class ScorecardDirective(SphinxDirective):
    """A table of claims; `:paper:` keeps those of one paper."""

    option_spec: ClassVar[dict[str, Any]] = {"paper": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The table, or a sentence where there is no claim yet."""
        claims = self._claims()
        if not claims:
            return [nodes.paragraph("", "No claim has been recorded yet.")]
        rows = [self._row(self._cells(claim)) for claim in claims]
        head = self._row([[nodes.paragraph("", title)] for title, _ in COLUMNS])
        group = nodes.tgroup(
            "",
            *[nodes.colspec(colwidth=width) for _, width in COLUMNS],
            nodes.thead("", head),
            nodes.tbody("", *rows),
            cols=len(COLUMNS),
        )
        return [nodes.table("", group, classes=["scorecard"])]

    def _claims(self) -> list[dict[str, Any]]:
        path = Path(self.env.srcdir) / SCORECARD
        self.env.note_dependency(str(path))
        claims = json.loads(path.read_text()) if path.is_file() else []
        paper = self.options.get("paper")
        kept = [claim for claim in claims if paper is None or str(claim["paper"]) == paper.strip()]
        if claims and not kept:
            known = sorted({str(claim["paper"]) for claim in claims})
            logger.warning("no claim of paper %r; there are: %s", paper, ", ".join(known), location=self.get_location())
        return kept

    def _row(self, cells: list[list[nodes.Node]]) -> nodes.row:
        return nodes.row("", *[nodes.entry("", *cell) for cell in cells])

    def _cells(self, claim: dict[str, Any]) -> list[list[nodes.Node]]:
        verdict = nodes.inline("", str(claim["verdict"]), classes=["verdict", f"verdict-{claim['verdict']}"])
        link = EvidenceLink("", str(claim["evidence"]), page=claim["page"], label=str(claim["evidence"]))
        limits = [self._text(claim["limitation"]), self._text(claim["negative_control"], "Negative control: ")]
        return [
            [self._text(claim["statement"]), self._text(claim["source"], classes=["claim-source"])],
            [nodes.paragraph("", "", verdict)],
            [self._text(claim["test"]), *[nodes.paragraph("", line) for line in _measured(claim)]],
            [nodes.paragraph("", "", link)],
            [paragraph for paragraph in limits if paragraph.children],
        ]

    def _text(self, value: Any, before: str = "", classes: list[str] | None = None) -> nodes.paragraph:
        """A paragraph of a claim's text, which may hold maths; empty where there is none."""
        if value in (None, ""):
            return nodes.paragraph()
        inline, messages = self.state.inline_text(str(value), self.lineno)
        return nodes.paragraph("", "", nodes.Text(before), *inline, *messages, classes=classes or [])


def _measured(claim: dict[str, Any]) -> list[str]:
    """`value ± standard error` of the worst case and the tolerance, as far as the claim has them."""
    value = _number(claim["value"])
    if claim["standard_error"]:
        value += f" ± {_number(claim['standard_error'], digits=2)}"
    lines = [f"{value} ({claim['worst_case']})" if claim.get("worst_case") else value]
    if claim["tolerance"] is not None:
        lines.append(f"claimed: {_number(claim['tolerance'])}")
    return lines


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn the evidence of each claim into a link: to its label, or else to the page that recorded it."""
    for node in list(doctree.findall(EvidenceLink)):
        page = node["page"]
        target, anchor, title = _target(app, page, node["label"])
        uri = app.builder.get_relative_uri(docname, target) + (f"#{anchor}" if anchor else "")
        node.replace_self(nodes.reference("", title, internal=True, refuri=uri))


def _target(app: Sphinx, page: str, label: str) -> tuple[str, str, str]:
    """Document, anchor and text of the evidence; a page that reruns a chapter has the labels with a suffix."""
    known = cast(StandardDomain, app.env.get_domain("std")).anonlabels
    for name in (f"{label}--{page.replace('/', '-')}", label):
        if name in known:
            target, anchor = known[name]
            number = app.env.toc_fignumbers.get(target, {}).get("figure", {}).get(anchor)
            return target, anchor, f"Fig. {'.'.join(map(str, number))}" if number else label
    return page, "", app.env.titles[page].astext()
