"""The shell lines of lesson 05b show what its fold says they do: read-only, 137, 0."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from room import NOTEBOOKS


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    [notebook] = [path for path in NOTEBOOKS if path.stem == "05b-when-a-wall-falls"]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    [fold] = [c for c in ("".join(c["source"]) for c in cells) if "Check us" in c]
    found = re.search(r"```sh\n(.*?)```", fold, re.DOTALL)
    assert found
    assert "137, exactly" in fold
    return found[1].splitlines()


def test_none_of_the_lines_asks_this_computer_for_a_panic() -> None:
    assert not any("echo c" in line or "--privileged" in line for line in lines())


@pytest.mark.docker
def test_a_default_container_may_only_read_that_file_and_a_limit_ends_who_passes_it() -> None:
    listed = ["docker", "images", "-q", "vmcompare/alpine"]
    image = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if not image:
        pytest.skip("no lesson has been measured here yet, so its image is not there")
    [_, mounts, over, limited, without] = lines()

    def said(*shell: str) -> str:
        script = "\n".join([f"image={image[0]}", *shell])
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    found = said(mounts).splitlines()
    assert any(line.startswith("proc /proc/sys ") for line in found)
    assert all(re.match(r"proc /proc/sys\S* proc ro\b", line) for line in found)
    assert said(over, limited) == "137"
    assert said(over, without) == "0"
