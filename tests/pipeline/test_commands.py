"""The commands: bad input, failed and interrupted runs. Chapters here are bare, so that kernels start fast."""

import errno
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from fixture_book import HEADER, REPOSITORY, replace

from tools import kernels
from tools.catalogue import load
from tools.cli import main
from tools.errors import REMEDIES
from tools.execute import Surroundings, plan
from tools.layout import Layout
from tools.notebooks import read_chapter
from tools.processes import Children

PARAMETERS = "\n```{code-cell} ipython3\n:tags: [parameters]\n\nn = 5\n```\n"
TWO_CELLS = "\n```{code-cell} ipython3\nx = 1\n```\n\n```{code-cell} ipython3\n%s\n```\n"


@pytest.fixture
def bare(checkout: Path) -> Path:
    """A checkout whose book has one chapter, `sums`."""
    (checkout / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n  - file: sums\n")
    (checkout / "book/profiles.yml").write_text("profiles:\n  paper: {}\n")
    (checkout / "book/part/curve.md").unlink()
    return checkout


def write_chapter(checkout: Path, last_cell: str) -> None:
    (checkout / "book/sums.md").write_text(HEADER + "# Sums\n" + PARAMETERS + TWO_CELLS % last_cell)


def run(checkout: Path, *words: str) -> int:
    return main(["--root", str(checkout), *words])


def is_good(checkout: Path) -> bool:
    """Whether a later command would trust what was executed."""
    layout = Layout(checkout)
    chapters = [read_chapter(page) for page in load(layout).notebooks]
    return all(one.is_good() for one in plan(layout, chapters, Surroundings.of(layout)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["book", "--profile", "fast"], "unknown profile 'fast'; allowed: paper"),
        (["chapter", "nope"], "unknown chapter 'nope'; allowed: index, sums"),
        (["chapter", "index"], "nothing is executed in index"),
        (["chapter", "sums", "-p", "m", "1"], "chapter sums: unknown parameter 'm'; allowed: n"),
        (["chapter", "sums", "-p", "n", "many"], "parameter n must be of type int, got 'many' of type str"),
        (["reference", "index"], "nothing is executed in index"),
        (["recheck"], "without a reference in"),
    ],
)
def test_bad_input_is_one_message(
    bare: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write_chapter(bare, "print(n)")
    assert run(bare, *words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list((bare / "_build").rglob("*.ipynb"))


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "²", "٣"])
def test_a_number_of_workers_that_is_none_is_refused(
    bare: Path, capsys: pytest.CaptureFixture[str], jobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBS", jobs)
    assert run(bare, "book") == 2
    assert f"JOBS must be an integer >= 1, got '{jobs}'" in capsys.readouterr().err


def test_a_build_folder_that_cannot_be_written_is_one_message(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bare / "_build").write_text("in the way")
    assert run(bare, "book") == 1
    error = capsys.readouterr().err
    assert f"cannot write the build folder {bare / '_build'}" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.ENOTDIR, errno.EIO])
def test_what_the_system_refuses_is_one_message_with_path_and_remedy(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(error, os.strerror(error), str(bare / "_build/somewhere"))

    monkeypatch.setattr("tools.commands.book", fail)
    assert run(bare, "book") == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"failed: {bare}/_build/somewhere: {os.strerror(error)}; ")
    assert len(told.splitlines()) == 1


