import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.fitted_steps import FittedSteps
from icl_lib.classification.kernels import KernelStep
from icl_lib.classification.step_controls import NearStep
from icl_lib.running import store as store_module
from icl_lib.running.store import Store, key
from icl_lib.softmax_regression.closeness import Closeness

CPU = torch.device("cpu")
CONFIG = Closeness(n=5, d=2)
RESULT = xarray.Dataset({"x": ("step", numpy.array([1 / 3, numpy.nan, 1e-300]))}, coords={"step": [0, 1, 2]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_what_is_saved_is_loaded_to_the_last_bit(store: Store) -> None:
    name = key(CONFIG, CPU)
    assert store.load(name) is None
    store.save(name, RESULT)
    found = store.load(name)
    assert found is not None
    assert found.equals(RESULT)
    assert found.x.values.tobytes() == RESULT.x.values.tobytes()
    assert sorted(path.suffix for path in store.folder.iterdir()) == [".nc", ".sha256"]


def test_all_that_a_result_can_hold_is_loaded_as_it_was(store: Store) -> None:
    name = key(CONFIG, CPU)
    result = xarray.Dataset(
        {
            "float32": (("row", "column"), numpy.ones((2, 3), dtype="float32") / 3),
            "whole": ("row", numpy.array([-(2**31), 2**31 - 1])),
            "yes": ("row", numpy.array([True, False])),
            "word": ("row", numpy.array(["β < 0", "a longer one"])),
            "empty": ("none", numpy.zeros(0)),
            "number": 0.1,
        },
        coords={"row": ["first", "ñ"], "column": [1.5, 2.5, numpy.inf]},
        attrs={"told": "η ≥ 0"},
    )
    store.save(name, result)
    found = store.load(name)
    assert found is not None
    assert found.drop_attrs().identical(result.drop_attrs())
    assert found.attrs == {"told": "η ≥ 0", "key": name}
    for each in set(result.variables) - {"row", "word"}:
        assert found[each].values.tobytes() == result[each].values.tobytes()
        assert found[each].dtype.isnative
    assert found["float32"].dtype == "float32"
    assert found.whole.dtype == "int64"
    assert torch.from_numpy(found["float32"].values).sum() == pytest.approx(2)
    with pytest.raises(ValueError, match="could not safely cast"):
        store.save(name, xarray.Dataset({"too large": ("row", numpy.array([2**31]))}))


def other(value: Any) -> Any:
    """Another valid value of a config's field."""
    words = {"held": "same", "constant": "cosine", "float32": "float64", "auto": "cpu"}
    return words[value] if isinstance(value, str) else value + 1


@pytest.mark.parametrize("name", [field.name for field in fields(Closeness)])
def test_the_key_changes_with_any_field(name: str) -> None:
    changed = replace(CONFIG, **{name: other(getattr(CONFIG, name))})
    assert key(changed, CPU) != key(CONFIG, CPU)


def test_two_classes_with_the_same_fields_have_two_keys() -> None:
    """And the code of each belongs to the key, wherever it is defined."""
    plain, near = (FittedSteps(SphereClassification(9, 3, 3), (kind(),)) for kind in (KernelStep, NearStep))
    assert key(plain, CPU) != key(near, CPU)
    modules = {f"icl_lib.classification.{name}" for name in ("fitted_steps", "kernels", "contexts")}
    assert set(json.loads(key(plain, CPU))["library"]) == modules
    assert set(json.loads(key(near, CPU))["library"]) == modules - {"icl_lib.classification.kernels"} | {
        "icl_lib.classification.step_controls"
    }


def test_the_key_changes_with_device_versions_and_the_text_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    known = key(CONFIG, CPU)
    assert key(CONFIG, torch.device("cuda")) != known
    assert {"python", "torch", "numpy", "scipy", "scikit-learn"} <= set(json.loads(known)["versions"])
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert key(CONFIG, CPU) != known
    monkeypatch.undo()
    assert key(CONFIG, CPU) == known
    monkeypatch.setattr(store_module, "_digest", lambda module: "another")
    assert key(CONFIG, CPU) != known


def write(path: Path, data: bytes) -> None:
    """A file whose checksum is right."""
    path.write_bytes(data)
    path.with_suffix(".sha256").write_text(hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
@pytest.mark.parametrize("save", [Path.write_bytes, write])
def test_a_damaged_file_is_no_result(damage: str, save: Callable[[Path, bytes], object], store: Store) -> None:
    """Nor is one with a checksum of what it holds."""
    name = key(CONFIG, CPU)
    store.save(name, RESULT)
    path = store.path(name)
    whole = path.read_bytes()
    save(path, {"truncated": whole[: len(whole) // 2], "empty": b"", "noise": os.urandom(500)}[damage])
    assert store.load(name) is None
    assert (store.folder / "damaged.log").read_text() == f"{path.name} was damaged and is computed again\n"
    store.save(name, RESULT)
    assert store.load(name) is not None


@pytest.mark.parametrize("attributes", [{}, {"key": key(Closeness(n=6, d=2), CPU)}])
def test_a_file_of_another_key_is_no_result(attributes: dict[str, str], store: Store, tmp_path: Path) -> None:
    name = key(CONFIG, CPU)
    store.save(name, RESULT)
    RESULT.assign_attrs(attributes).to_netcdf(tmp_path / "other.nc", engine="scipy")
    write(store.path(name), (tmp_path / "other.nc").read_bytes())
    assert store.load(name) is None


@given(at=st.integers(0, 10**9), filler=st.sampled_from([b"\0", b"\xff", None]), length=st.integers(1, 64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damaged_block_is_trusted(at: int, filler: bytes | None, length: int, store: Store) -> None:
    """Zeros, ones or a flipped bit anywhere, in the numbers too, which the format does not look at."""
    name = key(CONFIG, CPU)
    store.save(name, xarray.Dataset({"x": ("step", numpy.linspace(1.0, 2.0, 500))}))
    path = store.path(name)
    data = bytearray(path.read_bytes())
    at %= len(data)
    if filler is None:
        data[at] ^= 1 << length % 8
    else:
        data[at : at + length] = filler * len(data[at : at + length])
    if bytes(data) != path.read_bytes():
        path.write_bytes(data)
        assert store.load(name) is None


@pytest.mark.parametrize("text", [None, "", "é", "0" * 64])
def test_a_file_without_its_checksum_is_no_result(text: str | None, store: Store) -> None:
    name = key(CONFIG, CPU)
    store.save(name, RESULT)
    checksum = store.path(name).with_suffix(".sha256")
    checksum.unlink() if text is None else checksum.write_text(text, encoding="utf-8")
    assert store.load(name) is None


def test_whatever_a_damaged_file_makes_its_readers_raise_it_is_no_result(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = key(CONFIG, CPU)
    store.save(name, RESULT)

    def fails(*_: object, **__: object) -> None:
        raise KeyError("Unable to synchronously open object")

    monkeypatch.setattr(store_module.xarray, "open_dataset", fails)
    assert store.load(name) is None


def test_a_result_can_be_read_by_others(store: Store) -> None:
    store.save(key(CONFIG, CPU), RESULT)
    assert store.path(key(CONFIG, CPU)).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_file_cut_anywhere_is_no_result(kept: float, store: Store) -> None:
    name = key(CONFIG, CPU)
    store.save(name, xarray.Dataset({"x": ("step", numpy.arange(5000.0))}))
    path = store.path(name)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert store.load(name) is None


def test_a_failed_write_leaves_the_old_result_and_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = key(CONFIG, CPU)
    store.save(name, RESULT)

    whole = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        whole(self, data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        store.save(name, RESULT + 1)
    monkeypatch.undo()
    found = store.load(name)
    assert found is not None
    assert found.equals(RESULT)
    assert len(list(store.folder.iterdir())) == 2


def test_a_library_that_changed_since_the_process_started_stores_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the old text is back: what was imported meanwhile is not known."""
    name = key(CONFIG, CPU)
    (tmp_path / "steps.py").write_text("x = 1\n")
    monkeypatch.setattr(store_module, "_files", lambda module: [tmp_path / "steps.py"])
    with pytest.raises(RuntimeError, match=r"steps\.py changed after this process started"):
        store.save(name, RESULT)
    assert not store.path(name).exists()


def test_names_of_files_tell_the_experiment(store: Store) -> None:
    assert store.path(key(CONFIG, CPU)).name.startswith("Closeness-")
    assert json.loads(key(CONFIG, CPU))["config"]["n"] == 5
