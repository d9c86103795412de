"""Whatever happens to a cached file, nobody gets a damaged one."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcompare.engines.images import cache as module
from vmcompare.engines.images.cache import Cache
from vmcompare.errors import StorageError


class Builds:
    """Counts how often something was built."""

    def __init__(self, content: bytes = b"content") -> None:
        self.count = 0
        self.content = content

    def __call__(self, out: Path) -> None:
        self.count += 1
        out.write_bytes(self.content)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(module, "_verified", {})  # as in a new process
    return Cache(tmp_path / "images")


def test_a_file_is_built_once(store: Cache) -> None:
    build = Builds()
    first = store.get("a.bin", "key", build)
    assert store.get("a.bin", "key", build) == first
    assert first.read_bytes() == b"content"
    assert build.count == 1


def test_another_key_is_another_file(store: Cache) -> None:
    one = store.get("a.bin", "one", Builds(b"1"))
    two = store.get("a.bin", "two", Builds(b"2"))
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")


def test_it_tells_without_building_whether_a_file_is_there(store: Cache) -> None:
    assert not store.holds("a.bin", "key")
    path = store.get("a.bin", "key", Builds())
    assert store.holds("a.bin", "key")
    assert not store.holds("a.bin", "another key")
    _truncate(path)
    assert not store.holds("a.bin", "key")


def test_what_is_built_has_a_name_for_people_and_ends_also_when_it_fails(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    store = Cache(tmp_path, lambda what, fraction: told.append((what, fraction)))

    def fail(out: Path) -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        store.get("disk.qcow2", "key", fail)
    assert told == [("the virtual disk", 0.0), ("the virtual disk", 1.0)]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3])


def _flip(path: Path) -> None:
    path.write_bytes(b"Content")


def _without_sidecar(path: Path) -> None:
    path.with_name(path.name + ".json").unlink()


def _with_a_broken_sidecar(path: Path) -> None:
    path.with_name(path.name + ".json").write_text('{"size"')


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, _without_sidecar, _with_a_broken_sidecar, Path.unlink]
)
def test_a_damaged_entry_is_noticed_and_built_again(
    store: Cache, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builds()
    path = store.get("a.bin", "key", build)
    damage(path)
    monkeypatch.setattr(module, "_verified", {})
    assert store.get("a.bin", "key", build).read_bytes() == b"content"
    assert build.count == 2


def test_a_build_that_fails_leaves_nothing_and_is_tried_again(store: Cache, tmp_path: Path) -> None:
    def fail(out: Path) -> None:
        out.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(StorageError, match=r"no space left.*XDG_CACHE_HOME"):
        store.get("a.bin", "key", fail)
    assert [path for path in (tmp_path / "images").iterdir() if path.suffix != ".lock"] == []
    assert store.get("a.bin", "key", Builds()).read_bytes() == b"content"


def test_the_digest_is_that_of_the_content(store: Cache) -> None:
    path = store.get("a.bin", "key", Builds())
    assert store.digest(path) == module.sha256_of(path)


def test_progress_is_told_only_when_something_is_built(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    store = Cache(tmp_path, lambda what, fraction: told.append((what, fraction)))
    store.get("a.bin", "key", Builds())
    store.get("a.bin", "key", Builds())
    assert told == [("a.bin", 0.0), ("a.bin", 1.0)]


def test_two_processes_at_once_build_it_once(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from vmcompare.errors import StorageError
from vmcompare.engines.images.cache import Cache
def build(out):
    with open(sys.argv[1] + "/built", "a") as log:
        log.write("x")
    time.sleep(0.3)
    out.write_bytes(b"content")
print(Cache(Path(sys.argv[1])).get("a.bin", "key", build).read_bytes().decode())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs == ["content", "content"]
    assert (tmp_path / "built").read_text() == "x"
