"""The shell lines that a lesson folds under its figure, and the image that they start."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from room import NOTEBOOKS


def shell_lines(lesson: str, *named: str, summary: str = "Check us") -> list[str]:
    """The lines of the fold with this summary, in the notebook of a lesson's number.

    Args:
        lesson: ``"04"``.
        named: what the fold must also say, such as the factor within which its numbers agree.
        summary: how its title begins.
    """
    [notebook] = [path for path in NOTEBOOKS if path.stem.startswith(f"{lesson}-")]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = ("".join(cell["source"]) for cell in cells)
    [fold] = [text for text in texts if f"<summary>{summary}" in text]
    for words in named:
        assert words in fold
    return "\n".join(re.findall(r"```sh\n(.*?)```", fold, re.DOTALL)).splitlines()


def alpine_image() -> str:
    """The course's own image, by what Docker calls it; without one the test is skipped."""
    listed = ["docker", "images", "-q", "vmcompare/alpine"]
    found = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if not found:
        pytest.skip("no lesson has been measured here yet, so its image is not there")
    return found[0]
