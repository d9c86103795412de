"""The shell lines of lesson 05b show what its fold says they do: read-only, 137, 0."""

from __future__ import annotations

import re
import subprocess

import pytest
from shell_lines import alpine_image, shell_lines
from waiting import until


def lines() -> list[str]:
    """The lines of the notebook's fold."""
    return shell_lines("05b", "137, exactly")


def test_none_of_the_lines_asks_this_computer_for_a_panic() -> None:
    assert not any("echo c" in line or "--privileged" in line for line in lines())


@pytest.mark.docker
def test_a_default_container_may_only_read_that_file_and_a_limit_ends_who_passes_it() -> None:
    image = alpine_image()
    [_, mounts, over, limited, without] = lines()

    def said(*shell: str) -> str:
        script = "\n".join([f"image={image}", *shell])
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    found = said(mounts).splitlines()
    assert any(line.startswith("proc /proc/sys ") for line in found)
    assert all(re.match(r"proc /proc/sys\S* proc ro\b", line) for line in found)
    assert said(over, limited) == "137"
    assert said(over, without) == "0"


@pytest.mark.docker
def test_a_disk_writer_is_bounded_and_leaves_nothing() -> None:
    [_, *lines] = shell_lines("05b", summary="Try it")
    assert "count=64 conv=notrunc" in lines[1]
    script = "\n".join([f"image={alpine_image()}", *lines])
    done = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, check=True)
    assert len(re.findall(r"real\s+\d+m", done.stderr)) == 2
    [writer] = done.stdout.split()
    assert until(lambda: is_gone(writer))


@pytest.mark.docker
def test_a_disk_writer_that_nobody_kills_ends_by_itself() -> None:
    [_, _, big, _, start, *_] = shell_lines("05b", summary="Try it")
    script = [f"image={alpine_image()}", big, start.replace("KILL 60", "KILL 5"), 'echo "$writer"']
    done = subprocess.run(
        ["bash", "-ec", "\n".join(script)], capture_output=True, text=True, check=True
    )
    writer = done.stdout.strip()
    assert not is_gone(writer)
    assert until(lambda: is_gone(writer))


def is_gone(container: str) -> bool:
    listed = ["docker", "ps", "-aq", "--no-trunc"]
    return (
        container not in subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    )
