"""Other processors, emulated: variables by which numerical libraries take the code of an older one."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tools.kernels import THREADS

# Between them every kind of rounding that another machine brings: the vectorised loops of PyTorch, the products of MKL,
# the solvers of OpenBLAS (under NumPy and SciPy), and the order in which threads add up.
EMULATIONS: Mapping[str, Mapping[str, str]] = {
    "old": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Prescott",
        **dict.fromkeys(THREADS, "1"),
    },
    "middle": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        **dict.fromkeys(THREADS, "2"),
    },
}


@contextmanager
def emulating(name: str) -> Iterator[None]:
    """Inside, kernels that this process starts compute as the processor `name` of `EMULATIONS`."""
    before = {variable: os.environ.get(variable) for variable in EMULATIONS[name]}
    os.environ.update(EMULATIONS[name])
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
