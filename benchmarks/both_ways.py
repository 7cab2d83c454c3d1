"""One experiment trained on the processor and on another device: the tasks of its tests are the same, so they pair."""

from dataclasses import asdict

import torch

from icl_lib.softmax_regression.closeness import Closeness
from icl_lib.statistics import over_repetitions

SIZES = ((25, "held"), (25, "same"), (200, "held"), (200, "same"))
CPU = torch.device("cpu")


def rows(device: torch.device, *, small: bool = False) -> list[dict[str, object]]:
    """One row a setting: L_SA / L_GD trained on either, and the paired difference of the two with its standard error.

    The difference is of the mean losses of a repetition, over the mean loss of the step.
    """
    found: list[dict[str, object]] = []
    for n, query in SIZES[:2] if small else SIZES:
        config = Closeness(6, 3, query, steps=5, batch=8, tuning=8, test=8) if small else Closeness(n, 20, query)
        results = {where.type: config.compute(where).isel(step=-1) for where in (CPU, device)}
        on_cpu, on_device = results[CPU.type], results[device.type]
        loss_gd = float(on_cpu.loss_gd.mean())
        row = {"n": config.n, "d": config.d, "query": query, "repetitions": config.repetitions}
        row |= {"ratio": {where: float(result.loss_sa.mean()) / loss_gd for where, result in results.items()}}
        row |= {"cosine": {where: float(result.model_cos.mean()) for where, result in results.items()}}
        row |= {"difference": asdict(over_repetitions((on_device.loss_sa - on_cpu.loss_sa) / loss_gd))}
        found.append(row)
        print(f"trained on either: {row}", flush=True)
    return found
