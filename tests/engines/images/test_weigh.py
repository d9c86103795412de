"""One compressor, and disks read through their overlays."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import pytest

from vmcompare.engines.images import oci, weigh
from vmcompare.engines.images.qcow2 import Qcow2, empty_overlay

CLUSTER = 1 << 16
DISK = 1 << 20


def disk(path: Path, clusters: dict[int, bytes], backing: Path | None = None) -> Path:
    """A qcow2 file with one L2 table and these clusters, 64 KiB each."""
    raw = bytearray(empty_overlay(DISK, backing or Path("none")))
    if backing is None:
        raw[8:20] = bytes(12)  # no backing file
    l2 = bytearray(CLUSTER)
    data = bytearray()
    for number, content in clusters.items():
        struct.pack_into(">Q", l2, 8 * number, (5 * CLUSTER + len(data)) | 1 << 63)
        data += content.ljust(CLUSTER, b"\0")
    struct.pack_into(">Q", raw, 3 * CLUSTER, 4 * CLUSTER | 1 << 63)
    path.write_bytes(bytes(raw) + bytes(l2) + bytes(data))
    return path


def test_an_overlay_is_read_over_the_disk_below(tmp_path: Path) -> None:
    below = disk(tmp_path / "below", {0: b"zero", 3: b"three"})
    above = disk(tmp_path / "above", {3: b"THREE", 5: b"five"}, below)
    with Qcow2(above) as high:
        found = {number: content.rstrip(b"\0") for number, content in high.clusters()}
        high.seek(3 * CLUSTER)
        assert high.read(5) == b"THREE"
    assert found == {0: b"zero", 3: b"THREE", 5: b"five"}


def test_an_overlay_without_what_is_below_is_refused(tmp_path: Path) -> None:
    below = disk(tmp_path / "below", {})
    above = disk(tmp_path / "above", {}, below)
    below.unlink()
    with pytest.raises(FileNotFoundError):
        Qcow2(above)


def test_empty_space_of_a_disk_is_not_shipped(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(CLUSTER)
    with Qcow2(disk(tmp_path / "disk", {2: content})) as raw:
        piece = weigh.piece("disk", weigh.disk_stream(raw), raw.size, 123)
    assert piece.virtual_bytes == DISK
    assert piece.allocated_bytes == 123
    assert CLUSTER < piece.compressed_bytes < CLUSTER + 1000


def test_files_are_weighed_one_behind_the_other_by_the_registry_s_compressor(
    tmp_path: Path,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a" * 5000)
    two.write_bytes(b"b" * 700)
    piece = weigh.files("both", one, two)
    whole = b"a" * 5000 + b"b" * 700
    assert piece.digest == oci.digest(whole)
    assert piece.virtual_bytes == len(whole)
    assert abs(piece.compressed_bytes - len(gzip.compress(whole, oci.GZIP_LEVEL))) <= 1
    assert piece.allocated_bytes >= len(whole)


def test_a_packed_disk_is_put_together_again_with_its_holes(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(CLUSTER)
    parcel, copy = tmp_path / "parcel.gz", tmp_path / "copy"
    with Qcow2(disk(tmp_path / "disk", {2: content, 5: b"five"})) as raw:
        sent = weigh.pack(weigh.disk_stream(raw), parcel)
        whole = raw.read(0) + b"".join(iter(lambda: raw.read(CLUSTER), b""))
        assert (
            sent
            == parcel.stat().st_size
            == weigh.piece("disk", weigh.disk_stream(raw), 0, 0).compressed_bytes
        )
    with gzip.open(parcel) as stream:
        weigh.write_disk(stream, copy, DISK, CLUSTER)
    assert copy.read_bytes() == whole
    parcel.write_bytes(gzip.compress(gzip.decompress(parcel.read_bytes())[:-1]))
    with gzip.open(parcel) as stream, pytest.raises(ValueError, match="within a cluster"):
        weigh.write_disk(stream, copy, DISK, CLUSTER)
