"""`python -m benchmarks`: time everything on this machine and record the result for the book."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

# XLA starts a thread for each core, and takes most of a GPU's memory, unless it is told not to before it is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import torch

from benchmarks import apart, both_ways, classification, contestants, machine, memory, point, solvers
from benchmarks.agreement import check
from benchmarks.settings import JAX_EXPLICIT, JAX_REDUCED, OURS, Race, plan, small_plan
from benchmarks.timing import race, ratios, spread, waiting
from icl_lib.display import benchmark_results
from icl_lib.running.device import DEVICES, choose

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the plan and write `results/<machine class>.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time a training step, side by side.")
    parser.add_argument("--device", choices=DEVICES, default=os.environ.get("DEVICE") or "auto")
    parser.add_argument("--small", action="store_true", help="a small race that shows whether all runs; not recorded")
    arguments = parser.parse_args()
    device = choose(arguments.device)
    description = machine.machine_class(device, machine.cores())
    load = os.getloadavg()[0]
    print(f"{description}; load {load:.1f} before the start", flush=True)
    machine.use_one_core()
    jax = _jax_contestants()
    rows = [row for entry in (small_plan() if arguments.small else plan()) for row in _rows(entry, device, jax)]
    rows += classification.rows(device, small=arguments.small)
    rows += classification.authors_rows(device, small=arguments.small)
    record = {
        "machine": description,
        "device": device.type,
        "cores in use": 1,
        "load before the start": round(load, 2),
        "recorded": time.strftime("%Y-%m-%d"),
        "code": benchmark_results.code_of_a_step(),
        "versions": machine.versions(),
        "rows": rows,
    }
    if device.type == "cpu":
        record |= {"apart": apart.rows(small=arguments.small), "solvers": solvers.rows(small=arguments.small)}
    else:
        record |= {"trained": both_ways.rows(device, small=arguments.small)}
    if arguments.small:
        return
    if device.type == "cpu":
        record |= {"point": point.costs()}
    record |= {"memory": memory.peaks(device)}
    RESULTS.mkdir(exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in description.lower()).replace("--", "-")
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"recorded in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _jax_contestants() -> Callable[..., Mapping[str, contestants.Steps]]:
    try:
        from benchmarks import jax_version
    except ModuleNotFoundError as error:
        print(f"left out: {JAX_EXPLICIT} and {JAX_REDUCED} ({error}; pip install '.[bench]')", file=sys.stderr)
        return lambda setting, device: {}
    return jax_version.contestants


def _rows(
    entry: Race, device: torch.device, jax: Callable[..., Mapping[str, contestants.Steps]]
) -> list[dict[str, object]]:
    """One row for each contestant of a race; before it starts all must agree on the gradient of some tasks."""
    everyone = contestants.contestants(entry.setting, device, entry.contestants)
    if {JAX_EXPLICIT, JAX_REDUCED} & set(entry.contestants):
        everyone |= jax(entry.setting, device)
    if entry.sweep == "main":
        check(entry.setting, device, with_jax=JAX_EXPLICIT in everyone)
    chosen = {name: everyone[name] for name in entry.contestants if name in everyone}
    seconds = race(chosen, entry.rounds, waiting(device))
    rows: list[dict[str, object]] = []
    for name in chosen:
        times, ratio = spread(seconds[name]), ratios(seconds, name, OURS)
        sizes = asdict(entry.setting)
        rows.append({"sweep": entry.sweep, **sizes, "contestant": name, "seconds": times, "ratio": ratio})
        sizes_told = ", ".join(f"{key} {value}" for key, value in sizes.items())
        print(f"{sizes_told}: {name} {1e3 * times['median']:.2f} ms, {ratio['median']:.2f} × ours", flush=True)
    return rows


if __name__ == "__main__":
    main()
