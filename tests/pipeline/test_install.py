"""The environment: what it is bound to, who may make it, and whether it was made."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
from fixture_book import REPOSITORY
from packaging.specifiers import SpecifierSet

from tools import install
from tools.install import Refusal, check_python, identity, lacking

PROJECT = 'name = "x"\nrequires-python = ">=3.11,<3.12"\n'
LOCK = "# made\nnumpy==2.4.6\n    # via x\nScikit_Learn==1.7\ntorch==2.13.0+cpu\n"


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 11, 2), (3, 11, 99)])
def test_a_declared_python_is_taken(version: tuple[int, ...]) -> None:
    check_python(PROJECT, version)


@pytest.mark.parametrize("version", [(3, 10, 9), (3, 12, 0)])
def test_another_python_is_refused_with_the_way_to_a_right_one(version: tuple[int, ...]) -> None:
    with pytest.raises(Refusal, match=r"Python >= 3\.11 and < 3\.12 is needed, .* make PYTHON=python3\.11"):
        check_python(PROJECT, version)


def test_what_the_lock_names_fits_the_lowest_python_that_is_declared() -> None:
    """Debian 12 has 3.11.2."""
    check_python((REPOSITORY / "pyproject.toml").read_text(), (3, 11, 2))
    held = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    locked = [name for name in held if not lacking(f"{name}=={held[name]}", held)]
    named = [
        name
        for name in locked
        if f"\n{name.lower().replace('_', '-')}==" in (REPOSITORY / "requirements.txt").read_text()
    ]
    assert len(named) > 100
    wanted = {name: metadata.metadata(name).get("Requires-Python") or "" for name in named}
    assert not [f"{name} {python}" for name, python in wanted.items() if not SpecifierSet(python).contains("3.11.2")]


def test_what_an_environment_lacks_is_named() -> None:
    held = {"numpy": "2.4.6", "scikit-learn": "1.7", "Torch": "2.13.0"}
    assert lacking(LOCK, held) == []
    assert lacking(LOCK, {**held, "numpy": "2.3"}) == ["numpy==2.4.6"]
    assert lacking(LOCK, {}) == ["numpy==2.4.6", "Scikit_Learn==1.7", "torch==2.13.0"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which nothing is installed, and commands that only say what they would run."""
    (tmp_path / "pyproject.toml").write_text('requires-python = ">=3.11,<4"\n')
    (tmp_path / "requirements.txt").write_text("pip==0\n")
    (tmp_path / ".venv").mkdir()

    def run(command: list[str]) -> None:
        with (tmp_path / "ran").open("a") as ran:
            ran.write(" ".join(command[2:]) + "\n")
        python = tmp_path / ".venv/bin/python"
        python.parent.mkdir(parents=True, exist_ok=True)
        if not python.exists():
            python.symlink_to(sys.executable)

    monkeypatch.setattr(install, "_run", run)
    monkeypatch.setattr(install, "lacking", lambda lock, held: [])
    return tmp_path


def ran(checkout: Path) -> str:
    return (checkout / "ran").read_text()


def test_an_environment_of_this_folder_and_python_is_brought_up_to_date(checkout: Path) -> None:
    old, new = checkout / ".venv/complete-1", checkout / ".venv/complete-2"
    old.write_text(json.dumps(identity(checkout)))
    install.main(checkout, checkout / ".venv", new)
    assert json.loads(new.read_text()) == identity(checkout)
    assert not old.exists()
    assert "-m venv" not in ran(checkout)


@pytest.mark.parametrize("stamp", [None, "", '{"folder": "/elsewhere", "python": "/usr 3.11"}'])
def test_one_that_was_copied_moved_broken_off_or_of_another_python_is_made_anew(
    checkout: Path, stamp: str | None
) -> None:
    (checkout / ".venv/left").write_text("")
    if stamp is not None:
        (checkout / ".venv/complete-1").write_text(stamp)
    install.main(checkout, checkout / ".venv", checkout / ".venv/complete-2")
    assert ran(checkout).startswith("-m venv")
    assert not (checkout / ".venv/left").exists()


def test_what_pip_has_put_elsewhere_leaves_no_stamp(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "lacking", lambda lock, held: ["numpy==2.4.6"])
    with pytest.raises(Refusal, match=r"lacks numpy==2\.4\.6: a setting of pip sends packages elsewhere"):
        install.main(checkout, checkout / ".venv", checkout / ".venv/complete-2")
    assert not list((checkout / ".venv").glob("complete-*"))


