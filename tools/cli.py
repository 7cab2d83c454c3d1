"""Command line of the pipeline."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.emulation import EMULATIONS
from tools.errors import BookError, remedy
from tools.layout import PUBLISHED, Layout, locked


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m tools", description="Build and check the book.")
    top.add_argument("--root", type=Path, default=Path.cwd(), help="the checkout (default: the current folder)")
    commands = top.add_subparsers(dest="command", required=True)
    for name, what in (
        ("book", "execute, check and build the site"),
        ("recheck", "nbval on every reference, with nothing reused"),
        ("emulate", "nbval on the references as on other processors"),
        ("reference", "write the references anew from the executed chapters"),
        ("replicate", "the claims once more, from another root seed"),
        ("costs", "record what the pages of the last build cost"),
        ("pdf", "print what the last build has staged"),
        ("archive", "pack the last build into one file"),
        ("chapter", "execute one chapter"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--profile", default=PUBLISHED)
        command.add_argument("--jobs", type=_jobs, default=_jobs(os.environ.get("JOBS") or str(os.cpu_count() or 1)))
        if name in ("reference", "emulate", "replicate"):
            command.add_argument("pages", nargs="*", help="pages (default: all)")
        if name == "replicate":
            command.add_argument("--seed", type=int, required=True, help="the root seed")
        if name == "emulate":
            command.add_argument("--processor", nargs="+", choices=[*EMULATIONS], default=[*EMULATIONS])
        if name == "chapter":
            command.add_argument("page", help="a page as in _toc.yml")
            command.add_argument("papermill", nargs=argparse.REMAINDER, help="parameters: -p NAME VALUE")
    return top


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"JOBS must be an integer >= 1, got {text!r}")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Run a command; gives the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    # A terminal that is closed ends the command, unless it was started to outlive it (nohup).
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        given = parser().parse_args(arguments)
        layout = Layout(given.root.resolve(), given.profile)
        good = _run(layout, given)
    except BookError as error:
        print(f"\nfailed: {error}", file=sys.stderr, flush=True)
        return 1
    except argparse.ArgumentTypeError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"\nfailed: {where}{remedy(error)}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; what had not ended will be run again", file=sys.stderr, flush=True)
        return 130
    return 0 if good else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(layout: Layout, given: argparse.Namespace) -> bool:
    """Run a command; says whether all is as it should be."""
    from tools import commands, costs
    from tools.catalogue import load

    catalogue = load(layout)
    if given.command == "chapter":
        page = catalogue.page(given.page)
        words = [word for word in given.papermill if word != "--"]
        with locked(layout):
            commands.chapter(layout, catalogue, page, words, given.jobs)
        return True
    named = [catalogue.page(name) for name in getattr(given, "pages", [])]
    with locked(layout):
        if given.command == "book":
            return commands.book(layout, catalogue, given.jobs)
        if given.command == "recheck":
            commands.recheck(layout, catalogue, given.jobs)
        elif given.command == "emulate":
            commands.refuse_prose(named)
            commands.emulate(layout, named or catalogue.notebooks, given.processor, given.jobs)
        elif given.command == "replicate":
            commands.replicate(layout, catalogue, named, given.seed, given.jobs)
        elif given.command == "costs":
            print(costs.record(layout))
        elif given.command == "pdf":
            commands.pdf(layout, catalogue)
        elif given.command == "archive":
            commands.archive(layout)
        else:
            commands.reference(layout, catalogue, named, given.jobs)
    return True
