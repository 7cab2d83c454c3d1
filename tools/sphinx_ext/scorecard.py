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
from sphinx.writers.html5 import HTML5Translator

SCORECARD = "_scorecard.json"
COLUMNS = (("Claim", 47), ("Verdict", 15), ("Measured", 18), ("Tolerance", 20))
logger = logging.getLogger(__name__)


class EvidenceLink(nodes.Inline, nodes.TextElement):
    """A link to a figure or page whose labels are known only when all pages are read."""


class Fold(nodes.General, nodes.Element):
    """What a click or the Enter key opens and shuts, without a script; its first child is the line that is seen."""


class FoldTitle(nodes.General, nodes.TextElement):
    """The line of a fold that is seen."""


def setup(app: Sphinx) -> None:
    """Register the directive and its nodes."""
    app.add_directive("scorecard", ScorecardDirective)
    app.add_node(EvidenceLink)
    app.add_node(Fold, html=_in_tag("details"))
    app.add_node(FoldTitle, html=_in_tag("summary"))
    app.connect("doctree-resolved", _resolve)


def _in_tag(tag: str) -> tuple[Any, Any]:
    """How a node is written: as that element of HTML."""

    def visit(self: HTML5Translator, node: nodes.Element) -> None:
        self.body.append(self.starttag(node, tag))

    def depart(self: HTML5Translator, node: nodes.Element) -> None:
        self.body.append(f"</{tag}>\n")

    return visit, depart


class ScorecardDirective(SphinxDirective):
    """A table of claims, one row each with the rest folded into it; `:paper:` keeps those of one paper."""

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
        claims = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        paper = self.options.get("paper")
        kept = [claim for claim in claims if paper is None or str(claim["paper"]) == paper.strip()]
        if claims and not kept:
            known = sorted({str(claim["paper"]) for claim in claims})
            logger.warning("no claim of paper %r; there are: %s", paper, ", ".join(known), location=self.get_location())
        return kept

    def _row(self, cells: list[list[nodes.Node]]) -> nodes.row:
        return nodes.row("", *[nodes.entry("", *cell) for cell in cells])

    def _cells(self, claim: dict[str, Any]) -> list[list[nodes.Node]]:
        return [
            [self._fold(claim)],
            [nodes.paragraph("", "", _verdict(claim["verdict"])), *again(claim)],
            [nodes.paragraph("", _measured(claim))],
            [nodes.paragraph("", "" if claim["tolerance"] is None else _number(claim["tolerance"]))],
        ]

    def _fold(self, claim: dict[str, Any]) -> Fold:
        """The claim in one line, and what it rests on."""
        link = EvidenceLink("", str(claim["evidence"]), page=claim["page"], label=str(claim["evidence"]))
        worst = claim.get("worst_case")
        inside = [
            ("Source", self._inline(claim["source"])),
            ("Test", [*self._inline(claim["test"]), *([nodes.Text(f"; worst case: {worst}")] if worst else [])]),
            ("Evidence", [link]),
            ("Limitation", self._inline(claim["limitation"])),
            ("Negative control", self._inline(claim["negative_control"])),
        ]
        if found := claim.get("replicated"):
            told = f"{found['measured']}, {_told(found['verdict'])}{_older(found)}"
            inside.append((f"From seed {found['seed']}", self._inline(told)))
        parts = [
            nodes.paragraph("", "", nodes.strong("", f"{name}. "), *content, classes=["claim-part"])
            for name, content in inside
            if content
        ]
        return Fold("", FoldTitle("", "", *self._inline(claim["statement"])), *parts, classes=["claim"])

    def _inline(self, value: Any) -> list[nodes.Node]:
        """A claim's text, which may hold maths; nothing where there is none."""
        if value in (None, ""):
            return []
        content, messages = self.state.inline_text(str(value), self.lineno)
        return [*content, *messages]


def _told(verdict: str) -> str:
    """A verdict as the chapters tell it; programs read `undecidable`."""
    return "not telling" if verdict == "undecidable" else str(verdict)


def _verdict(verdict: str) -> nodes.inline:
    return nodes.inline("", _told(verdict), classes=["verdict", f"verdict-{verdict.replace(' ', '-')}"])


def again(claim: dict[str, Any]) -> list[nodes.Node]:
    """What came of it from another seed, below the verdict: where that is another one, the claim is not resolved."""
    found = claim.get("replicated")
    if not found:
        return []
    if found["verdict"] == claim["verdict"]:
        told = "the same"
    else:
        told = _told(found["verdict"]) + ("" if found["verdict"] == "not resolved" else ", so not resolved")
    return [nodes.paragraph("", f"seed {found['seed']}: {told}{_older(found)}", classes=["again"])]


def _older(found: dict[str, Any]) -> str:
    return "" if found["is_current"] else ", by older code"


def _measured(claim: dict[str, Any]) -> str:
    """The worst case as chapters print it: `measured`; a claim recorded by other means may have a value only."""
    return str(claim.get("measured") or _number(claim["value"]))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
