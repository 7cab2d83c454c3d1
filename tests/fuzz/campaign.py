"""Ten thousand calls with one argument spoilt, spread over all functions, and what came of them.

`PYTHONPATH=. python tests/fuzz/campaign.py` writes the table that the book shows, or the file that is named.
"""

import csv
import io
import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from arguments import anything, defaults, may_be_none, valid, variadic
from functions import not_called, walk
from outcomes import OUTCOMES, outcome
from spoils import Spoil, all_spoils

ROOT = Path(__file__).resolve().parents[2]
CALLS = 10_000
TABLE = ROOT / "book" / "appendix" / "fuzz.csv"


class Fault(NamedTuple):
    """A call that was neither answered rightly nor refused by name."""

    function: str
    argument: str
    spoilt: str
    outcome: str
    told: str


def functions() -> dict[str, Callable[..., Any]]:
    """The functions that are called."""
    left_out = not_called()
    return {name: function for name, function in walk().items() if name not in left_out}


def spoilt(name: str, function: Callable[..., Any]) -> Iterator[tuple[int, str, Spoil]]:
    """Without end: the seed of valid arguments, the argument that is spoilt, and what it is replaced by."""
    order = random.Random(name)
    seed = 0
    while True:
        given = valid(name, function, seed)
        found = all_spoils(given, defaults(function), may_be_none(function), variadic(function), anything(function))
        if not found:
            return
        order.shuffle(found)
        yield from ((seed, argument, spoil) for argument, spoil in found)
        seed += 1


def run(calls: int = CALLS) -> tuple[dict[str, Counter[str]], list[Fault]]:
    """The outcomes counted in each room of the library, and the faults."""
    torch.set_num_threads(1)
    open_ = {name: (function, spoilt(name, function)) for name, function in functions().items()}
    counts: dict[str, Counter[str]] = {}
    faults: list[Fault] = []
    done = 0
    while done < calls:
        for name, (function, source) in list(open_.items()):
            if done == calls:
                break
            if (one := next(source, None)) is None:
                # It takes no argument.
                del open_[name]
                continue
            seed, argument, spoil = one
            given = valid(name, function, seed) | {argument: spoil.value}
            what, told = outcome(function, given, argument, spoil.odd)
            counts.setdefault(room(name), Counter())[what] += 1
            done += 1
            if what not in OUTCOMES[:2]:
                faults.append(Fault(name, argument, spoil.kind, what, told))
    return counts, faults


def room(name: str) -> str:
    """The package that a function stands in; the modules beside the packages are one."""
    first, *rest = name.split(".")
    return first if len(rest) > 1 else "foundations"


def table(counts: dict[str, Counter[str]]) -> str:
    """The counts as the book shows them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["room", "functions", "calls", *OUTCOMES])
    known = Counter(room(name) for name in functions())
    rows = [[name, known[name], found.total(), *(found[one] for one in OUTCOMES)] for name, found in counts.items()]
    rows.sort()
    writer.writerows([*rows, ["all", *(sum(row[k] for row in rows) for k in range(1, len(rows[0])))]])
    return out.getvalue()


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
    found, wrong = run()
    for fault in wrong:
        print(*fault, sep=" | ")
    Path(*sys.argv[1:2] or [TABLE]).write_text(table(found), encoding="utf-8")
