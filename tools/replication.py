"""The claims once more, from another root seed: computed by a command of its own, and shown on the scorecard.

A build does not run it again. It says where the code is no longer that of the record.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import notebooks
from tools.catalogue import Catalogue, Page
from tools.errors import BookError, listing
from tools.execute import Executed
from tools.files import digest, holds, json_bytes, read_json, read_record, write_if_changed
from tools.layout import PUBLISHED, Layout
from tools.notebooks import Chapter, read_chapter

FILE = "replication.json"
APART = "replication"
SEED = "seed"
# How a chapter that judges claims gets what judges them.
JUDGES = re.compile(r"^from icl_lib\.claims import .*\brecord\b", re.MULTILINE)
OF_A_PAGE = {"claims": dict, "code": str, "cpu_seconds": int | float, "machine": str, "versions": str, "commit": str}
OF_A_CLAIM = {"verdict": str, "measured": str}


@dataclass(frozen=True)
class Record:
    """What was found from another seed, by page; empty where nothing is recorded."""

    seed: int | None
    pages: Mapping[str, dict[str, Any]]

    @classmethod
    def of(cls, layout: Layout) -> "Record":
        """The record of the published profile; another has none."""
        if layout.profile != PUBLISHED:
            return cls(None, {})
        found = read_record(path_of(layout), seed=int, pages=dict)
        return cls(found.get("seed"), {name: page for name, page in found.get("pages", {}).items() if _is_whole(page)})

    def of_claims(self, one: Executed) -> dict[str, dict[str, Any]]:
        """What is recorded of the claims of an executed page, by id; `is_current` says whether its code is the same."""
        page = self.pages.get(one.page.name)
        if page is None:
            return {}
        more = {SEED: self.seed, "is_current": page["code"] == _code(one.chapter, one.record["parts"])}
        return {name: {**claim, **more} for name, claim in page["claims"].items()}


def path_of(layout: Layout) -> Path:
    """Where it is recorded."""
    return layout.book / FILE


def judging(catalogue: Catalogue) -> list[Page]:
    """The pages that judge claims."""
    cells = ((page, notebooks.code_cells(read_chapter(page).notebook)) for page in catalogue.notebooks)
    return [page for page, found in cells if any(JUDGES.search(cell.source) for cell in found)]


def chapters(layout: Layout, catalogue: Catalogue, pages: Sequence[Page], seed: int) -> list[Chapter]:
    """The chapters of `pages`, of all that judge claims where none is named, with the root `seed`.

    Raises `BookError` for another profile than the published one, a seed that a page has already, one below 0, pages
    without claims, and another seed than that of the record where only some pages are named.
    """
    if layout.profile != PUBLISHED:
        raise BookError(f"PROFILE must be {PUBLISHED}, of which the record is, got {layout.profile}")
    known, chosen = Record.of(layout), judging(catalogue)
    if others := [page.name for page in pages if page not in chosen]:
        raise BookError(
            f"{listing(others)}: no claim is judged there; allowed: {listing([page.name for page in chosen])}"
        )
    if pages and known.seed not in (None, seed):
        raise BookError(f"SEED must be {known.seed}, as in the record, where only some pages are computed, got {seed}")
    read = [read_chapter(page, {SEED: seed}) for page in pages or chosen]
    for chapter in read:
        if seed < 0 or seed == {**chapter.defaults, **chapter.page.parameters}[SEED]:
            raise BookError(f"SEED must be at least 0 and not that of chapter {chapter.page.name}, got {seed}")
    return read


def write(layout: Layout, catalogue: Catalogue, seed: int, done: Sequence[Executed]) -> Path:
    """Record what runs from another seed came to, and keep what is recorded of other pages from the same."""
    known, names = Record.of(layout), {page.name for page in catalogue.notebooks}
    kept = known.pages if known.seed == seed else {}
    pages = {name: page for name, page in kept.items() if name in names}
    pages |= {one.page.name: found(one) for one in done}
    write_if_changed(path_of(layout), json_bytes({SEED: seed, "pages": pages}))
    return path_of(layout)


def found(one: Executed) -> dict[str, Any]:
    """What a page's run from another seed came to."""
    record, claims = one.record, [read_json(path) for path in sorted((one.output / "claims").glob("*.json"))]
    return {
        "claims": {
            claim["id"]: {"verdict": claim["verdict"], "measured": str(claim.get("measured", claim["value"]))}
            for claim in claims
        },
        "code": _code(one.chapter, record["parts"]),
        "cpu_seconds": round(record["cpu_seconds"], 1),
        "machine": record["provenance"]["device"],
        "versions": record["provenance"]["versions"],
        "commit": record["provenance"]["commit"],
    }


def _is_whole(page: Any) -> bool:
    """Whether this is what `found` gives."""
    return holds(page, **OF_A_PAGE) and all(holds(claim, **OF_A_CLAIM) for claim in page["claims"].values())


def _code(chapter: Chapter, parts: Mapping[str, str]) -> str:
    """Digest of the chapter's code, its parameters but the seed, and the modules of the library that it reaches."""
    given = {name: value for name, value in chapter.given.items() if name != SEED}
    code = {name: value for name, value in parts.items() if name == "code" or name.startswith("icl_lib/")}
    return digest([repr(sorted(given.items())), code])
