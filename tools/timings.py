"""Where the time of a command went."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from tools.files import json_bytes, write_atomically
from tools.kernels import device, threads
from tools.layout import Layout


@dataclass(frozen=True)
class Timing:
    """Seconds and peak memory of one stage, of one page where it has one; `reused`: from an earlier command."""

    stage: str
    page: str | None
    seconds: float
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
        peak_bytes: int | None = None,
        reused: bool = False,
    ) -> None:
        """Note one stage."""
        peak = None if peak_bytes is None else round(peak_bytes / 2**20, 1)
        self.entries.append(Timing(stage, page, round(seconds, 3), peak, reused))

    def write(self, layout: Layout, total: float) -> None:
        """Write `timings.json`."""
        value: dict[str, Any] = {
            "profile": layout.profile,
            "cores": os.cpu_count(),
            "jobs": self.jobs,
            "device": device(),
            "threads_per_chapter": int(threads()) if threads().isdigit() else threads(),
            "total_seconds": round(total, 3),
            "entries": [asdict(entry) for entry in self.entries],
        }
        write_atomically(layout.build / "timings.json", json_bytes(value))

    def table(self, total: float) -> str:
        """The longest first: stages of this command, then pages, also those that were reused."""
        lines = [f"{'where the time went':<44} {'seconds':>9} {'peak MB':>9}"]
        stages = [entry for entry in self.entries if entry.page is None]
        pages = sorted((entry for entry in self.entries if entry.page), key=lambda entry: -entry.seconds)
        for entry in stages + pages:
            name = entry.stage if entry.page is None else f"  {entry.page}: {entry.stage}"
            peak = "" if entry.peak_megabytes is None else f"{entry.peak_megabytes:9.0f}"
            note = "  (kept from an earlier run)" if entry.reused else ""
            lines.append(f"{name:<44} {entry.seconds:>9.1f} {peak:>9}{note}")
        lines.append(f"{'total':<44} {total:>9.1f}")
        return "\n".join(lines)
