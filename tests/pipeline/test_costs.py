"""What pages cost, and how far a build says that it is."""

import json
from pathlib import Path

import pytest

from tools import costs
from tools.costs import Way
from tools.errors import BookError
from tools.layout import Layout
from tools.processes import Ended
from tools.timings import Timings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A checkout in which two pages have been executed."""
    layout = Layout(tmp_path)
    timings = Timings(2)
    for page, seconds in (("long", 30.0), ("short", 10.0)):
        timings.add("execute", 99.0, page=page, ended=Ended(0, 99.0, seconds, 2**20))
    timings.add("check", 5.0, page="long", ended=Ended(0, 5.0, 4.0, 2**20))
    timings.write(layout, 120.0)
    return layout


def test_timings_count_the_cpu_seconds_of_the_children_and_their_own(layout: Layout) -> None:
    value = json.loads((layout.build / "timings.json").read_text())
    assert value["total_seconds"] == 120
    assert 44 < value["cpu_seconds"] < 44 + 600
    assert [entry["cpu_seconds"] for entry in value["entries"]] == [30, 10, 4]


def test_what_an_earlier_command_did_is_not_counted() -> None:
    timings = Timings(1)
    own = timings.cpu_seconds
    timings.add("execute", 1.0, page="a", ended=Ended(0, 1.0, 1000.0, 1), reused=True)
    assert timings.cpu_seconds < own + 100


def test_costs_are_recorded_from_a_whole_build(layout: Layout) -> None:
    assert costs.recorded(layout) == {}
    assert costs.record(layout) == layout.book / "costs.json"
    assert costs.recorded(layout) == {"long": 30.0, "short": 10.0}
    assert "cores" in json.loads((layout.book / "costs.json").read_text())["machine"]


def test_a_build_that_kept_pages_has_no_costs(layout: Layout) -> None:
    timings = Timings(2)
    timings.add("execute", 1.0, page="kept", ended=Ended(0, 1.0, 1.0, 1), reused=True)
    timings.write(layout, 1.0)
    with pytest.raises(BookError, match="executed not all pages, kept among them; run `make clean book` first"):
        costs.record(layout)
    (layout.build / "timings.json").unlink()
    with pytest.raises(BookError, match="no build has been timed yet"):
        costs.record(layout)


@pytest.mark.parametrize("text", ["", "[]", '{"cpu_seconds": 3}', '{"machine": "x"}'])
def test_a_record_that_is_none_is_as_absent(layout: Layout, text: str) -> None:
    layout.book.mkdir(exist_ok=True)
    costs.path_of(layout).write_text(text)
    assert costs.recorded(layout) == {}


def test_the_way_is_told_in_pages_seconds_and_time(layout: Layout) -> None:
    costs.record(layout)
    way = Way.of(layout, ["long", "short", "new"])
    assert way.costs == {"long": 30.0, "short": 10.0, "new": 20.0}
    way.start -= 600
    assert way.after("long") == "1 of 3 pages, 30 of 60 CPU-seconds by the record, about 10 min left"
    way.after("new")
    assert way.after("short") == "3 of 3 pages, 60 of 60 CPU-seconds by the record, about 0 s left"


def test_without_a_record_pages_count_alike() -> None:
    way = Way.of(Layout(Path("/nowhere"), "smoke"), ["a", "b"])
    way.start -= 60
    assert way.after("a") == "1 of 2 pages, about 60 s left"
