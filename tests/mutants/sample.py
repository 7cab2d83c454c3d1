"""Recorded mutants once more: the test that killed each must fail on it again, and pass on the true code."""

import random
from collections import Counter
from typing import Any

from tests.mutants.forked import in_child, run_tests, warm_up
from tests.mutants.mutations import Mutant, mutants
from tests.mutants.record import PLACE, SEED, source_of
from tests.mutants.trial import THOROUGH, Watch, killer
from tools.files import read_json


def run(count: int) -> int:
    """Try `count` of the recorded mutants that are still there; the status is 1 where one is not killed again."""
    warm_up()
    chosen = recorded(count)
    tests = sorted({by for _, by in chosen})
    failed = in_child(lambda: _failing(tests), THOROUGH)
    again = [killer(mutant, thorough=True, tests=[by]) == by for mutant, by in chosen]
    for (mutant, by), is_killed in zip(chosen, again, strict=True):
        print(f"{'killed' if is_killed else 'SURVIVED'}: {mutant.module} {mutant.old} → {mutant.new}, by {by}")
    if failed:
        print(f"on the true code fails {failed}")
    return 0 if chosen and not failed and all(again) else 1


def _failing(tests: list[str]) -> str | None:
    watch = Watch()
    status = run_tests(tests, watch, "-x")
    return watch.failed or (f"a run of pytest: status {status}" if status else None)


def recorded(count: int) -> list[tuple[Mutant, str]]:
    """Mutants that a test is recorded to kill and whose code is as it was, of `count` modules, drawn from the seed."""
    chance, found = random.Random(SEED), []
    modules = list((read_json(PLACE) or {}).get("modules", {}).items())
    chance.shuffle(modules)
    for module, entry in modules:
        every = [((one.statement, one.old, one.new), one) for one in mutants(module, source_of(module))]
        # One that stands more than once in its statement could be taken for another.
        often = Counter(words for words, _ in every)
        there = {words: one for words, one in every if often[words] == 1}
        killed = [(there.get(_words(one)), one["by"]) for one in entry["mutants"] if "::" in one.get("by", "")]
        found += [(mutant, by) for mutant, by in killed if mutant][:1]
    return found[:count]


def _words(one: dict[str, Any]) -> tuple[str, str, str]:
    return one["statement"], one["old"], one["new"]
