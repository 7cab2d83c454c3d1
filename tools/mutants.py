"""What became of faults that were put into the library on purpose, for the page that tells it; see `tests/mutants`."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icl_lib.running.graph import Graph
from tools.files import digest, read_record
from tools.layout import Layout

FILE = "mutants.json"
FENCE = "```{mutants}\n```\n"
OUTCOMES = ("killed", "equivalent", "survived")


def code_of(root: Path, module: str) -> str:
    """Digest of the code of a module of the library at `root`; empty where there is none."""
    graph = Graph(root)
    return digest(graph.code(module)) if module in graph.modules else ""


def told(layout: Layout) -> str:
    """The record as Markdown: a table by room of the library, and every mutant that no test has killed."""
    record = read_record(layout.book / FILE, seed=int, python=str, modules=dict)
    modules: Mapping[str, Any] = record.get("modules", {})
    if not modules:
        return "Nothing is recorded yet.\n"
    rooms: dict[str, list[str]] = {}
    for module in modules:
        rooms.setdefault(_room(module), []).append(module)
    every = [one for entry in modules.values() for one in entry["mutants"]]
    rows = [
        _row(room, names, [one for name in names for one in modules[name]["mutants"]]) for room, names in rooms.items()
    ]
    older = [name for name, entry in modules.items() if entry["code"] != code_of(layout.root, name)]
    lines = [
        f"| | modules | mutants | {' | '.join(OUTCOMES)} | killed of those not equivalent |",
        "|:--|--:|--:|--:|--:|--:|--:|",
        *rows,
        _row("together", list(modules), every),
        "",
        *_list("No test has killed", modules, "survived"),
        *_list("Equivalent", modules, "equivalent"),
        f"Drawn from seed {record['seed']}, with Python {record['python']}.{_of_older_code(older)}",
        "",
    ]
    return "\n".join(lines)


def _room(module: str) -> str:
    parts = module.split(".")
    return f"`{parts[1]}`" if len(parts) > 2 else "attention, statistics and what else is at the top"


def _row(name: str, modules: list[str], mutants: list[dict[str, Any]]) -> str:
    counts = Counter(one["outcome"] for one in mutants)
    told_apart = len(mutants) - counts["equivalent"]
    share = f"{100 * counts['killed'] / told_apart:.1f} %" if told_apart else "–"
    cells = [name, len(modules), len(mutants), *(counts[outcome] for outcome in OUTCOMES), share]
    return f"| {' | '.join(map(str, cells))} |"


def _list(title: str, modules: Mapping[str, Any], outcome: str) -> list[str]:
    found = [(name, one) for name, entry in modules.items() for one in entry["mutants"] if one["outcome"] == outcome]
    if not found:
        return []
    rows = [
        f"- `{name.removeprefix('icl_lib.')}`, `{one['function'] or 'its top'}`: `{one['old']}` → `{one['new']}`."
        + (f" {one['why']}" if one.get("why") else "")
        for name, one in found
    ]
    return [f"{title}:", "", *rows, ""]


def _of_older_code(modules: list[str]) -> str:
    if not modules:
        return ""
    names = ", ".join(f"`{name.removeprefix('icl_lib.')}`" for name in modules)
    return f" The code of these modules has changed since: {names}."
