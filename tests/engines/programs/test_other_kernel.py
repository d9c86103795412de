"""A kernel that is not Linux: a VM starts it, and Linux does not."""

import platform
import subprocess
from pathlib import Path

import pytest

from vmcompare.engines.programs import other_kernel
from vmcompare.errors import Unavailable
from vmcompare.sandbox import OTHER_KERNEL, Event, Machine, Phase, Platform, Spec


@pytest.mark.qemu
def test_a_vm_starts_it_and_it_prints_its_message() -> None:
    from vmcompare.engines.qemu import launchers

    events: list[Event] = []
    spec = Spec(image=OTHER_KERNEL, machine=Machine.PC)
    with launchers()[Platform.VM_DIRECT].open(spec, events.append) as box:
        assert other_kernel.MESSAGE in box.console()
        with pytest.raises(Unavailable, match="runs no commands"):
            box.run(["true"])
    assert events[-2].phase is Phase.FIRST_BYTE


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux")
def test_linux_does_not_let_it_print(tmp_path: Path) -> None:
    file = tmp_path / "kernel.elf"
    file.write_bytes(other_kernel.image())
    file.chmod(0o755)
    done = subprocess.run(["sh", "-c", '"$0"', file], capture_output=True, timeout=20, check=False)
    segmentation_fault, no_32_bit_programs = 128 + 11, 126
    assert done.returncode in (segmentation_fault, no_32_bit_programs)
    assert done.stdout == b""
