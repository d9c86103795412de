"""A small lesson for the tests: toy figures, clearly labelled as such, and every kind of output."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from vmcompare import handout
from vmcompare.handout import HandoutError

TOYS = '''\
"""Toy figures for the tests of the handout. Nothing in them was measured."""
from matplotlib.figure import Figure
from vmcompare.errors import Unavailable
from vmcompare.plots.picture import Picture, WhatIf

def figure(seed=1, factor=1.0):
    import numpy as np
    figure = Figure(figsize=(6.4, 3.6))
    axes = figure.subplots()
    random = np.random.default_rng(seed)
    for row, marker in enumerate("o^sD"):
        points = random.lognormal(row - 2, 0.3, 30) / factor
        axes.plot(points, row + random.uniform(-0.2, 0.2, 30), marker, alpha=0.7)
    axes.set_xlim(0, 10)
    axes.set_xticks([0, 5, 10])
    axes.set_yticks(range(4), ["process", "container", "vm-direct", "vm"])
    axes.set_xlabel("toy seconds (test figure, not measured)")
    axes.set_title(f"Test figure {seed}")
    return Picture(figure, f"Test figure {seed}: four toy groups at factor {factor:g}.",
                   "Test figure, made from random numbers.")

def what_if(seed):
    return WhatIf([1 + k for k in range(6)], 4, lambda value: figure(seed, value),
                  "Toy slow-down", "×",
                  r"t = \\frac{t_\\text{measured}}{s}", "random numbers (test)")

def nothing():
    def draw(value):
        raise Unavailable("no VM was measured", "run the measurement first")
    return WhatIf([1, 2], 0, draw, "Nothing", "", "x", "none")
'''


# Plain JSON, not nbformat's functions: importing that takes seconds, which the tests that are only
# collected need not pay.
Node = dict[str, Any]
_numbers = itertools.count()


def new_markdown_cell(source: str, metadata: Node | None = None) -> Node:
    return {
        "cell_type": "markdown", "id": f"m{next(_numbers)}", "metadata": metadata or {},
        "source": source,
    }  # fmt: skip


def code(source: str, *tags: str) -> Node:
    return new_markdown_cell(source, {"tags": list(tags)}) | {
        "cell_type": "code", "execution_count": None, "outputs": [],
    }  # fmt: skip


def new_notebook(cells: list[Node], metadata: Node | None = None) -> Node:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata or {}, "cells": cells}


def lesson() -> Node:
    cells = [
        new_markdown_cell(
            "# How fast does a toy boot?\n\nA test page. It shows *every kind of output*, and the "
            "figures are made from random numbers. Ratio $r = t_\\text{vm} / t_\\text{container}$ "
            "is what we look at; see also `vmcompare.check()`."
        ),
        new_markdown_cell("## Before you start\n\n- one\n- two with `code`\n\n1. first\n2. second"),
        code("import toys\nfrom vmcompare.course import slider as whatif", "hide-input"),
        new_markdown_cell(
            "## Predict\n\n> Containers share the kernel of their host.\n\nHow many times longer "
            "does a virtual machine take?"
        ),
        code(
            "from IPython.display import HTML\n"
            "HTML('<p>My guess: ________ times longer, because _______________</p>')",
            "hide-input",
        ),
        new_markdown_cell(
            "## Measure\n\n#### A level too deep\n\n```python\nfor n in range(3):\n"
            "    print(n, 'copies')  # a comment\n```\n\n$$p = \\frac{a + b N}{c}$$"
        ),
        code("print('started 30 of 30 in all')\nimport sys; print('a warning', file=sys.stderr)"),
        code("toys.figure(1)"),
        code("raise RuntimeError('never run in a handout')", "live-only"),
        code(
            "import pandas as pd\npd.DataFrame({f'measure {k} in seconds': [1.5, 20.25] for k in "
            "range(9)}, index=['container', 'vm'])"
        ),
        new_markdown_cell("## Explain\n\n| what | why |\n|---|---|\n| container | one kernel |"),
        code("toys.figure(2)"),
        code("from IPython.display import Markdown, Latex\nMarkdown('### A result in **bold**')"),
        code("Latex(r'$$E = m c^2$$')"),
        new_markdown_cell("## What if"),
        code("whatif.show(lambda: toys.what_if(3))"),
        code("whatif.show(lambda: toys.what_if(4))"),
        code("whatif.show(lambda: toys.nothing())"),
        new_markdown_cell(
            "## Exercise\n\nWhich part takes longest?\n\n<details class='vmc-answer'>"
            "<summary>Answer</summary><p>The part in the middle, toy answer.</p></details>\n\n"
            "<details><summary>Hint</summary><p>A toy hint.</p></details>"
        ),
        code("toys.figure(5)"),
        code("toys.figure(6)"),
        code(
            "import ipywidgets\nipywidgets.VBox([ipywidgets.Button(description='Run')])",
            "hide-input",
        ),
        code(
            "import io\nfrom PIL import Image\nfrom IPython.display import display\n"
            "b = io.BytesIO(); Image.new('RGB', (60, 20), 'gray').save(b, 'png')\n"
            "display({'image/png': b.getvalue()}, raw=True, "
            "metadata={'image/png': {'alt': 'a grey box'}})",
            "hide-input",
        ),
        new_markdown_cell("## Key points\n\nA page must be readable on paper."),
    ]
    return new_notebook(cells=cells)


def write(directory: Path, notebook: Node | None = None) -> Path:
    """The lesson (or another notebook) in ``directory``, with its toys beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "toys.py").write_text(TOYS, encoding="utf-8")
    path = directory / "toy-lesson.ipynb"
    path.write_text(json.dumps(notebook or lesson()), encoding="utf-8")
    return path


def export(notebook: Path, out: Path, **options: Any) -> Path:
    """The handout of one notebook, or the ``HandoutError`` that says why there is none."""
    made: list[Path | HandoutError] = []
    handout.export_all([notebook], out, made.append, **options)
    if isinstance(made[0], HandoutError):
        raise made[0]
    return made[0]
