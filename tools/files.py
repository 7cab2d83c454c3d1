"""Writing so that a reader sees the old file or the new one, never half of one."""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from types import UnionType
from typing import Any

from tools.errors import BookError

# Checkpoints of JupyterLab, what editors write beside a file, and what Python does.
HIDDEN = re.compile(r"\..*|.*~|__pycache__")
# What a write that was broken off leaves behind ends like this.
PARTIAL = ".partial"


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it into place; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PARTIAL)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_if_changed(path: Path, data: bytes) -> bool:
    """Write `data` unless `path` holds just that; says whether it wrote."""
    if path.is_file() and path.read_bytes() == data:
        return False
    write_atomically(path, data)
    return True


def json_bytes(value: Any) -> bytes:
    """JSON with a fixed order and layout, so that equal values are equal bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_text(path: Path) -> str:
    """The text in `path`.

    Raises `BookError` where it cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BookError(f"cannot read {path}: {error.strerror}") from None
    return text_in(path, data)


def text_in(path: Path, data: bytes) -> str:
    """The text of `data`, which was read from `path`, with line ends as Python has them.

    Raises `BookError` where it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        got = f"the byte 0x{data[error.start]:02x} at place {error.start}"
        raise BookError(f"{path} must be UTF-8, got {got}; save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """The value in `path`, or None where there is none or it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def read_record(path: Path, **fields: type | UnionType) -> dict[str, Any]:
    """The JSON object in `path`; {} where there is none, or where one of `fields` is missing or of another type.

    What a command has written for later ones is trusted as a whole or not at all.
    """
    value = read_json(path)
    return value if holds(value, **fields) else {}


def holds(value: Any, **fields: type | UnionType) -> bool:
    """Whether this is a JSON object with all of `fields`, each of its type."""
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in fields.items())


def digest(value: Any) -> str:
    """SHA-256 of bytes, of a text, or of the JSON form of anything else."""
    if isinstance(value, str):
        value = value.encode()
    elif not isinstance(value, bytes):
        value = json_bytes(value)
    return hashlib.sha256(value).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    return digest(path.read_bytes())


def digest_tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by its path with forward slashes; {} where there is no folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """The files below `folder` without those that editors keep beside what is edited, such as JupyterLab's."""
    found = [path for path in folder.rglob(pattern) if path.is_file()]
    return sorted(path for path in found if not any(HIDDEN.fullmatch(part) for part in path.relative_to(folder).parts))


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` where `target` is; `target` is gone only for the time of two renames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=".", suffix=PARTIAL)) / "old"
    if target.exists():
        target.replace(old)
    new.replace(target)
    shutil.rmtree(old.parent)


def sweep(folder: Path, older_than: float = 0.0) -> None:
    """Remove below `folder` what broken writes have left behind, where it is more than so many seconds old."""
    for path in [path for path in folder.rglob(f"*{PARTIAL}") if time.time() - path.lstat().st_mtime >= older_than]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
