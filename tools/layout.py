"""Where things lie in a checkout, for one profile."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.errors import BookError, remedy
from tools.files import sweep

PUBLISHED = "paper"
HOUR = 3600


@dataclass(frozen=True)
class Layout:
    """The folders of a checkout at `root`; a profile other than the published has a build folder of its own.

    `apart` names a folder below the build folder for what is staged and shown apart from the book.
    """

    root: Path
    profile: str = PUBLISHED
    apart: str = ""

    @property
    def book(self) -> Path:
        """The sources of the pages."""
        return self.root / "book"

    @property
    def references(self) -> Path:
        """The committed outputs that nbval compares with."""
        return self.book / "reference" / self.profile

    @property
    def build(self) -> Path:
        """All that is generated for this profile."""
        base = self.root / "_build"
        return (base if self.profile == PUBLISHED else base / self.profile) / self.apart

    @property
    def executed(self) -> Path:
        """Executed notebooks with what their runs left behind."""
        return self.build / "executed"

    @property
    def running(self) -> Path:
        """Runs that have not ended; nothing here is ever trusted."""
        return self.build / "running"

    @property
    def results(self) -> Path:
        """The store of the experiments."""
        return self.build / "results"

    @property
    def checked(self) -> Path:
        """Which references have passed."""
        return self.build / "checked"

    @property
    def stage(self) -> Path:
        """What Sphinx reads."""
        return self.build / "stage"

    @property
    def html(self) -> Path:
        """The site."""
        return self.build / "html"


def prepare(layout: Layout) -> None:
    """Make the build folder; raises `BookError` where it cannot be written."""
    probe = layout.build / f".writable-{os.getpid()}"
    try:
        layout.build.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise BookError(f"cannot write the build folder {layout.build}: {remedy(error)}") from None


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the build folder of a profile, so that two commands never build it at once."""
    # Here, since who runs a chapter imports this module, and the library of the chapter's checkout.
    from icl_lib.running.locking import held

    prepare(layout)
    waiting = f"waiting for another command that builds profile {layout.profile}"
    alone = f"{layout.build} lies on a file system without locks: start no second command there"
    with held(layout.build / ".lock", partial(print, waiting, flush=True), partial(print, alone, flush=True)):
        _sweep(layout)
        yield


def _sweep(layout: Layout) -> None:
    """Remove what a killed command has left half written; in the store others may be at work."""
    for folder in layout.build.iterdir():
        if folder != layout.results:
            sweep(folder)
    sweep(layout.results, older_than=HOUR)
