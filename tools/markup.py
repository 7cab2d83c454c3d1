"""What a page may not show: HTML or a picture that runs a script, or loads one."""

import re
from html import unescape
from html.parser import HTMLParser

REFUSED = ("script", "iframe", "frame", "object", "embed", "applet", "base", "link", "meta", "form", "foreignObject")
SCHEMES = ("javascript:", "vbscript:", "data:text/html")
ELEMENT = re.compile(rf"<\s*(?:\w+:)?({'|'.join(REFUSED)})\b", re.IGNORECASE)
# Also in a tag that is left open, which what follows on the page would close.
ATTRIBUTE = re.compile(r"<[a-z][^<>]*[\s\"'/\x00](on\w+|srcdoc)\s*=", re.IGNORECASE)
# Browsers and the parser do not end comments alike.
COMMENT = re.compile(r"<!--|--!?>|<!\[CDATA\[|\]\]>|<[!?]")
# The types that a page knows how to show.
KINDS = (
    *("text/plain", "text/html", "text/markdown", "text/latex", "image/svg+xml", "image/png", "image/jpeg"),
    "application/vnd.plotly.v1+json",
)
GLUED = "application/papermill.record/"


class _Attributes(HTMLParser):
    """The first attribute that runs a script; no element hides its content."""

    found = ""

    def set_cdata_mode(self, elem: str, **_: bool) -> None:
        """Read on inside a style: browsers and this parser do not end it alike."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at the attributes of an element."""
        named = [name for name, _ in attrs if name.startswith("on") or name == "srcdoc"]
        self.found = self.found or "".join(named[:1])


def refused(kind: str, text: str) -> str:
    """What an output of that MIME type holds that would run on the page; empty where nothing does."""
    plain = kind.removeprefix(GLUED)
    if plain not in KINDS:
        return f"{kind} (allowed: {', '.join(KINDS)})"
    if plain not in ("text/html", "text/markdown", "image/svg+xml"):
        return ""
    joined = re.sub(r"[\x00-\x20]", "", unescape(text)).lower()
    if found := next((scheme for scheme in SCHEMES if scheme in joined), ""):
        return found
    if match := ELEMENT.search(text):
        return f"<{match[1]}>"
    if match := ATTRIBUTE.search(text):
        return f"{match[1]}="
    # A picture is long, and the text of its attributes holds no sign that ends a tag.
    if plain == "image/svg+xml":
        return ""
    parser = _Attributes()
    parser.feed(COMMENT.sub(" ", text))
    parser.close()
    return f"{parser.found}=" if parser.found else ""
