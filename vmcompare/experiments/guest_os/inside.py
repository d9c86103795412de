"""What there is inside an instance before the first application, and how a guest gets old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vmcompare.errors import LaunchFailure
from vmcompare.experiments.guest_os.weigh import START_WORK, WORK
from vmcompare.sandbox import Sandbox

KERNEL_THREADS, PROCESSES, FILES = "kernel threads", "processes", "files"

_PS = ("ps", "-o", "pid,ppid,comm,args")
_FIND = ("sh", "-c", "find / -xdev -type f | wc -l")
_AGE = ("sh", "-c", "cat /dev/vda >/dev/null")
_AGE_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    words: str


def counts(box: Sandbox) -> Mapping[str, int]:
    """Kernel threads, processes and files in an instance, without what this course put there.

    Counted are processes of its own process table: PID 1 always, of the others neither the
    first-byte program, our workload and command channel, nor the counting itself. Files are those
    of its root file system.

    Raises:
        LaunchFailure: a command inside failed, or printed something else than a count.
    """
    listed = _output(box, _PS)
    files = _output(box, _FIND).strip()
    if not files.isdigit():
        raise LaunchFailure("files could not be counted inside", _FIND, files)
    return {**processes(listed), FILES: int(files)}


def processes(listed: str) -> Mapping[str, int]:
    """Kernel threads and processes in the output of ``ps -o pid,ppid,comm,args``."""
    found = {p.pid: p for p in _listed(listed)}
    # The kernel's threads are children of its second process, kthreadd.
    threads = {p.pid for p in found.values() if p.words.startswith("[") and 2 in (p.pid, p.parent)}
    ours = [p for p in found.values() if p.pid not in threads and _is_ours(p, found)]
    return {KERNEL_THREADS: len(threads), PROCESSES: len(found) - len(threads) - len(ours)}


def start_work(box: Sandbox) -> None:
    """Start the application that only waits. Raises ``LaunchFailure``."""
    _output(box, START_WORK)


def grow_old(box: Sandbox) -> None:
    """Let a guest read its whole disk, twice as long as its memory, through its page cache.

    Raises:
        LaunchFailure, WaitTimeout: it could not, or not within three minutes.
    """
    _output(box, _AGE, timeout_s=_AGE_TIMEOUT_S)


def disk_bytes(box: Sandbox) -> int:
    """Size of the guest's disk as it sees it, in bytes. Raises ``LaunchFailure``."""
    command = ("cat", "/sys/block/vda/size")
    text = _output(box, command).strip()
    if not text.isdigit():
        raise LaunchFailure("the guest does not tell the size of its disk", command, text)
    return int(text) * 512


def _listed(text: str) -> Iterator[_Process]:
    for line in text.splitlines():
        fields = line.split(maxsplit=3)
        if len(fields) == 4 and fields[0].isdigit() and fields[1].isdigit():
            yield _Process(int(fields[0]), int(fields[1]), fields[3])


def _is_ours(process: _Process, found: Mapping[int, _Process]) -> bool:
    """Whether it, or what started it, is this course's; PID 1 never is."""
    while process.pid != 1:
        if process.words.startswith((WORK + " ", " ".join(_PS))) or "vmcompare" in process.words:
            return True
        if process.parent not in found:
            return False
        process = found[process.parent]
    return False


def _output(box: Sandbox, argv: tuple[str, ...], timeout_s: float = 60.0) -> str:
    done = box.run(argv, timeout_s=timeout_s)
    text = done.output.decode(errors="replace")
    if done.exit_code:
        raise LaunchFailure(f"{argv[0]} ended with {done.exit_code} inside", argv, text)
    return text
