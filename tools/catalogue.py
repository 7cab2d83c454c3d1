"""The pages of the book: `_toc.yml` says which and in what order, `book/profiles.yml` with what parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.errors import BookError, listing
from tools.files import read_text, visible
from tools.layout import Layout

SECTIONS = ("profiles", "pages")
OF_A_PROFILE = ("banner", "leave_out", "parameters", "start_first")
OF_A_PAGE = ("chapter", "title", "parameters")


@dataclass(frozen=True)
class Page:
    """One page of the site: `name` as in `_toc.yml`, `chapter` the source (without suffix) that it is made from.

    Pages with a larger `head_start` are executed before others.
    """

    name: str
    chapter: str
    source: Path
    is_notebook: bool
    title: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    head_start: int = 0

    @property
    def is_rerun(self) -> bool:
        """Whether the page runs the source of another page, with other parameters."""
        return self.name != self.chapter

    @property
    def slug(self) -> str:
        """The name as one word, for labels and folders."""
        return self.name.replace("/", "-")


@dataclass(frozen=True)
class Catalogue:
    """All pages in reading order, the table of contents they fill, and the banner that the profile puts on each."""

    pages: tuple[Page, ...]
    contents: Mapping[str, Any] = field(default_factory=dict)
    banner: str | None = None

    @property
    def notebooks(self) -> tuple[Page, ...]:
        """The pages that are executed."""
        return tuple(page for page in self.pages if page.is_notebook)

    def page(self, name: str) -> Page:
        """The page of that name, which may also be given as the path of its source.

        Raises `BookError` for an unknown name.
        """
        plain = name.removeprefix("./").removeprefix("book/").removesuffix(".md")
        for page in self.pages:
            if page.name == plain:
                return page
        raise BookError(f"unknown chapter {name!r}; allowed: {listing([page.name for page in self.pages])}")


def load(layout: Layout) -> Catalogue:
    """The catalogue of a checkout for a profile.

    Raises `BookError` for an unknown profile, a page without source, a source without page, and any name in
    `book/profiles.yml` that fits nothing.
    """
    profiles = read_yaml(layout.book / "profiles.yml")
    _only(profiles, SECTIONS, "book/profiles.yml")
    known = {
        name: mapping(settings, f"book/profiles.yml: profile {name}")
        for name, settings in mapping(profiles.get("profiles"), "book/profiles.yml: profiles").items()
    }
    if layout.profile not in known:
        raise BookError(f"unknown profile {layout.profile!r}; allowed: {listing(known)}")
    contents = read_yaml(layout.root / "_toc.yml")
    names = list(_names(contents))
    if len(set(names)) < len(names):
        raise BookError(f"_toc.yml lists twice: {listing({name for name in names if names.count(name) > 1})}")
    reruns = {
        name: mapping(page, f"book/profiles.yml: page {name}")
        for name, page in mapping(profiles.get("pages"), "book/profiles.yml: pages").items()
    }
    _refuse_unlisted(layout, names, reruns)
    for profile, settings in known.items():
        _check_profile(profile, settings, names, reruns)
    settings = known[layout.profile]
    overrides = settings.get("parameters") or {}
    out = set(settings.get("leave_out") or [])
    starts = {name: rank for rank, name in enumerate(reversed(settings.get("start_first") or []), 1)}
    pages = tuple(
        _page(layout, name, reruns.get(name), overrides, starts.get(name, 0)) for name in names if name not in out
    )
    return Catalogue(pages, _without(contents, out), settings.get("banner"))


def read_yaml(path: Path) -> dict[str, Any]:
    """What a YAML file holds.

    Raises `BookError` where it cannot be read, or holds something else than `name: value` at its top.
    """
    try:
        value = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise BookError(f"{path} is not YAML: {error}") from None
    if value is None:
        raise BookError(f"{path} must hold `name: value` at its top, got nothing")
    return mapping(value, str(path))


def mapping(value: Any, where: str) -> dict[str, Any]:
    """The value, {} for None; raises `BookError` for anything but `name: value`, with a text for each name."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BookError(f"{where} must hold `name: value`, got {value!r:.80}")
    if others := [name for name in value if not isinstance(name, str)]:
        raise BookError(f"{where}: a name must be a text, got {others[0]!r}; write it in quotes")
    return value


def _names_in(value: Any, where: str) -> list[str]:
    """The value, [] for None; raises `BookError` for anything but a list of texts."""
    if not isinstance(value or [], list) or not all(isinstance(name, str) for name in value or []):
        raise BookError(f"{where} must be a list of pages, got {value!r:.80}")
    return value or []


