"""One file that keeps a build: sources, site, executed notebooks, results and lock; equal builds are equal bytes."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from tools import git, kernels
from tools.errors import BookError, listing
from tools.files import HIDDEN
from tools.layout import Layout
from tools.progress import Progress
from tools.provenance import TRACKED

# Of the build folder; the records of executed chapters carry their provenance.
FOLDERS = ("executed", "checked", "html")
FILES = ("scorecard.json", "timings.json")
TOP = "book"
# The earliest time that the format knows: when a file was written says nothing about what it holds.
EPOCH = (1980, 1, 1, 0, 0, 0)


def make(layout: Layout, progress: Progress) -> Path:
    """Write `book.zip` from the last build; unpacked, it is a checkout in which that build is up to date.

    Raises `BookError` where nothing is built, or where the checkout is not under git.
    """
    if not (layout.html / "index.html").is_file():
        raise BookError("nothing is built yet; run `make book` first")
    progress.start("archive", "build")
    target = layout.build / "book.zip"
    partial = target.with_suffix(".partial")
    files = {path.relative_to(layout.root).as_posix(): path for path in sources(layout)} | dict(built(layout))
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{TOP}/{name}", EPOCH)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, path.read_bytes())
    partial.replace(target)
    progress.say(f"{len(files)} files, {target.stat().st_size / 2**20:.1f} MB: {target}")
    return target


def sources(layout: Layout) -> Iterator[Path]:
    """The files of the checkout that git knows.

    Raises `BookError` where that leaves out one that the build may have used.
    """
    others = git.ask(layout.root, "ls-files", "-z", "--others", "--", *TRACKED).split("\0")
    if used := [name for name in others if name and not any(HIDDEN.fullmatch(part) for part in Path(name).parts)]:
        raise BookError(
            f"an archive holds what git knows, and the build may use what it does not: {listing(used[:5])}; "
            "`git add` it, or move it away"
        )
    paths = (layout.root / name for name in git.ask(layout.root, "ls-files", "-z").split("\0") if name)
    return (path for path in paths if path.is_file())


def built(layout: Layout) -> Iterator[tuple[str, Path]]:
    """What the last build has left behind, by its name in the archive, without locks and half-written files.

    Results go where an unpacked checkout looks for them, wherever `ICL_STORE` keeps them here.
    """
    build = layout.build.relative_to(layout.root)
    for name in FILES:
        if (layout.build / name).is_file():
            yield (build / name).as_posix(), layout.build / name
    folders = {build / name: layout.build / name for name in FOLDERS}
    if results := kernels.store(layout):
        folders[layout.results.relative_to(layout.root)] = results
    for name_there, folder in folders.items():
        for path in folder.rglob("*"):
            below = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in below.parts)
            if path.is_file() and not hidden and path.suffix not in (".lock", ".partial"):
                yield (name_there / below).as_posix(), path
