"""What Sphinx reads: the sources, with executed notebooks in place of text ones, figure data and the scorecard."""

import re
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode

from icl_lib.running.digest import changed_since_start
from tools import costs, differences, interactive, labels, links, mutants, notebooks, pictures, provenance, replication
from tools.catalogue import Catalogue, Page
from tools.check import chapter_cells
from tools.differences import Difference
from tools.errors import BookError, listing
from tools.execute import Executed
from tools.files import (
    digest,
    digest_file,
    digest_tree,
    json_bytes,
    read_json,
    read_record,
    replace_folder,
    text_in,
    visible,
    write_if_changed,
)
from tools.layout import Layout
from tools.notebooks import Chapter
from tools.references import TEXT_TYPES
from tools.timings import Timings

# Beside the pages: what is copied to the site as it is, and what the directives read.
EXTRA = "_extra"
SCORECARD = "_scorecard.json"
CONTENTS = "_toc.yml"
# What every claim has; a chapter may record more.
CLAIM_FIELDS = (
    *("id", "paper", "statement", "source", "test", "value", "standard_error", "tolerance", "verdict"),
    *("evidence", "limitation", "page", "negative_control"),
)
DATA_ROLE = re.compile(r"\{data\}`([^`]*\{[^`]*)`")
BREAKABLE = re.compile(r"(?<=\d) ± (?=\d)|≈ (?=[-\d])")
STAGING = Path(__file__).parent
# In the order in which they are counted.
VERDICTS = ("holds", "conditional", "not resolved", "undecidable", "fails")


