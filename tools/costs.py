"""What the pages cost: CPU-seconds recorded from a build from nothing, so that a later one can say how far it is."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.errors import BookError
from tools.files import json_bytes, read_record, write_if_changed
from tools.layout import PUBLISHED, Layout
from tools.provenance import processor

FILE = "costs.json"


def path_of(layout: Layout) -> Path:
    """Where the costs of the published profile are recorded."""
    return layout.book / FILE


def recorded(layout: Layout) -> dict[str, float]:
    """CPU-seconds by page, {} where none are recorded: they tell how far a build is and change nothing that it does.

    Another profile than the published one has no costs.
    """
    if layout.profile != PUBLISHED:
        return {}
    pages = read_record(path_of(layout), cpu_seconds=dict).get("cpu_seconds", {})
    return {name: float(cost) for name, cost in pages.items() if isinstance(cost, int | float) and cost >= 0}


def record(layout: Layout) -> Path:
    """Write the costs of the last build, which must have executed every page from nothing.

    Raises `BookError` where it did not.
    """
    timings = read_record(layout.build / "timings.json", entries=list, cores=int)
    if not timings:
        raise BookError("no build has been timed yet; run `make clean book` first")
    entries = [entry for entry in timings["entries"] if entry["stage"] == "execute" and entry["page"]]
    if kept := [entry["page"] for entry in entries if entry["reused"]]:
        raise BookError(f"the last build executed not all pages, {kept[0]} among them; run `make clean book` first")
    value = {
        "machine": f"{processor()}, {timings['cores']} cores",
        "cpu_seconds": {entry["page"]: round(entry["cpu_seconds"], 1) for entry in entries},
    }
    write_if_changed(path_of(layout), json_bytes(value))
    return path_of(layout)


@dataclass
class Way:
    """How far a build is: `costs` of the pages that are executed, known ones from the record."""

    costs: Mapping[str, float]
    is_recorded: bool = False
    done: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, layout: Layout, pages: Sequence[str]) -> "Way":
        """The way through `pages`; one without a record costs what the middle one of the others does."""
        known = recorded(layout)
        usual = statistics.median(known.values()) if known else 1.0
        return cls({page: known.get(page, usual) for page in pages}, bool(known))

    def after(self, page: str) -> str:
        """A line when `page` is done: pages, CPU-seconds by the record, and the time that is left at this pace."""
        self.done.append(page)
        whole = math.fsum(self.costs.values())
        part = math.fsum(self.costs[name] for name in self.done)
        left = (whole - part) * (time.monotonic() - self.start) / part if part else math.nan
        minutes = f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
        seconds = f", {part:.0f} of {whole:.0f} CPU-seconds by the record" if self.is_recorded else ""
        return f"{len(self.done)} of {len(self.costs)} pages{seconds}, {minutes}"
