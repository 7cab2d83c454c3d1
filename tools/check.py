"""Executed chapters against their references: first what nbval cannot see, then nbval itself."""

import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from icl_lib.running.digest import changed_since_start
from tools import kernels, notebooks, references
from tools.differences import DIFFERS, Difference, error_of
from tools.errors import BookError
from tools.execute import Executed
from tools.files import digest_file, json_bytes, read_record, write_atomically
from tools.layout import Layout
from tools.notebooks import Chapter
from tools.processes import Children
from tools.progress import Progress
from tools.timings import Timings

# The modules that decide whether a reference passes.
CHECKING = ("check.py", "nbval_plugin.py", "references.py", "tolerance.py")
PLUGINS = ("nbval.plugin", "tools.nbval_plugin")
CELL_SECONDS = 6 * 3600
OFF = "off"


def chapter_cells(executed: NotebookNode, chapter: Chapter) -> list[NotebookNode]:
    """The code cells of the chapter as it is now, with papermill's cell of parameters where it put one.

    Raises `BookError` where they do not pair with the executed ones.
    """
    own = iter(notebooks.code_cells(chapter.notebook))
    cells = [
        cell if notebooks.INJECTED in notebooks.tags(cell) else next(own, NotebookNode(source=None))
        for cell in notebooks.code_cells(executed)
    ]
    run = [cell.source for cell in notebooks.code_cells(executed)]
    if [cell.source for cell in cells] != run or next(own, None) is not None:
        raise BookError(f"chapter {chapter.page.name}: the executed notebook holds other code than the chapter")
    return cells


def prepared_cells(chapter: Chapter) -> list[NotebookNode]:
    """The code cells that papermill would run, without running them."""
    if not chapter.given:
        return notebooks.code_cells(chapter.notebook)
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(chapter.notebook)
    return notebooks.code_cells(parameterize_notebook(notebook, dict(chapter.given)))


