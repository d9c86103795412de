"""How fast an emulated processor's time stamp counter runs, asked of a guest on ``pc``.

A ``microvm`` under emulation has no clock to measure it against and sometimes freezes trying;
told the frequency (``tsc_early_khz=``) it never did in 40 boots.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from vmcompare.engines.qemu.accel import keep, kept
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.errors import Unavailable
from vmcompare.sandbox import Event, Machine, OnEvent, Sandbox, Spec

_DETECTED = re.compile(rb"tsc: Detected (\d+)\.(\d{3}) MHz")
_PLAUSIBLE = range(100_000, 100_000_000)
"""A counter between 100 MHz and 100 GHz, in kHz: what is kept may have been damaged."""

_COMMAND = ("/bin/busybox", "dmesg")


class _Frequency(msgspec.Struct):
    """What is kept."""

    khz: int


class _Opens(Protocol):
    def open(self, spec: Spec, on_event: OnEvent) -> AbstractContextManager[Sandbox]: ...


def frequency_khz(qemu: Qemu, launcher: _Opens) -> int:
    """The frequency in kHz; found out by one boot, kept until this computer is booted again.

    Args:
        launcher: boots ``vm-direct`` on ``pc``.

    Raises:
        Unavailable: the guest's kernel does not say.
        VmcompareError: the guest does not start.
    """
    known = kept("tsc", qemu, _Frequency)
    if known is not None and known.khz in _PLAUSIBLE:
        return known.khz
    with launcher.open(Spec(machine=Machine.PC), _ignore) as sandbox:
        output = sandbox.run(_COMMAND).output
    found = _DETECTED.search(output)
    if found is None:
        raise Unavailable(
            "the clock of an emulated microvm cannot be set: the guest does not tell its frequency",
            "use the machine type pc",
        )
    khz = int(found[1]) * 1000 + int(found[2])
    keep("tsc", qemu, _Frequency(khz))
    return khz


def _ignore(event: Event) -> None:
    """Nobody measures this boot."""
