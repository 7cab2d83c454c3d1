"""How kernels are spoken to."""

import asyncio
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


def test_of_hundreds_of_kernels_no_two_have_a_socket_in_common() -> None:
    kernels = [OwnKernel(kernel_name="python3") for _ in range(300)]
    for kernel in kernels:
        kernel.write_connection_file()
    named = [f"{kernel.ip}-{port}" for kernel in kernels for port in kernel.ports]
    for kernel in kernels:
        kernel.cleanup_connection_file()
        kernel.cleanup_ipc_files()
    assert len(named) == len(set(named)) == 1500


def test_kernels_that_start_side_by_side_each_answer_as_themselves() -> None:
    eight = asyncio.Semaphore(8)

    async def answer(number: int) -> int:
        async with eight:
            kernel = OwnKernel(kernel_name="python3")
            await kernel.start_kernel()
            client = kernel.client()
            client.start_channels()
            await client.wait_for_ready(timeout=120)
            found = await client.execute_interactive("", user_expressions={"own": str(number)}, timeout=120)
            client.stop_channels()
            await kernel.shutdown_kernel(now=True)
            return int(found["content"]["user_expressions"]["own"]["data"]["text/plain"])

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*map(answer, range(24)))

    assert asyncio.run(all_of_them()) == list(range(24))


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
