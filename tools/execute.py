"""Chapters → executed notebooks, by papermill, in parallel, and only those whose content has changed."""

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from icl_lib.running.digest import changed_since_start
from tools import digests, kernels, notebooks, outputs, provenance
from tools.catalogue import Page
from tools.costs import Way
from tools.differences import FAILED, ChapterFailed, Difference
from tools.errors import BookError
from tools.files import digest, digest_file, digest_tree, json_bytes, read_record, write_atomically
from tools.layout import Layout
from tools.notebooks import Chapter
from tools.processes import Children, Ended
from tools.progress import Progress
from tools.timings import Timings

# The modules of this pipeline that decide what an executed notebook holds.
EXECUTING = (
    *("connections.py", "execute.py", "guard.py", "kernels.py", "markup.py", "notebooks.py", "outputs.py"),
    *("processes.py", "warm.py", "worker.py"),
)

# What the record of a run holds.
FIELDS = {
    **{"key": str, "notebook": str, "output": dict, "parts": dict, "provenance": dict},
    **{"seconds": int | float, "cpu_seconds": int | float, "peak_bytes": int},
}
# The line of the cell in IPython's traceback.
CELL_LINE = re.compile(r"^-+> \d+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Executed:
    """An executed page: its chapter, the key of its content, and where notebook, record and output lie."""

    chapter: Chapter
    key: str
    folder: Path

    @property
    def page(self) -> Page:
        """The page."""
        return self.chapter.page

    @property
    def _stem(self) -> Path:
        return self.folder / self.page.name

    @property
    def path(self) -> Path:
        """The executed notebook."""
        return self._stem.with_name(f"{self._stem.name}.ipynb")

    @property
    def record_path(self) -> Path:
        """Key, digests and provenance; written last, so that a run without it is not trusted."""
        return self._stem.with_name(f"{self._stem.name}.json")

    @property
    def output(self) -> Path:
        """What the chapter wrote: figure data and claims."""
        return self._stem.with_name(f"{self._stem.name}.output")

    @property
    def record(self) -> dict[str, Any]:
        """The record, {} where there is none that is whole."""
        record = read_record(self.record_path, **FIELDS)
        return record if provenance.is_whole(record.get("provenance", {})) else {}

    def notebook(self) -> NotebookNode:
        """The executed notebook."""
        import nbformat

        return nbformat.read(self.path, as_version=4)

    def is_good(self) -> bool:
        """Whether notebook and output are those of a run that ended well with this key."""
        record = self.record
        return (
            record.get("key") == self.key
            and self.path.is_file()
            and digest_file(self.path) == record.get("notebook")
            and digest_tree(self.output) == record.get("output")
        )


@dataclass(frozen=True)
class Surroundings:
    """All that a key depends on beside the chapter itself."""

    library: digests.Library
    versions: dict[str, str]
    tools: dict[str, str]

    @classmethod
    def of(cls, layout: Layout) -> "Surroundings":
        """The surroundings in a checkout."""
        here = Path(__file__).parent
        return cls(
            digests.Library(layout.root),
            digests.installed_versions(layout.root / "requirements.txt"),
            {name: digest_file(here / name) for name in EXECUTING},
        )

    def parts(self, chapter: Chapter) -> dict[str, str]:
        """Digest of each thing that the outputs of a chapter depend on, by a name for messages."""
        cells = notebooks.code_cells(chapter.notebook)
        code = [[cell.source, [tag for tag in notebooks.tags(cell) if tag in notebooks.RUNNING_TAGS]] for cell in cells]
        return {
            "code": digest(code),
            "parameters": digest(repr(sorted(chapter.given.items()))),
            "device and threads": digest([kernels.device(), kernels.threads()]),
            "processor": digest(kernels.processor()),
            "installed versions": digest(self.versions),
            **{f"tools/{name}": value for name, value in self.tools.items()},
            **self.library.reached([cell.source for cell in cells]),
        }


def plan(layout: Layout, chapters: Sequence[Chapter], surroundings: Surroundings) -> list[Executed]:
    """Each chapter with the key of its content; nothing is run."""
    return [Executed(chapter, digest(surroundings.parts(chapter)), layout.executed) for chapter in chapters]


def in_order(missing: Sequence[Executed]) -> list[Executed]:
    """What is long starts first, so that no worker is left alone with it: by the catalogue, then by the last run.

    The last run is no measure where it found in the store what has now to be computed.
    """
    return sorted(missing, key=lambda one: (-one.page.head_start, -float(one.record.get("seconds", 0.0))))


class Executor:
    """Runs chapters, `jobs` at once; one that fails leaves the others alone."""

    def __init__(
        self, layout: Layout, surroundings: Surroundings, jobs: int, progress: Progress, children: Children
    ) -> None:
        """`layout` must be locked by the caller."""
        self.layout = layout
        self.surroundings = surroundings
        self.jobs = jobs
        self.progress = progress
        self.children = children
        self.commit = "unknown"
        self.way = Way({})
        self._stopped = False

    def run(self, planned: Sequence[Executed], timings: Timings) -> list[Difference]:
        """Execute those of `planned` that are not good yet; gives the chapters that failed, with cell and error.

        Raises `BookError` where nothing can be run, or where a source changed meanwhile; what ended well is kept.
        """
        start = time.perf_counter()
        missing = [executed for executed in planned if not executed.is_good()]
        for executed in planned:
            if executed not in missing:
                record = executed.record
                before = Ended(0, record["seconds"], record["cpu_seconds"], record["peak_bytes"])
                timings.add("execute", before.seconds, page=executed.page.name, ended=before, reused=True)
        failed = self._run_all(missing, timings) if missing else []
        timings.add("execute", time.perf_counter() - start)
        return failed

    def _run_all(self, missing: Sequence[Executed], timings: Timings) -> list[Difference]:
        shutil.rmtree(self.layout.running, ignore_errors=True)
        self.layout.running.mkdir(parents=True)
        kernels.prepare(self.layout)
        self.children.expect(len(missing))
        self.commit = provenance.commit(self.layout.root)
        self.way = Way.of(self.layout, [executed.page.name for executed in missing])
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._run_one, executed, timings) for executed in in_order(missing)]
            try:
                failed = self._wait(futures)
            except BaseException:
                for future in futures:
                    future.cancel()
                self.children.stop()
                raise
        shutil.rmtree(self.layout.running, ignore_errors=True)
        return failed

    def _wait(self, futures: Sequence[Future[Difference | None]]) -> list[Difference]:
        """Wait with an eye on the keyboard; gives failures in the order of chapters, and raises other errors."""
        pending: set[Future[Difference | None]] = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            self.progress.heartbeat()
        return [failure for future in futures if (failure := future.result()) is not None]

    def _run_one(self, executed: Executed, timings: Timings) -> Difference | None:
        """Execute one chapter; gives how it failed, None where it did not or where all has been stopped."""
        if self._stopped:
            return None
        try:
            self._execute(executed, timings)
            return None
        except ChapterFailed as failure:
            self.progress.failed(executed.page.name)
            return failure.difference
        except BaseException:
            # The pool would start the next chapter before anybody could tell it not to.
            self._stopped = True
            raise

    def _execute(self, executed: Executed, timings: Timings) -> None:
        page = executed.page
        folder = Path(tempfile.mkdtemp(dir=self.layout.running, prefix=f"{page.slug}-"))
        chapter = executed.chapter
        # In this order, so that what is read lies between the two looks at when files were written.
        stamps = self._stamps(self.surroundings.parts(chapter))
        parts = self.surroundings.parts(chapter)
        if digest(parts) != executed.key:
            raise BookError(f"chapter {page.name}: what it depends on changed after this build had read it; run again")
        self.progress.start(page.name, "execute", self._reason(executed, parts))
        ended = self._papermill(chapter, folder)
        result = read_record(folder / "result.json", status=str)
        if not result:
            trace = (folder / "log").read_text(encoding="utf-8", errors="replace")
            error = ": ".join([f"papermill ended with status {ended.status}", *trace.strip().splitlines()[-1:]])
            result = {"status": "died", "index": None, "error": error, "trace": trace}
        if result["status"] != "ok":
            raise ChapterFailed(self._failure(chapter, result))
        now = Surroundings.of(self.layout).parts(chapter)
        changed = [name for name in {**parts, **now} if parts.get(name) != now.get(name)]
        # A text that is back was another one when the kernel may have imported it.
        changed += [name for name, stamp in self._stamps(parts).items() if stamp != stamps.get(name)]
        changed += changed_since_start(Path(__file__).with_name(name) for name in EXECUTING)
        if changed:
            told = ", ".join(dict.fromkeys(changed[:3]))
            raise BookError(f"chapter {page.name}: {told} changed while it ran; run again")
        self._accept(executed, folder, parts, ended)
        self.progress.end(page.name, "execute", ended.seconds)
        if len(self.way.costs) > 1:
            self.progress.say(self.way.after(page.name))
        timings.add("execute", ended.seconds, page=page.name, ended=ended)

    def _stamps(self, names: Iterable[str]) -> dict[str, int]:
        """When each file that is named by its path in the checkout was last written or put in its place."""
        files = {name: self.layout.root / name for name in names}
        return {name: path.stat().st_ctime_ns for name, path in files.items() if path.is_file()}

    def _papermill(self, chapter: Chapter, folder: Path) -> Ended:
        output = folder / "output"
        output.mkdir()
        write_atomically(folder / "input.ipynb", notebooks.to_bytes(chapter.notebook))
        write_atomically(folder / "job.json", json_bytes({"parameters": dict(chapter.given)}))
        total = len(chapter.notebook.cells)

        def on_line(line: str) -> None:
            if line.startswith("cell "):
                self.progress.cell(chapter.page.name, int(line.removeprefix("cell ")) + 1, total)

        return self.children.run_module(
            "tools.worker",
            [str(folder)],
            cwd=folder,
            environment=kernels.environment(self.layout, output),
            log=folder / "log",
            on_line=on_line,
        )

    def _reason(self, executed: Executed, parts: dict[str, str]) -> str:
        """Why the chapter must run, in words."""
        before = executed.record.get("parts")
        if before is None:
            return "not run yet"
        changed = [name for name in {**before, **parts} if before.get(name) != parts.get(name)]
        if not changed:
            return "what it left behind was changed"
        return "changed: " + ", ".join(changed[:3]) + (" and more" if len(changed) > 3 else "")

    def _failure(self, chapter: Chapter, result: dict[str, Any]) -> Difference:
        """A failed cell in one message; the whole traceback goes to a file."""
        name = chapter.page.name
        trace = self.layout.build / "failed" / f"{chapter.page.slug}.txt"
        write_atomically(trace, f"{result['trace']}\n".encode())
        source = chapter.page.source.relative_to(self.layout.root)
        where = _locate(chapter, result["index"])
        action = "the kernel died in" if result["status"] == "died" else "failed in"
        line = CELL_LINE.search(result["trace"])
        at = f"\n  at: {line[1].strip()}" if line else ""
        message = f"chapter {name} ({source}) {action} {where}{at}\n  {result['error']}\n  traceback: {trace}"
        return Difference(name, FAILED, message, trace=str(trace.relative_to(self.layout.root)))

    def _accept(self, executed: Executed, folder: Path, parts: dict[str, str], ended: Ended) -> None:
        """Check a run that ended well and put it where later commands trust it, the record last."""
        import nbformat

        notebook = nbformat.read(folder / "executed.ipynb", as_version=4)
        if noise := outputs.noise(executed.page.name, notebook):
            raise ChapterFailed(Difference(executed.page.name, FAILED, noise))
        data = (folder / "executed.ipynb").read_bytes()
        executed.record_path.unlink(missing_ok=True)
        shutil.rmtree(executed.output, ignore_errors=True)
        executed.output.parent.mkdir(parents=True, exist_ok=True)
        (folder / "output").rename(executed.output)
        write_atomically(executed.path, data)
        values = {**executed.chapter.defaults, **executed.chapter.given}
        record = {
            "key": executed.key,
            "parts": parts,
            "notebook": digest(data),
            "output": digest_tree(executed.output),
            "seconds": round(ended.seconds, 3),
            "cpu_seconds": round(ended.cpu_seconds, 3),
            "peak_bytes": ended.peak_bytes,
            "provenance": provenance.record(
                self.commit, values, self.surroundings.versions, ended.seconds, ended.peak_bytes
            ),
        }
        write_atomically(executed.record_path, json_bytes(record))


