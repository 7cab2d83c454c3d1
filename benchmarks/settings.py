"""What is timed: the sizes, and who runs at which."""

from dataclasses import dataclass, replace

from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.softmax_regression.documents import SoftmaxRegression

OURS, FLOOR = "this library", "floor"
UNRECORDED = "this library, step not recorded"
LOOP, FORMULA, SQUARE = "loop over repetitions", "explicit tasks by formula", "n × n attention"
JAX_EXPLICIT, JAX_REDUCED = "JAX, explicit tasks", "JAX, reduced tasks"
TRAINING, DATA = "classification step", "its data"
AUTHORS = "the authors' way, in JAX"


@dataclass(frozen=True)
class Setting:
    """One training step of softmax regression: `repetitions` models, each on `batch` fresh tasks."""

    n: int = 200
    d: int = 20
    batch: int = 1000
    repetitions: int = 10
    dtype: str = "float32"
    query: str = "held"

    @property
    def task(self) -> SoftmaxRegression:
        """The distribution of tasks."""
        return SoftmaxRegression(self.n, self.d, 1.0, self.query)

    def closeness(self, steps: int) -> Closeness:
        """The library's experiment at these sizes."""
        return Closeness(
            self.n,
            self.d,
            self.query,
            repetitions=self.repetitions,
            batch=self.batch,
            steps=steps,
            record_every=steps,
            dtype=self.dtype,
        )


@dataclass(frozen=True)
class Race:
    """Contestants that run at one setting in turn; `sweep` names the plot that the race is a point of."""

    sweep: str
    setting: Setting
    contestants: tuple[str, ...]
    rounds: int


MAIN = Setting()
SMALL = Setting(n=6, d=3, batch=8, repetitions=2)


def plan() -> list[Race]:
    """Every race of a recorded run: all contestants at the main size, then growth in each size."""
    everyone = (OURS, UNRECORDED, FLOOR, LOOP, FORMULA, SQUARE, JAX_EXPLICIT, JAX_REDUCED)
    races = [Race("main", MAIN, everyone, 11)]
    for other in (replace(MAIN, query="same"), replace(MAIN, dtype="float64")):
        races.append(Race("main", other, (OURS, FLOOR, LOOP), 7))
    for n in (25, 50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        slow = (LOOP,) * (n <= 1000) + (SQUARE,) * (n <= 200)
        races.append(Race("n", replace(MAIN, n=n), (OURS, FLOOR, *slow), 5))
    for d in (2, 5, 10, 20, 40, 80):
        races.append(Race("d", replace(MAIN, d=d), (OURS, FLOOR, LOOP), 5))
    for batch in (10, 100, 1000, 10_000):
        races.append(Race("batch", replace(MAIN, batch=batch), (OURS, FLOOR) + (LOOP,) * (batch <= 1000), 5))
    for repetitions in (1, 3, 10, 30, 100):
        slow = (LOOP,) * (repetitions <= 10)
        races.append(Race("repetitions", replace(MAIN, repetitions=repetitions), (OURS, FLOOR, *slow), 5))
    return races


def small_plan() -> list[Race]:
    """One small race of everyone: whether all of it runs."""
    return [Race("main", replace(SMALL, query=q), plan()[0].contestants, 2) for q in ("held", "same")]
