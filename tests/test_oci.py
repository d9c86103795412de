"""A layer in plain Python."""

from __future__ import annotations

import gzip
import io
import tarfile

from vmcompare import oci

FILES = {"/opt/app/run": b"#!/bin/sh\n", "/opt/app/data": b"data"}


def test_the_same_files_always_give_the_same_bytes_in_whatever_order() -> None:
    assert oci.layer(FILES) == oci.layer(dict(reversed(FILES.items())))


def test_one_byte_of_one_file_changes_the_digest() -> None:
    changed = FILES | {"/opt/app/data": b"dat4"}
    assert oci.digest(oci.layer(FILES)) != oci.digest(oci.layer(changed))


def test_a_layer_holds_the_files_and_their_folders_before_them() -> None:
    with tarfile.open(fileobj=io.BytesIO(oci.layer(FILES))) as tar:
        assert tar.getnames() == ["opt", "opt/app", "opt/app/data", "opt/app/run"]
        stream = tar.extractfile("opt/app/data")
        assert stream is not None
        assert stream.read() == b"data"
        assert {info.mtime for info in tar} == {0}


def test_a_digest_is_the_known_one_of_nothing() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert oci.digest(b"") == f"sha256:{empty}"


def test_what_a_registry_stores_unpacks_to_the_layer_and_has_no_time() -> None:
    layer = oci.layer(FILES)
    assert gzip.decompress(oci.compressed(layer)) == layer
    assert oci.compressed(layer) == oci.compressed(layer)
