"""The staged book → the site, by jupyter-book, unless nothing that it reads has changed."""

import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools import digests, pictures
from tools.catalogue import mapping, read_yaml
from tools.errors import BookError
from tools.files import (
    digest,
    digest_file,
    digest_tree,
    json_bytes,
    read_record,
    replace_folder,
    write_atomically,
    write_if_changed,
)
from tools.kernels import TOOLS, variables
from tools.layout import Layout
from tools.notebooks import without_colours
from tools.processes import Children, Ended
from tools.progress import Progress
from tools.stage import CONTENTS
from tools.timings import Timings

EXTENSION = "tools.sphinx_ext"
BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button")
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
TROUBLE = re.compile(r"\b(WARNING|ERROR|CRITICAL|Error|error)\b")
SIDE_FOLDER = "provenance"


def configuration(layout: Layout, banner: str | None) -> bytes:
    """The book's `_config.yml`, with the banner of the profile and without buttons that would lead nowhere.

    Raises `BookError` where it cannot be read.
    """
    path = layout.root / "_config.yml"
    config = read_yaml(path)
    html = config["html"] = dict(mapping(config.get("html"), f"{path}: html"))
    if banner:
        html["announcement"] = banner
    if not mapping(config.get("repository"), f"{path}: repository").get("url"):
        config["repository"] = {"url": ""}
        config.pop("launch_buttons", None)
        html.update(dict.fromkeys(BUTTONS, False))
    sphinx = mapping(config.get("sphinx"), f"{path}: sphinx")
    config["sphinx"] = {**sphinx, "local_extensions": {EXTENSION: str(TOOLS)}}
    return yaml.safe_dump(config, sort_keys=True, allow_unicode=True).encode()


@dataclass(frozen=True)
class Site:
    """Builds the site of a profile; the caller holds the lock."""

    layout: Layout
    progress: Progress
    children: Children

    def build(
        self,
        banner: str | None,
        side_files: Mapping[str, bytes],
        timings: Timings,
        *,
        strict: bool = True,
    ) -> str:
        """Bring the site up to date with the staged book; `side_files` lie beside the pages, by path.

        Gives the warnings and errors of Sphinx, empty where there are none. Without `strict` they are not looked at:
        where pages are missing, nobody defines their labels. Raises `BookError` with them where Sphinx leaves no site.
        """
        start = time.perf_counter()
        written = self._written()
        config = configuration(self.layout, banner)
        key = self._key(config)
        stamp = self.layout.build / "site.json"
        known = read_record(stamp, key=str, files=str)
        whole = known.get("key") == key and known.get("files") == self._rendered()
        complaint = ""
        if not whole:
            self.progress.start("site", "build")
            stamp.unlink(missing_ok=True)
            folder, ended, complaint = self.render(config, "html")
            for path in (folder / "_sources").rglob("*.ipynb"):
                path.write_bytes(pictures.left_out(path.read_text(encoding="utf-8")))
            replace_folder(folder, self.layout.html)
            shutil.rmtree(folder.parent)
            self.progress.end("site", "build", time.perf_counter() - start)
            self._write_side_files(side_files)
            if not strict:
                complaint = ""
            # Where Sphinx may have read another text than the key tells, the next build makes the site again.
            elif not complaint and written == self._written():
                write_atomically(stamp, json_bytes({"key": key, "files": self._rendered()}))
            timings.add("site", time.perf_counter() - start, ended=ended)
        else:
            self._write_side_files(side_files)
            timings.add("site", time.perf_counter() - start)
        return complaint

    def _rendered(self) -> str:
        """Digest of what Sphinx has left of the site, the files beside the pages aside."""
        files = digest_tree(self.layout.html)
        return digest({name: held for name, held in files.items() if not name.startswith(f"{SIDE_FOLDER}/")})

    def _key(self, config: bytes) -> str:
        return digest(
            [
                digest_tree(self.layout.stage),
                digest(config),
                [digest_file(path) for path in self._sources()],
                digests.installed_versions(self.layout.root / "requirements.txt"),
            ]
        )

    def _sources(self) -> list[Path]:
        """The code that makes the pages, and that whose docstrings they may show."""
        library = self.layout.root / digests.LIBRARY
        return [*sorted((TOOLS / "tools").rglob("*.[jp][sy]")), *sorted(library.rglob("*.py"))]

    def _written(self) -> list[int]:
        return [path.stat().st_ctime_ns for path in self._sources()]

    def render(self, config: bytes, builder: str) -> tuple[Path, Ended, str]:
        """Let jupyter-book render what is staged into a fresh folder.

        Gives the folder, how the process ended, and the warnings and errors of Sphinx, empty where there are none.
        Raises `BookError` with them where it leaves no page.
        """
        work = self.layout.build / f"building-{builder}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "config.yml").write_bytes(config)
        command = [
            *(sys.executable, "-c", JUPYTER_BOOK, "build", str(self.layout.stage)),
            *("--config", str(work / "config.yml"), "--toc", str((self.layout.stage / CONTENTS).resolve())),
            *("--path-output", str(work), "--builder", builder, "-W", "--keep-going", "-n", "--all"),
        ]
        environment = variables([TOOLS, self.layout.root])
        ended = self.children.run(command, cwd=work, environment=environment, log=work / "log")
        log = (work / "log").read_text(encoding="utf-8", errors="replace")
        folder = work / "_build" / builder
        complaint = self._complaint(log, work / "log") if ended.status != 0 else ""
        if complaint and not any(folder.rglob("*.html")):
            raise BookError(complaint)
        return folder, ended, complaint

    def _complaint(self, log: str, path: Path) -> str:
        plain = without_colours(log).replace(f"{self.layout.stage}/", "")
        lines = [line for line in plain.splitlines() if TROUBLE.search(line)]
        shown = "\n".join(f"  {line}" for line in dict.fromkeys(lines[:30]))
        return f"jupyter-book found fault with the book (all of its log: {path}):\n{shown}"

    def _write_side_files(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            write_if_changed(self.layout.html / name, data)
        folder = self.layout.html / SIDE_FOLDER
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.relative_to(self.layout.html).as_posix() not in files:
                path.unlink()
