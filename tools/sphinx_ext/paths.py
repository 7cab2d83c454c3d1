"""Where the root of the site lies, seen from a page."""

from sphinx.environment import BuildEnvironment


def to_root(env: BuildEnvironment) -> str:
    """The relative path from the page that is read now to the root of the site, with a slash unless it is empty."""
    is_one_page = env.app.builder.name == "singlehtml"
    return "" if is_one_page else "../" * env.docname.count("/")
