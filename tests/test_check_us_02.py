"""The shell lines of lesson 02, typed by hand: boot ids, and the steps of a container."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import waiting
from shell_lines import alpine_image, shell_lines

from vmcompare.engines.images import alpine
from vmcompare.experiments.shared_kernel import by_hand

ROOT_ONLY = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="its lines are typed by root"
)


PROMPT = b"~ # "
"""Of the shell in the first RAM disk of Alpine."""


def lines(words: str) -> list[str]:
    """The lines of the notebook's fold with these words in its summary."""
    return shell_lines("02", summary=words)


def type_line(line: str, then: str = "", **more: str) -> str:
    """What is printed after a line, whose shell then reads ``then``."""
    done = subprocess.run(
        ["bash", "-c", line], input=then, capture_output=True, text=True, env={**os.environ, **more}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image() -> str:
    return alpine_image()


@pytest.mark.docker
@ROOT_ONLY
def test_a_container_reads_the_hosts_boot_id_and_the_host_lists_its_program(image: str) -> None:
    _, here, inside, listed, _ = lines("Check us")
    assert type_line(inside, image=image) == type_line(here)

    def its_program() -> bool:
        found = type_line(listed.replace("sudo ", ""), image=image).splitlines()
        namespaces = [line.split()[0] for line in found if line.split()[1:2]]
        assert len(set(namespaces)) > 1
        return any(line.endswith("sleep 1000") for line in found)

    assert waiting.until(its_program)  # runc may still be on its way to it


@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_a_vm_reads_another_boot_id() -> None:
    _, here, _, _, start = lines("Check us")
    files = alpine.sources()
    with subprocess.Popen(
        ["bash", "-c", f"exec {start}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "kernel": str(files.kernel), "initrd": str(files.initrd)},
    ) as vm:  # fmt: skip
        assert vm.stdin
        assert vm.stdout
        try:
            said = until(vm.stdout, PROMPT)
            vm.stdin.write(f"busybox mount -t proc proc /proc; busybox {here}\n".encode())
            vm.stdin.flush()
            said = until(vm.stdout, PROMPT).decode(errors="replace")
            vm.stdin.write(b"\x01x")
            vm.stdin.flush()
            vm.wait(60)
        finally:
            vm.kill()
    [boot_id] = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)
    assert boot_id != type_line(here).strip()


def until(stream: Iterator[bytes], end: bytes) -> bytes:
    """What comes up to ``end``, or to the end of the stream."""
    said = b""
    while not said.endswith(end) and (more := stream.read(1)):  # type: ignore[attr-defined]
        said += more
    return said


@pytest.mark.docker
@ROOT_ONLY
def test_the_steps_of_the_container_work_in_a_terminal(image: str) -> None:
    first = lines("What to type first")
    with tempfile.TemporaryDirectory(prefix="vmcompare-box-") as place:
        Path(place).chmod(0o755)
        box = f"{place}/box"

        def here(line: str) -> str:
            return line.replace("/box", box).replace("create alpine", f"create {image}")

        def seen(*steps: str) -> list[str]:
            """Own number, how many processes, whose files, how many networks are up."""
            line = here(by_hand.typed(by_hand.line(steps)))
            look = "set -- /proc/[0-9]*; echo $$ $#; . /etc/os-release; echo $ID; id -u"
            return type_line(line, f"{look}; ip link show lo up | grep lo: | wc -l\n").split()

        type_line("; ".join(map(here, first[1:3])))

        def many() -> int:
            return len([p for p in Path("/proc").iterdir() if p.name.isdigit()])

        try:
            before = many()
            number, processes, files, user, up = seen("chroot", "mount")
            assert (files, user, up) == ("alpine", "0", "1")
            assert int(processes) > min(before, many()) / 2  # others come and go
            assert number != "1"
            assert seen("chroot", "mount", "pid") == ["1", "1", "alpine", "0", "1"]
            assert seen("chroot", "mount", "pid", "net", "user") == ["1", "1", "alpine", "0", "0"]
            before = many()
            number, processes, *_ = seen("chroot", "pid")
            assert number == "1"
            assert int(processes) > min(before, many()) / 2
        finally:
            type_line(here(first[-1].partition("; rmdir")[0]))
        assert not Path(box).exists()
