"""The unpacked userland is what the tar holds, and stays so."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcompare.engines.images import alpine, userland


def archive(path: Path, *members: tuple[str, bytes, str]) -> Path:
    """A tar of (name, type, link target or content)."""
    with tarfile.open(path, "w") as tar:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o4755 if kind == tarfile.REGTYPE else 0o755
            info.uid, info.gid = os.geteuid(), os.getegid()
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = text
            elif kind == tarfile.REGTYPE:
                info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()) if info.size else None)
    return path


GOOD = (
    ("bin", tarfile.DIRTYPE, ""),
    ("bin/one", tarfile.REGTYPE, "one"),
    ("bin/two", tarfile.LNKTYPE, "bin/one"),
    ("etc", tarfile.DIRTYPE, ""),
    ("etc/link", tarfile.SYMTYPE, "/bin/one"),
)


@pytest.fixture
def tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive in the place of Alpine's, in a process that has verified nothing yet."""
    path = archive(tmp_path / "rootfs-1.tar", *GOOD)
    monkeypatch.setattr(alpine, "rootfs_tar", lambda: path)
    monkeypatch.setattr(userland, "_verified", set())
    return path


def test_it_holds_what_the_tar_holds_but_no_set_user_id_bit(tar: Path) -> None:
    root = userland.directory()
    assert (root / "bin/one").read_bytes() == b"one"
    assert (root / "bin/two").samefile(root / "bin/one")
    assert (root / "etc/link").readlink() == Path("/bin/one")
    assert stat.S_IMODE((root / "bin/one").stat().st_mode) == 0o755
    assert userland.is_whole(tar, root)


def test_no_other_user_gets_at_it(tar: Path) -> None:
    assert stat.S_IMODE(userland.directory().parent.stat().st_mode) == 0o700


def test_it_is_unpacked_once(tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = userland.directory()
    before = root.stat().st_ino
    monkeypatch.setattr(userland, "_verified", set())
    assert userland.directory().stat().st_ino == before


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_a_damaged_one_is_unpacked_anew(
    tar: Path, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(userland.directory() / "bin/one")
    monkeypatch.setattr(userland, "_verified", set())
    assert userland.is_whole(tar, userland.directory())
    names = {path.name for path in tar.parent.iterdir() if "unpacked" in path.name}
    assert len(names) == 2  # itself and its lock: nothing half-done beside it


def test_what_failed_to_unpack_leaves_nothing_and_the_next_try_works(
    tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tar.read_bytes()
    tar.write_bytes(b"no archive")
    with pytest.raises(tarfile.TarError):
        userland.directory()
    assert not [path for path in tar.parent.iterdir() if path.is_dir()]
    tar.write_bytes(good)
    assert userland.is_whole(tar, userland.directory())
