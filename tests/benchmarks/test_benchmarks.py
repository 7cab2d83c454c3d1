"""The benchmark runs and is fair: all contestants compute one thing. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import xarray
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as program
from benchmarks import agreement, authors_training, both_ways, contestants, machine, timing
from benchmarks.settings import FLOOR, FORMULA, LOOP, OURS, SQUARE, UNRECORDED, Setting, plan
from icl_lib.display import benchmark_results
from icl_lib.running.streams import stream
from icl_lib.softmax_regression import closeness as softmax_regression
from icl_lib.softmax_regression.closeness import Closeness

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CPU = torch.device("cpu")


@pytest.mark.parametrize("query", ["held", "same"])
def test_the_contestants_compute_one_gradient(query: str) -> None:
    agreement.check(Setting(n=7, d=3, query=query), CPU)


def test_a_contestant_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = agreement.contestants.explicit_gradient
    monkeypatch.setattr(agreement.contestants, "explicit_gradient", lambda M, tasks: 1.001 * right(M, tasks))
    with pytest.raises(AssertionError):
        agreement.check(Setting(n=7, d=3), CPU)


@pytest.mark.parametrize("query", ["held", "same"])
def test_a_wrong_gradient_of_this_library_is_found(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = agreement.reduced_sampling.matrix_gradient
    monkeypatch.setattr(agreement.reduced_sampling, "matrix_gradient", lambda tasks, M: 1.001 * right(tasks, M))
    with pytest.raises(AssertionError):
        agreement.check(Setting(n=7, d=3, query=query), CPU)


@pytest.mark.parametrize("query", ["held", "same"])
def test_the_contestants_take_their_steps_on_the_device(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device without values: what reads one back, or mixes devices, cannot be raced on a GPU."""
    for module in (contestants, softmax_regression):
        monkeypatch.setattr(module, "stream", lambda *name: None if len(name) == 4 else stream(*name))
    monkeypatch.setattr(softmax_regression.training, "check_not_diverged", lambda *_: None)
    setting, meta = Setting(n=7, d=3, batch=4, repetitions=2, query=query), torch.device("meta")
    everyone = {OURS, UNRECORDED, FLOOR, LOOP, FORMULA, SQUARE}
    entries = contestants.contestants(setting, meta, everyone)
    assert set(entries) == everyone
    for run in entries.values():
        run(2)


def test_the_small_run_races_everyone_and_records_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(machine, "use_one_core", lambda: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--small", "--device", "cpu"])
    program.main()
    told = capsys.readouterr().out
    others = ("n × n attention", "explicit tasks by formula", "classification step", "scipy trust-exact")
    assert all(f"8 contexts, {part}: {OURS} " in told for part in ("contexts", "linear", "softmax"))
    for name in (OURS, FLOOR, LOOP, *others):
        assert f"{name} " in told
    assert not (tmp_path / "results").exists()


def test_contestants_run_in_turn_and_times_are_those_of_one_step() -> None:
    clock = iter(range(10**6))
    order: list[str] = []

    def entry(name: str) -> timing.Steps:
        def run(steps: int) -> None:
            order.append(name)
            for _ in range(steps):
                next(clock)

        return run

    def wait() -> None:
        """Nothing to wait for."""

    seconds = timing.race({"a": entry("a"), "b": entry("b")}, 3, wait)
    assert order[-6:] == ["a", "b"] * 3
    assert all(len(values) == 3 for values in seconds.values())


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30))
def test_the_spread_holds_the_median(values: list[float]) -> None:
    found = timing.spread(values)
    assert min(values) <= found["low"] <= found["median"] <= found["high"] <= max(values)
    assert timing.ratios({"a": values, "b": [2 * v for v in values]}, "b", "a")["median"] == pytest.approx(2)


def test_the_machine_is_told_without_its_name() -> None:
    import platform

    told = machine.machine_class(torch.device("cpu"), 2)
    assert told.startswith("2 cores, ")
    assert told.endswith("no GPU")
    assert platform.node() not in told


def test_the_peak_of_memory_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    held = bytearray(600 * 2**20)
    held[:: 2**12] = b"\1" * len(held[:: 2**12])
    setup = "import torch; from benchmarks.memory import peak; cpu = torch.device('cpu')"
    code = f"{setup}; a = peak(cpu); x = b'1' * 2**26; print(a, peak(cpu))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    before, after = (float(number) for number in done.stdout.split())
    assert before < 550
    assert after - before == pytest.approx(64, abs=8)


def test_recorded_results_are_complete() -> None:
    """Every race of the plan has its rows, and nothing in the file names a machine or a folder."""
    for path in RESULTS.glob("*.json"):
        record = json.loads(path.read_text())
        raced = {(row["sweep"], row["n"], row["d"], row.get("batch"), row.get("repetitions")) for row in record["rows"]}
        for race in plan():
            s = race.setting
            assert (race.sweep, s.n, s.d, s.batch, s.repetitions) in raced
        assert all(row["seconds"]["median"] > 0 for row in record["rows"])
        assert "/" not in record["machine"]
        assert {row["n"] for row in record["memory"]} >= {25, 10_000}
        assert all(row["megabytes"] > 0 for row in record["memory"])
        if record["device"] != "cpu":
            assert len(record["trained"]) == len(both_ways.SIZES)
            continue
        assert record["point"]["bytes of a result"] > 0
        assert {row["solver"] for row in record["solvers"]} > {"Newton, trust region", "scipy trust-exact"}


def test_the_recorded_training_is_the_one_that_its_program_makes() -> None:
    record = benchmark_results.load(benchmark_results.AUTHORS_TRAINING)
    assert {name: record[name] for name in authors_training.SIZES} == authors_training.SIZES
    assert {row["attention"]: row["rate"] for row in record["rows"]} == authors_training.RATES
    assert all(row["excess_error"] > 0 and len(row["over_training"]["step"]) == 21 for row in record["rows"])
    assert record["cpu_seconds"] > 0
    assert "/" not in record["machine"]


def test_a_small_training_of_the_authors_runs_and_is_not_recorded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(authors_training, "RESULT", tmp_path / "none.json")
    monkeypatch.setattr(authors_training.machine, "use_one_core", lambda: None)
    monkeypatch.setattr(sys, "argv", ["authors_training", "--small"])
    authors_training.main()
    assert [row["attention"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["linear", "softmax"]
    assert not list(tmp_path.iterdir())


def test_trainings_on_two_devices_are_compared_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other device is pretended: it trains as the CPU does, and then to losses a tenth larger."""
    compute, factor, other = Closeness.compute, 1.0, torch.device("meta")

    def on_either(self: Closeness, device: torch.device) -> xarray.Dataset:
        result = compute(self, CPU)
        return result.assign(loss_sa=factor * result.loss_sa) if device == other else result

    monkeypatch.setattr(Closeness, "compute", on_either)
    alike = both_ways.rows(other, small=True)
    assert [row["query"] for row in alike] == ["held", "same"]
    assert all(row["difference"]["value"] == row["difference"]["standard_error"] == 0 for row in alike)
    factor = 1.1
    for row in both_ways.rows(other, small=True):
        assert row["ratio"]["meta"] == pytest.approx(1.1 * row["ratio"]["cpu"])
        assert row["difference"]["value"] == pytest.approx(0.1 * row["ratio"]["cpu"])
