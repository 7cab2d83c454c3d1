"""The example of the page for authors, done as the page says: it must arrive on the site."""

import json
import re
import shutil
from pathlib import Path

import yaml
from fixture_book import REPOSITORY

from tools import commands
from tools.catalogue import load
from tools.layout import Layout

INDEX = """# A book

```{prf:definition} Softmax regression
:label: def-softmax-regression

As in the book.
```

```{scorecard}
```

```{verdicts}
claim | here | elsewhere
Longer steps are *longer* | example-longer |
```
"""


def test_the_example_of_the_page_for_authors_arrives(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "icl_lib", root / "icl_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "book" / "_static", root / "book" / "_static")
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(REPOSITORY / name, root)
    (root / "book" / "foundations").mkdir()
    shutil.copy(REPOSITORY / "book" / "_examples" / "example.md.txt", root / "book" / "foundations" / "example.md")
    (root / "book" / "index.md").write_text(INDEX)
    (root / "book" / "references.bib").write_text("")
    contents = {"format": "jb-book", "root": "index", "chapters": [{"file": "foundations/example"}]}
    (root / "_toc.yml").write_text(yaml.safe_dump(contents))
    smoke = {"smoke": {"banner": "Small.", "parameters": {"foundations/example": {"documents": 20}}}}
    (root / "book" / "profiles.yml").write_text(yaml.safe_dump({"profiles": smoke}))

    layout = Layout(root, "smoke")
    catalogue = load(layout)
    commands.reference(layout, catalogue, [catalogue.page("foundations/example")], 1)
    commands.book(layout, catalogue, 1)

    page = (layout.html / "foundations" / "example.html").read_text()
    assert 'id="fig-example"' in page
    assert (layout.html / "data" / "example-lengths.csv").read_text().startswith("rate 1,rate 4\n")
    (claim,) = json.loads((layout.build / "scorecard.json").read_text())
    index = (layout.html / "index.html").read_text()
    (row,) = re.findall(r"<tr[^>]*><td><p>Longer steps are <em>longer</em></p></td>.*?</tr>", index, re.DOTALL)
    assert 'class="verdict verdict-holds">holds</span>' in row
    assert claim["measured"] in row
    assert 'href="foundations/example.html#fig-example"' in row
    assert row.endswith("<td><p>–</p></td>\n</tr>")
    assert (claim["id"], claim["verdict"], claim["page"]) == ("example-longer", "holds", "foundations/example")
