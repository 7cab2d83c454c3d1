"""Variables by which numerical libraries take the code of another processor, and with it other roundings.

What they change is part of the key of every result and of every executed page. This module imports nothing slow: the
pipeline asks it too.
"""

import os
import re

# The names that PyTorch's kernels have on x86-64, Arm, POWER and z.
ATEN = ("default", "avx2", "avx512", "sve", "sve256", "vsx", "zvector")
MKL = ("AUTO", "COMPATIBLE", "SSE2", "SSE4_1", "SSE4_2", "AVX", "AVX2", "AVX512", "AVX512_E1")
MKL_INSTRUCTIONS = ("SSE4_2", "AVX", "AVX2", "AVX2_E1", "AVX512", "AVX512_E1", "AVX512_E2", "AVX512_E3")
# The cores that OpenBLAS knows by these names on x86-64; it takes others without a word and then guesses.
OPENBLAS = (
    *("Prescott", "Core2", "Penryn", "Dunnington", "Nehalem", "Sandybridge", "Haswell", "Skylakex", "Cooperlake"),
    *("Sapphirerapids", "Atom", "Barcelona", "Bobcat", "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Zen"),
)
ARM_CORE = re.compile(r"ARMV8|ARMV8SVE|CORTEX\w+|NEOVERSE\w+|THUNDERX\w*|TSV110|APPLEM\d|A64FX", re.IGNORECASE)
ALLOWED = {
    "ATEN_CPU_CAPABILITY": ATEN,
    "MKL_CBWR": MKL,
    "MKL_ENABLE_INSTRUCTIONS": MKL_INSTRUCTIONS,
    "OPENBLAS_CORETYPE": OPENBLAS,
}


def emulated() -> dict[str, str]:
    """The variables that are set, with their values.

    Raises `ValueError` for a value that the library would pass over in silence: the numbers would be those of another
    processor than the one asked for.
    """
    found = {name: value for name in ALLOWED if (value := os.environ.get(name))}
    for name, value in found.items():
        plain = value.removesuffix(",STRICT") if name == "MKL_CBWR" else value
        if name == "OPENBLAS_CORETYPE":
            plain = "" if ARM_CORE.fullmatch(value) else value.capitalize()
        if plain and plain not in ALLOWED[name]:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, ALLOWED[name]))}, got {value!r}")
    return found
