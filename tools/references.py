"""References: the text that each code cell is known to print, committed and compared by nbval."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from tools import notebooks
from tools.differences import DIFFERS, Difference, error_of
from tools.errors import BookError, listing
from tools.files import digest, read_text, visible
from tools.layout import Layout
from tools.tolerance import TAG, Rule, agree, bad_errors, differing_lines

# What of an output is text that nbval compares. Pictures and HTML are made from the same numbers.
TEXT_TYPES = ("text/plain", "text/markdown", "text/latex", "application/papermill.record/text/plain")
# Comments by which nbval leaves a cell or its output out.
MARKER = re.compile(r"^\s*#\s*(?:NBVAL|PYTEST_VALIDATE)\w*", re.MULTILINE)
HINT = "run `make reference{}` and review the difference"


def path_of(layout: Layout, page: str) -> Path:
    """Where the reference of a page lies."""
    return layout.references / f"{page}.ipynb"


def texts(cell: NotebookNode) -> list[NotebookNode]:
    """The outputs of a code cell, as far as they are text."""
    kept = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kept.append(NotebookNode(output_type="stream", name=output.name, text=output.text))
            continue
        data = {name: value for name, value in output.get("data", {}).items() if name in TEXT_TYPES}
        if not data:
            continue
        plain = NotebookNode(output_type=output.output_type, metadata=NotebookNode(), data=NotebookNode(data))
        if output.output_type == "execute_result":
            plain.execution_count = output.execution_count
        kept.append(plain)
    return kept


def printed(outputs: Sequence[NotebookNode]) -> list[tuple[str, str]]:
    """Kind and text of what `texts` has kept, in order."""
    found = []
    for output in outputs:
        if output.output_type == "stream":
            found.append((output.name, output.text))
        else:
            found += [(kind, notebooks.text_of(value)) for kind, value in sorted(output.data.items())]
    return found


def checking_tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell that change how it is compared, and the one of injected parameters."""
    return sorted(tag for tag in notebooks.tags(cell) if TAG.fullmatch(tag) or tag == notebooks.INJECTED)


def make(executed: NotebookNode, presented: Sequence[NotebookNode]) -> NotebookNode:
    """The reference of an executed notebook: code, tags and text.

    `presented` holds the code cells with the tags that the chapter has now.
    """
    import nbformat

    cells = []
    for cell, shown in zip(notebooks.code_cells(executed), presented, strict=True):
        own = nbformat.v4.new_code_cell(cell.source, execution_count=cell.execution_count, outputs=texts(cell))
        if tags := checking_tags(shown):
            own.metadata["tags"] = tags
        cells.append(own)
    notebooks.set_ids(cells)
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": executed.metadata.kernelspec})


def read(layout: Layout, page: str) -> NotebookNode:
    """The reference of a page.

    Raises `BookError` where there is none or it cannot be read.
    """
    import nbformat

    path = path_of(layout, page)
    if not path.is_file():
        raise BookError(f"chapter {page}: the reference {path} is missing; {_hint(layout)}")
    text = read_text(path)
    try:
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    # Whatever nbformat and the schema of notebooks find wrong with it.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise BookError(f"chapter {page}: the reference {path} is no notebook ({reason}); {_hint(layout)}") from None
    return notebook


def _hint(layout: Layout) -> str:
    return HINT.format("" if layout.profile == "paper" else f" PROFILE={layout.profile}")


def refuse_extra(layout: Layout, pages: Sequence[str]) -> None:
    """Raise `BookError` for a reference of no page: it would be compared with nothing."""
    found = {
        path.relative_to(layout.references).with_suffix("").as_posix() for path in visible(layout.references, "*.ipynb")
    }
    if extra := found - set(pages):
        raise BookError(f"a reference in {layout.references}, but no chapter of the book: {listing(extra)}; remove it")


def refuse_missing(layout: Layout, pages: Sequence[str]) -> None:
    """Raise `BookError` for pages without a reference."""
    if missing := [page for page in pages if not path_of(layout, page).is_file()]:
        raise BookError(f"without a reference in {layout.references}: chapter {listing(missing)}; {_hint(layout)}")


