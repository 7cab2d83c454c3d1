"""`python -m tests.mutants` runs the tests on mutants of the science and records which of them no test notices.

`--sample N` runs instead, of N recorded mutants, the test that noticed each: it must do so again.
"""

import os

# Before anything is imported that reads them: a child has the threads that its parent had when it was made, none.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import sys

from tests.mutants import record, sample


def main() -> int:
    """Run the command; the status is 1 where a sample was not noticed again."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, help="recorded mutants to run again, and nothing else")
    parser.add_argument("--only", nargs="*", default=[], help="modules, as icl_lib.attention; all where left out")
    parser.add_argument("--count", type=int, default=record.OF_A_MODULE, help="mutants of a module")
    parser.add_argument(
        "--anew", action="store_true", help="also mutants that are recorded as noticed in the same code"
    )
    parser.add_argument("--thorough", action="store_true", help="every example and more time where a first look ends")
    given = parser.parse_args()
    if given.sample is not None:
        return sample.run(given.sample)
    record.run(given.only, given.count, anew=given.anew, thorough=given.thorough)
    return 0


if __name__ == "__main__":
    sys.exit(main())
