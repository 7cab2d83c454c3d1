"""A table whose cells lead to pages of the book."""

import html
from collections.abc import Mapping, Sequence


class LinkedTable:
    """Cells by (row heading, column heading), some of which are links; shown as HTML, elsewhere as plain Markdown.

    `links` maps a cell to the address of its page, relative to the page that shows the table. A cell that is missing
    stays empty. Raises `ValueError` for a cell or a link outside the rows and columns.
    """

    def __init__(
        self,
        corner: str,
        rows: Sequence[str],
        columns: Sequence[str],
        cells: Mapping[tuple[str, str], str],
        links: Mapping[tuple[str, str], str],
    ) -> None:
        inside = {(row, column) for row in rows for column in columns}
        for name, keys in (("cells", cells), ("links", links)):
            if outside := set(keys) - inside:
                raise ValueError(f"{name} must lie in the table's rows and columns, got {sorted(outside)}")
        self.corner, self.rows, self.columns, self.cells, self.links = corner, rows, columns, cells, links

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in (self.corner, *self.columns))
        body = "".join(
            f'<tr><th scope="row">{html.escape(row)}</th>'
            + "".join(f"<td>{self._linked((row, column))}</td>" for column in self.columns)
            + "</tr>"
            for row in self.rows
        )
        return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'

    def _linked(self, place: tuple[str, str]) -> str:
        text = html.escape(self.cells.get(place, ""))
        if place not in self.links:
            return text
        return f'<a href="{html.escape(self.links[place])}">{text}</a>'

    def _repr_markdown_(self) -> str:
        lines = [
            f"| {self.corner} | " + " | ".join(self.columns) + " |",
            "|:--|" + "--:|" * len(self.columns),
            *(
                f"| {row} | " + " | ".join(self.cells.get((row, column), "") for column in self.columns) + " |"
                for row in self.rows
            ),
        ]
        return "\n".join(lines)
