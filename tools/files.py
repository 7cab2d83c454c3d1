"""Writing so that a reader sees the old file or the new one, never half of one."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it into place; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def read_json(path: Path) -> Any:
    """The value in `path`, or None where there is none or it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


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


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` where `target` is; `target` is gone only for the time of two renames."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.")) / "old"
    if target.exists():
        target.replace(old)
    new.replace(target)
    shutil.rmtree(old.parent)
