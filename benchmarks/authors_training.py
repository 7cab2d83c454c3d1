"""A training as wide and as long as one in the authors' notebook: `python -m benchmarks.authors_training`.

Much longer than a chapter may take, it is recorded once like the benchmarks, with what it cost.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import xarray

from benchmarks import machine
from icl_lib.classification.closeness import ClassifierCloseness, paper_scale
from icl_lib.classification.contexts import SphereClassification
from icl_lib.classification.summaries import learned_width
from icl_lib.display import benchmark_results

RESULT = Path(__file__).parent / "results" / f"{benchmark_results.AUTHORS_TRAINING}.json"
# The setting at which heads end furthest from their steps, and the constant rates of the notebook there.
TASK = SphereClassification(n=100, d=2, classes=5)
RATES = {"linear": 1e-4, "softmax": 5e-3}
SIZES = {"batch": 2048, "steps": 20_000, "record_every": 1000, "tuning": 10_000, "test": 10_000}
SMALL = {"batch": 20, "steps": 20, "record_every": 10, "tuning": 300, "test": 100}


def main() -> None:
    """Train one linear and one softmax head, and record what they come to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.authors_training", description=__doc__)
    parser.add_argument(
        "--small", action="store_true", help="a short training that shows whether all runs; not recorded"
    )
    small = parser.parse_args().small
    machine.use_one_core()
    sizes = SMALL if small else SIZES
    configs = [
        paper_scale(TASK, kind, rate=r, schedule="constant", repetitions=1, **sizes) for kind, r in RATES.items()
    ]
    start = time.process_time()
    results = ClassifierCloseness.compute_together(configs, torch.device("cpu"))
    record = {
        "machine": machine.machine_class(torch.device("cpu"), machine.cores()),
        "recorded": time.strftime("%Y-%m-%d"),
        "cpu_seconds": round(time.process_time() - start),
        "code": benchmark_results.code_of_a_training(),
        "versions": machine.versions(),
        "task": {"n": TASK.n, "d": TASK.d, "C": TASK.classes},
        **sizes,
        "rows": [_row(config, result) for config, result in zip(configs, results, strict=True)],
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text)
    if not small:
        RESULT.write_text(text, encoding="utf-8")


def _row(config: ClassifierCloseness, result: xarray.Dataset) -> dict[str, object]:
    """What one head comes to: its loss beyond the step's, with the error over test contexts, and the measures."""
    gap = (result.context_loss_sa - result.context_loss_gd).isel(repetition=0)
    last = result.isel(repetition=0, step=-1)
    names = ("loss_sa", "loss_gd", "preds_diff", "model_diff", "model_cos", "cos_by_class")
    return {
        "attention": config.attention,
        "rate": config.rate,
        "excess": float(gap.mean()),
        "excess_error": float(gap.std(ddof=1)) / math.sqrt(gap.size),
        "width": float(learned_width(result)[0]),
        "fitted_width": float(result.beta),
        **{name: float(last[name]) for name in names},
        "over_training": {
            "step": result.step.values.tolist(),
            **{name: result[name].isel(repetition=0).values.tolist() for name in names},
        },
    }


if __name__ == "__main__":
    main()
