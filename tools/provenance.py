"""Where, when and with what a chapter ran: shown on its page, outside what is compared."""

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools import git
from tools.errors import BookError
from tools.kernels import device, threads

SHOWN_VERSIONS = ("python", "torch", "numpy", "scipy", "matplotlib", "xarray")
ORDER = (
    *("commit", "finished", "wall time", "peak memory"),
    *("parameters", "seeds", "device", "threads", "versions"),
)
# A change in one of these may change what a chapter says.
TRACKED = (
    *("book", "icl_lib", "tools", "benchmarks/results"),
    *("_toc.yml", "_config.yml", "requirements.txt", "pyproject.toml"),
)


def commit(root: Path) -> str:
    """The commit of the checkout, with a remark where its files differ from it; `unknown` where git cannot say.

    Of a checkout that should be one of git's, the reason is told with it.
    """
    try:
        head = git.ask(root, "rev-parse", "HEAD").strip()
        changed = git.ask(root, "status", "--porcelain", "--", *TRACKED)
    except BookError as error:
        return f"unknown: {error}".partition("\n")[0] if (root / ".git").exists() else "unknown"
    return f"{head}, with uncommitted changes" if changed else head


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def record(
    commit_name: str, parameters: Mapping[str, Any], versions: Mapping[str, str], seconds: float, peak_bytes: int
) -> dict[str, str]:
    """The provenance of a run that has just ended, by the names under which the page shows it."""
    seeds = {name: value for name, value in parameters.items() if "seed" in name.split("_")}
    others = {name: value for name, value in parameters.items() if name not in seeds}
    shown = [f"{name} {versions[name]}" for name in SHOWN_VERSIONS if name in versions]
    return {
        "commit": commit_name,
        "versions": ", ".join(shown),
        "device": f"{device()}; {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "threads": threads(),
        "seeds": _assignments(seeds) or "none",
        "parameters": _assignments(others) or "none",
        "wall time": f"{seconds:.1f} s",
        "peak memory": f"{peak_bytes / 2**20:.0f} MB",
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in values.items())


def _in_order(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in ORDER}


def is_whole(values: Mapping[str, Any]) -> bool:
    """Whether these are the values of a run, as `record` gives them."""
    return all(isinstance(values.get(name), str) for name in ORDER)


def as_script(values: Mapping[str, str]) -> bytes:
    """A script that hands the values to the page; a script, since a page opened from disk may not fetch."""
    return b"window.chapterProvenance = " + json.dumps(_in_order(values)).replace("</", "<\\/").encode() + b";\n"


def as_text(page: str, values: Mapping[str, str]) -> bytes:
    """The same as plain text, for a reader without scripts."""
    return "".join(f"{name}: {value}\n" for name, value in {"page": page, **_in_order(values)}.items()).encode()