@dataclass(frozen=True)
class Stager:
    """Fills the staged folder; the caller holds the lock."""

    layout: Layout
    catalogue: Catalogue

    def run(self, executed: Sequence[Executed], found: Sequence[Difference], timings: Timings) -> None:
        """Stage the book, unless that was done with the same content, and write the scorecard.

        `found` holds the chapters that failed and the numbers that differ; their pages say so.

        Raises `BookError` for two runs that write the same figure data differently or record the same claim, and for
        a claim with missing fields or an unknown verdict.
        """
        start = time.perf_counter()
        claims = self._claims(executed)
        write_if_changed(self.layout.build / "scorecard.json", json_bytes(claims))
        # Read once: what is hashed is what is staged, whatever is edited meanwhile.
        sources = {path.relative_to(self.layout.book).as_posix(): path.read_bytes() for path in self._sources()}
        inputs = self._inputs(sources, executed, found, claims)
        stamp = self.layout.build / "stage.json"
        known = read_record(stamp, inputs=str, content=str)
        if known.get("inputs") != inputs or known.get("content") != digest(digest_tree(self.layout.stage)):
            stamp.unlink(missing_ok=True)
            self._fill(sources, executed, found, claims)
            # Staged by the text that this process has imported, which is no longer that of the digest.
            if not changed_since_start(STAGING.glob("*.py")):
                files = digest_tree(self.layout.stage)
                write_if_changed(stamp, json_bytes({"inputs": inputs, "content": digest(files)}))
        timings.add("stage", time.perf_counter() - start)

    def _inputs(
        self, sources: Mapping[str, bytes], executed: Sequence[Executed], found: Sequence[Difference], claims: Any
    ) -> str:
        held = {name: digest(data) for name, data in sources.items()}
        runs = [
            [one.page.name, one.key, one.record["notebook"], one.record["output"], one.chapter.notebook]
            for one in executed
        ]
        pages = [[page.name, page.chapter, page.title] for page in self.catalogue.pages]
        # All of them: staging again costs little, and the site is built anew only where its content has changed.
        tools = {path.name: digest_file(path) for path in sorted(STAGING.glob("*.py"))}
        records = [self.catalogue.contents, claims, mutants.told(self.layout)]
        return digest([held, runs, pages, [asdict(one) for one in found], records, tools])

    def _sources(self) -> list[Path]:
        """Every file of the book that a page may use."""
        out = ("reference", costs.FILE, replication.FILE, mutants.FILE)
        return [path for path in visible(self.layout.book) if path.relative_to(self.layout.book).parts[0] not in out]

    def _fill(
        self, sources: Mapping[str, bytes], executed: Sequence[Executed], found: Sequence[Difference], claims: Any
    ) -> None:
        new = self.layout.build / "stage.new"
        shutil.rmtree(new, ignore_errors=True)
        runs = {one.page.name: one for one in executed}
        replaced = {f"{page.chapter}.md" for page in self.catalogue.notebooks}
        for name, data in sources.items():
            if name not in replaced:
                target = new / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        for place, page in enumerate(self.catalogue.pages):
            text = differences.list_of_pages(found, page.name) if place == 0 else ""
            target = new / f"{page.name}.md"
            target.parent.mkdir(parents=True, exist_ok=True)
            if page.name in runs:
                own = [one for one in found if one.page == page.name]
                note = "\n\n".join(filter(None, [text, differences.note(own) if own else ""]))
                shown = merged(runs[page.name], runs, note)
                for name, script in interactive.place(shown.cells, page.name).items():
                    write_if_changed(new / EXTRA / interactive.FOLDER / name, script)
                target.with_suffix(".ipynb").write_bytes(notebooks.to_bytes(shown))
            elif page.is_notebook:
                (failure,) = [one for one in found if one.page == page.name]
                text = differences.failed_page(page.title or _title(page, _text(page, sources)), failure)
                target.write_text(text, encoding="utf-8")
            else:
                source = links.rewrite(_text(page, sources), page.chapter, page.name, runs)
                source = source.replace(mutants.FENCE, mutants.told(self.layout))
                target.write_text(_below_title(source, text), encoding="utf-8")
        (new / EXTRA).mkdir(exist_ok=True)
        for name, path in self._figure_data(executed).items():
            target = new / EXTRA / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (new / SCORECARD).write_bytes(json_bytes(claims))
        (new / CONTENTS).write_bytes(yaml.safe_dump(dict(self.catalogue.contents), sort_keys=False).encode())
        replace_folder(new, self.layout.stage)

    def _figure_data(self, executed: Sequence[Executed]) -> dict[str, Path]:
        """The data of all figures by file name."""
        found: dict[str, tuple[Path, str]] = {}
        for one in executed:
            for path in sorted((one.output / "data").glob("*.csv")):
                other, writer = found.setdefault(path.name, (path, one.page.name))
                if other.read_bytes() != path.read_bytes():
                    raise BookError(f"chapters {writer} and {one.page.name} write different figure data to {path.name}")
        return {name: path for name, (path, _) in found.items()}

    def _claims(self, executed: Sequence[Executed]) -> list[dict[str, Any]]:
        """The claims of all runs, in reading order."""
        claims: dict[str, dict[str, Any]] = {}
        replicated = replication.Record.of(self.layout)
        for one in executed:
            again = replicated.of_claims(one)
            for path in sorted((one.output / "claims").glob("*.json")):
                claim = read_json(path)
                where = f"chapter {one.page.name}: claim {path.stem}"
                if not isinstance(claim, dict):
                    raise BookError(f"{where}: {path} holds no JSON object")
                _check_claim({**claim, "page": one.page.name}, where)
                if claim["id"] in claims:
                    raise BookError(f"{where}: the id is taken by chapter {claims[claim['id']]['page']}")
                claims[claim["id"]] = {**claim, "page": one.page.name, "replicated": again.get(claim["id"])}
        return list(claims.values())


def _check_claim(claim: dict[str, Any], where: str) -> None:
    if missing := set(CLAIM_FIELDS) - set(claim):
        raise BookError(f"{where}: lacks {listing(missing)}")
    if claim["verdict"] not in VERDICTS:
        raise BookError(f"{where}: unknown verdict {claim['verdict']!r}; allowed: {listing(VERDICTS)}")


def _text(page: Page, sources: Mapping[str, bytes]) -> str:
    """A page's source as text; empty where it has been removed since the build read it."""
    return text_in(page.source, sources.get(f"{page.chapter}.md", b""))


def _title(page: Page, text: str) -> str:
    """The first heading of a chapter's source."""
    match = re.search(r"(?m)^# (.*)$", text)
    return match[1] if match else page.name


def _below_title(source: str, note: str) -> str:
    """A page with a note below its first heading."""
    if not note:
        return source
    return re.sub(r"(?m)^# .*$", lambda match: f"{match[0]}\n\n{note}\n", source, count=1)


