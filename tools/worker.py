"""Runs one notebook with papermill, in a process of its own: `python -m tools.worker FOLDER`.

FOLDER holds `job.json` (`parameters`) and `input.ipynb`. It leaves `executed.ipynb`, cleaned, and `result.json`:
`{"status": "ok"}`, or `failed` or `died` with the cell, the error and the traceback. A line goes to stdout as each
code cell starts.
"""

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill import engines
from papermill.clientwrap import PapermillNotebookClient
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook
from papermill.log import logger

from tools import notebooks
from tools.connections import OwnKernel
from tools.files import json_bytes, read_json, write_atomically

CHANGES = "changes or clears what it has displayed, of which a page shows one state; display it once, when it is done"


class Watch:
    """Which cell runs now, told on stdout, and the first that changes an output which is there."""

    def __init__(self) -> None:
        """No cell yet."""
        self.index: int | None = None
        self.changing: int | None = None

    def client(self) -> type[PapermillNotebookClient]:
        """Papermill's client, which tells this watch of such a cell."""
        watch = self

        class Client(PapermillNotebookClient):
            def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
                if msg["msg_type"] in ("update_display_data", "clear_output") and watch.changing is None:
                    watch.changing = cell_index
                return super().process_message(msg, cell, cell_index)

        return Client

    def on_cell_start(self, cell: NotebookNode, cell_index: int) -> None:
        """Called by the client before each cell."""
        self.index = cell_index
        if cell.cell_type == "code":
            print(f"cell {cell_index}", flush=True)


def run(folder: Path) -> dict[str, Any]:
    """Execute the job in `folder` and say how it ended."""
    given = read_json(folder / "job.json")["parameters"]
    notebook = nbformat.read(folder / "input.ipynb", as_version=4)
    watch = Watch()
    vars(engines)["PapermillNotebookClient"] = watch.client()
    try:
        executed = execute_notebook(
            notebook,
            None,
            parameters=given or None,
            kernel_name="python3",
            progress_bar=False,
            cwd=folder / "work",
            on_cell_start=watch.on_cell_start,
            kernel_manager_class=OwnKernel,
        )
    except PapermillExecutionError as error:
        text = notebooks.without_colours("\n".join(error.traceback))
        return {"status": "failed", "index": error.cell_index, "error": f"{error.ename}: {error.evalue}", "trace": text}
    except DeadKernelError:
        return {"status": "died", "index": watch.index, "error": "the kernel died", "trace": ""}
    if watch.changing is not None:
        return {"status": "failed", "index": watch.changing, "error": CHANGES, "trace": ""}
    notebooks.clean(executed)
    write_atomically(folder / "executed.ipynb", notebooks.to_bytes(executed))
    return {"status": "ok"}


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(folder: Path) -> int:
    """Run the job and write `result.json`; the exit status is 0 also for a chapter that failed."""
    signal.signal(signal.SIGTERM, _interrupt)
    logger.setLevel(logging.ERROR)
    (folder / "work").mkdir()
    write_atomically(folder / "result.json", json_bytes(run(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