def _only(mapping: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    unknown = set(mapping) - set(allowed)
    if unknown:
        raise BookError(f"{where}: unknown {listing(unknown)}; allowed: {listing(allowed)}")


def _names(node: Any) -> Iterator[str]:
    """Every `root:` and `file:` of a table of contents, in reading order."""
    if isinstance(node, list):
        for element in node:
            yield from _names(element)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(value).removesuffix(".md")
            else:
                yield from _names(value)


def _without(node: Any, out: set[str]) -> Any:
    """The table of contents without the pages `out`."""
    if isinstance(node, list):
        return [_without(one, out) for one in node if not (isinstance(one, dict) and one.get("file") in out)]
    if isinstance(node, dict):
        return {key: _without(value, out) for key, value in node.items()}
    return node


def _refuse_unlisted(layout: Layout, names: list[str], reruns: Mapping[str, Any]) -> None:
    generated = layout.book / "reference"
    sources = {
        path.relative_to(layout.book).with_suffix("").as_posix()
        for path in visible(layout.book, "*.md")
        if generated not in path.parents
        and not any(part.startswith("_") for part in path.relative_to(layout.book).parts)
    }
    used = {str(settings.get("chapter")) for settings in reruns.values()}
    if unlisted := sources - set(names) - used:
        raise BookError(f"not listed in _toc.yml: {listing(f'book/{name}.md' for name in unlisted)}")
    if set(reruns) - set(names):
        raise BookError(f"book/profiles.yml: pages not listed in _toc.yml: {listing(set(reruns) - set(names))}")


def _check_profile(profile: str, settings: Mapping[str, Any], names: list[str], reruns: Mapping[str, Any]) -> None:
    where = f"book/profiles.yml: profile {profile}"
    _only(settings, OF_A_PROFILE, where)
    if not isinstance(settings.get("banner") or "", str):
        raise BookError(f"{where}: banner must be a text, got {settings['banner']!r:.80}")
    chapters = {str(page.get("chapter")) for page in reruns.values()}
    parameters = mapping(settings.get("parameters"), f"{where}: parameters")
    for name, values in parameters.items():
        mapping(values, f"{where}: parameters of {name}")
    unknown = set(parameters) - set(names) - chapters
    if unknown:
        raise BookError(f"{where}: unknown chapter {listing(unknown)}; allowed: {listing(set(names) | chapters)}")
    if unknown := set(_names_in(settings.get("start_first"), f"{where}: start_first")) - set(names):
        raise BookError(f"{where}: cannot start {listing(unknown)} first; allowed: {listing(names)}")
    # Other pages may link to a chapter, but only the table of contents knows its further runs.
    if unknown := set(_names_in(settings.get("leave_out"), f"{where}: leave_out")) - set(reruns):
        raise BookError(f"{where}: cannot leave out {listing(unknown)}; allowed: {listing(reruns)}")


def _page(
    layout: Layout, name: str, rerun: Mapping[str, Any] | None, overrides: Mapping[str, Any], head_start: int
) -> Page:
    """A page; a profile's values for the chapter give way to the page's own, these to the profile's for the page."""
    where = f"book/profiles.yml: page {name}"
    rerun = rerun or {}
    _only(rerun, OF_A_PAGE, where)
    own = mapping(rerun.get("parameters"), f"{where}: parameters")
    for key in ("title", "chapter"):
        if not isinstance(rerun.get(key, ""), str):
            raise BookError(f"{where}: {key} must be a text, got {rerun[key]!r}; write it in quotes")
    chapter = str(rerun.get("chapter", name))
    source = layout.book / f"{chapter}.md"
    for path in (name, chapter):
        if path.startswith("/") or ".." in path.split("/"):
            raise BookError(f"page {name}: {path!r} must lie below book/, as in part/page")
    if not source.is_file():
        hint = "" if chapter != name else "; write it, or say in book/profiles.yml under `pages` which chapter it runs"
        raise BookError(f"page {name}: no file book/{chapter}.md{hint}")
    parameters = {**(overrides.get(chapter) or {}), **own, **(overrides.get(name) or {})}
    is_notebook = has_kernel(source)
    if not is_notebook and (parameters or rerun):
        raise BookError(f"page {name}: book/{chapter}.md has no kernelspec in its header, so nothing can be run")
    return Page(name, chapter, source, is_notebook, rerun.get("title"), parameters, head_start)


def has_kernel(source: Path) -> bool:
    """Whether the header of a text notebook names a kernel.

    Raises `BookError` for a page with code cells and no kernel: nothing would run them, and nobody would notice.
    """
    text = read_text(source)
    header = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    if "\nkernelspec:" in header:
        return True
    if "\n```{code-cell}" in text:
        raise BookError(f"{source}: has code cells, but its header names no kernelspec")
    return False
