"""The guest that hosts containers: what is put into it, and why it may not be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmcompare.engines.images import container_host
from vmcompare.errors import Unavailable

GLIBC = """\
	linux-vdso.so.1 (0x00007f08695bd000)
	libseccomp.so.2 => /lib/x86_64-linux-gnu/libseccomp.so.2 (0x00007f086958b000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f08693a9000)
	/lib64/ld-linux-x86-64.so.2 (0x00007f08695bf000)
"""
MUSL = """\
	/lib/ld-musl-x86_64.so.1 (0x7f0000000000)
	libseccomp.so.2 => /usr/lib/libseccomp.so.2 (0x7f0000100000)
	libc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f0000000000)
"""


def test_the_loader_and_every_library_are_named_once() -> None:
    assert container_host.needed(GLIBC) == [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libseccomp.so.2",
        "/lib64/ld-linux-x86-64.so.2",
    ]
    assert container_host.needed(MUSL) == ["/lib/ld-musl-x86_64.so.1", "/usr/lib/libseccomp.so.2"]
    assert container_host.needed("\tstatically linked\n") == []


def test_a_library_that_is_missing_here_is_named() -> None:
    with pytest.raises(Unavailable, match=r"libseccomp\.so\.2"):
        container_host.needed("\tlibseccomp.so.2 => not found\n")


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one folder, and no other place to look at."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(container_host, "_SYSTEM_PLACES", ())
    return tmp_path


def test_without_a_runc_the_next_step_is_to_install_it(only: Path) -> None:
    assert not list(only.iterdir())
    with pytest.raises(Unavailable, match=r"no runc here.*install"):
        container_host.program_files("runc")


def test_on_another_system_a_recording_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(Unavailable, match=r"Linux computer.*recording"):
        container_host.program_files("runc")


def test_runc_is_found_though_path_lacks_the_system_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        found = container_host.program_files("runc")
    except Unavailable as missing:
        pytest.skip(str(missing))
    assert found[container_host.RUNC].startswith(b"\x7fELF")
    monkeypatch.setenv("PATH", os.pathsep.join((str(tmp_path), "/usr/bin", "/bin")))
    assert container_host.program_files("runc") == found
