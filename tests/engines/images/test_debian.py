"""A second userland where this computer can make one, a sentence where it cannot."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from vmcompare.engines.images import debian
from vmcompare.errors import Unavailable
from vmcompare.sandbox import FIRST_BYTE_PROGRAM


def test_without_the_tool_the_next_step_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Unavailable, match="apt-get install mmdebstrap"):
        debian.rootfs_tar()


def test_without_a_debian_there_is_nothing_to_make_one_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/mmdebstrap")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "alpine"})
    with pytest.raises(Unavailable, match="no Debian or Ubuntu release"):
        debian.rootfs_tar()


class Tool:
    """Stands in for ``mmdebstrap``: writes what it would write, or fails with its last words."""

    def __init__(self, words: str = "") -> None:
        self.words = words

    def __call__(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        if self.words:
            return subprocess.CompletedProcess(argv, 1, b"", self.words.encode())
        with tarfile.open(argv[-1], "w") as tar:
            for name, kind in (
                ("./", tarfile.DIRTYPE), ("./dev/", tarfile.DIRTYPE),
                ("./dev/null", tarfile.CHRTYPE), ("./bin/", tarfile.DIRTYPE),
            ):  # fmt: skip
                info = tarfile.TarInfo(name)
                info.type = kind
                tar.addfile(info)
            for name in ("./bin/dash", "./usr/bin/mawk"):
                info = tarfile.TarInfo(name)
                info.size = 5
                tar.addfile(info, io.BytesIO(b"bytes"))
        return subprocess.CompletedProcess(argv, 0, b"", b"")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/mmdebstrap")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "noble"})
    return monkeypatch


def test_a_shell_and_our_program_are_in_it_and_no_device(here: pytest.MonkeyPatch) -> None:
    here.setattr(subprocess, "run", Tool())
    with tarfile.open(debian.rootfs_tar()) as tar:
        names = set(tar.getnames())
        assert tar.getmember("bin/sh").linkname == "dash"
    assert {"bin/dash", "bin/sh", FIRST_BYTE_PROGRAM.lstrip("/")} <= names
    assert not [name for name in names if name.startswith("dev/")]


def test_a_mirror_that_does_not_answer_is_said_and_nothing_is_kept(
    here: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here.setattr(subprocess, "run", Tool("W: first\nE: the mirror did not answer"))
    with pytest.raises(Unavailable, match="the mirror did not answer"):
        debian.rootfs_tar()
    assert not list(tmp_path.rglob("*.tar"))
