"""What larger runs would cost, as products of measured costs: no run, no guess."""

from dataclasses import dataclass
from typing import Any

import pandas

from icl_lib.display import benchmark_results
from icl_lib.running.validation import check_instance, check_integer

HOUR, DAY, YEAR = 3600.0, 86_400.0, 365.25 * 86_400
# What a training step holds of one task at once, in arrays of n numbers: three of normals, target, logits, prediction.
ARRAYS = 6


@dataclass(frozen=True)
class Costs:
    """Measured on one core: seconds of a training step and of a word in it, of a point's other parts, and bytes."""

    step: float
    word: float
    tune: float
    test: float
    save: float
    load: float
    result_bytes: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Costs":
        """The costs in a recorded benchmark: a word's from its longest documents."""
        rows = benchmark_results.rows(record)
        longest = rows[(rows.sweep == "n") & (rows.contestant == "this library")].nlargest(1, "n").iloc[0]
        point = {name: spread["median"] for name, spread in record["point"]["seconds"].items()}
        return cls(
            step=benchmark_results.seconds(record, "this library", sweep="main", query="held", dtype="float32"),
            word=float(longest.seconds) / int(longest.n * longest.batch * longest.repetitions),
            tune=point["tune a repetition"],
            test=point["test a repetition"],
            save=point["save a result"],
            load=point["load a result"],
            result_bytes=record["point"]["bytes of a result"],
        )


@dataclass(frozen=True)
class SweepEstimate:
    """A sweep of many points of the main size."""

    costs: Costs
    configurations: int
    repetitions: int
    steps: int

    def __post_init__(self) -> None:
        check_instance("costs", self.costs, Costs)
        for name in ("configurations", "repetitions", "steps"):
            check_integer(name, getattr(self, name), 1)

    @property
    def point_seconds(self) -> float:
        """Training, then rate and test tasks of each repetition, then a file."""
        evaluation = self.repetitions * (self.costs.tune + self.costs.test)
        return self.steps * self.costs.step + evaluation + self.costs.save + self.costs.load

    @property
    def training_share(self) -> float:
        """The part of a point that is training."""
        return self.steps * self.costs.step / self.point_seconds

    @property
    def core_years(self) -> float:
        """Years of one core."""
        return self.configurations * self.point_seconds / YEAR

    @property
    def gigabytes(self) -> float:
        """All results, on disk or in memory."""
        return self.configurations * self.costs.result_bytes / 1e9

    @property
    def reading_hours(self) -> float:
        """Hours of one core to open all results."""
        return self.configurations * self.costs.load / HOUR

    def table(self) -> pandas.DataFrame:
        """One point and all of them, and all of them on more cores."""
        rows = [("one point, seconds of a core", self.point_seconds), ("all, years of a core", self.core_years)]
        rows += [(f"all on {cores} cores, days", self.core_years * YEAR / DAY / cores) for cores in (16, 256, 4096)]
        rows += [("all results, GB", self.gigabytes), ("reading all results, hours of a core", self.reading_hours)]
        return pandas.DataFrame(rows, columns=["what", "cost"])


@dataclass(frozen=True)
class DocumentEstimate:
    """One point with very long documents, in float32."""

    costs: Costs
    n: int
    d: int
    repetitions: int
    steps: int
    batch: int
    tuning: int

    def __post_init__(self) -> None:
        check_instance("costs", self.costs, Costs)
        for name in ("n", "d", "repetitions", "steps", "batch", "tuning"):
            check_integer(name, getattr(self, name), 1)

    @property
    def step_minutes(self) -> float:
        """Minutes of one core for a training step."""
        return self.costs.word * self.n * self.batch * self.repetitions / 60

    @property
    def training_days(self) -> float:
        """Days of one core for the training."""
        return self.step_minutes * 60 * self.steps / DAY

    @property
    def block_megabytes(self) -> float:
        """One task is what a step holds at once."""
        return ARRAYS * self.n * 4 / 1e6

    @property
    def document_megabytes(self) -> float:
        """One explicit document in float64, the block that evaluation works on."""
        return self.n * self.d * 8 / 1e6

    @property
    def search_gigabytes(self) -> float:
        """Logits and targets of a repetition's tuning tasks in float64, which the line search for the rate keeps."""
        return self.tuning * 2 * self.n * 8 / 1e9

    @property
    def scores_terabytes(self) -> float:
        """The n × n scores of one task."""
        return self.n**2 * 4 / 1e12

    def table(self) -> pandas.DataFrame:
        """Time and memory."""
        rows = [
            ("one training step, minutes of a core", self.step_minutes),
            ("training, days of a core", self.training_days),
            ("a block of training, MB", self.block_megabytes),
            ("an explicit document of evaluation, MB", self.document_megabytes),
            ("the line search of a repetition, GB", self.search_gigabytes),
            ("n × n scores of one task, TB", self.scores_terabytes),
        ]
        return pandas.DataFrame(rows, columns=["what", "cost"])
