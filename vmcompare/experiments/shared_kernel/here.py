"""The same ladder on this computer itself, for ordinary users: where no guest can be started.

A user namespace is the first rung then: it gives an ordinary user a root's rights over what is
inside, and nothing outside. The control group needs more than that, and is left to the guest. As
root it is refused: the rungs would be climbed with rights that reach the whole computer.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from vmcompare.engines.programs import deny_mkdir
from vmcompare.errors import Unavailable
from vmcompare.experiments.shared_kernel import ladder
from vmcompare.sandbox import Sandbox

ORDER: tuple[str, ...] = ("user", "chroot", "mount", "pid", "net", "cgroup", "seccomp")

NOT_HERE = {"cgroup": "an ordinary user has no control group to give; climb it in a guest"}

_NEXT = "install QEMU, so that a guest can be the place, or look at a recording"

_WITH_PROC = (
    '#!/bin/sh\nto=$1; shift\nmount -t proc proc "$to" 2>/dev/null '
    '|| mount --rbind /proc "$to"\nexec "$@"\n'
)
"""A fresh ``/proc`` where the kernel allows it (with a pid namespace), else the one there is."""

_PREPARE = """
set -e
cd "$BOX"
mkdir -p proc dev tmp etc helpers
: >dev/null
echo 'PRETTY_NAME="a box made by hand"' >etc/os-release
for name in sh cat cut wc grep awk head tail mknod mkdir rm ip uname; do
  ln -sf busybox bin/$name
done
mv bin/with-proc bin/deny-mkdir helpers/
chmod 755 . bin
cp helpers/deny-mkdir bin/
"""


def line(rungs: Sequence[str]) -> str:
    """The command line that climbs ``rungs``; ``$BOX`` is the box's directory."""
    words = []
    if flags := [flag for name, flag in ladder.FLAGS.items() if name in rungs]:
        words.append(f"unshare {' '.join(flags)}")
    inside = "chroot" in rungs
    if "mount" in rungs:
        words.append(f"with-proc {'$BOX' if inside else ''}/proc")
    if inside:
        words.append("chroot $BOX")
    see = "/bin/see" if inside else "$BOX/bin/see"
    if "seccomp" in rungs:
        words.append("/bin/deny-mkdir" if inside else "deny-mkdir")
    return " ".join([*words, see])


def prepare(box: Sandbox) -> str:
    """Make the box in the directory of an ordinary process; returns what goes before a line.

    Raises:
        Unavailable: for root, and where ordinary users may have no user namespace.
    """
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        raise Unavailable("as root the ladder is climbed in a guest only", _NEXT)
    for name, data in (
        ("see", ladder.OBSERVER.encode()),
        ("with-proc", _WITH_PROC.encode()),
        ("deny-mkdir", deny_mkdir.elf(platform.machine())),
    ):
        box.put(f"/bin/{name}", data)
    # A word that was put is replaced by where it lies on this computer.
    place = box.run(["dirname", "/bin/see"]).output.decode().strip()
    root = place.removesuffix("/bin")
    before = f"BOX={root}; export BOX; PATH=$BOX/helpers:/usr/sbin:/usr/bin:/sbin:/bin; "
    done = box.run(["sh", "-c", before + _PREPARE])
    if done.exit_code:
        said = done.output.decode(errors="replace").strip()
        raise Unavailable(f"the box could not be made ({said[-120:]})", _NEXT)
    if box.run(["sh", "-c", before + "unshare -U -r true"]).exit_code:
        raise Unavailable("here ordinary users may have no user namespace of their own", _NEXT)
    return before


GROUND = ladder.Ground(order=ORDER, not_here=NOT_HERE, line=line, prepare=prepare)
"""The ladder of an ordinary user."""
