"""Mutants: what they are, that the right tests see them, and that recorded ones are killed again."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import trial
from tests.mutants.mutations import drawn, mutants, mutated, scopes
from tools import mutants as page
from tools.files import json_bytes, read_json
from tools.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''"""Words: 1 + 1."""
RATE = 0.5
TABLE = [lambda n: n - 1, lambda n: 2]


class Config:
    """A setting: 2."""

    size: int = 3

    def __post_init__(self) -> None:
        check_number("size", self.size, above=0)


def f(x: float, most: int = 7) -> float:
    """Words."""
    check_number("x", x, minimum=1)
    if x > 5:
        raise ValueError(f"x must be at most {5}")
    if not x < most and x:
        return max(x, -1) * x.sum(dim=-1)
    return x.clamp_min(0)
'''


def changes() -> set[tuple[str, str, str]]:
    return {(one.function, one.old, one.new) for one in mutants("m", SOURCE)}


def test_the_faults_of_a_module() -> None:
    assert changes() == {
        ("", "0.5", "0.51"),
        ("λ1", "n - 1", "n + 1"),
        ("λ1", "n - 1", "n"),
        ("λ1", "1", "2"),
        ("λ2", "2", "3"),
        ("f", "not x < most and x", "not x < most or x"),
        ("f", "not x < most and x", "not (not x < most and x)"),
        ("f", "not x < most", "x < most"),
        ("f", "x < most", "x <= most"),
        ("f", "x < most", "x >= most"),
        ("f", "max(x, -1) * x.sum(dim=-1)", "max(x, -1) / x.sum(dim=-1)"),
        ("f", "max(x, -1) * x.sum(dim=-1)", "max(x, -1)"),
        ("f", "max(x, -1)", "min(x, -1)"),
        ("f", "-1", "1"),
        ("f", "1", "2"),
        ("f", "x.sum(dim=-1)", "x.mean(dim=-1)"),
        ("f", "x.clamp_min(0)", "x.clamp_max(0)"),
        ("f", "x.clamp_min(0)", "x"),
        ("f", "0", "1"),
    }


def test_each_mutant_differs_in_its_one_place() -> None:
    plain = ast.unparse(ast.parse(SOURCE))
    texts = [mutated(SOURCE, one) for one in mutants("m", SOURCE)]
    assert len(set(texts)) == len(texts)
    for text in texts:
        lines = zip(plain.splitlines(), text.splitlines(), strict=True)
        assert sum(before != after for before, after in lines) == 1


def test_a_mutant_of_other_code_is_refused() -> None:
    (mutant, *_) = mutants("m", SOURCE)
    with pytest.raises(ValueError, match=r"m must hold '0\.5' at place 0"):
        mutated(SOURCE.replace("0.5", "0.6"), mutant)


def test_mutants_are_drawn_from_the_seed_with_every_kind_in_its_turn() -> None:
    found = drawn("m", SOURCE, 8, 0)
    assert found == drawn("m", SOURCE, 8, 0)
    assert found != drawn("m", SOURCE, 8, 1)
    assert len({one.kind for one in found}) == 8
    assert len(drawn("m", SOURCE, 1000, 0)) == len(mutants("m", SOURCE))


def test_functions_and_lambdas_have_names() -> None:
    assert set(scopes(ast.parse(SOURCE)).values()) == {"Config", "Config.__post_init__", "f", "λ1", "λ2"}


def test_a_mutant_is_given_to_the_tests_that_import_its_module() -> None:
    files = trial.test_files("icl_lib.attention")
    assert files[:2] == ["tests/test_attention_masks.py", "tests/test_attention.py"]
    assert "tests/test_matrices.py" not in files


def test_recorded_mutants_are_killed_again() -> None:
    """A few of them; all are tried by `make mutants`."""
    command = [sys.executable, "-m", "tests.mutants", "--sample", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed: ") == 3


def test_the_page_tells_the_record(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert page.told(layout) == "Nothing is recorded yet.\n"
    (tmp_path / "icl_lib/room").mkdir(parents=True)
    for name in ("__init__.py", "room/__init__.py", "room/a.py", "b.py"):
        (tmp_path / "icl_lib" / name).write_text("X = 1\n")
    told = {"function": "f", "statement": "return -x", "kind": "sign", "old": "-x", "new": "x", "place": 0}
    faults = [{**told, "outcome": "killed", "by": "t"}, {**told, "outcome": "survived"}]
    alike = {**told, "outcome": "equivalent", "why": "It is even."}
    modules = {
        "icl_lib.room.a": {
            "code": page.code_of(tmp_path, "icl_lib.room.a"),
            "possible": 9,
            "mutants": [*faults, alike],
        },
        "icl_lib.b": {"code": "older", "possible": 9, "mutants": faults[:1]},
    }
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / page.FILE).write_bytes(json_bytes({"seed": 0, "python": "3.11.7", "modules": modules}))
    text = page.told(layout)
    assert "| `room` | 1 | 3 | 1 | 1 | 1 | 50.0 % |" in text
    assert "| together | 2 | 4 | 2 | 1 | 1 | 66.7 % |" in text
    assert "- `room.a`, `f`: `-x` → `x`. It is even." in text
    assert text.endswith("The code of these modules has changed since: `b`.\n")


def test_19_of_20_recorded_mutants_that_differ_are_killed() -> None:
    modules = read_json(ROOT / "book" / page.FILE)["modules"]
    outcomes = [one["outcome"] for entry in modules.values() for one in entry["mutants"]]
    told_apart = [outcome for outcome in outcomes if outcome != "equivalent"]
    assert outcomes.count("killed") >= 0.95 * len(told_apart) > 0
