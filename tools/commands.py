"""What each command does, from the parts."""

import shutil
import time
from collections.abc import Sequence

from tools import notebooks, outputs, parameters, references, stage
from tools.catalogue import Catalogue, Page
from tools.check import Checker, presented_cells
from tools.errors import BookError
from tools.execute import Executed, Executor, Surroundings, plan, remove_others
from tools.files import write_if_changed
from tools.layout import Layout
from tools.notebooks import read_chapter
from tools.processes import Children
from tools.progress import Progress
from tools.site import Site
from tools.timings import Timings


def execute(layout: Layout, pages: Sequence[Page], jobs: int, progress: Progress, timings: Timings) -> list[Executed]:
    """Execute the pages as far as they have changed, and refuse figures that not everybody can read."""
    start = time.perf_counter()
    surroundings = Surroundings.of(layout)
    planned = plan(layout, [read_chapter(page) for page in pages], surroundings)
    timings.add("read", time.perf_counter() - start)
    Executor(layout, surroundings, jobs, progress).run(planned, timings)
    for one in planned:
        notebook = one.notebook()
        outputs.refuse_bare_figures(one.page.name, notebook, presented_cells(notebook, one.chapter))
    return planned


def book(layout: Layout, catalogue: Catalogue, jobs: int) -> None:
    """`make book`."""
    start = time.perf_counter()
    progress, timings, children = Progress(), Timings(jobs), Children()
    executed = execute(layout, catalogue.notebooks, jobs, progress, timings)
    remove_others(layout.executed, executed, progress.say)
    try:
        Checker(layout, jobs, progress, children).run(executed, timings)
        stage.Stager(layout, catalogue).run(executed, timings)
        Site(layout, progress, children).build(catalogue.banner, stage.side_files(executed), timings)
    except BaseException:
        children.stop()
        raise
    total = time.perf_counter() - start
    timings.write(layout, total)
    progress.say(f"\n{timings.table(total)}\n\nthe book: {layout.html / 'index.html'}")


def recheck(layout: Layout, catalogue: Catalogue, jobs: int) -> None:
    """`make recheck`."""
    progress, timings, children = Progress(), Timings(jobs), Children()
    chapters = [read_chapter(page) for page in catalogue.notebooks]
    try:
        Checker(layout, jobs, progress, children).rerun(chapters, timings)
    except BaseException:
        children.stop()
        raise
    progress.say(f"{len(chapters)} references hold")


def reference(layout: Layout, catalogue: Catalogue, pages: Sequence[Page], jobs: int) -> None:
    """`make reference`: new references, of all pages or of some; those without a page are removed."""
    progress = Progress()
    chosen = pages or catalogue.notebooks
    if prose := [page.name for page in chosen if not page.is_notebook]:
        raise BookError(f"nothing is executed in {', '.join(prose)}")
    executed = execute(layout, chosen, jobs, progress, Timings(jobs))
    for one in executed:
        notebook = one.notebook()
        made = references.make(notebook, presented_cells(notebook, one.chapter))
        path = references.path_of(layout, one.page.name)
        changed = write_if_changed(path, notebooks.to_bytes(made))
        progress.say(f"{'written' if changed else 'as before'}  {path.relative_to(layout.root)}")
    if pages:
        return
    wanted = {references.path_of(layout, page.name) for page in catalogue.notebooks}
    for path in sorted(layout.references.rglob("*.ipynb")):
        if path not in wanted:
            path.unlink()
            progress.say(f"removed  {path.relative_to(layout.root)}")


def pdf(layout: Layout, catalogue: Catalogue) -> None:
    """`make pdf`."""
    from tools.pdf import make

    progress, children = Progress(), Children()
    try:
        make(layout, Site(layout, progress, children), catalogue.banner, progress)
    except BaseException:
        children.stop()
        raise


def archive(layout: Layout) -> None:
    """`make archive`."""
    from tools.archive import make

    make(layout, Progress())


def chapter(layout: Layout, page: Page, words: Sequence[str], jobs: int) -> None:
    """`make chapter`: one chapter, as in the book, or with other parameters and then apart from the book."""
    progress = Progress()
    if not page.is_notebook:
        raise BookError(f"nothing is executed in {page.name}")
    if not words:
        (done,) = execute(layout, [page], jobs, progress, Timings(jobs))
        progress.say(f"executed: {done.path}")
        return
    given = parameters.from_command_line(words)
    surroundings = Surroundings.of(layout)
    (planned,) = plan(layout, [read_chapter(page, given)], surroundings)
    apart = Executed(planned.chapter, planned.key, layout.build / "chapter")
    shutil.rmtree(apart.output, ignore_errors=True)
    Executor(layout, surroundings, jobs, progress).run([apart], Timings(jobs))
    progress.say(f"executed: {apart.path}\nfigure data and claims: {apart.output}")
