"""What a command says while pages run."""

from collections.abc import Callable

import pytest

from tools import progress
from tools.progress import Progress


@pytest.mark.parametrize("ended", [lambda told: told.end("page", "execute", 1.0), lambda told: told.failed("page")])
def test_a_page_that_has_ended_is_not_said_to_run(
    ended: Callable[[Progress], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0)
    told = Progress()
    told.start("page", "execute")
    told.cell("page", 3, 9)
    told.heartbeat()
    assert "running  page: cell 3 of 9" in capsys.readouterr().out
    ended(told)
    capsys.readouterr()
    told.heartbeat()
    assert capsys.readouterr().out == ""
