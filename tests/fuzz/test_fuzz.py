"""No public function answers an odd argument with nan, with an error of another's, or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from arguments import valid
from campaign import ROOT, TABLE, functions
from functions import not_called, walk
from outcomes import FOREIGN, HUNG, ODD, REFUSED, RIGHT, SILENT, called, finite, outcome
from torch import Tensor


def test_every_public_function_is_called_with_arguments_that_fit_or_is_listed_with_a_reason() -> None:
    wrong = []
    for name, function in functions().items():
        for seed in (0, 1):
            try:
                found = called(function, valid(name, function, seed))
            except Exception as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")
                continue
            if not finite(found, getattr(function, "result", "finite"), getattr(function, "contents", True)):
                wrong.append(f"{name}: {found!r}")
    assert not wrong, "\n".join(wrong)


def test_what_is_not_called_is_there() -> None:
    assert set(not_called()) <= set(walk())


def test_ten_thousand_calls_are_answered_rightly_or_refused_by_name(tmp_path: Path) -> None:
    """In a process of their own, as the table is made."""
    command = [sys.executable, str(Path(__file__).with_name("campaign.py")), str(tmp_path / TABLE.name)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = (tmp_path / TABLE.name).read_text(encoding="utf-8")
    assert found == TABLE.read_text(encoding="utf-8"), "run python tests/fuzz/campaign.py, and look at the page"


def silent(rate: float) -> float:
    return rate * float("inf") * 0


def foreign(A: Tensor) -> Tensor:
    return A @ torch.zeros(3, 4)


def unnamed(n: int) -> int:
    raise ValueError("bad argument, must not be")


def endless(n: int) -> int:
    while n > 0:
        time.sleep(0) if n > 1 else None
    return n


def odd(rate: float) -> float:
    return 1.0


def right(n: int) -> int:
    return n


def refusing(n: int) -> int:
    """Raises `ArithmeticError` for 7."""
    if n == 7:
        raise ArithmeticError("no such n")
    raise ValueError(f"n must be 1, got {n}")


@pytest.mark.parametrize(
    ("function", "given", "is_odd", "expected"),
    [
        (silent, {"rate": 1.0}, False, SILENT),
        (foreign, {"A": torch.zeros(2, 2)}, False, FOREIGN),
        (unnamed, {"n": 1}, False, FOREIGN),
        (endless, {"n": 2}, False, HUNG),
        (endless, {"n": 1}, False, HUNG),
        (odd, {"rate": "text"}, True, ODD),
        (right, {"n": 1}, False, RIGHT),
        (refusing, {"n": 2}, False, REFUSED),
        (refusing, {"n": 7}, False, REFUSED),
    ],
)
def test_a_fault_is_seen(function: Any, given: dict[str, Any], is_odd: bool, expected: str) -> None:
    (argument,) = given
    assert outcome(function, given, argument, is_odd, limit=0.2)[0] == expected


@pytest.mark.parametrize(
    "result", [float("nan"), torch.tensor([1.0, float("inf")]), {"a": (torch.tensor(float("nan")),)}]
)
def test_what_is_not_finite_is_seen_wherever_it_stands(result: Any) -> None:
    assert not finite(result, "finite", True)
    assert finite(torch.tensor(-torch.inf), "log", True)
    assert not finite(torch.tensor(torch.nan), "log", True)
    assert not finite(torch.tensor(torch.nan), "any", True)