def test_a_file_where_a_folder_belongs_is_one_message(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_chapter(bare, "print(n)")
    (bare / "_build").mkdir()
    (bare / "_build/running").write_text("in the way")
    assert run(bare, "book") == 1
    told = capsys.readouterr().err.strip()
    assert told == f"failed: {bare}/_build/running: File exists; {REMEDIES[errno.EEXIST]}"


@pytest.mark.parametrize(
    ("cell", "messages"),
    [
        (
            "raise ValueError('n must be >= 1, got 0')",
            ["failed in code cell 3 of 3: raise ValueError", "ValueError: n must be >= 1, got 0"],
        ),
        ("import os; os._exit(3)", ["the kernel died in code cell 3 of 3: import os; os._exit(3)"]),
        ("import sys; print('careful', file=sys.stderr)", ["code cell 3 of 3", "wrote to stderr: careful"]),
        (
            "h = display('a', display_id=True); h.update('b')",
            ["failed in code cell 3 of 3", "changes or clears what it has displayed"],
        ),
        (
            "from IPython.display import clear_output; print('a'); clear_output()",
            ["failed in code cell 3 of 3", "changes or clears what it has displayed"],
        ),
    ],
)
def test_a_chapter_that_fails_is_named_with_its_cell(
    bare: Path, capsys: pytest.CaptureFixture[str], cell: str, messages: list[str]
) -> None:
    write_chapter(bare, cell)
    assert run(bare, "book") == 1
    error = capsys.readouterr().err
    for message in ["chapter sums", *messages]:
        assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) < 8
    assert not is_good(bare)
    assert not list((bare / "_build/executed").rglob("*.ipynb"))


def test_injected_parameters_reach_the_chapter_and_stay_apart_from_the_book(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_chapter(bare, "assert n == 7, f'n must be 7, got {n}'")
    assert run(bare, "chapter", "sums", "-p", "n", "8") == 1
    assert "code cell 3 of 3" in (error := capsys.readouterr().err)
    assert "AssertionError: n must be 7, got 8" in error
    assert run(bare, "chapter", "sums", "-p", "n", "7") == 0
    assert (bare / "_build/chapter/sums.ipynb").is_file()
    assert not is_good(bare)


def test_recheck_runs_references_with_nothing_reused(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_chapter(bare, "import os; from icl_lib.numbers import ZERO; print(os.environ['ICL_STORE'] == 'off', ZERO)")
    assert run(bare, "reference") == 0
    reference = bare / "book/reference/paper/sums.ipynb"
    replace(reference, "False 0.0", "True 0.0")
    shutil.rmtree(bare / "_build")
    assert run(bare, "recheck") == 0
    assert "1 references hold" in capsys.readouterr().out
    replace(bare / "icl_lib/numbers.py", "0.0", "0.5")
    assert run(bare, "recheck") == 1
    error = capsys.readouterr().err
    assert "expected  True 0.0" in error
    assert "got       True 0.5" in error


def test_recheck_runs_parameters_in_the_order_of_the_build(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiles = checkout / "book/profiles.yml"
    values = yaml.safe_load(profiles.read_text())
    values["profiles"]["paper"] = {"parameters": {"part/curve": {"rate": 0.25, "n": 4}}}
    profiles.write_text(yaml.safe_dump(values, sort_keys=False))
    assert run(checkout, "reference") == 0
    assert run(checkout, "recheck") == 0
    assert "references hold" in capsys.readouterr().out


def test_an_interrupted_run_leaves_nothing_that_is_trusted(bare: Path) -> None:
    write_chapter(bare, "import os, pathlib, time; pathlib.Path('../pid').write_text(str(os.getpid())); time.sleep(60)")
    command = [sys.executable, "-m", "tools", "--root", str(bare), "book"]
    # A shell makes what it starts in the background ignore an interrupt, and so would all that comes from there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, before)
    kernel = wait_for_kernel(bare / "_build/running")
    os.kill(child.pid, signal.SIGINT)
    _, error = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert not is_good(bare)
    wait_until(lambda: not is_alive(kernel))


def wait_for_kernel(folder: Path) -> int:
    wait_until(lambda: any(path.read_text() for path in folder.glob("*/pid")))
    return int(next(folder.glob("*/pid")).read_text())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for two minutes"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] != "Z"


def test_the_store_of_a_chapter_is_that_of_the_build_unless_another_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(checkout)
    monkeypatch.delenv("ICL_STORE", raising=False)
    assert kernels.environment(layout, checkout)["ICL_STORE"] == str(layout.results)
    monkeypatch.setenv("ICL_STORE", "/shared/results")
    assert kernels.environment(layout, checkout)["ICL_STORE"] == "/shared/results"
    assert kernels.environment(layout, checkout, results="off")["ICL_STORE"] == "off"
    monkeypatch.setenv("ICL_STORE", "off")
    assert kernels.environment(layout, checkout)["ICL_STORE"] == "off"


def test_a_kernel_has_the_threads_of_its_key_and_no_options_of_pytest(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "8")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nbval-lax")
    variables = kernels.environment(Layout(checkout), checkout)
    assert {variables[name] for name in kernels.THREADS} == {kernels.threads()}
    assert "PYTEST_ADDOPTS" not in variables


def test_bytecode_is_dropped_where_python_could_take_it_for_that_of_a_newer_text(checkout: Path) -> None:
    """It compares sizes and whole seconds only."""
    source = checkout / "icl_lib/numbers.py"
    os.utime(source, (10**9, 10**9))
    kept = Path(py_compile.compile(str(checkout / "icl_lib/unused.py"), doraise=True) or "")
    os.utime(checkout / "icl_lib/unused.py", (10**9, 10**9))
    dropped = Path(py_compile.compile(str(source), doraise=True) or "")
    source.write_text("ZERO = 0.5\n")
    os.utime(source, (10**9 + 0.5, 10**9 + 0.5))
    os.utime(dropped, (10**9 + 0.1, 10**9 + 0.1))
    command = [sys.executable, "-c", "from icl_lib.numbers import ZERO; print(ZERO)"]
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}

    def computed() -> str:
        done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert computed() == "0.0"
    kernels.prepare(Layout(checkout))
    assert not dropped.exists()
    assert kept.exists()
    assert computed() == "0.5"


def test_what_is_set_for_other_programs_reaches_no_process_of_the_pipeline(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in kernels.REMOVED:
        monkeypatch.setenv(name, "error")
    for name in (*kernels.THREADS, "ICL_DEVICE"):
        monkeypatch.setenv(name, "")
    found = kernels.environment(Layout(checkout), checkout)
    assert {found[name] for name in kernels.REMOVED if name in found} == {"1"}
    assert found["PYTHONUTF8"] == "1"
    assert {found[name] for name in kernels.THREADS} == {"1"}
    assert found["ICL_DEVICE"] == "cpu"


def test_a_locale_without_accents_spoils_no_letter(bare: Path) -> None:
    """Neither in what is read, nor in what a chapter prints, nor in what a command says."""
    write_chapter(bare, "print('Poincaré')")
    replace(bare / "book/sums.md", "# Sums", "# Möbius")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUTF8"}
    variables |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "tools", "--root", str(bare), "chapter", "sums", "-p", "n", "7"]
    ended = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, check=False)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)
    page = (bare / "_build/chapter/html/sums.html").read_text("utf-8")
    assert "Poincaré" in page
    assert "Möbius" in page