@dataclass(frozen=True)
class Checker:
    """Compares references with what the chapters give now; the caller holds the lock.

    `by_digits` is for references that this machine has written with the same versions: `Rule`.
    """

    layout: Layout
    jobs: int
    progress: Progress
    children: Children
    by_digits: bool = False

    def run(self, executed: Sequence[Executed], timings: Timings) -> list[Difference]:
        """What differs from the references; pages that passed before with the same content are not run again.

        A page whose text differs already is not run by nbval.
        """
        start = time.perf_counter()
        others = self._comparing()
        found: list[Difference] = []
        keys = {}
        for one in executed:
            name = one.page.name
            try:
                references.refuse_missing(self.layout, [name])
                key = references.fingerprint(self._reference(name), one.key, [others, self._tags(one)])
                passed = read_record(self._passed(name), key=str, seconds=int | float)
                if passed.get("key") == key:
                    timings.add("check", passed["seconds"], page=name, reused=True)
                    continue
                differing = self._compare(one)
            except BookError as error:
                differing = [Difference(name, DIFFERS, str(error))]
            if differing:
                found += differing
            else:
                keys[name] = key
        if keys:
            found += self._nbval(list(keys), None, timings, keys)
        timings.add("check", time.perf_counter() - start)
        return found

    def _compare(self, one: Executed) -> list[Difference]:
        """Reference and executed notebook as they lie there.

        Raises `BookError` where nbval would compare nothing, or something else than the chapter.
        """
        notebook = one.notebook()
        cells = chapter_cells(notebook, one.chapter)
        reference = references.read(self.layout, one.page.name)
        references.check_structure(self.layout, one.page.name, reference, cells, notebook)
        # nbval compares what it computes itself; this is what readers will see.
        return references.compare_texts(self.layout, one.page.name, reference, notebook)

    def rerun(self, chapters: Sequence[Chapter], timings: Timings, store: str | None = OFF) -> list[Difference]:
        """Let nbval execute the references with nothing reused: no passed checks, no executed notebooks, no store.

        With `store` None the store of the build is used.

        Raises `BookError` for a reference that is missing or would compare nothing.
        """
        start = time.perf_counter()
        names = [chapter.page.name for chapter in chapters]
        references.refuse_missing(self.layout, names)
        for chapter in chapters:
            reference = references.read(self.layout, chapter.page.name)
            cells = prepared_cells(chapter)
            references.check_structure(self.layout, chapter.page.name, reference, cells, None)
        found = self._nbval(names, store, timings, {})
        timings.add("recheck", time.perf_counter() - start)
        return found

    def _reference(self, page: str) -> Path:
        return references.path_of(self.layout, page)

    def _passed(self, page: str) -> Path:
        return self.layout.checked / f"{page}.json"

    def _comparing(self) -> dict[str, str]:
        here = Path(__file__).parent
        return {name: digest_file(here / name) for name in CHECKING}

    def _tags(self, one: Executed) -> list[list[str]]:
        return [references.checking_tags(cell) for cell in notebooks.code_cells(one.chapter.notebook)]

    def _nbval(
        self, pages: Sequence[str], store: str | None, timings: Timings, keys: Mapping[str, str]
    ) -> list[Difference]:
        """Run nbval over the references of `pages`, and note under `keys` those that have passed."""
        start = time.perf_counter()
        folder = self.layout.build / "checking"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        kernels.prepare(self.layout)
        self.children.expect(len(pages))
        self.progress.start("nbval", "check", f"{len(pages)} references")
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._nbval_page, page, folder, store, timings, keys) for page in pages]
            try:
                found = [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                self.children.stop()
                raise
        self.progress.end("nbval", "check", time.perf_counter() - start)
        return [failure for failure in found if failure is not None]

    def _nbval_page(
        self, page: str, folder: Path, store: str | None, timings: Timings, keys: Mapping[str, str]
    ) -> Difference | None:
        """Run nbval over the reference of one page."""
        own = folder / page.replace("/", "-")
        (own / "output").mkdir(parents=True)
        environment = kernels.environment(self.layout, own / "output", store)
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        # Only text is compared, and papermill has drawn the figures.
        environment["ICL_PICTURES"] = "off"
        ended = self.children.run_module(
            "pytest", self._arguments(page, own), cwd=self.layout.root, environment=environment, log=own / "log"
        )
        result = read_record(own / "result.json", cells=int, failures=list)
        failure = self._failure(page, result, own / "log")
        if failure is None and ended.status != 0:
            tail = "\n".join((own / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            failure = Difference(page, DIFFERS, f"nbval ended with status {ended.status}; its last lines:\n{tail}")
        if failure is None:
            self.progress.end(page, "check", ended.seconds)
            timings.add("check", ended.seconds, page=page, ended=ended)
            # What nbval has run may be another text of the pipeline than the key tells.
            if page in keys and not changed_since_start(Path(__file__).with_name(name) for name in CHECKING):
                passed = {"key": keys[page], "seconds": round(ended.seconds, 3)}
                write_atomically(self._passed(page), json_bytes(passed))
        return failure

    def _arguments(self, page: str, folder: Path) -> list[str]:
        return [
            # All cells after the first that fails may fail for the same reason.
            *("-q", "-x", "--color=no", "--noconftest", "-p", "no:cacheprovider"),
            *(word for plugin in PLUGINS for word in ("-p", plugin)),
            *("-c", str(folder.parent / "pytest.ini"), f"--rootdir={self.layout.root}"),
            *("--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_SECONDS}"),
            f"--cell-results={folder / 'result.json'}",
            *["--by-digits"] * self.by_digits,
            str(self._reference(page)),
        ]

    def _failure(self, page: str, result: dict[str, Any], log: Path) -> Difference | None:
        """What is wrong with a page after nbval has run, None where nothing is."""
        if not result:
            return Difference(page, DIFFERS, f"nbval did not run its reference; see {log}")
        if result["failures"]:
            told = result["failures"][0]
            lines = (told.get("expected"), told.get("got"))
            error = None if lines[0] is None else error_of(*lines)
            return Difference(page, DIFFERS, told["message"], told["cell"], told.get("source", ""), *lines, error)
        count = len(notebooks.code_cells(references.read(self.layout, page)))
        if result["cells"] == count:
            return None
        return Difference(page, DIFFERS, f"nbval ran {result['cells']} of {count} cells; see {log}")
