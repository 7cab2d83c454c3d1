"""Variables that make another processor of this one: what they change, and that results know of them."""

import os
import subprocess
import sys

import pytest
import torch

from icl_lib.running.processor import ALLOWED, emulated
from icl_lib.running.store import key
from icl_lib.softmax_regression.closeness import Closeness
from tools.emulation import EMULATIONS, emulating
from tools.kernels import THREADS

# A little of all that the book computes with: a softmax, products, and eigenvalues from both libraries.
PROGRAM = """
import hashlib, os, numpy, torch
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
matrix = torch.randn(300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
symmetric = numpy.random.default_rng(0).standard_normal((300, 300))
parts = [torch.softmax(matrix, -1), matrix @ matrix, torch.linalg.eigvalsh(matrix @ matrix.T)]
parts += [torch.from_numpy(numpy.linalg.eigvalsh(symmetric + symmetric.T))]
print(hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest())
"""


def bits(**variables: str) -> str:
    """What the program's results are, to the last bit."""
    plain = {name: value for name, value in os.environ.items() if name not in ALLOWED}
    plain |= {**dict.fromkeys(THREADS, "1"), **variables}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=plain, capture_output=True, check=True, text=True).stdout


@pytest.fixture(autouse=True)
def _as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALLOWED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["ATEN_CPU_CAPABILITY", "MKL_CBWR", "OPENBLAS_CORETYPE", "threads"])
def test_each_variable_of_an_emulation_changes_last_bits(name: str) -> None:
    """The control: what passes as on another processor would not if the variables did nothing.

    A machine may be the one that a value stands for, so that value alone need not change anything there.
    """
    settings = [
        {k: v for k, v in one.items() if k == name or (k in THREADS and name == "threads")}
        for one in EMULATIONS.values()
    ]
    assert len({bits(), *(bits(**one) for one in settings)}) > 1


def test_the_same_variables_give_the_same_bits() -> None:
    assert bits() == bits()


def test_the_key_of_a_result_knows_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key(Closeness(n=5, d=2), torch.device("cpu"))]
    for name, value in (("ATEN_CPU_CAPABILITY", "default"), ("MKL_CBWR", "COMPATIBLE,STRICT")):
        monkeypatch.setenv(name, value)
        keys.append(key(Closeness(n=5, d=2), torch.device("cpu")))
    assert len(set(keys)) == 3
    monkeypatch.setenv("MKL_CBWR", "")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY")
    assert key(Closeness(n=5, d=2), torch.device("cpu")) == keys[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATEN_CPU_CAPABILITY", "AVX2"),
        ("MKL_CBWR", "compatible"),
        ("MKL_ENABLE_INSTRUCTIONS", "SSE9"),
        ("OPENBLAS_CORETYPE", "Haswel"),
    ],
)
def test_an_unknown_value_is_an_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got '{value}'"):
        emulated()


def test_cores_are_known_by_any_spelling_and_on_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("HASWELL", "haswell", "NEOVERSEN1"):
        monkeypatch.setenv("OPENBLAS_CORETYPE", value)
        assert emulated() == {"OPENBLAS_CORETYPE": value}


@pytest.mark.parametrize("name", EMULATIONS)
def test_an_emulation_lasts_as_long_as_its_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS[0], "7")
    before = dict(os.environ)
    with emulating(name):
        assert dict(os.environ) == before | EMULATIONS[name]
        assert emulated() == {k: v for k, v in EMULATIONS[name].items() if k in ALLOWED}
    assert dict(os.environ) == before
