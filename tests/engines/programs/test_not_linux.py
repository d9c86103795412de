"""A kernel that is not Linux: who starts it, and who does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vmcompare.engines.programs import not_linux
from vmcompare.errors import Unavailable
from vmcompare.sandbox import OTHER_KERNEL, Event, Machine, Phase, Platform, Spec


@pytest.mark.qemu
def test_a_vm_starts_the_kernel_which_prints_its_message() -> None:
    from vmcompare.engines.qemu import launchers

    events: list[Event] = []
    spec = Spec(image=OTHER_KERNEL, machine=Machine.PC)
    with launchers()[Platform.VM_DIRECT].open(spec, events.append) as box:
        assert not_linux.MESSAGE in box.console()
        with pytest.raises(Unavailable, match="runs no commands"):
            box.run(["true"])
    assert events[-2].phase is Phase.FIRST_BYTE


@pytest.mark.skipif(sys.platform != "linux", reason="for Linux")
def test_linux_does_not_let_the_kernel_print(tmp_path: Path) -> None:
    file = tmp_path / "kernel.elf"
    file.write_bytes(not_linux.kernel())
    file.chmod(0o755)
    done = subprocess.run(["sh", "-c", '"$0"', file], capture_output=True, timeout=20, check=False)
    segmentation_fault, no_32_bit_programs = 128 + signal.SIGSEGV, 126
    assert done.returncode in (segmentation_fault, no_32_bit_programs)
    assert done.stdout == b""
