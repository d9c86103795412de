"""A layer, and a container's configuration, in plain Python."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from vmcompare.engines.images import oci

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


def made(**more: bool) -> dict[str, object]:
    return oci.configuration(
        "/root", ["/bin/sh"], "one", {}, **{"own_cgroups": True, "read_only": True, **more}
    )


def test_what_is_changed_in_one_configuration_is_not_in_the_next() -> None:
    before = json.dumps(made())
    one = made()
    one["linux"]["maskedPaths"].clear()  # type: ignore[index]
    one["process"]["capabilities"]["effective"].clear()  # type: ignore[index]
    one["mounts"][0]["options"].append("rw")  # type: ignore[index]
    assert json.dumps(made()) == before


def test_docker_leaves_fourteen_capabilities_and_their_bits_are_the_known_ones() -> None:
    bits = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6,
            "SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18,
            "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}  # fmt: skip
    held = sum(1 << bits[name.removeprefix("CAP_")] for name in oci.CAPABILITIES)
    assert f"{held:08x}" == "a80425fb"  # what /proc/self/status says in a container


def test_a_cgroup_namespace_is_made_where_it_is_wanted() -> None:
    kinds = [
        {space["type"] for space in made(own_cgroups=own)["linux"]["namespaces"]}  # type: ignore[index]
        for own in (False, True)
    ]
    assert kinds[1] - kinds[0] == {"cgroup"}


def test_the_unified_hierarchy_is_told_from_the_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Root:
        def __call__(self, path: str) -> Path:
            return tmp_path / path.lstrip("/")

    monkeypatch.setattr(oci, "Path", Root())
    assert oci.cgroup_version() == 0
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").touch()
    assert oci.cgroup_version() == 1
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").touch()
    assert oci.cgroup_version() == 2
