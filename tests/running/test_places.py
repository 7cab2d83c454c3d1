"""Where outputs lie."""

from pathlib import Path

import pytest

from icl_lib.running.places import output_file, output_folder, store_folder


@pytest.mark.parametrize("name", ["closeness-n25-d5-held", "a.b_c+d", "1"])
def test_a_file_of_an_output_lies_in_its_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_OUTPUT", str(tmp_path))
    assert output_file("claims", name, ".json") == tmp_path / "claims" / f"{name}.json"
    assert (tmp_path / "claims").is_dir()


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/b", "", ".hidden", "a\0", "a\n"])
def test_a_name_cannot_lead_out_of_its_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICL_OUTPUT", str(tmp_path))
    with pytest.raises(ValueError, match="name must be letters, digits and any of"):
        output_file("claims", name, ".json")
    assert not list(tmp_path.iterdir())


def test_empty_variables_name_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ICL_OUTPUT", "ICL_STORE"):
        monkeypatch.delenv(name, raising=False)
    unset = output_folder(), store_folder()
    for name in ("ICL_OUTPUT", "ICL_STORE"):
        monkeypatch.setenv(name, "")
    assert (output_folder(), store_folder()) == unset
