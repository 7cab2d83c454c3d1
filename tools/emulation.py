"""Other processors, emulated: variables by which numerical libraries take the code of an older one."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from tools.environment import setting
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
        # Of two such kernels on two cores, threads that wait for work would take the other's time.
        "OMP_WAIT_POLICY": "PASSIVE",
    },
}


def emulating(name: str) -> AbstractContextManager[None]:
    """Inside, kernels that this process starts compute as the processor `name` of `EMULATIONS`."""
    return setting(EMULATIONS[name])
