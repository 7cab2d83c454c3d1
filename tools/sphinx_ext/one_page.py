"""All pages as one, for printing: nodes that extensions can only write as `html` are written so here too."""

from sphinx.application import Sphinx

NAME = "singlehtml"


def setup(app: Sphinx) -> None:
    """Complete what the extensions have registered."""
    app.connect("builder-inited", _complete)


def _complete(app: Sphinx) -> None:
    # Sphinx falls back to the handlers of html only where no extension has registered any for this builder.
    if app.builder.name == NAME:
        handlers = app.registry.translation_handlers
        handlers[NAME] = {**handlers.get("html", {}), **handlers.get(NAME, {})}
