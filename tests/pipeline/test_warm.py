"""Processes that start warm do what fresh ones do, and nothing of them is left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixture_book import REPOSITORY, replace, write_book
from test_commands import is_alive, wait_until

from tools import processes
from tools.cli import main
from tools.errors import BookError
from tools.files import digest_tree
from tools.processes import WORTHWHILE, Children

PROGRAM = """
import os, sys
own, warm = os.getsid(0) in (os.getpid(), os.getppid()), "torch" in sys.modules
print("told", os.environ["NAME"], sys.argv[1:], os.getcwd(), own, warm, flush=True)
print("library", any(name.split(".")[0] == "icl_lib" for name in sys.modules), flush=True)
print(os.environ.get("HIDDEN"), file=sys.stderr)
sum(range(10_000_000))
sys.exit(3)
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[Children]:
    """Children of a keeper."""
    children = Children()
    children.expect(WORTHWHILE)
    yield children
    children.stop()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a module to run."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}


def test_a_child_has_its_own_folder_variables_and_log(
    warm: Children, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIDDEN", "what the keeper may have had")
    lines: list[str] = []
    given = environment(NAME="one")
    del given["HIDDEN"]
    ended = warm.run_module(
        "program", ["a", "b c"], cwd=program, environment=given, log=program / "log", on_line=lines.append
    )
    assert lines[:2] == [f"told one ['a', 'b c'] {program} True True", "library False"]
    assert (program / "log").read_text().splitlines() == lines
    assert "None" in lines
    assert ended.status == 3
    assert 0.01 < ended.cpu_seconds < 60
    assert ended.peak_bytes > 1e7


def test_children_run_side_by_side(warm: Children, program: Path) -> None:
    (program / "program.py").write_text("import sys; print('number', sys.argv[1])")
    found: dict[int, str] = {}

    def run(number: int) -> None:
        log = program / f"log-{number}"
        warm.run_module("program", [str(number)], cwd=program, environment=environment(), log=log)
        found[number] = log.read_text()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"number {number}\n" for number in range(8)}


def test_variables_that_the_keeper_has_read_cannot_differ(warm: Children, program: Path) -> None:
    warm.run_module("program", [], cwd=program, environment=environment(NAME=""), log=program / "log")
    with pytest.raises(ValueError, match="environment must have the OMP_NUM_THREADS"):
        warm.run_module("program", [], cwd=program, environment=environment(OMP_NUM_THREADS="63"), log=program / "log")


def test_few_processes_start_fresh(program: Path) -> None:
    children = Children()
    children.expect(WORTHWHILE - 1)
    ended = children.run_module("program", [], cwd=program, environment=environment(NAME=""), log=program / "log")
    assert ended.status == 3
    assert "told  [] " in (program / "log").read_text()
    assert "True False" in (program / "log").read_text()


def test_a_keeper_that_is_gone_is_told(program: Path) -> None:
    (program / "program.py").write_text("import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    children = Children()
    children.expect(WORTHWHILE)
    for _ in range(2):
        with pytest.raises(BookError, match="the process from which kernels are forked has ended"):
            children.run_module("program", [], cwd=program, environment=environment(), log=program / "log")
    children.stop()
    with pytest.raises(InterruptedError):
        children.run_module("program", [], cwd=program, environment=environment(), log=program / "log")


SLEEPING = """
import os, pathlib, time
pathlib.Path({folder!r}, str(os.getpid())).write_text(str(os.getppid()))
time.sleep(600)
"""


@pytest.mark.parametrize(("how", "least"), [(signal.SIGKILL, 1), (signal.SIGHUP, 1), (signal.SIGKILL, 99)])
def test_nothing_outlives_a_build_that_is_killed(how: signal.Signals, least: int, tmp_path: Path) -> None:
    """Kernels too: they end with the process that started them."""
    checkout, told = write_book(tmp_path / "checkout"), tmp_path / "told"
    told.mkdir()
    replace(checkout / "book/sums.md", "print(f", SLEEPING.format(folder=str(told)) + "print(f")
    program = (
        # Tests that nohup started ignore a hang-up, and so would what they start.
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"from tools import processes; processes.WORTHWHILE = {least}\n"
        f"from tools.cli import main\nmain(['--root', {str(checkout)!r}, 'book'])"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: any(path.read_text() for path in told.iterdir()))
    (kernel,) = told.iterdir()
    worker = int(kernel.read_text())
    child.send_signal(how)
    child.wait(timeout=120)
    wait_until(lambda: not is_alive(worker))
    wait_until(lambda: not is_alive(int(kernel.name)))


def test_a_build_that_was_started_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    """As `nohup` starts it."""
    checkout, told = write_book(tmp_path / "checkout"), tmp_path / "told"
    told.mkdir()
    cell = SLEEPING.format(folder=str(told)).replace("time.sleep(600)", "time.sleep(1)")
    replace(checkout / "book/sums.md", "print(f", cell + "print(f")
    command = [sys.executable, "-m", "tools", "--root", str(checkout), "chapter", "sums"]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    child = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGHUP, before)
    wait_until(lambda: any(path.read_text() for path in told.iterdir()))
    os.killpg(child.pid, signal.SIGHUP)
    assert child.wait(timeout=120) == 0
    assert (checkout / "_build/executed/sums.ipynb").is_file()


def test_a_book_that_starts_warm_is_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for name, least in (("warm", 1), ("fresh", 99)):
        monkeypatch.setattr(processes, "WORTHWHILE", least)
        checkout = write_book(tmp_path / "checkout")
        assert main(["--root", str(checkout), "reference"]) == 0
        assert main(["--root", str(checkout), "book"]) == 0
        for file in ("sums.ipynb", "part/curve.ipynb", "part/curve-n3.ipynb"):
            found[name, file] = (checkout / "_build/executed" / file).read_bytes()
        found[name, "html"] = digest_tree(checkout / "_build/html/part")
        checkout.rename(tmp_path / name)
    files = {file for _, file in found}
    assert {file for file in files if found["warm", file] != found["fresh", file]} == set()
