"""What a build found wrong with a page: a number that differs from its reference, or a chapter that failed.

Neither withholds the site: the page shows a note, the landing page lists such pages, `differences.json` holds them, and
the command ends with status 1.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tools.errors import BookError
from tools.files import json_bytes, write_if_changed
from tools.layout import Layout
from tools.tolerance import numbers

DIFFERS, FAILED = "differs", "failed"
# A page says so much of its differences; all of them are in the file.
SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One finding on a page.

    `cell` counts the code cells of what `source`, its first line, stands in; `error` is the standard error that the
    reference prints with the first number that differs, where it has one; `trace` is the file of a traceback.
    """

    page: str
    kind: str
    message: str
    cell: int | None = None
    source: str = ""
    expected: str | None = None
    got: str | None = None
    error: str | None = None
    trace: str | None = None

    def __str__(self) -> str:
        """A few lines for the terminal."""
        if self.kind == FAILED:
            return self.message
        where = f", code cell {self.cell} of its reference: {self.source}" if self.cell is not None else ""
        lines = [f"chapter {self.page}{where}", f"  {self.message}"]
        if self.expected is not None:
            lines += [f"  expected  {self.expected}", f"  got       {self.got}"]
        return "\n".join(lines)


class ChapterFailed(BookError):
    """A chapter whose cell failed; `difference` says which."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.message)
        self.difference = difference


def error_of(expected: str, got: str) -> str | None:
    """The standard error printed with the first number in which two lines differ, None where it has none."""
    ours, theirs = list(numbers(expected)), list(numbers(got))
    for index, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a.text != b.text and a.kind == "value":
            return ours[index + 1].text
        if a.text != b.text:
            return None
    return None


def write(layout: Layout, found: Sequence[Difference]) -> None:
    """Write `differences.json`: an empty list where all agree."""
    write_if_changed(layout.build / "differences.json", json_bytes([asdict(one) for one in found]))


def summary(found: Sequence[Difference], site: str) -> str:
    """The last line of a command: how much is wrong, and where the site lies all the same."""
    failed = len({one.page for one in found if one.kind == FAILED})
    differing = [one for one in found if one.kind == DIFFERS]
    counts = []
    if failed:
        counts.append(f"{failed} chapter{'s' * (failed > 1)} failed")
    if differing:
        pages = len({one.page for one in differing})
        counts.append(
            f"{len(differing)} difference{'s' * (len(differing) > 1)} from the references "
            f"on {pages} page{'s' * (pages > 1)}"
        )
    return f"{', '.join(counts)}; the site is built and says so: {site}"


def note(found: Sequence[Difference]) -> str:
    """What a page says of its differences, in MyST Markdown."""
    lines = ["```{warning}", "This page does not agree with the reference that is committed with the book:", ""]
    for one in found[:SHOWN]:
        where = f"code cell {one.cell}: " if one.cell is not None else ""
        lines.append(f"- {where}{_code(one.message)}")
        if one.expected is not None:
            lines.append(f"  - expected {_code(one.expected)}")
            lines.append(f"  - got {_code(one.got or '')}")
    if len(found) > SHOWN:
        lines.append(f"- and {len(found) - SHOWN} more, in `_build/differences.json`")
    return "\n".join([*lines, "```"])


def failed_page(title: str, failure: Difference) -> str:
    """The page of a chapter that failed: what went wrong in the place of what it would say."""
    lines = [f"# {title}", "", "```{error}", "This page could not be made, since its chapter failed:", ""]
    lines += ["~~~text", *failure.message.splitlines(), "~~~", "```"]
    return "\n".join([*lines, ""])


def list_of_pages(found: Sequence[Difference], page: str) -> str:
    """What the landing page `page` says of all pages that differ or failed, in MyST Markdown; empty for none."""
    if not found:
        return ""
    words = {DIFFERS: "does not agree with its reference", FAILED: "the chapter failed"}
    lines = ["```{warning}", "In this build not all is as it should be:", ""]
    for name, kind in dict.fromkeys((one.page, one.kind) for one in found):
        path = posixpath.relpath(name, posixpath.dirname(page) or ".")
        lines.append(f"- {{doc}}`{path}`: {words[kind]}")
    return "\n".join([*lines, "```"])


def _code(text: str) -> str:
    """A text as inline code, whatever it holds."""
    plain = " ".join(text.split())[:300]
    ticks = "`" * (1 + max((len(run) for run in plain.split() if set(run) == {"`"}), default=plain.count("`") and 1))
    return f"{ticks} {plain} {ticks}" if "`" in plain else f"`{plain}`"
