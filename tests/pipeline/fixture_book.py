"""A small book in a folder of its own, with a library of the same name as the real one, for tests of the pipeline."""

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

HEADER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""

INDEX = """# A small book

See {ref}`the figure <fig-line>` in {doc}`part/curve` and the sum in {doc}`sums`.

```{scorecard}
```
"""

SUMS = """# Sums

(sec-sum)=
## A sum

```{code-cell} ipython3
from icl_lib.adding import total

print(f"sum {total([0.1, 0.2]):.6f}")
```

The sum, seen again in {ref}`sec-sum`.
"""

CURVE = """# A curve

```{code-cell} ipython3
:tags: [parameters]

n = 5  # points
rate = 0.5  # slope
title = "line"
```

```{code-cell} ipython3
---
tags: [hide-input]
mystnb:
  image: {alt: "A rising line."}
  figure: {caption: "A line of $n$ points. Data: {data}`curve`.", name: fig-line}
---
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt

output = Path(os.environ["ICL_OUTPUT"])
(output / "data").mkdir(exist_ok=True)
(output / "data" / f"curve{'' if n == 5 else n}.csv").write_text("x,y\\n0,0\\n")
_, ax = plt.subplots(figsize=(2, 2))
ax.plot(range(n), [rate * i for i in range(n)])
plt.show()
```

{ref}`fig-line` shows $y = r x$.

```{code-cell} ipython3
:tags: [rtol-1e-4]

print("slope", rate / 3, "points", n)
claim = dict.fromkeys(["standard_error", "tolerance", "limitation", "negative_control"])
claim |= {"id": f"line-{n}", "paper": "1", "statement": "The slope is $r$.", "source": "here", "test": "by eye"}
claim |= {"value": rate, "verdict": "holds", "evidence": "fig-line"}
(output / "claims").mkdir(exist_ok=True)
(output / "claims" / f"line-{n}.json").write_text(json.dumps(claim))
```
"""

PROFILES = """profiles:
  paper: {}
  smoke:
    banner: "Smoke test: few steps, no number here is a result."
    parameters:
      part/curve: {rate: 0.25}
pages:
  part/curve-n3:
    chapter: part/curve
    title: The same curve with three points
    parameters: {n: 3}
"""

TOC = """format: jb-book
root: index
chapters:
  - file: sums
  - file: part/curve
    sections:
      - file: part/curve-n3
"""


def write_book(root: Path) -> Path:
    """Write the book below `root`, which is then a checkout as far as the tools can see."""
    files = {
        "_toc.yml": TOC,
        "requirements.txt": "numpy==1\nmatplotlib==1\n",
        "book/profiles.yml": PROFILES,
        "book/index.md": INDEX,
        "book/references.bib": "",
        "book/sums.md": HEADER + SUMS,
        "book/part/curve.md": HEADER + CURVE,
        "icl_lib/__init__.py": "",
        "icl_lib/adding.py": "from icl_lib.numbers import ZERO\n\n\ndef total(values):\n    return sum(values, ZERO)\n",
        "icl_lib/numbers.py": "ZERO = 0.0\n",
        "icl_lib/unused.py": "ONE = 1.0\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(REPOSITORY / "_config.yml", root)
    shutil.copytree(REPOSITORY / "book" / "_static", root / "book" / "_static")
    return root


def replace(path: Path, old: str, new: str) -> None:
    """Change a text in a file, which must hold it."""
    text = path.read_text()
    assert old in text, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new))
