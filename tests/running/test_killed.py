"""Writers that are killed in the middle of their work, twenty times each at times that a seed draws."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
import xarray

from icl_lib.running.store import DAMAGED, Store, key
from icl_lib.softmax_regression.closeness import Closeness
from tools import files

KILLS = 20
KEY = key(Closeness(n=5, d=2), torch.device("cpu"))


def kill_while(work: Callable[[int], object], times: random.Random) -> None:
    """Let a process do its work over and over, and kill it at some time in its first or second turn."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        turn = 0
        while True:
            os.write(tell, b".")
            work(turn)
            turn += 1
    for _ in range(times.randint(1, 2)):
        os.read(told, 1)
    time.sleep(times.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(told)
    os.close(tell)


def test_a_store_whose_writer_is_killed_holds_a_whole_result_or_none(tmp_path: Path) -> None:
    store, times = Store(tmp_path), random.Random(0)
    results = [xarray.Dataset({"x": ("step", numpy.arange(5_000.0) + turn)}) for turn in range(2)]
    found = []
    for _ in range(KILLS):
        kill_while(lambda turn: store.save(KEY, results[turn % 2]), times)
        result = store.load(KEY)
        found.append(result)
        assert result is None or any(result.equals(whole) for whole in results)
    assert any(result is not None for result in found)
    assert not (tmp_path / DAMAGED).exists()
    files.sweep(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".nc", ".sha256"}


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_file_whose_writer_is_killed_is_the_old_or_the_new_one(size: int, tmp_path: Path) -> None:
    path, times = tmp_path / "x.json", random.Random(1)
    files.write_atomically(path, b"0" * size)
    for _ in range(KILLS):
        kill_while(lambda turn: files.write_atomically(path, b"%d" % (turn % 2) * size), times)
        assert path.read_bytes() in (b"0" * size, b"1" * size)
    files.sweep(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_whose_writer_is_killed_is_a_whole_one_or_none(tmp_path: Path) -> None:
    times = random.Random(2)

    def write(turn: int) -> None:
        new = tmp_path / "new"
        new.mkdir(exist_ok=True)
        for name in ("a", "b", "c"):
            (new / name).write_text(str(turn))
        files.replace_folder(new, tmp_path / "site")

    for _ in range(KILLS):
        kill_while(write, times)
        held = [path.read_text() for path in (tmp_path / "site").glob("*")]
        assert len(held) in (0, 3)
        assert len(set(held)) <= 1
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"new", "site"}
