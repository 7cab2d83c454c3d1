"""Locks, and file systems that have none."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from icl_lib.running import locking
from icl_lib.running.locking import held


def test_one_at_a_time_and_who_waits_is_told(tmp_path: Path) -> None:
    inside, told, most = [], [], []
    first = threading.Event()

    def work() -> None:
        with held(tmp_path / "lock", lambda: (told.append(1), first.set())[0]):
            inside.append(1)
            most.append(len(inside))
            first.wait(5)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
    assert told


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_waited_for_by_nobody(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = []
    with held(tmp_path / "lock", without=lambda: told.append(1)), held(tmp_path / "lock"):
        assert told == [1]
    assert not list(recwarn)


def test_another_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), held(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_lock_is_everybodys_in_a_shared_folder(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with held(tmp_path / "lock"):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_lock_that_somebody_made_for_himself_can_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, "not yours", str(path))

    (tmp_path / "lock").touch(0o644)
    monkeypatch.setattr(locking, "open_shared", refuse)
    with held(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()
