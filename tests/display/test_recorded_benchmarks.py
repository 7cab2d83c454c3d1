"""The pages about speed and scale: what they make of a record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from matplotlib import pyplot as plt

from icl_lib.display import benchmark_results, scale

MAIN = {"n": 200, "d": 20, "batch": 1000, "repetitions": 10, "dtype": "float32", "query": "held"}


def row(sweep: str, contestant: str, seconds: float, **sizes: Any) -> dict[str, Any]:
    times = {"median": seconds, "low": 0.9 * seconds, "high": 1.2 * seconds}
    ratio = {"median": seconds / 0.04, "low": 1.0, "high": 2.0}
    return {"sweep": sweep, **MAIN, **sizes, "contestant": contestant, "seconds": times, "ratio": ratio}


@pytest.fixture
def record() -> dict[str, Any]:
    """A record with times that are exact powers of the sizes."""
    rows = [row("main", "this library", 0.04), row("main", "floor", 0.03), row("main", "n × n attention", 2.0)]
    for sweep in benchmark_results.SWEEPS:
        for value in (10, 100, 1000):
            rows.append(row(sweep, "this library", 1e-4 * value**1.5, **{sweep: value}))
    kind = {"sweep": "classification", "kind": "linear", "contestant": "its data"}
    rows.append({**rows[0], **kind})
    spread = {"median": 2.0, "low": 1.0, "high": 3.0}
    names = ("tune a repetition", "test a repetition", "save a result", "load a result")
    return {
        "rows": rows,
        "memory": [{"contestant": who, "n": n, "megabytes": n / 10} for who in ("a", "b") for n in (5, 50)],
        "solvers": [{"n": n, "solver": who, "seconds": spread} for who in ("a", "b") for n in (5, 50)],
        "apart": [{"contestant": "a", "seconds": spread, "ratio": {"median": 16.0, "low": 15.0, "high": 17.0}}],
        "point": {"seconds": dict.fromkeys(names, spread), "bytes of a result": 5000},
    }


def test_the_main_table_has_its_contestants_with_their_spread(record: dict[str, Any]) -> None:
    table = benchmark_results.main_table(record, query="held")
    assert table.who.tolist() == ["this library", "floor", "n × n attention"]
    assert table["ms a step"].tolist() == ["40 (36–48)", "30 (27–36)", "2000 (1800–2400)"]
    assert table["time / this library's"].tolist()[2] == "50 (1–2)"


def test_seconds_are_those_of_one_race(record: dict[str, Any]) -> None:
    assert benchmark_results.seconds(record, "floor", sweep="main") == 0.03
    assert benchmark_results.ratio(record, "n × n attention", sweep="main") == 50
    for setting in ({}, {"sweep": "nowhere"}):
        with pytest.raises(ValueError, match="setting must name one race of 'this library'"):
            benchmark_results.seconds(record, "this library", **setting)


def test_the_time_alone_is_that_of_the_contestant(record: dict[str, Any]) -> None:
    assert benchmark_results.apart(record, "a")["median"] == 16
    with pytest.raises(ValueError, match="contestant must be one of 'a', got 'b'"):
        benchmark_results.apart(record, "b")


def test_the_exponent_is_that_of_the_times(record: dict[str, Any]) -> None:
    assert benchmark_results.slope(record, "n", above=50) == pytest.approx(1.5)


def test_the_growth_figure_has_a_panel_for_each_size(record: dict[str, Any]) -> None:
    figure = benchmark_results.growth_figure(record)
    assert [axes.get_xlabel() for axes in figure.axes] == list(benchmark_results.SWEEPS.values())
    assert all(numpy.size(axes.get_lines()[0].get_xdata()) == 3 for axes in figure.axes)
    plt.close(figure)


def test_the_small_tables(record: dict[str, Any]) -> None:
    record["memory"].append({"contestant": "a", "n": 500, "megabytes": 1234.5})
    memory = benchmark_results.memory_table(record)
    assert memory.columns.tolist() == ["n", "a, MB", "b, MB"]
    assert memory["b, MB"].tolist() == ["0", "5", "not run"]
    assert benchmark_results.solvers_table(record).columns.tolist() == ["n", "a, ms", "b, ms"]
    assert benchmark_results.classification_table(record).attention.tolist() == ["linear"]


def test_the_authors_way_is_told_beside_this_library(record: dict[str, Any]) -> None:
    for part, ours, theirs in (("contexts", 0.1, 7.0), ("softmax", 0.14, 7.7)):
        for who, seconds in (("this library", ours), ("the authors' way, in JAX", theirs)):
            record["rows"].append({**row("authors", who, seconds), "part": part})
            record["rows"][-1]["ratio"]["median"] = seconds / ours
    table = benchmark_results.authors_table(record).set_index("what")
    assert table.loc["drawing the contexts"].tolist() == ["100 (90–120)", "7000 (6300–8400)", "70"]
    assert table.loc["a whole update, softmax attention", "time / this library's"] == "55"
    assert set(table.loc["a whole update, linear attention"]) == {"not recorded"}
    assert benchmark_results.authors_ratio(record, "softmax") == "55"
    with pytest.raises(ValueError, match="part must be one of 'contexts', 'linear', 'softmax', got 'data'"):
        benchmark_results.authors_ratio(record, "data")


def test_a_record_without_the_authors_way_says_so(record: dict[str, Any]) -> None:
    assert set(benchmark_results.authors_table(record)["time / this library's"]) == {"not recorded"}


def test_a_record_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    (tmp_path / "_toc.yml").touch()
    (folder / "small.json").write_text(json.dumps({"rows": []}))
    (tmp_path / "deep" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "work")
    assert benchmark_results.load("small") == {"rows": []}
    with pytest.raises(ValueError, match=r"name must be a recorded result \(small\), got 'large'"):
        benchmark_results.load("large")


def test_costs_are_read_off_the_record(record: dict[str, Any]) -> None:
    costs = scale.Costs.of(record)
    assert costs.step == 0.04
    assert costs.word == pytest.approx(1e-4 * 1000**1.5 / (1000 * 1000 * 10))
    assert (costs.tune, costs.result_bytes) == (2.0, 5000)


COSTS = scale.Costs(step=0.1, word=1e-8, tune=1.0, test=2.0, save=0.5, load=0.25, result_bytes=10_000)


def test_a_sweep_costs_what_its_points_do() -> None:
    sweep = scale.SweepEstimate(COSTS, configurations=1000, repetitions=2, steps=10)
    assert sweep.point_seconds == pytest.approx(10 * 0.1 + 2 * 3.0 + 0.75)
    assert sweep.training_share == pytest.approx(1 / 7.75)
    assert sweep.core_years == pytest.approx(7750 / (365.25 * 86_400))
    assert sweep.gigabytes == pytest.approx(0.01)
    assert sweep.reading_hours == pytest.approx(250 / 3600)
    days = sweep.table().set_index("what").cost
    assert days["all on 16 cores, days"] == pytest.approx(7750 / 86_400 / 16)


def test_a_long_document_costs_its_words() -> None:
    document = scale.DocumentEstimate(COSTS, n=10**6, d=20, repetitions=10, steps=400, batch=1000, tuning=1000)
    assert document.step_minutes == pytest.approx(100 / 60)
    assert document.training_days == pytest.approx(400 * 100 / 86_400)
    assert document.block_megabytes == pytest.approx(24)
    assert document.document_megabytes == pytest.approx(160)
    assert document.search_gigabytes == pytest.approx(16)
    assert document.scores_terabytes == pytest.approx(4)
    assert len(document.table()) == 6


def test_bad_sizes_are_errors() -> None:
    with pytest.raises(ValueError, match="configurations must be an integer >= 1, got 0"):
        scale.SweepEstimate(COSTS, 0, 1, 1)
    document = scale.DocumentEstimate(COSTS, 10, 2, 1, 1, 1, 1)
    million: Any = 1e6
    with pytest.raises(TypeError, match="n must be an integer"):
        replace(document, n=million)
