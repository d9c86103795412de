"""What a wheel carries beside the package: the data, and the lessons as nobody has run them.

hatch calls this while it builds a wheel. Its own way, ``force-include``, copies whole folders:
JupyterLab's checkpoints, and what was drawn when a lesson was last run.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LESSONS = ("[0-9][0-9]*-*.ipynb", "text/*.md", "figures/*.svg")
DATA = ("*.csv", "*.md", "recordings/*/*.jsonl")


class Wheel(BuildHookInterface):
    """Adds ``data/`` and ``notebooks/`` to a wheel; an editable one finds them in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._clean = Path(tempfile.mkdtemp())
        if version == "editable":
            return
        root = Path(self.root)
        for folder, patterns, within in (
            ("data", DATA, "_data"),
            ("notebooks", LESSONS, "_notebooks"),
        ):
            for path in sorted(p for pattern in patterns for p in (root / folder).glob(pattern)):
                name = path.relative_to(root / folder)
                source = self._without_outputs(path) if path.suffix == ".ipynb" else path
                build_data["force_include"][str(source)] = f"vmcompare/{within}/{name.as_posix()}"

    def finalize(self, *_: object) -> None:
        shutil.rmtree(self._clean, ignore_errors=True)

    def _without_outputs(self, path: Path) -> Path:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["metadata"].pop("widgets", None)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
        clean = self._clean / path.name
        clean.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), encoding="utf-8")
        return clean
