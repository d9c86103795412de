"""qcow2, cpio and bzImage: what is written is what is read."""

from __future__ import annotations

import io
import random
import stat
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from vmcompare.engines.images import alpine, initramfs, qcow2

CLUSTER = 1 << 16


def _disk(tmp_path: Path, clusters: list[bytes | None], *, compressed: frozenset[int]) -> Path:
    """A qcow2 file with these clusters (None: unallocated; b"": reads as zeros)."""
    data_at = 3 * CLUSTER
    entries, body = [], b""
    for number, content in enumerate(clusters):
        offset = data_at + len(body)
        if content is None:
            entries.append(0)
        elif content == b"":
            entries.append(1)
        elif number in compressed:
            packer = zlib.compressobj(9, zlib.DEFLATED, -12)
            packed = packer.compress(content) + packer.flush()
            sectors = (offset % 512 + len(packed) + 511) // 512 - 1
            entries.append(1 << 62 | sectors << (62 - 8) | offset)
            body += packed + b"?" * 100  # the next cluster starts anywhere
        else:
            body = body.ljust(-(-len(body) // CLUSTER) * CLUSTER, b"\0")
            entries.append(1 << 63 | data_at + len(body))
            body += content
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(b"QFI\xfb", 3, 0, 0, 16, len(clusters) * CLUSTER, 0, 1, CLUSTER, 0, 0, 0, 0),
    )
    header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
    table = struct.pack(">Q", 1 << 63 | 2 * CLUSTER)
    second = struct.pack(f">{len(entries)}Q", *entries)
    path = tmp_path / "disk.qcow2"
    path.write_bytes(b"".join(p.ljust(CLUSTER, b"\0") for p in (header, table, second)) + body)
    return path


def test_every_kind_of_cluster_is_read(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(CLUSTER)
    text = (b"compressible " * CLUSTER)[:CLUSTER]
    half = noise[: CLUSTER // 2] + bytes(CLUSTER // 2)
    path = _disk(tmp_path, [text, None, noise, b"", half, text], compressed=frozenset({0, 4, 5}))
    zeros = bytes(CLUSTER)
    with qcow2.Qcow2(path) as disk:
        assert io.BufferedReader(disk).read() == text + zeros + noise + zeros + half + text


def test_reading_across_clusters_from_anywhere(tmp_path: Path) -> None:
    clusters = [bytes([number]) * CLUSTER for number in range(1, 4)]
    path = _disk(tmp_path, list(clusters), compressed=frozenset({1}))
    with qcow2.Qcow2(path) as disk:
        reader = io.BufferedReader(disk)
        reader.seek(CLUSTER - 10)
        assert reader.read(CLUSTER + 20) == b"\1" * 10 + clusters[1] + b"\3" * 10
        reader.seek(-5, io.SEEK_END)
        assert reader.read() == b"\3" * 5


@pytest.mark.parametrize("content", [b"", b"not a disk" * 100, b"QFI\xfb" + bytes(200)])
def test_what_is_no_qcow2_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="qcow2"):
        qcow2.Qcow2(path)


def test_an_overlay_says_its_size_and_names_its_backing_disk(tmp_path: Path) -> None:
    path = tmp_path / "overlay.qcow2"
    path.write_bytes(qcow2.empty_overlay(1 << 30, Path("/some/base.qcow2")))
    assert qcow2.virtual_size(path) == 1 << 30
    assert b"/some/base.qcow2" in path.read_bytes()
    assert path.stat().st_size == 4 * CLUSTER
    with pytest.raises(FileNotFoundError, match="base"):
        qcow2.Qcow2(path)


def _unpack(archive: bytes) -> dict[str, tuple[int, ...]]:
    """name → (mode, uid, gid, links, mtime, device major, minor), with the data kept apart."""
    found, position = {}, 0
    while True:
        assert archive[position : position + 6] == b"070701"
        fields = [
            int(archive[start : start + 8], 16) for start in range(position + 6, position + 110, 8)
        ]
        _, mode, uid, gid, links, mtime, size, _, _, major, minor, name_size, _ = fields
        name = archive[position + 110 : position + 109 + name_size].decode()
        position += 110 + name_size
        position += -position % 4
        data = archive[position : position + size]
        position += size + -size % 4
        if name == "TRAILER!!!":
            assert position == len(archive)
            return found
        found[name] = (mode, uid, gid, links, mtime, major, minor, data)  # type: ignore[assignment]


def _member(name: str, kind: bytes, **facts: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in facts.items():
        setattr(member, key, value)
    return member


def test_a_cpio_archive_keeps_every_byte_mode_and_owner() -> None:
    out = io.BytesIO()
    writer = initramfs.CpioWriter(out)
    folder = _member("bin", tarfile.DIRTYPE, mode=0o755, uid=1, gid=2, mtime=3)
    writer.copy(folder, b"")
    writer.copy(_member("bin/su", tarfile.REGTYPE, mode=0o4755, uid=4, gid=5, mtime=6), b"odd")
    writer.copy(_member("bin/sh", tarfile.SYMTYPE, linkname="/bin/busybox"), b"")
    writer.directory("etc")
    writer.character_device("dev/console", 5, 1)
    writer.file("empty", b"")
    writer.close()
    found = _unpack(out.getvalue())
    assert found == {
        "bin": (stat.S_IFDIR | 0o755, 1, 2, 2, 3, 0, 0, b""),
        "bin/su": (stat.S_IFREG | 0o4755, 4, 5, 1, 6, 0, 0, b"odd"),
        "bin/sh": (stat.S_IFLNK | 0o777, 0, 0, 1, 0, 0, 0, b"/bin/busybox"),
        "etc": (stat.S_IFDIR | 0o755, 0, 0, 2, 0, 0, 0, b""),
        "dev/console": (stat.S_IFCHR | 0o600, 0, 0, 1, 0, 5, 1, b""),
        "empty": (stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, 0, b""),
    }


def _bzimage(payload: bytes) -> bytes:
    image = bytearray(0x400 + 16)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    return bytes(image) + payload + b"trailing"


def test_the_elf_kernel_is_taken_out_of_a_bzimage() -> None:
    elf = b"\x7fELF" + b"kernel" * 1000
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    assert alpine.elf_of(_bzimage(packer.compress(elf) + packer.flush())) == elf


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"MZ", "no bzImage packed by gzip"),
        (b"MZ" + bytes(2000), "no ELF file"),
        (_bzimage(b"\x28\xb5\x2f\xfd"), "no bzImage packed by gzip"),
        (_bzimage(b"\x1f\x8b\x08" + b"\xff" * 40), "no bzImage packed by gzip"),
    ],
)
def test_what_holds_no_such_kernel_is_refused(image: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        alpine.elf_of(image)
