"""Files that are written whole or not at all."""

import ast
import os
from pathlib import Path

import pytest
from fixture_book import REPOSITORY

from tools import files
from tools.errors import BookError


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


def test_what_broken_writes_left_is_swept(tmp_path: Path) -> None:
    for name in ("a/.x.partial", "a/.y.partial/z", "a/kept"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    files.sweep(tmp_path, older_than=3600)
    assert len(list((tmp_path / "a").iterdir())) == 3
    files.sweep(tmp_path)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_a_write_that_is_killed_leaves_what_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", lambda *_: 1 / 0)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(ZeroDivisionError):
            files.write_atomically(tmp_path / "x.json", b"1")
    assert len(list(tmp_path.iterdir())) == 1
    files.sweep(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [
        ('{"key": "a", "n": 1}', True),
        ('{"key": "a"}', False),
        ('{"key": 1, "n": 1}', False),
        ("[]", False),
        ("5", False),
    ],
)
def test_a_record_counts_as_a_whole_or_not_at_all(tmp_path: Path, text: str, is_whole: bool) -> None:
    (tmp_path / "x").write_text(text)
    assert bool(files.read_record(tmp_path / "x", key=str, n=int)) == is_whole


def test_bytes_that_are_no_utf_8_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("Poincaré".encode("latin-1"))
    with pytest.raises(BookError, match=r"x must be UTF-8, got the byte 0xe9 at place 7; save it as UTF-8"):
        files.read_text(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    assert files.read_text(tmp_path / "x") == "a\nb\n"


def test_every_file_is_opened_with_its_encoding_named() -> None:
    """Without, it is read in the language of whoever runs the book."""
    bare = []
    for path in [path for name in ("tools", "icl_lib", "benchmarks") for path in (REPOSITORY / name).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name, given = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
            texts = [part.value for part in [*node.args, *given.values()] if isinstance(part, ast.Constant)]
            opens = (
                name.split(".")[-1] in ("open", "fdopen", "TemporaryFile", "NamedTemporaryFile") and name != "os.open"
            )
            is_binary = any(isinstance(text, str) and "b" in text for text in texts)
            reads = name.endswith((".read_text", ".write_text")) or (opens and (node.args or name == "open"))
            runs = "text" in given and name.split(".")[-1] in ("run", "Popen")
            if (reads and not is_binary and "encoding" not in given) or runs:
                bare.append(f"{path.name}:{node.lineno} {name}")
    assert not bare


def test_json_that_is_broken_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{")
    assert files.read_json(tmp_path / "x") is None
    assert files.read_json(tmp_path / "y") is None
