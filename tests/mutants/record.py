"""The record of the mutants: what was drawn from each module, and which test killed it."""

import platform
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tests.mutants.equivalents import reason
from tests.mutants.forked import ROOT, Unfinished, path_of, warm_up
from tests.mutants.mutations import Mutant, drawn, mutants
from tests.mutants.trial import killer
from tools.files import json_bytes, read_json, write_if_changed
from tools.mutants import FILE, code_of

SEED = 0
OF_A_MODULE = 6
ROOMS = {
    "": ("alignment", "attention", "constructions", "matrices", "statistics"),
    "softmax_regression.": (
        *("blocks", "covariance", "descent_rate", "documents", "layers", "population", "problem", "reading_layers"),
        *("reduced_sampling", "rivals", "word_sensitivity"),
    ),
    "classification.": (
        *("circle_posterior", "contexts", "descent", "exponential_features", "fitted_steps", "head", "kernels"),
        *("stack_rivals", "stacks"),
    ),
    "bounds.": (
        *("both_sides", "certificate", "closeness", "cumulants", "curvature", "curvature_inequalities", "inequality"),
        *("intervals", "landscape", "newton", "published", "search", "sharp", "shifts", "spread", "tightness"),
    ),
}
SCIENCE = [f"icl_lib.{room}{name}" for room, names in ROOMS.items() for name in names]
PLACE = ROOT / "book" / FILE


def run(only: list[str], count: int, *, anew: bool, thorough: bool) -> None:
    """Draw `count` mutants of every module, or of those named, try them, and write the record after each module.

    What is recorded as killed in the same code is kept unless `anew`; what survives a first look is tried once more
    where `thorough`.
    """
    warm_up()
    known = (read_json(PLACE) or {}).get("modules", {})
    for module in only or SCIENCE:
        start = time.perf_counter()
        before = {} if anew else _killed_before(module, known.get(module), count)
        found = [_words(one) | (before.get(one) or _tried(one, thorough)) for one in of_module(module, count)]
        known[module] = {"code": code_of(ROOT, module), "possible": len(mutants(module, source_of(module)))}
        known[module]["mutants"] = found
        kept = {name: known[name] for name in SCIENCE if name in known}
        write_if_changed(PLACE, json_bytes({"seed": SEED, "python": platform.python_version(), "modules": kept}))
        _tell(module, found, time.perf_counter() - start)


def of_module(module: str, count: int) -> list[Mutant]:
    """The mutants that the seed draws from a module; of fewer each is among those of more."""
    return drawn(module, source_of(module), count, SEED)


def source_of(module: str) -> str:
    """The text of a module."""
    return path_of(module).read_text(encoding="utf-8")


def _killed_before(module: str, known: Any, count: int) -> dict[Mutant, dict[str, str]]:
    """What is recorded of mutants that were killed, where the module's code is that of the record."""
    if not known or known["code"] != code_of(ROOT, module):
        return {}
    found = {one["place"]: one["by"] for one in known["mutants"] if one["outcome"] == "killed"}
    return {
        one: {"outcome": "killed", "by": found[one.place]} for one in of_module(module, count) if one.place in found
    }


def _words(mutant: Mutant) -> dict[str, Any]:
    return {name: value for name, value in asdict(mutant).items() if name != "module"}


def _tried(mutant: Mutant, thorough: bool) -> dict[str, str]:
    if why := reason(mutant):
        return {"outcome": "equivalent", "why": why}
    by = _noticed(mutant, thorough)
    return {"outcome": "killed", "by": by} if by else {"outcome": "survived"}


def _noticed(mutant: Mutant, thorough: bool) -> str | None:
    """The test that notices a mutant. A first look that runs out of time says nothing, so another follows it."""
    with suppress(Unfinished):
        by = killer(mutant)
        if by or not thorough:
            return by
    with suppress(Unfinished):
        return killer(mutant, thorough=True)
    return None


def _tell(module: str, found: list[dict[str, Any]], seconds: float) -> None:
    counts = [
        f"{number} {outcome}"
        for outcome in ("killed", "equivalent", "survived")
        if (number := sum(one["outcome"] == outcome for one in found))
    ]
    print(f"{module}: {', '.join(counts)}; {seconds:.0f} s", flush=True)
    for one in found:
        if one["outcome"] == "survived":
            print(f"    {one['function']}: {one['old']}  →  {one['new']}", flush=True)