def _locate(chapter: Chapter, index: int | None) -> str:
    """The cell of the notebook that papermill ran, in the words of the chapter's source."""
    if index is None:
        return "its start"
    injected = _injected_at(chapter)
    if injected is not None and index == injected:
        return "the injected parameters"
    own = index - (injected is not None and index > injected)
    return notebooks.describe(chapter.notebook, own)


def _injected_at(chapter: Chapter) -> int | None:
    """Where papermill puts the cell with the given parameters: after the chapter's own."""
    if not chapter.given:
        return None
    cells = chapter.notebook.cells
    return 1 + next(index for index, cell in enumerate(cells) if notebooks.PARAMETERS in notebooks.tags(cell))


def remove_others(folder: Path, pages: Sequence[str], warn: Callable[[str], None]) -> None:
    """Remove executed pages that the book no longer has; `pages` are those that it has."""
    for record in sorted(folder.rglob("*.json")):
        if any(parent.suffix == ".output" for parent in record.parents):
            continue
        stem = record.with_suffix("")
        name = stem.relative_to(folder).as_posix()
        if name in pages:
            continue
        warn(f"removing {name}, which is no page of the book any more")
        record.unlink()
        stem.with_name(f"{stem.name}.ipynb").unlink(missing_ok=True)
        shutil.rmtree(stem.with_name(f"{stem.name}.output"), ignore_errors=True)
