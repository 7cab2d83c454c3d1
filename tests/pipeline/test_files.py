"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from tools import files


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "x.json"
    files.write_atomically(path, b"old")

    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fchmod", break_off)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [child.name for child in path.parent.iterdir()] == ["x.json"]


def test_equal_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert files.write_if_changed(path, b"1")
    inode = path.stat().st_ino
    assert not files.write_if_changed(path, b"1")
    assert path.stat().st_ino == inode


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    files.replace_folder(tmp_path / "new", tmp_path / "old")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["old", "old/new"]


def test_json_that_is_broken_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{")
    assert files.read_json(tmp_path / "x") is None
    assert files.read_json(tmp_path / "y") is None