def test_a_kernel_of_another_environment_is_not_taken(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "kernels/python3", tmp_path / "share/kernels/python3"):
        folder.mkdir(parents=True)
        text = json.dumps({"argv": ["/nowhere/python"], "display_name": "Other", "language": "python"})
        (folder / "kernel.json").write_text(text)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "share"))
    write_chapter(bare, "import sys; print(sys.executable)")
    assert run(bare, "chapter", "sums", "-p", "n", "7") == 0
    assert sys.executable in (bare / "_build/chapter/sums.ipynb").read_text()


def test_a_child_is_ended_when_what_listens_to_it_fails(tmp_path: Path) -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    told: list[int] = []

    def listen(line: str) -> None:
        told.append(int(line))
        raise KeyError(line)

    children = Children()
    with pytest.raises(KeyError):
        children.run(
            [sys.executable, "-c", program], cwd=tmp_path, environment={}, log=tmp_path / "log", on_line=listen
        )
    children.stop()
    assert not is_alive(told[0])


def test_relative_folders_are_those_of_the_checkout_and_not_of_a_kernel(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICL_STORE", "mine")
    monkeypatch.setenv("ICL_PROGRESS", "progress.txt")
    variables = kernels.environment(Layout(checkout), checkout / "elsewhere")
    assert variables["ICL_STORE"] == str(checkout / "mine")
    assert variables["ICL_PROGRESS"] == str(checkout / "progress.txt")
