"""Links between pages: sources name each other's text files, of which some are staged as executed notebooks."""

import posixpath
import re
from collections.abc import Collection

LINK = re.compile(r"(?<=\]\()(?P<path>[^\s()#:<>]+)\.md(?P<anchor>#[^\s()]*)?(?=[)\s])")
DEFINITION = re.compile(r"(?m)(?<=\]: )(?P<path>[^\s()#:<>]+)\.md(?P<anchor>#\S*)?$")


def rewrite(text: str, chapter: str, page: str, executed: Collection[str]) -> str:
    """Point the links of a page at what is staged.

    Links are relative to the file of `chapter`; the result is relative to `page`, which may run the chapter from
    another folder. `executed` names the pages that are notebooks.
    """

    def replace(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(chapter), match["path"]))
        suffix = ".ipynb" if target in executed else ".md"
        path = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"{path}{suffix}{match['anchor'] or ''}"

    for pattern in (LINK, DEFINITION):
        text = pattern.sub(replace, text)
    return text
