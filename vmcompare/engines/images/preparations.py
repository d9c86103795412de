"""What is made once and kept in the cache: how it is called, and how long making it takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WORDS: Mapping[str, str] = MappingProxyType(
    {
        "rootfs.tar": "the Alpine file system",
        "full.cpio": "the file system of vm-direct",
        "small.cpio": "a small file system for a VM",
        "disk.cpio": "the first files of vm-tuned",
        "install.cpio": "the files that set up the virtual disk",
        "vmlinux.elf": "the kernel of the VMs",
        "disk.qcow2": "the virtual disk",
        "warm.qcow2": "the disk of vm-tuned",
        "changed.qcow2": "a virtual disk with an application",
        "container-host.cpio": "the file system of the VM that hosts containers",
        "engine-host.cpio": "the file system of the VM that hosts Docker",
        "counted.cpio": "the file system of the VM that counts",
        "debian.tar": "the Debian file system",
        "sector.img": "a disk of 512 bytes",
    }
)
"""Name in the cache → what a learner reads."""

TAKES_S: Mapping[str, float] = MappingProxyType(
    {"the virtual disk": 2.4, "the disk of vm-tuned": 21.0}
)
"""Words → seconds, of all that takes longer than about a second. Measured once with an empty cache
on the computer of the project's recordings (two cores, software emulation); each boots a guest."""


def words(name: str) -> str:
    """What a learner reads for the file ``name`` of the cache."""
    return WORDS.get(name, name)
