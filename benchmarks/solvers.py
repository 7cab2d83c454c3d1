"""Seconds that solvers of softmax regression take on the same problems from x₀ = 0."""

from collections.abc import Callable

import torch

from benchmarks.contestants import Steps
from benchmarks.timing import race, spread
from icl_lib.bounds import curvature
from icl_lib.bounds.newton import line_search_descent, newton
from icl_lib.bounds.newton_reference import trust_exact
from icl_lib.running.streams import stream
from icl_lib.softmax_regression.documents import SoftmaxRegression

NEWTON, SCIPY, DESCENT = "Newton, trust region", "scipy trust-exact", "descent, line search"
# Those of the chapter on curvature.
PROBLEMS, D, LENGTHS, DESCENT_STEPS = 5, 10, (50, 200), 300


def rows(*, small: bool = False) -> list[dict[str, object]]:
    """One row for each length and solver: seconds for all problems together."""
    found: list[dict[str, object]] = []
    for n in (6,) if small else LENGTHS:
        seconds = race(_entries(n, 2 if small else PROBLEMS), 2 if small else 5, lambda: None)
        for name, taken in seconds.items():
            found.append({"n": n, "d": D, "problems": PROBLEMS, "solver": name, "seconds": spread(taken)})
            print(f"n {n}, d {D}: {name} {1e3 * spread(taken)['median']:.1f} ms", flush=True)
    return found


def _entries(n: int, problems: int) -> dict[str, Steps]:
    tasks = SoftmaxRegression(n, D).sample(problems, stream(0, "test/solvers"), dtype=torch.float64)
    A, b, x0 = tasks.A, tasks.b, torch.zeros(problems, D, dtype=torch.float64)
    rate = curvature.local_safe_rate(A, b)

    def one_by_one() -> None:
        for problem in zip(A, b, x0, strict=True):
            trust_exact(*problem)

    return {
        NEWTON: _repeated(lambda: newton(A, b, x0)),
        SCIPY: _repeated(one_by_one),
        DESCENT: _repeated(lambda: line_search_descent(A, b, x0, rate, iterations=DESCENT_STEPS)),
    }


def _repeated(solve: Callable[[], object]) -> Steps:
    def run(times: int) -> None:
        for _ in range(times):
            solve()

    return run