def merged(one: Executed, names: Collection[str], note: str = "") -> NotebookNode:
    """The page as it is shown: prose and metadata of today, outputs of the run, provenance at its end.

    `names` are the pages that are executed; `note` stands below the title.
    """
    import nbformat

    executed = one.notebook()
    shown = chapter_cells(executed, one.chapter)
    run = notebooks.code_cells(executed)
    outputs = {id(cell): done for cell, done in zip(shown, run, strict=True)}
    cells: list[NotebookNode] = []
    for cell in _with_injected(one.chapter.notebook.cells, shown):
        copy = nbformat.from_dict(cell)
        if cell.cell_type == "code":
            copy.outputs = [_unbroken(output) for output in pictures.compact_outputs(outputs[id(cell)].outputs)]
            copy.execution_count = outputs[id(cell)].execution_count
        else:
            copy.source = links.rewrite(copy.source, one.page.chapter, one.page.name, names)
        cells.append(copy)
    _fill_in_data_names(cells, one.chapter)
    if one.page.title:
        _set_title(cells, one.page)
    if one.page.is_rerun:
        labels.rewrite(cells, labels.defined_in(cells), one.page.slug)
    if note:
        first = next(cell for cell in cells if cell.cell_type == "markdown" and re.search(r"(?m)^# ", cell.source))
        first.source = _below_title(first.source, note)
    cells.append(nbformat.v4.new_markdown_cell("```{provenance}\n```"))
    notebooks.set_ids(cells)
    return nbformat.v4.new_notebook(cells=cells, metadata=one.chapter.notebook.metadata)


def _unbroken(output: NotebookNode) -> NotebookNode:
    """An output in which no line breaks between a number and its sign or its standard error."""
    shown = {
        kind: BREAKABLE.sub(lambda match: match[0].replace(" ", "\u00a0"), notebooks.text_of(value))
        for kind, value in output.get("data", {}).items()
        if kind in TEXT_TYPES
    }
    return NotebookNode({**output, "data": NotebookNode({**output.data, **shown})}) if shown else output


def _with_injected(cells: list[NotebookNode], shown: Sequence[NotebookNode]) -> list[NotebookNode]:
    """All cells of the chapter, with papermill's cell of parameters behind the chapter's own."""
    injected = [cell for cell in shown if notebooks.INJECTED in notebooks.tags(cell)]
    if not injected:
        return list(cells)
    at = 1 + next(index for index, cell in enumerate(cells) if notebooks.PARAMETERS in notebooks.tags(cell))
    return [*cells[:at], *injected, *cells[at:]]


def _fill_in_data_names(cells: list[NotebookNode], chapter: Chapter) -> None:
    """Put the run's parameters into the names of figure data: {data}`closeness-n{n}` or `closeness-n{lengths[0]}`."""
    values = {**chapter.defaults, **chapter.given}

    def fill(match: re.Match[str]) -> str:
        try:
            return match[0].replace(match[1], match[1].format(**values))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            raise BookError(
                f"chapter {chapter.page.name}: {match[0]} names no parameter; allowed: {listing(values)}"
            ) from None

    for cell in cells:
        figure = (cell.metadata.get("mystnb") or {}).get("figure") or {}
        if cell.cell_type == "markdown":
            cell.source = DATA_ROLE.sub(fill, cell.source)
        elif "caption" in figure:
            figure["caption"] = DATA_ROLE.sub(fill, figure["caption"])


def _set_title(cells: list[NotebookNode], page: Page) -> None:
    """Replace the first heading."""
    for cell in cells:
        if cell.cell_type == "markdown" and re.search(r"(?m)^# ", cell.source):
            cell.source = re.sub(r"(?m)^# .*$", lambda _: f"# {page.title}", cell.source, count=1)
            return
    raise BookError(f"page {page.name}: book/{page.chapter}.md has no heading that the title could replace")


def side_files(executed: Sequence[Executed]) -> dict[str, bytes]:
    """Provenance of each page by its path on the site: beside the pages, whose bytes it must not change."""
    files = {}
    for one in executed:
        values = one.record["provenance"]
        files[f"provenance/{one.page.name}.js"] = provenance.as_script(values)
        files[f"provenance/{one.page.name}.txt"] = provenance.as_text(one.page.name, values)
    return files
