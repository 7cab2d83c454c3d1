"""What git says of the checkout, and of no repository around it."""

import os
import subprocess
from pathlib import Path

from tools.errors import BookError


def ask(root: Path, *arguments: str) -> str:
    """What a command of git prints about the checkout at `root`.

    Raises `BookError` with git's own words where it cannot say, and where `root` lies inside another repository.
    """
    top = _git(root, "rev-parse", "--show-toplevel").removesuffix("\n")
    if Path(top).resolve() != root.resolve():
        raise BookError(f"{root} is no git repository of its own, but lies in that of {top}")
    return _git(root, *arguments)


def _git(root: Path, *arguments: str) -> str:
    # A hook is told by variables of another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, env=variables, capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise BookError(f"cannot run git: {error.strerror}; sudo apt-get install git") from None
    if done.returncode:
        raise BookError(f"git cannot read {root}: {done.stderr.strip()}")
    return done.stdout
