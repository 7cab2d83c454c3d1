"""Every inequality of the part on bounds, in the order of the book."""

from icl_lib.bounds import (
    both_sides,
    closeness,
    cumulants,
    curvature_inequalities,
    landscape,
    published,
    self_concordance,
    sharp,
)
from icl_lib.bounds.inequality import Inequality
from icl_lib.running.checked import checked

ALL: tuple[Inequality, ...] = (
    *published.INEQUALITIES,
    *sharp.INEQUALITIES,
    *cumulants.INEQUALITIES,
    *self_concordance.INEQUALITIES,
    *both_sides.INEQUALITIES,
    *closeness.INEQUALITIES,
    *curvature_inequalities.INEQUALITIES,
    *landscape.INEQUALITIES,
)

THEOREMS: tuple[Inequality, ...] = tuple(q for q in ALL if q.proved)


@checked()
def by_key(key: str) -> Inequality:
    """The inequality called `key`; raises `ValueError` naming what there is."""
    found = next((q for q in ALL if q.key == key), None)
    if found is None:
        raise ValueError(f"key must be one of {', '.join(q.key for q in ALL)}, got {key!r}")
    return found
