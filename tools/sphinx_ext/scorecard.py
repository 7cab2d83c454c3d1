"""The directive {scorecard}: every claim with its verdict, from what the chapters recorded.

Claims stand grouped by paper and by part of the book, below a table that counts them by paper and outcome. With scripts
each outcome of that table is a switch (`scorecard.js`), which leaves the claims of one outcome.
"""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, cast

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from tools.sphinx_ext.argument import CONTENTS, parts
from tools.stage import VERDICTS

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
    """Counts, then tables of claims, one row each with the rest folded into it; `:paper:` keeps those of one paper."""

    option_spec: ClassVar[dict[str, Any]] = {"paper": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The tables, or a sentence where there is no claim yet."""
        claims = self._claims()
        if not claims:
            return [nodes.paragraph("", "No claim has been recorded yet.")]
        folder = Path(self.env.srcdir)
        self.env.note_dependency(str(folder / CONTENTS))
        captions = parts(folder, sections=True)
        place = {page: number for number, page in enumerate(captions)}

        def part(claim: dict[str, Any]) -> tuple[int, str]:
            return claim["paper"], captions.get(claim["page"], "")

        ordered = sorted(claims, key=lambda claim: (claim["paper"], place.get(claim["page"], len(place))))
        return [_counts(claims), *[self._group(*key, list(found)) for key, found in groupby(ordered, key=part)]]

    def _group(self, paper: int, caption: str, claims: list[dict[str, Any]]) -> nodes.container:
        """The claims of one paper in one part of the book, below their heading."""
        head = [[nodes.paragraph("", title)] for title, _ in COLUMNS]
        kinds = [f"outcome-{_in_a_class(outcome(claim))}" for claim in claims]
        cells = [self._cells(claim) for claim in claims]
        rows = table("scorecard", [width for _, width in COLUMNS], head, cells, kinds)
        title = f"Paper {paper}: {caption}" if caption else f"Paper {paper}"
        return nodes.container("", nodes.rubric("", title), rows, classes=["scorecard-group"])

    def _claims(self) -> list[dict[str, Any]]:
        claims = recorded(self.env)
        paper = self.options.get("paper")
        kept = [claim for claim in claims if paper is None or str(claim["paper"]) == paper.strip()]
        if claims and not kept:
            known = sorted({str(claim["paper"]) for claim in claims})
            logger.warning("no claim of paper %r; there are: %s", paper, ", ".join(known), location=self.get_location())
        return kept

    def _cells(self, claim: dict[str, Any]) -> list[list[nodes.Node]]:
        return [
            [self._fold(claim)],
            [nodes.paragraph("", "", verdict(claim["verdict"])), *again(claim)],
            [nodes.paragraph("", measured(claim))],
            [nodes.paragraph("", "" if claim["tolerance"] is None else _number(claim["tolerance"]))],
        ]

    def _fold(self, claim: dict[str, Any]) -> Fold:
        """The claim in one line, and what it rests on."""
        worst = claim.get("worst_case")
        inside = [
            ("Source", self._inline(claim["source"])),
            ("Test", [*self._inline(claim["test"]), *([nodes.Text(f"; worst case: {worst}")] if worst else [])]),
            ("Evidence", [evidence(claim)]),
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


def recorded(env: BuildEnvironment) -> list[dict[str, Any]]:
    """All claims that the chapters recorded; a page that shows them is read again when they change."""
    path = Path(env.srcdir) / SCORECARD
    env.note_dependency(str(path))
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def outcome(claim: dict[str, Any]) -> str:
    """The verdict of a claim, `not resolved` where another seed gave another one."""
    found = claim.get("replicated")
    return "not resolved" if found and found["verdict"] != claim["verdict"] else str(claim["verdict"])


def _counts(claims: list[dict[str, Any]]) -> nodes.table:
    """How many claims of each paper came to each outcome."""
    counts, papers = Counter((claim["paper"], outcome(claim)) for claim in claims), sorted({c["paper"] for c in claims})
    head = [[nodes.paragraph("", title)] for title in ("Outcome", *[f"Paper {paper}" for paper in papers])]
    rows = [
        [[nodes.paragraph("", "", verdict(one))], *[[nodes.paragraph("", str(counts[paper, one]))] for paper in papers]]
        for one in VERDICTS
    ]
    return table("scorecard-counts", [2, *[1 for _ in papers]], head, rows)


def table(
    kind: str,
    widths: list[int],
    head: list[list[nodes.Node]],
    rows: list[list[list[nodes.Node]]],
    kinds: Sequence[str] = (),
) -> nodes.table:
    """A table of the class `kind`, cell by cell; `kinds` are classes of its rows."""

    def row(cells: list[list[nodes.Node]], *classes: str) -> nodes.row:
        return nodes.row("", *[nodes.entry("", *cell) for cell in cells], classes=list(classes))

    columns = [nodes.colspec(colwidth=width) for width in widths]
    body = nodes.tbody("", *(map(row, rows, kinds) if kinds else map(row, rows)))
    return nodes.table(
        "", nodes.tgroup("", *columns, nodes.thead("", row(head)), body, cols=len(widths)), classes=[kind]
    )


def evidence(claim: dict[str, Any]) -> EvidenceLink:
    """The link to what shows a claim."""
    return EvidenceLink("", str(claim["evidence"]), page=claim["page"], label=str(claim["evidence"]))


def _told(verdict: str) -> str:
    """A verdict as the chapters tell it; programs read `undecidable`."""
    return "not telling" if verdict == "undecidable" else str(verdict)


def verdict(outcome: str) -> nodes.inline:
    """A verdict in the colour that it has everywhere."""
    return nodes.inline("", _told(outcome), classes=["verdict", f"verdict-{_in_a_class(outcome)}"])


def _in_a_class(outcome: str) -> str:
    return outcome.replace(" ", "-")


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


def measured(claim: dict[str, Any]) -> str:
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
