import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from toy_experiment import Toy, ToyOfMany, computed

from icl_lib.running.store import Store, key
from icl_lib.running.sweep import run, sweep
from icl_lib.softmax_regression.closeness import Closeness

SMALL = Closeness(n=5, d=2, repetitions=2, steps=5, batch=30, tuning=40, test=40, record_every=2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store's folder."""
    monkeypatch.setenv("ICL_STORE", str(tmp_path / "results"))
    for name in ("JOBS", "SCHEDULER", "ICL_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "results"


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "log").mkdir()
    return str(tmp_path / "log")


def squares(log: str, count: int) -> list[Toy]:
    return [Toy(log, point) for point in range(count)]


def test_results_are_the_same_bytes_in_one_process_in_two_and_without_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [replace(SMALL, d=d, query=query) for d in (1, 3) for query in ("held", "same")]
    monkeypatch.setenv("ICL_STORE", "off")
    before = torch.get_num_threads()
    found = [sweep(configs), sweep(configs, jobs=2)]
    torch.set_num_threads(3 - before)
    found.append([run(config) for config in configs])
    torch.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.equals(b)
            assert all(a[name].values.tobytes() == b[name].values.tobytes() for name in a)


def test_empty_variables_mean_that_none_was_set(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOBS", "SCHEDULER", "ICL_PROGRESS"):
        monkeypatch.setenv(name, "")
    assert int(sweep(squares(log, 2))[1].square) == 1
    assert {name.split("-")[2] for name in computed(log)} == {str(os.getpid())}


def test_a_worker_that_has_grown_is_replaced_without_a_word(log: str, recwarn: pytest.WarningsRecorder) -> None:
    """What a chapter writes to stderr counts as a failure, and joblib would warn there."""
    results = sweep([replace(toy, seconds=0.6, keeps=4 * 10**8) for toy in squares(log, 8)], jobs=2)
    assert [int(result.square) for result in results] == [point**2 for point in range(8)]
    assert len({name.split("-")[2] for name in computed(log)}) > 2
    assert not [warning for warning in recwarn if "worker stopped" in str(warning.message)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_finished_point_is_never_computed_again(jobs: int, log: str) -> None:
    first = sweep(squares(log, 3), jobs=jobs)
    again = sweep(squares(log, 5)[::-1], jobs=jobs)
    assert [int(result.square) for result in first] == [0, 1, 4]
    assert [int(result.square) for result in again] == [16, 9, 4, 1, 0]
    assert [name.split("-")[:2] for name in computed(log)] == [[str(k), "0"] for k in range(5)]


def test_a_point_named_twice_is_computed_once(log: str) -> None:
    results = sweep([Toy(log, 3), Toy(log, 4), Toy(log, 3)], jobs=2)
    assert [int(result.square) for result in results] == [9, 16, 9]
    assert len(computed(log)) == 2


def test_each_point_runs_on_one_thread_and_leaves_the_threads_as_they_were(log: str) -> None:
    before = torch.get_num_threads()
    assert [int(r.threads) for r in sweep(squares(log, 2)) + sweep(squares(log, 4), jobs=2)] == [1] * 6
    assert torch.get_num_threads() == before


def test_a_damaged_result_is_computed_again(log: str, folder: Path) -> None:
    config = Toy(log, 7)
    run(config)
    path = Store(folder).path(key(config, torch.device("cpu")))
    path.write_bytes(path.read_bytes()[:-100])
    assert int(run(config).square) == 49
    assert len(computed(log)) == 2


def test_a_worker_that_is_killed_loses_no_finished_point(log: str, folder: Path) -> None:
    quick = [Toy(log, point, seconds=1.0 if point == 0 else 0.0) for point in range(3)]
    deadly = Toy(log, 3, kills_after=len(quick), store=str(folder))
    with pytest.raises(TerminatedWorkerError):
        sweep([*quick, deadly], jobs=2)
    assert len(computed(log)) == 4
    assert [int(result.square) for result in sweep([*quick, deadly])] == [0, 1, 4, 9]
    assert [len(computed(log, point)) for point in range(4)] == [1, 1, 1, 2]


def test_a_point_that_fails_stops_the_sweep_and_stores_nothing_of_its_own(log: str) -> None:
    points = [Toy(log, 0), Toy(log, 1), Toy(log, 2, fails=True)]
    with pytest.raises(ArithmeticError, match="point 2 fails"):
        sweep([Toy(log, 2, fails=True, seconds=0.1), Toy(log, 0)], jobs=2)
    for _ in range(2):
        with pytest.raises(ArithmeticError, match="point 2 fails"):
            sweep(points)
    assert len(computed(log, 1)) == 1
    assert len(computed(log, 2)) == 3


def test_two_that_want_one_point_at_once_compute_it_once(log: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, [Toy(log, 6, seconds=0.5)] * 2))
    assert [int(result.square) for result in results] == [36, 36]
    assert len(computed(log)) == 1


def test_progress_counts_points_done_running_and_left(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICL_PROGRESS", str(tmp_path / "progress"))
    sweep(squares(log, 1))
    sweep(squares(log, 4), jobs=2)
    lines = (tmp_path / "progress").read_text().splitlines()
    assert [re.sub(r"about \d+", "about ?", line) for line in lines] == [
        "1 of 1 points done, 0 running, about ? s left",
        "2 of 4 points done, 2 running, about ? s left",
        "3 of 4 points done, 1 running, about ? s left",
        "4 of 4 points done, 0 running, about ? s left",
    ]


def test_the_number_of_jobs_comes_from_the_environment(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS", "2")
    sweep(squares(log, 2))
    assert str(os.getpid()) not in {name.split("-")[2] for name in computed(log)}


def test_empty_variables_are_as_none(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As make exports them where nobody has set them."""
    for name in ("JOBS", "SCHEDULER", "ICL_DEVICE", "ICL_PROGRESS", "ICL_CAPTURE"):
        monkeypatch.setenv(name, "")
    assert [int(result.square) for result in sweep(squares(log, 2))] == [0, 1]


def test_bad_calls_are_errors(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="configs must hold at least one experiment, got none"):
        sweep([])
    with pytest.raises(ValueError, match="jobs must be an integer >= 1, got 0"):
        sweep(squares(log, 1), jobs=0)
    for text in ("two", "-1"):
        monkeypatch.setenv("JOBS", text)
        with pytest.raises(ValueError, match=f"JOBS must be an integer >= 1, got '{text}'"):
            sweep(squares(log, 1))
    assert not computed(log)


@pytest.mark.parametrize("jobs", [1, 2])
def test_points_that_share_their_draws_are_computed_together_and_stored_apart(jobs: int, log: str) -> None:
    points = [ToyOfMany(log, point) for point in range(5)]
    run(points[2])
    assert [int(found.square) for found in sweep(points, jobs)] == [0, 1, 4, 9, 16]
    # What was stored already is left out of its group.
    assert computed(log, "together") == ["together-0-4", "together-1-3"]
    before = len(computed(log))
    assert [int(found.square) for found in sweep(list(reversed(points)), jobs)] == [16, 9, 4, 1, 0]
    assert len(computed(log)) == before


def test_two_groups_with_a_point_in_common_do_not_wait_for_each_other_for_ever(log: str) -> None:
    """Each process holds its whole group, taken in one order."""
    points = [ToyOfMany(log, point, seconds=0.2) for point in (0, 2, 4)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(sweep, (points[:2], [points[2], points[1], points[0]])))
    assert [[int(one.square) for one in part] for part in found] == [[0, 4], [16, 4, 0]]
    assert len([name for name in computed(log) if not name.startswith("together")]) == 3


def test_a_group_of_which_one_fails_stores_nothing_of_it(log: str, folder: Path) -> None:
    points = [ToyOfMany(log, 0), ToyOfMany(log, 2, fails=True), ToyOfMany(log, 1)]
    with pytest.raises(ArithmeticError, match="point 2 fails"):
        sweep(points)
    assert not any(Store(folder).load(key(point, torch.device("cpu"))) for point in points[:2])