def test_pip_is_told_nothing_by_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in install.REDIRECTING:
        monkeypatch.setenv(name, "/elsewhere")
    program = f"import os; exit(any(n in os.environ for n in {install.REDIRECTING!r} if n != 'PIP_USER'))"
    install._run([sys.executable, "-c", program])
    install._run([sys.executable, "-c", "import os; exit(os.environ['PIP_USER'] != '0')"])
    with pytest.raises(Refusal, match="ended with status 3"):
        install._run([sys.executable, "-c", "exit(3)"])


@pytest.mark.parametrize("variable", ["", "1"])
def test_where_no_import_leaves_what_it_compiled_the_install_does(
    variable: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", variable)
    install.main(checkout, checkout / ".venv", checkout / ".venv/complete-2")
    assert ("compileall" in ran(checkout)) == bool(variable)


def test_all_that_is_installed_is_compiled_whatever_the_variable_says(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name in ("a/b.py", "a/tests/c.py"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text("x = 1\n")
    program = f"import sysconfig; sysconfig.get_path = lambda _: {str(site)!r}\n{install.COMPILE}"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=True)
    assert [path.name.split(".")[0] for path in site.rglob("*.pyc")] == ["b"]


def test_two_commands_at_once_install_once(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp, started = checkout / ".venv/complete-2", []

    def slowly(*_: object) -> None:
        started.append(stamp)
        time.sleep(0.3)
        stamp.write_text("")

    monkeypatch.setattr(install, "install", slowly)
    threads = [threading.Thread(target=install.main, args=(checkout, checkout / ".venv", stamp)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1


def make(folder: Path, *words: str, **variables: str) -> str:
    command = ["make", f"PYTHON={sys.executable}", *words]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_stamp_belongs_to_its_folder(tmp_path: Path) -> None:
    told = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("Makefile", "requirements.txt", "pyproject.toml"):
            shutil.copy(REPOSITORY / file, tmp_path / name)
        told.append(make(tmp_path / name, "-n", "types"))
    assert "complete-" in told[0]
    assert told[0] != told[1]
    (tmp_path / "two").rename(tmp_path / "three")
    assert make(tmp_path / "three", "-n", "types") != told[1]


def test_variables_for_other_programs_reach_no_command() -> None:
    names = ("GIT_DIR", "GIT_INDEX_FILE", "PYTHONPATH", "PYTHONWARNINGS", "PYTHONSAFEPATH", "PYTHONDEVMODE")
    told = make(REPOSITORY, "-s", "--eval=show: ; @env", "show", **dict.fromkeys(names, "1"), JOBS="3")
    assert not [name for name in names if f"{name}=" in told]
    assert {"PYTHONUTF8=1", "JOBS=3"} <= set(told.splitlines())


def test_a_browser_may_lie_in_a_folder_with_a_space(tmp_path: Path) -> None:
    browser = tmp_path / "my programs/chromium"
    browser.parent.mkdir()
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)
    path = f"{browser.parent}:{os.environ['PATH']}"
    assert make(REPOSITORY, "-s", "--eval=show: ; @echo '$(CHROMIUM)'", "show", PATH=path).strip() == str(browser)


@pytest.mark.parametrize(("user", "allowed"), [("0", True), ("1000", False)])
def test_jupyterlab_starts_for_root_too(user: str, allowed: bool, tmp_path: Path) -> None:
    """In most containers everybody is root."""
    asked = tmp_path / "id"
    asked.write_text(f"#!/bin/sh\necho {user}\n")
    asked.chmod(0o755)
    told = make(REPOSITORY, "-n", "lab", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "-m jupyterlab" in told
    assert ("--allow-root" in told) == allowed


def test_the_commands_ask_nothing_of_the_shell_that_macos_has_not() -> None:
    """Its `install` knows no -D, its `sed` wants a suffix after -i, its `readlink` may know no -f, its `cp` no -t."""
    told = (REPOSITORY / "Makefile").read_text()
    assert not re.search(r"\binstall -\w*D|\bsed -i|\breadlink -f|\bcp -\w*t|\bdate -d|\bgrep -\w*P|\bnproc\b", told)
