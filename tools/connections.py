"""Kernels of this interpreter, which are spoken to through files: ports, many starting at once would race for."""

import shutil
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import default

# The system allows 104 to 108 characters; a dash, and the number of a socket, follow.
LONGEST = 90


class OwnSpecs(KernelSpecManager):
    """The one kernel of this interpreter, whatever kernels of other environments are called."""

    def _kernel_dirs_default(self) -> list[str]:
        return []


class _OverFiles(KernelManager):
    """Sockets in a folder of their own, with a short name wherever the checkout lies."""

    @default("transport")
    def _files(self) -> str:
        return "ipc"

    @default("ip")
    def _in_a_folder(self) -> str:
        named = Path(tempfile.mkdtemp(prefix="icl-"))
        if len(str(named)) > LONGEST:
            named.rmdir()
            named = Path(tempfile.mkdtemp(prefix="icl-", dir="/tmp"))
        return str(named / "k")

    def cleanup_ipc_files(self) -> None:
        """Remove the sockets with their folder."""
        super().cleanup_ipc_files()
        shutil.rmtree(Path(self.ip).parent, ignore_errors=True)


class OwnKernel(AsyncKernelManager, _OverFiles):
    """A kernel of this interpreter, for papermill."""

    @default("kernel_spec_manager")
    def _own_specs(self) -> KernelSpecManager:
        return OwnSpecs(parent=self)


class CheckedKernel(_OverFiles):
    """A kernel for nbval, which binds it to this interpreter itself."""
