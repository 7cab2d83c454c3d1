"""What each command does, from the parts."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools import differences, digests, notebooks, outputs, parameters, references, replication, stage
from tools.catalogue import Catalogue, Page
from tools.check import OFF, Checker, chapter_cells
from tools.differences import Difference
from tools.emulation import EMULATIONS, emulating
from tools.environment import setting
from tools.errors import BookError
from tools.execute import Executed, Executor, Surroundings, plan, remove_others
from tools.files import visible, write_if_changed
from tools.layout import Layout, prepare
from tools.notebooks import Chapter, read_chapter
from tools.processes import Children
from tools.progress import Progress
from tools.site import Site
from tools.timings import Timings

# Below the build folder: what `make chapter` makes apart from the book.
APART = "chapter"


@contextmanager
def stopping() -> Iterator[Children]:
    """Children that are all ended where the block is left, in whatever way."""
    children = Children()
    try:
        yield children
    finally:
        children.stop()


def execute(
    layout: Layout, pages: Sequence[Page], jobs: int, progress: Progress, timings: Timings, children: Children
) -> tuple[list[Executed], list[Difference]]:
    """Execute the pages as far as they have changed; gives those that are executed now, and how the others failed.

    Raises `BookError` for figures that not everybody can read.
    """
    start = time.perf_counter()
    surroundings = Surroundings.of(layout)
    planned = plan(layout, [read_chapter(page) for page in pages], surroundings)
    timings.add("read", time.perf_counter() - start)
    if told := digests.differing(layout.root / "requirements.txt", surroundings.versions):
        progress.say(told)
    failed = Executor(layout, surroundings, jobs, progress, children).run(planned, timings)
    without = {failure.page for failure in failed}
    executed = [one for one in planned if one.page.name not in without]
    for one in executed:
        notebook = one.notebook()
        outputs.refuse_bare_figures(one.page.name, notebook, chapter_cells(notebook, one.chapter))
    return executed, failed


def execute_all(layout: Layout, pages: Sequence[Page], jobs: int, progress: Progress) -> list[Executed]:
    """As `execute`, but raises `BookError` where a chapter failed."""
    with stopping() as children:
        executed, failed = execute(layout, pages, jobs, progress, Timings(jobs), children)
    if failed:
        raise BookError("\n".join(map(str, failed)))
    return executed


def book(layout: Layout, catalogue: Catalogue, jobs: int) -> bool:
    """`make book`: says whether all is as it should be. A site is built in any case."""
    start = time.perf_counter()
    progress, timings = Progress(), Timings(jobs)
    names = [page.name for page in catalogue.notebooks]
    references.refuse_extra(layout, names)
    with stopping() as children:
        executed, failed = execute(layout, catalogue.notebooks, jobs, progress, timings, children)
        remove_others(layout.executed, names, progress.say)
        found = [*failed, *Checker(layout, jobs, progress, children).run(executed, timings)]
        differences.write(layout, found)
        stage.Stager(layout, catalogue).run(executed, found, timings)
        site = Site(layout, progress, children)
        warnings = site.build(catalogue.banner, stage.side_files(executed), timings, strict=not failed)
    total = time.perf_counter() - start
    timings.write(layout, total)
    progress.say(f"\n{timings.table(total)}")
    address = str(layout.html / "index.html")
    for problem in [*map(str, found), *filter(None, [warnings])]:
        progress.complain(f"\nfailed: {problem}")
    if found:
        progress.complain(f"\n{differences.summary(found, address)}")
    else:
        progress.say(f"\nthe book: {address}")
    return not found and not warnings


def recheck(layout: Layout, catalogue: Catalogue, jobs: int) -> None:
    """`make recheck`."""
    progress = Progress()
    references.refuse_extra(layout, [page.name for page in catalogue.notebooks])
    found = _rerun(layout, catalogue.notebooks, OFF, jobs, progress)
    if found:
        raise BookError("\n".join(map(str, found)))
    progress.say(f"{len(catalogue.notebooks)} references hold")


def emulate(layout: Layout, pages: Sequence[Page], processors: Sequence[str], jobs: int) -> None:
    """`make emulate`: the references of the pages on other processors, as far as variables make one of this.

    What was trained for one is kept in the store under a key of its own.
    """
    progress = Progress()
    complaints = []
    for name in processors:
        progress.say(f"\nprocessor {name}: {', '.join(f'{key}={value}' for key, value in EMULATIONS[name].items())}")
        with emulating(name):
            found = _rerun(layout, pages, None, jobs, progress)
        complaints += [f"processor {name}: {one}" for one in found]
    if complaints:
        raise BookError("\n".join(complaints))
    progress.say(f"{len(pages)} references hold on the processors {', '.join(processors)}")


def _rerun(layout: Layout, pages: Sequence[Page], store: str | None, jobs: int, progress: Progress) -> list[Difference]:
    chapters = [read_chapter(page) for page in pages]
    with stopping() as children:
        return Checker(layout, jobs, progress, children).rerun(chapters, Timings(jobs), store)


def reference(layout: Layout, catalogue: Catalogue, pages: Sequence[Page], jobs: int) -> None:
    """`make reference`: new references, of all pages or of some; those without a page are removed."""
    progress = Progress()
    chosen = pages or catalogue.notebooks
    refuse_prose(chosen)
    executed = execute_all(layout, chosen, jobs, progress)
    for one in executed:
        notebook = one.notebook()
        made = references.make(notebook, chapter_cells(notebook, one.chapter))
        path = references.path_of(layout, one.page.name)
        changed = write_if_changed(path, notebooks.to_bytes(made))
        progress.say(f"{'written' if changed else 'as before'}  {path.relative_to(layout.root)}")
    if pages:
        return
    wanted = {references.path_of(layout, page.name) for page in catalogue.notebooks}
    for path in visible(layout.references, "*.ipynb"):
        if path not in wanted:
            path.unlink()
            progress.say(f"removed  {path.relative_to(layout.root)}")


def refuse_prose(pages: Sequence[Page]) -> None:
    """Raise `BookError` for pages without code."""
    if prose := [page.name for page in pages if not page.is_notebook]:
        raise BookError(f"nothing is executed in {', '.join(prose)}")


def pdf(layout: Layout, catalogue: Catalogue) -> None:
    """`make pdf`."""
    from tools.pdf import make

    progress = Progress()
    with stopping() as children:
        make(layout, Site(layout, progress, children), catalogue.banner, progress)


def archive(layout: Layout) -> None:
    """`make archive`."""
    from tools.archive import make

    make(layout, Progress())


def chapter(layout: Layout, catalogue: Catalogue, page: Page, words: Sequence[str], jobs: int) -> None:
    """`make chapter`: one chapter, as in the book, or with other parameters and then apart from it; and its page."""
    progress, timings = Progress(), Timings(jobs)
    refuse_prose([page])
    if words:
        done = _with_parameters(layout, page, parameters.from_command_line(words), jobs, progress)
    else:
        (done,) = execute_all(layout, [page], jobs, progress)
    alone = Catalogue((page,), {"format": "jb-book", "root": page.name}, catalogue.banner)
    apart = Layout(layout.root, layout.profile, APART)
    stage.Stager(apart, alone).run([done], [], timings)
    with stopping() as children:
        # Most links of the page lead to pages that are not there.
        Site(apart, progress, children).build(alone.banner, stage.side_files([done]), timings, strict=False)
    progress.say(f"executed: {done.path}\nfigure data and claims: {done.output}")
    progress.say(f"the page: {apart.html / page.name}.html")


def _with_parameters(layout: Layout, page: Page, given: Mapping[str, Any], jobs: int, progress: Progress) -> Executed:
    """A chapter executed with other parameters, where nothing of the book reads it."""
    chapter = read_chapter(page, given)
    progress.say(f"parameters: {', '.join(f'{name} = {value!r}' for name, value in chapter.given.items())}")
    folder = layout.build / APART
    shutil.rmtree(folder / f"{page.name}.output", ignore_errors=True)
    (done,) = run_in(folder, layout, [chapter], jobs)
    return done


def run_in(folder: Path, layout: Layout, chapters: Sequence[Chapter], jobs: int) -> list[Executed]:
    """Chapters executed into a folder of their own; raises `BookError` where one failed."""
    surroundings, progress = Surroundings.of(layout), Progress()
    planned = [Executed(one.chapter, one.key, folder) for one in plan(layout, chapters, surroundings)]
    with stopping() as children:
        failed = Executor(layout, surroundings, jobs, progress, children).run(planned, Timings(jobs))
    if failed:
        raise BookError("\n".join(map(str, failed)))
    return planned


def replicate(layout: Layout, catalogue: Catalogue, pages: Sequence[Page], seed: int, jobs: int) -> None:
    """`make replicate`: the claims of all pages, or of some, from another root seed and from nothing."""
    progress = Progress()
    chapters = replication.chapters(layout, catalogue, pages, seed)
    apart = Layout(layout.root, layout.profile, replication.APART)
    shutil.rmtree(apart.build, ignore_errors=True)
    prepare(apart)
    # Nothing is reused: its results are kept apart too, whatever store is named.
    with setting({"ICL_STORE": ""}):
        done = run_in(apart.executed, apart, chapters, jobs)
    progress.say(f"recorded: {replication.write(layout, catalogue, seed, done)}")
