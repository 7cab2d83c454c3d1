"""Labels of a page that runs the chapter of another."""

from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.labels import defined_in, rewrite

TEXT = """(sec-a)=
# Title

```{prf:theorem} Name
:label: thm-a

$$ x = 1 $$ (eq-a)
```

```{math}
:label: eq-b
\\label{eq-c}
```

{ref}`sec-a`, {ref}`this <sec-a>`, {eq}`eq-a`, {prf:ref}`thm-a`, {numref}`Fig. %s <fig-a>`, [there](#sec-a),
\\eqref{eq-c}, {ref}`elsewhere`, {cite:t}`sec-a`, {doc}`sec-a`.
"""


def test_labels_of_the_page_get_its_suffix_and_no_others() -> None:
    figure = new_code_cell("plot()")
    figure.metadata["mystnb"] = {"figure": {"name": "fig-a", "caption": "As in {ref}`sec-a`."}}
    cells = [new_markdown_cell(TEXT), figure]
    names = defined_in(cells)
    assert names == {"sec-a", "thm-a", "eq-a", "eq-b", "eq-c", "fig-a"}
    rewrite(cells, names, "page")
    text = cells[0].source
    for name in names - {"fig-a"}:
        assert f"{name}--page" in text
    assert "(sec-a--page)=" in text
    assert "{ref}`sec-a--page`, {ref}`this <sec-a--page>`, {eq}`eq-a--page`, {prf:ref}`thm-a--page`" in text
    assert "{numref}`Fig. %s <fig-a--page>`, [there](#sec-a--page)" in text
    assert "{ref}`elsewhere`, {cite:t}`sec-a`, {doc}`sec-a`" in text
    assert figure.metadata["mystnb"]["figure"] == {"name": "fig-a--page", "caption": "As in {ref}`sec-a--page`."}
