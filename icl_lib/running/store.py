"""Results on disk: one netCDF file for each key, written whole or not at all.

The files are netCDF 3: a small one is written and read in milliseconds, where HDF5 takes a quarter of a second.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
import platform
import tempfile
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray

from icl_lib.running.digest import check_unchanged, files_of, module_digest
from icl_lib.running.locking import held, open_shared
from icl_lib.running.processor import emulated

# In the folder of the results: the files that were found damaged, a line each.
DAMAGED = "damaged.log"


@functools.cache
def _digest(module: str) -> str:
    # Once a process: what it has imported is the text of its start, whatever is edited while it runs.
    check_unchanged(_files(module))
    return module_digest(module)


@functools.cache
def _files(module: str) -> list[Path]:
    return files_of(module)


@functools.cache
def _versions() -> dict[str, str]:
    # Asked for by name: to import them all takes a second.
    return {name: version(name) for name in ("numpy", "scipy", "scikit-learn")}


def key(config: Any, device: torch.device) -> str:
    """JSON text that names a result.

    It holds the config, the device's type, the versions, the modules that compute it, and the variables by which the
    processor is made to compute as another one.
    """
    return json.dumps(
        {
            "experiment": type(config).__qualname__,
            "config": _told(config),
            "device": device.type,
            # Only where there are any: results of a processor as it is keep their keys.
            **({"processor": emulation} if (emulation := emulated()) else {}),
            "library": {module: _digest(module) for module in sorted(_modules(config))},
            "versions": {"python": platform.python_version(), "torch": torch.__version__, **_versions()},
        },
        sort_keys=True,
    )


def _told(value: Any) -> Any:
    """What JSON can hold of a config; a dataclass with its class, since two classes can have the same fields."""
    if isinstance(value, list | tuple):
        return [_told(part) for part in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: _told(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}


def _modules(value: Any) -> set[str]:
    """The modules that define a config and all that it holds."""
    if isinstance(value, list | tuple):
        return {module for part in value for module in _modules(part)}
    if not dataclasses.is_dataclass(value):
        return set()
    held = (getattr(value, field.name) for field in dataclasses.fields(value))
    return {type(value).__module__, *_modules(list(held))}


class Store:
    """A folder of results, each a file with its checksum beside it.

    A file is trusted only if its bytes have that checksum, and if it names the very key that is asked for. One that has
    not is computed again, and the folder's `damaged.log` names it: what a chapter prints is compared.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the result of `key` lies: the experiment's name and a digest of the whole key."""
        return self.folder / f"{json.loads(key)['experiment']}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.nc"

    def load(self, key: str) -> xarray.Dataset | None:
        """The stored result, or None where there is none that is whole and names this key."""
        path = self.path(key)
        try:
            data, checksum = path.read_bytes(), _checksum_of(path).read_text(encoding="ascii")
        except (OSError, ValueError):
            # Without a checksum it was never written to its end.
            return None
        # Only bytes that are whole are read: of damaged ones a wrong number could come.
        found = _read(data) if hashlib.sha256(data).hexdigest() == checksum else None
        if found is None:
            with os.fdopen(open_shared(self.folder / DAMAGED, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8") as log:
                log.write(f"{path.name} was damaged and is computed again\n")
        return found if found is not None and found.attrs.get("key") == key else None

    def save(self, key: str, result: xarray.Dataset) -> None:
        """Write `result` under `key`; a reader sees the old state or the new one, never half a file.

        Raises `RuntimeError` where a module that computes it was written since this process started.
        """
        # Also what was imported while it was computed.
        check_unchanged(path for module in json.loads(key)["library"] for path in _files(module))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(key)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".", suffix=".partial") as folder:
            new, data = Path(folder) / path.name, _written(result.assign_attrs(key=key))
            new.write_bytes(data)
            checksum = _checksum_of(new)
            checksum.write_text(hashlib.sha256(data).hexdigest(), encoding="ascii")
            for part in (new, checksum):
                _to_disk(part)
                # A temporary file is for its owner only; a store may be shared.
                part.chmod(0o644)
            # The checksum last: between the two, or where only one has reached the disk, there is no result.
            _checksum_of(path).unlink(missing_ok=True)
            new.replace(path)
            checksum.replace(_checksum_of(path))

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Held while a result is computed, so that two processes that want it compute it once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return held(self.path(key).with_suffix(".lock"))


def _checksum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _written(result: xarray.Dataset) -> bytes:
    """The bytes of a file; raises `ValueError` for what it cannot hold, as an integer of more than 32 bits."""
    return bytes(result.to_netcdf(engine="scipy", format="NETCDF3_64BIT"))


def _read(data: bytes) -> xarray.Dataset | None:
    try:
        with xarray.open_dataset(io.BytesIO(data), engine="scipy") as found:
            # The format knows integers of 32 bits at most, results hold those of 64.
            whole = {name: found[name].astype("int64") for name in found.variables if found[name].dtype == "int32"}
            return found.assign(whole).load()
    except Exception:  # What is no result, but has a checksum, can make the layers below raise anything.
        return None


def _to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
