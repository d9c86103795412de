"""One byte written to a file of a lower layer, and what is stored for it.

A container writes through its engine's storage driver. Where there is no container, the same is
seen in a machine: an overlay file system is mounted by hand over a folder of its disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vmcompare.errors import LaunchFailure
from vmcompare.experiments.image_size.categories import ONLY_A_MACHINE, category
from vmcompare.sandbox import FileFact, Layered, Platform, Sandbox

PHASES = ("copy-up written", "copy-up file", "copy-up copied")
"""Bytes the program wrote; size of the file it wrote to; growth of the upper layer."""

WRITTEN_BYTES = 1

PLACES: Mapping[Platform, str] = {
    Platform.CONTAINER: "a container",
    Platform.VM: "a machine, by hand",
}
"""Where it is tried, in this order of preference, in words."""

# The upper layer lies in memory, so that the machine's disk stays as it was. Docker's driver
# overlay2 mounts the same file system with the same three words.
_BY_HAND = """
set -e
modprobe overlay 2>/dev/null || :
mkdir -p /run/copy-up
mount -t tmpfs copy-up /run/copy-up
cd /run/copy-up
mkdir upper work merged
mount -t overlay copy-up \
  -o "lowerdir=${1%/*}/,upperdir=/run/copy-up/upper,workdir=/run/copy-up/work" merged
printf x >>"merged/${1##*/}"
find upper -type f -exec stat -c %s {} +
"""


def largest(files: Iterable[FileFact]) -> FileFact:
    """The largest file of the userland: kernel and RAM disk are left out."""
    userland = (file for file in files if category(file.path) not in ONLY_A_MACHINE)
    return max(userland, key=lambda file: file.size_bytes)


def grown_bytes(box: Sandbox, platform: Platform, path: str) -> int:
    """Append one byte to the file at ``path``; the bytes by which the upper layer grew.

    Raises:
        LaunchFailure: the file could not be written to, or no layer could be looked at.
    """
    return _in_layer(box, path) if platform is Platform.CONTAINER else _by_hand(box, path)


def _in_layer(box: Sandbox, path: str) -> int:
    if not isinstance(box, Layered):
        raise LaunchFailure("this engine does not tell what a container wrote", ())
    before = box.written_bytes()
    if box.run(["sh", "-c", f"printf x >> {path}"]).exit_code:
        raise LaunchFailure(f"{path} could not be written to", ("printf", "x"))
    return box.written_bytes() - before


def _by_hand(box: Sandbox, path: str) -> int:
    done = box.run(["sh", "-c", _BY_HAND, "copy-up", path])
    said = done.output.decode(errors="replace").strip()
    if done.exit_code or not said.isdigit():
        raise LaunchFailure("nothing was copied up in the machine", ("mount", "overlay"), said)
    return int(said)