def check_structure(
    layout: Layout,
    page: str,
    reference: NotebookNode,
    cells: Sequence[NotebookNode],
    executed: NotebookNode | None,
) -> None:
    """Raise `BookError` where nbval would compare nothing, or something else than the chapter.

    `cells` are the code cells that the chapter has now, injected parameters among them; `executed` is the executed
    notebook, or None where nothing was executed.
    """
    problem = _structure(reference, cells, executed)
    if problem:
        raise BookError(f"chapter {page}: the reference {path_of(layout, page)} {problem}; {_hint(layout)}")


def compare_texts(layout: Layout, page: str, reference: NotebookNode, executed: NotebookNode) -> list[Difference]:
    """Where the executed notebook, which is what a page shows, does not agree with the reference: each line of it."""
    found = []
    pairs = zip(notebooks.code_cells(reference), notebooks.code_cells(executed), strict=True)
    for number, (old, new) in enumerate(pairs, start=1):
        first = next(iter(old.source.splitlines()), "")
        for message, expected, got in _compare_outputs(old, new, _hint(layout)):
            error = error_of(expected or "", got or "")
            found.append(Difference(page, DIFFERS, message, number, first, expected, got, error))
    return found


def _compare_outputs(old: NotebookNode, new: NotebookNode, hint: str) -> Iterator[tuple[str, str | None, str | None]]:
    """A message for each difference between the texts of two cells, with the two lines where there are two."""
    expected, got = printed(texts(old)), printed(texts(new))
    rule = Rule.of(notebooks.tags(old))
    if [kind for kind, _ in expected] != [kind for kind, _ in got]:
        yield f"has other outputs than the page; {hint}", None, None
        return
    for (_, ours), (_, theirs) in zip(expected, got, strict=True):
        if not agree(ours, theirs, rule):
            for line, other in differing_lines(ours, theirs, rule):
                yield "the page differs", line, other


def _structure(reference: NotebookNode, cells: Sequence[NotebookNode], executed: NotebookNode | None) -> str:
    own = notebooks.code_cells(reference)
    if len(own) != len(reference.cells):
        return f"holds {len(reference.cells) - len(own)} cells that are not code"
    for number, (old, new) in enumerate(zip(own, cells, strict=False), start=1):
        if problem := _compare_cell(old, new):
            return f"{problem} in code cell {number}"
    if len(own) != len(cells):
        return f"has {len(own)} code cells where the chapter has {len(cells)}"
    if not any(texts(cell) for cell in own):
        return "holds no output, so that nothing would be compared"
    if executed is not None:
        for number, (old, new) in enumerate(zip(own, notebooks.code_cells(executed), strict=True), start=1):
            if bool(texts(old)) != bool(texts(new)):
                has, lacks = ("the reference", "the chapter") if texts(old) else ("the chapter", "the reference")
                return f"differs from the executed chapter: {has} has text in code cell {number}, {lacks} has none"
    return ""


def _compare_cell(old: NotebookNode, new: NotebookNode) -> str:
    if marker := MARKER.search(old.source):
        return f"asks nbval to compare less by {marker[0].strip()!r}"
    if foreign := set(notebooks.tags(old)) - set(checking_tags(old)):
        return f"has tags that nbval may obey, {listing(foreign)},"
    if old.source != new.source:
        return "is stale: its code differs from the chapter's"
    if checking_tags(old) != checking_tags(new):
        return f"is stale: its tags {checking_tags(old)} differ from the chapter's {checking_tags(new)}"
    if old.execution_count is None and old.source.strip():
        return "has no execution count, so that nbval would compare nothing"
    if any(output.output_type == "stream" and output.name == "stderr" for output in old.outputs):
        return "holds text from stderr"
    if bad := [found for _, text in printed(texts(old)) for found in bad_errors(text)]:
        return f"holds a standard error that is not a number >= 0, {bad[0]!r},"
    return ""


def fingerprint(reference: Path, key: str, others: Any) -> str:
    """Key of a passed check: the reference, the key of what is executed, and how it is compared."""
    return digest([digest(reference.read_bytes()), key, others])
