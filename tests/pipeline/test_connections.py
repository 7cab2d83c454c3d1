"""How kernels are spoken to."""

import socket
import tempfile
from pathlib import Path

import pytest
from jupyter_client import localinterfaces

from tools.connections import CheckedKernel, OwnKernel, OwnSpecs


def test_a_kernel_takes_no_port_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that start at once would race for ports; however deep the checkout lies, names of sockets stay short."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / ("deep" * 40)))
    (tmp_path / ("deep" * 40)).mkdir()
    monkeypatch.setattr(localinterfaces, "is_local_ip", lambda _: False)
    kernel = CheckedKernel(kernel_name="python3", kernel_spec_manager=OwnSpecs())
    kernel.start_kernel()
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    assert kernel.transport == "ipc"
    folder = Path(kernel.ip).parent
    assert len(list(folder.iterdir())) == 5
    client.stop_channels()
    kernel.shutdown_kernel(now=True)
    assert not folder.exists()


@pytest.mark.parametrize("kind", [OwnKernel, CheckedKernel])
def test_sockets_have_short_names_also_where_temporary_files_have_long_ones(
    kind: type[CheckedKernel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    kernel = kind()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{kernel.ip}-99999")
    kernel.cleanup_ipc_files()
    assert not Path(kernel.ip).parent.exists()
    assert not list(long.iterdir())
