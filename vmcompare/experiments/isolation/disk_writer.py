"""How long a neighbour's writes take while a program beside it writes as fast as it can.

Two containers, each on a volume of its own, and two VMs, each on a disk of its own: both kinds lie
in files of this computer. The neighbour writes 4 KiB at a time and waits until the disk has them
(``O_DSYNC``), first beside an instance that does nothing, then while that one writes the same
64 MiB again and again, and waits for the disk after each time.

Rows, ``block`` = round: ``duration_s`` of one write of the neighbour, ``phase`` = write beside a
quiet program, write beside a disk writer. Whatever the disk does is divided out only between two
rows of one platform: a volume and a VM's disk may lie on two disks.
"""

from __future__ import annotations

import contextlib
import platform as computer
from collections.abc import Iterator, Mapping
from dataclasses import replace

from vmcompare.engines.programs import calls
from vmcompare.engines.programs.calls import BUFFER, Call, Result
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import NS_PER_S
from vmcompare.experiments.isolation.boundaries import Variant
from vmcompare.experiments.isolation.heartbeats import GUEST, BeatLog, Clock, Instances
from vmcompare.measuring.experiment import filled, or_failed
from vmcompare.sandbox import DISK_DRIVER, Follower, Platform, Sandbox, Spec

WRITE_QUIET, WRITE_BUSY = "write beside a quiet program", "write beside a disk writer"

FILE_MIB, MOST_TIMES, WRITER_S = 64, 160, 6
"""Bounds of the writer: the file's size, how often it is written, and seconds."""

PROBE_S = 1.5
"""Seconds in which writes of the neighbour are timed."""

_VOLUME = "/vmcompare-disk"
INSTANCES: Mapping[Platform, tuple[Spec, str]] = {
    Platform.CONTAINER: (Spec(memory_mib=GUEST.memory_mib, volume=_VOLUME), f"{_VOLUME}/file"),
    Platform.VM_DIRECT: (replace(GUEST, disk_mib=FILE_MIB), "/dev/vda"),
}
"""What both instances are, and the file that each writes."""

PROGRAM = "/tmp/vmcompare-writes"
_WRITES, _LETTER = 25, "W"
_CREATE_AND_WAIT = 0x1 | 0x40 | 0x1000  # O_WRONLY, O_CREAT, O_DSYNC (Linux, asm-generic/fcntl.h)

_WRITER = f"""
{{ timeout -s KILL {WRITER_S} sh -c '
  n=0; while [ $n -lt {MOST_TIMES} ]; do
    dd if=/dev/zero of=FILE bs=1M count={FILE_MIB} conv=notrunc,fsync; n=$((n + 1))
  done'; echo ended >/tmp/writer; }} </dev/null >/dev/null 2>&1 &
"""


def rows(instances: Instances, platform: Platform, block: int) -> Iterator[Measurement]:
    """The rows of one platform and round; one failed row where that fails."""
    spec, file = INSTANCES[platform]
    row = Variant("", platform, spec).row(instances.context, "duration_s", WRITE_QUIET)
    row = replace(row, block=block)

    def measured() -> Iterator[Measurement]:
        with contextlib.ExitStack() as stack:
            pair = replace(instances, stack=stack)
            writer, neighbour = (pair.open(platform, spec) for _ in range(2))
            if platform.is_vm:
                for box in (writer, neighbour):
                    box.run(["insmod", DISK_DRIVER])
            neighbour.put(PROGRAM, _writes(file))
            quiet_s = _write_s(neighbour, instances.clock)
            writer.run(["sh", "-c", _WRITER.replace("FILE", file)])
            instances.clock.sleep(0.3)
            busy_s = _write_s(neighbour, instances.clock)
            if writer.run(["sh", "-c", "cat /tmp/writer 2>/dev/null; true"]).output:
                raise Unavailable("the disk writer ended too early to be felt", "try again")
        yield filled(row, quiet_s)
        yield filled(row, busy_s, phase=WRITE_BUSY)

    return or_failed(measured(), row)


def _writes(file: str) -> bytes:
    """A program that writes to the disk a thousand times, and a letter to its output after each."""
    opened = Call("openat", (-100, file.encode(), _CREATE_AND_WAIT, 0o600))
    each = (Call("write", (Result(0), BUFFER, 4096)), Call("write", (1, _LETTER.encode(), 1)))
    return calls.elf(computer.machine(), [[opened, *each * _WRITES]] * (1000 // _WRITES))


def _write_s(box: Sandbox, clock: Clock) -> float:
    """Seconds of one write, the mean of those of :data:`PROBE_S`. Raises ``Unavailable``."""
    log = BeatLog()
    if not isinstance(box, Follower):
        raise Unavailable("a command in it cannot be followed", "look at the recording")
    with box.follow([PROGRAM], log.add):
        clock.sleep(PROBE_S)
    beats = log.beats(_LETTER)
    if len(beats) < 2:
        raise Unavailable("the neighbour wrote nothing to the disk", "look at the recording")
    return (beats[-1] - beats[0]) / NS_PER_S / (len(beats) - 1)
