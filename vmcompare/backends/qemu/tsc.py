"""How fast an emulated processor's time stamp counter runs, asked of a guest on ``pc``.

A ``microvm`` under emulation has no clock to measure it against and sometimes freezes trying;
told the frequency (``tsc_early_khz=``) it never did in 40 boots.
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from typing import Protocol

from vmcompare.backends.qemu.accel import keep, kept_path
from vmcompare.backends.qemu.binary import Qemu
from vmcompare.errors import Unavailable
from vmcompare.sandbox import Event, Machine, OnEvent, Sandbox, Spec

_DETECTED = re.compile(rb"tsc: Detected (\d+)\.(\d{3}) MHz")
_COMMAND = ("/bin/busybox", "dmesg")


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
    path = kept_path("tsc", qemu)
    try:
        return int(json.loads(path.read_text())["khz"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with launcher.open(Spec(machine=Machine.PC), _ignore) as sandbox:
        output = sandbox.run(_COMMAND).output
    found = _DETECTED.search(output)
    if found is None:
        raise Unavailable(
            "the clock of an emulated microvm cannot be set: the guest does not tell its frequency",
            "use the machine type pc",
        )
    khz = int(found[1]) * 1000 + int(found[2])
    keep(path, json.dumps({"khz": khz}))
    return khz


def _ignore(event: Event) -> None:
    """Nobody measures this boot."""
