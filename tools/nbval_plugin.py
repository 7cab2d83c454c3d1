"""Pytest plugin over nbval: numbers with a tolerance, failures told in a few lines, no waiting for a dead kernel.

nbval's own comparison decides. Before it looks, numbers within the tolerance are replaced by the reference's, and
what is no text (pictures, HTML) is left out on both sides.
"""

import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

import nbval.kernel
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell, NbCellError

from tools import notebooks
from tools.connections import CheckedKernel
from tools.files import json_bytes, write_atomically
from tools.references import printed, texts
from tools.tolerance import Rule, agree, differing_lines

POLL_SECONDS = 1.0
RESULT = "notebook-cell"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The file for the results, and how numbers are compared."""
    parser.addoption("--cell-results", type=Path, default=None, help="write what each cell gave to this JSON file")
    parser.addoption("--by-digits", action="store_true", help="measured numbers must show the same digits")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Collect results, from kernels that race for no port."""
    vars(nbval.kernel)["KernelManager"] = CheckedKernel
    path = config.getoption("--cell-results")
    if path is not None:
        config.pluginmanager.register(Results(path), "cell-results")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put the tolerant comparison before nbval's own."""
    if isinstance(item, IPyNbCell):
        item.compare_outputs = partial(_compare, item, item.compare_outputs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Watch the kernel while a cell runs, and keep a short account of a failure."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    kernel = item.parent.kernel
    kernel.await_reply = partial(_await_reply, kernel)
    try:
        return (yield)
    except NbCellError as error:
        if not any(name == RESULT for name, _ in item.user_properties):
            _tell(item, _last_line(error))
        raise
    except RuntimeError as error:
        _tell(item, str(error))
        raise


def _last_line(error: Any) -> str:
    lines = notebooks.without_colours(str(error.inner_traceback or error)).strip().splitlines()
    return lines[-1] if lines else str(error)


def _tell(item: Any, message: str, expected: str | None = None, got: str | None = None) -> None:
    first = next((line for line in item.cell.source.splitlines() if line.strip()), "")
    account = {"cell": item.cell_num + 1, "source": first, "message": message, "expected": expected, "got": got}
    item.user_properties.append((RESULT, account))


def _await_reply(kernel: Any, msg_id: str, timeout: float | None = None) -> None:
    """As nbval's, but a kernel that has died ends the wait."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            message = kernel.get_message(stream="shell", timeout=POLL_SECONDS)
        except Empty:
            if not kernel.is_alive():
                raise RuntimeError("the kernel died") from None
            if deadline is not None and time.monotonic() > deadline:
                raise
            continue
        if message["parent_header"].get("msg_id") == msg_id:
            if message["content"]["status"] == "aborted":
                raise RuntimeError("the kernel refused to run the cell")
            return


def _compare(item: Any, exactly: Any, test: list[NotebookNode], reference: list[NotebookNode], *rest: Any) -> bool:
    """nbval's comparison, after numbers that agree have been made equal."""
    rule = Rule.of(notebooks.tags(item.cell), by_digits=item.config.getoption("--by-digits"))
    expected = texts(NotebookNode(outputs=reference))
    got = texts(NotebookNode(outputs=test))
    if exactly(_reconcile(expected, got, rule), expected, *rest):
        return True
    _tell(item, *_account(expected, got, rule))
    return False


def _fields(outputs: list[NotebookNode]) -> dict[str, list[str]]:
    """The texts of the outputs by kind, as nbval groups them."""
    fields = defaultdict(list)
    for kind, text in printed(outputs):
        fields[kind].append(text)
    return dict(fields)


def _reconcile(expected: list[NotebookNode], got: list[NotebookNode], rule: Rule) -> list[NotebookNode]:
    """`got`, with each text that agrees with the reference's replaced by it."""
    known = {name: list(values) for name, values in _fields(expected).items()}

    def settle(name: str, text: str) -> str:
        values = known.get(name)
        ours = values.pop(0) if values else None
        return ours if ours is not None and agree(ours, text, rule) else text

    settled = []
    for output in got:
        copy = NotebookNode(output)
        if output.output_type == "stream":
            copy.text = settle(output.name, output.text)
        else:
            copy.data = NotebookNode(
                {name: settle(name, notebooks.text_of(value)) for name, value in output.data.items()}
            )
        settled.append(copy)
    return settled


def _account(expected: list[NotebookNode], got: list[NotebookNode], rule: Rule) -> tuple[str, str, str]:
    """The first difference, in a few lines."""
    ours, theirs = _fields(expected), _fields(got)
    if "stderr" in theirs:
        return "wrote to stderr", "(nothing)", theirs["stderr"][0].strip()
    for name in sorted({*ours, *theirs}):
        old, new = ours.get(name, []), theirs.get(name, [])
        for index in range(max(len(old), len(new))):
            a = old[index] if index < len(old) else "(no output)"
            b = new[index] if index < len(new) else "(no output)"
            if not agree(a, b, rule):
                return (f"{name} differs", *differing_lines(a, b, rule)[0])
    return "outputs differ", str(ours), str(theirs)


class Results:
    """Gathers what each cell of the one notebook gave, and writes it at the end."""

    def __init__(self, path: Path) -> None:
        """`path` is the JSON file to write."""
        self.path = path
        self.cells = 0
        self.failures: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one phase of one cell."""
        self.cells += report.when == "call"
        if report.failed:
            accounts: list[Any] = [value for key, value in report.user_properties if key == RESULT]
            self.failures += accounts or [{"message": report.longreprtext[-2000:], "cell": None}]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected has failed."""
        if report.failed:
            self.failures.append({"message": str(report.longrepr)[-2000:], "cell": None})

    def pytest_sessionfinish(self) -> None:
        """Write what was gathered."""
        write_atomically(self.path, json_bytes({"cells": self.cells, "failures": self.failures}))
