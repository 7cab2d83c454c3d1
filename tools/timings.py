"""Where the time of a command went."""

import math
import os
import resource
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.files import json_bytes, write_atomically
from tools.kernels import device, threads
from tools.layout import Layout
from tools.processes import Ended


@dataclass(frozen=True)
class Timing:
    """Seconds, CPU-seconds and peak memory of a stage, of one page where it has one; `reused`: by a command before."""

    stage: str
    page: str | None
    seconds: float
    cpu_seconds: float | None = None
    peak_megabytes: float | None = None
    reused: bool = False


@dataclass
class Timings:
    """What a command measured."""

    jobs: int
    entries: list[Timing] = field(default_factory=list)

    def add(
        self,
        stage: str,
        seconds: float,
        *,
        page: str | None = None,
        ended: Ended | None = None,
        reused: bool = False,
    ) -> None:
        """Note one stage; `ended` tells of the process that did it, where one did."""
        cpu = None if ended is None else round(ended.cpu_seconds, 3)
        peak = None if ended is None else round(ended.peak_bytes / 2**20, 1)
        self.entries.append(Timing(stage, page, round(seconds, 3), cpu, peak, reused))

    @property
    def cpu_seconds(self) -> float:
        """What this process and the children that ended in this command have used."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        of_children = [entry.cpu_seconds or 0.0 for entry in self.entries if not entry.reused]
        return own.ru_utime + own.ru_stime + math.fsum(of_children)

    def write(self, layout: Layout, total: float) -> None:
        """Write `timings.json`."""
        value: dict[str, Any] = {
            "profile": layout.profile,
            "cores": os.cpu_count(),
            "jobs": self.jobs,
            "device": device(),
            "threads_per_chapter": int(threads()) if threads().isdigit() else threads(),
            "total_seconds": round(total, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "entries": [asdict(entry) for entry in self.entries],
        }
        write_atomically(layout.build / "timings.json", json_bytes(value))

    def table(self, total: float) -> str:
        """The longest first: stages of this command, then pages, also those that were reused."""
        lines = [f"{'where the time went':<44} {'seconds':>9} {'of CPU':>9} {'peak MB':>9}"]
        stages = [entry for entry in self.entries if entry.page is None]
        pages = sorted((entry for entry in self.entries if entry.page), key=lambda entry: -entry.seconds)
        for entry in stages + pages:
            name = entry.stage if entry.page is None else f"  {entry.page}: {entry.stage}"
            cpu = "" if entry.cpu_seconds is None else f"{entry.cpu_seconds:9.1f}"
            peak = "" if entry.peak_megabytes is None else f"{entry.peak_megabytes:9.0f}"
            note = "  (kept from an earlier run)" if entry.reused else ""
            lines.append(f"{name:<44} {entry.seconds:>9.1f} {cpu:>9} {peak:>9}{note}")
        lines.append(f"{'total':<44} {total:>9.1f} {self.cpu_seconds:>9.1f}")
        return "\n".join(lines)
