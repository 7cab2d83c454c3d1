"""Makes the environment of the book: `python -I tools/install.py FOLDER STAMP [EXTRA]`, with nothing but Python.

FOLDER gets the packages of `requirements.txt` and the library: in place where it was made for this checkout and this
Python, anew where it was not, or where that was broken off. STAMP, which only a whole install leaves, holds both.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

# By these, packages would be looked for, or put, somewhere else than in the environment.
REDIRECTING = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV")
# What the environment itself holds, told by its own Python.
HELD = """
import json, sysconfig
from importlib import metadata
folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
print(json.dumps({d.metadata["Name"]: d.version for d in metadata.distributions(path=folders)}))
"""
# Compiles what it holds, on all cores; tests of packages are never imported.
COMPILE = """
import compileall, re, sysconfig
for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
    compileall.compile_dir(folder, quiet=2, workers=0, rx=re.compile(r"/tests?/"))
"""


class Refusal(Exception):
    """One message for who installs."""


def main(root: Path, folder: Path, stamp: Path, extra: str = "") -> None:
    """Install under a lock, unless another command has done it meanwhile."""
    check_python((root / "pyproject.toml").read_text(encoding="utf-8"), sys.version_info[:3])
    (root / "_build").mkdir(exist_ok=True)
    with (root / "_build" / "install.lock").open("w", encoding="utf-8") as lock:
        _wait_for(lock.fileno())
        if not stamp.exists():
            install(root, folder, stamp, extra)


def check_python(project: str, version: tuple[int, ...]) -> None:
    """Refuse a Python that the project does not declare, or one without `venv`."""
    low, high = re.findall(r'(?m)^requires-python = ">=([\d.]+),<([\d.]+)"$', project)[0]
    if not _numbers(low) <= version < _numbers(high):
        raise Refusal(
            f"Python >= {low} and < {high} is needed, {sys.executable} is {'.'.join(map(str, version))}: "
            f"sudo apt-get install python{low} python{low}-venv, then make PYTHON=python{low}"
        )
    if not (find_spec("venv") and find_spec("ensurepip")):
        raise Refusal("Python's venv module is needed: sudo apt-get install python3-venv")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def identity(root: Path) -> dict[str, str]:
    """What an environment is bound to: the folder that its scripts name, and the Python that it runs."""
    return {"folder": str(root.resolve()), "python": f"{sys.base_prefix} {sys.version_info[0]}.{sys.version_info[1]}"}


def _wait_for(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another command that installs", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        # A file system without locks: two commands that are started at once are not kept apart.
        return


def install(root: Path, folder: Path, stamp: Path, extra: str) -> None:
    """Bring the environment up to date, look whether it is, and only then leave the stamp."""
    stamps = list(folder.glob("complete-*"))
    if not any(_read(one) == identity(root) for one in stamps):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-I", "-m", "venv", str(folder)])
    for one in stamps:
        one.unlink(missing_ok=True)
    print(f"installing the packages of requirements.txt into {folder}", flush=True)
    python = str(folder / "bin" / "python")
    # A module is compiled when it is first imported: most of those that are installed never are.
    pip = [python, "-I", "-m", "pip", "install", "-qq", "--no-compile", "--disable-pip-version-check"]
    _run([*pip, "-r", str(root / "requirements.txt")])
    _run([*pip, "-e", f"{root}[{extra}]"] if extra else [*pip, "--no-deps", "-e", str(root)])
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        # Then no import leaves what it has compiled, and each process would compile all over again.
        _run([python, "-I", "-c", COMPILE])
    told = subprocess.run([python, "-I", "-c", HELD], stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout
    if missing := lacking((root / "requirements.txt").read_text(encoding="utf-8"), json.loads(told)):
        raise Refusal(
            f"pip ended well, but {folder} lacks {', '.join(missing[:3])}: a setting of pip sends packages elsewhere; "
            "see `pip config list`"
        )
    stamp.write_text(json.dumps(identity(root)), encoding="utf-8")


def lacking(lock: str, held: dict[str, str]) -> list[str]:
    """What of a lock is not held in its version; builds of one version count alike."""
    plain = {canonical(name): version.partition("+")[0] for name, version in held.items()}
    wanted = re.findall(r"(?m)^([A-Za-z0-9][\w.-]*)==([^\s;+]+)", lock)
    return [f"{name}=={version}" for name, version in wanted if plain.get(canonical(name)) != version]


def canonical(name: str) -> str:
    """A package's name as the index compares it: lower case, and one dash for each run of - _ and dots."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(stamp: Path) -> object:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _run(command: list[str]) -> None:
    """Run a command that explains itself where it fails."""
    variables = {name: value for name, value in os.environ.items() if name not in REDIRECTING}
    # Also over what a file of settings says.
    status = subprocess.run(command, env={**variables, "PIP_USER": "0"}, check=False).returncode
    if status:
        raise Refusal(f"`{' '.join(command)}` ended with status {status}")


if __name__ == "__main__":
    try:
        main(Path.cwd(), Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    except (Refusal, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)
