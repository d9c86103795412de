"""Whatever happens to a cached file, nobody gets a damaged one."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcompare.engines.images import cache
from vmcompare.errors import StorageError


class Builds:
    """Counts how often something was built."""

    def __init__(self, content: bytes = b"content") -> None:
        self.count = 0
        self.content = content

    def __call__(self, out: Path) -> None:
        self.count += 1
        out.write_bytes(self.content)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, of this test alone."""
    monkeypatch.setattr(cache, "_digests", {})  # as in a new process
    monkeypatch.setattr(cache, "directory", lambda: tmp_path / "images")
    return tmp_path / "images"


def test_a_file_is_built_once() -> None:
    build = Builds()
    first = cache.get("a.bin", "key", build)
    assert cache.get("a.bin", "key", build) == first
    assert first.read_bytes() == b"content"
    assert build.count == 1


def test_another_key_is_another_file() -> None:
    one = cache.get("a.bin", "one", Builds(b"1"))
    two = cache.get("a.bin", "two", Builds(b"2"))
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")


def test_it_tells_without_building_whether_a_file_is_there() -> None:
    assert not cache.holds("a.bin", "key")
    path = cache.get("a.bin", "key", Builds())
    assert cache.holds("a.bin", "key")
    assert not cache.holds("a.bin", "another key")
    _truncate(path)
    assert not cache.holds("a.bin", "key")


def test_what_is_built_has_a_name_for_people_and_ends_also_when_it_fails() -> None:
    told: list[tuple[str, float]] = []

    def fail(out: Path) -> None:
        raise ValueError("damaged")

    with (
        cache.report_progress_to(lambda *step: told.append(step)),
        pytest.raises(ValueError, match="damaged"),
    ):
        cache.get("disk.qcow2", "key", fail)
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
    damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builds()
    path = cache.get("a.bin", "key", build)
    damage(path)
    monkeypatch.setattr(cache, "_digests", {})
    assert cache.get("a.bin", "key", build).read_bytes() == b"content"
    assert build.count == 2


def test_a_build_that_fails_leaves_nothing_and_is_tried_again(store: Path) -> None:
    def fail(out: Path) -> None:
        out.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(StorageError, match=r"no space left.*XDG_CACHE_HOME"):
        cache.get("a.bin", "key", fail)
    assert [path for path in store.iterdir() if path.suffix != ".lock"] == []
    assert cache.get("a.bin", "key", Builds()).read_bytes() == b"content"


def test_the_digest_is_that_of_the_content() -> None:
    path = cache.get("a.bin", "key", Builds())
    assert cache.digest(path) == f"sha256:{hashlib.sha256(b'content').hexdigest()}"


def test_progress_is_told_only_when_something_is_built() -> None:
    told: list[tuple[str, float]] = []
    with cache.report_progress_to(lambda *step: told.append(step)):
        cache.get("a.bin", "key", Builds())
        cache.get("a.bin", "key", Builds())
    cache.get("b.bin", "key", Builds())  # nobody listens any more
    assert told == [("a.bin", 0.0), ("a.bin", 1.0)]


def test_two_processes_at_once_build_it_once(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from vmcompare.engines.images import cache
def build(out):
    with open(sys.argv[1] + "/built", "a") as log:
        log.write("x")
    time.sleep(0.3)
    out.write_bytes(b"content")
cache.directory = lambda: Path(sys.argv[1])
print(cache.get("a.bin", "key", build).read_bytes().decode())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs == ["content", "content"]
    assert (tmp_path / "built").read_text() == "x"
