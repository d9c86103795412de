"""A container made by hand: seven steps, each of which adds something to a line of shell.

Every step is a facility of the kernel that runs already. The same observer looks around after each
one, so that what a step changes can be told from what it leaves alone.

They are taken inside a disposable guest, where root's rights harm nobody. Where no guest can be
started, a recording is shown.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vmcompare.engines.programs import deny_mkdir
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.sandbox import Sandbox

STEPS: tuple[str, ...] = ("chroot", "mount", "pid", "net", "user", "cgroup", "seccomp")
"""In the order in which they are taken."""

START = "start"
"""The observer before the first step: an ordinary process of the guest."""

_FLAGS: Mapping[str, str] = {"user": "-U -r", "mount": "-m", "pid": "-p -f", "net": "-n"}

_PROCESS_LIMIT = 12
"""Processes that the control group allows; the observer tries to nest twenty."""

LINE = "line"
"""Among the observations of a row: the command line that was run."""

UNKNOWN = "cannot tell"
"""An observation that could not be made from where the observer stands."""

_COUNTED = frozenset({"processes seen", "nested processes"})
"""Observations that are counts of processes."""

_OLD_NAMES: Mapping[str, str] = {"files of": "userland"}
"""What an observation is called in older recordings → its name now."""

_OBSERVER = r"""#!/bin/sh
# The observer. No fork before processes are counted: it must not count its own helpers.
set -- /proc/[0-9]*
processes=$#
[ -e "$1" ] || processes=
tell() { echo "$1=${2:-cannot tell}"; }
deep() { echo "$1"; [ "$1" -ge 20 ] || ( deep $(($1 + 1)) ); }
allowed() { if "$@" 2>/dev/null; then echo allowed; else echo refused; fi; }
here=/tmp/see.$$
tell 'kernel release' "$(uname -r)"
tell 'boot id' "$(head -c 8 /proc/sys/kernel/random/boot_id 2>/dev/null)"
tell userland "$(. /etc/os-release; echo "$PRETTY_NAME")"
tell 'mounts seen' "$([ -e /proc/self/mounts ] && wc -l </proc/self/mounts)"
tell 'own process number' "$([ $$ = 1 ] && echo 1 || echo 'one of many')"
tell 'processes seen' "$processes"
tell 'loopback network' "$(ip link show lo 2>/dev/null |
  awk '/^1:/ {print (/[<,]UP/ ? "up" : "down")}')"
tell 'root is' "$(awk '$1 == 0 {print "user " $2 " outside"}' /proc/self/uid_map)"
tell 'make a device' "$(allowed mknod $here c 1 3)"
tell 'control group' "$(cut -d: -f3 /proc/self/cgroup)"
tell 'nested processes' "$(deep 1 2>/dev/null | tail -n 1)"
tell 'call filter' "$(awk '$1 == "Seccomp:" {print ($2 == 2 ? "on" : "off")}' /proc/self/status)"
tell 'make a directory' "$(allowed mkdir $here.d)"
rm -rf $here $here.d
"""

_PREPARE = f"""
set -e
mkdir -p /box/bin /box/lib /box/proc /box/dev /box/tmp /box/etc
cp /bin/busybox /bin/see /box/bin/
cp /lib/ld-musl-* /box/lib/
chroot /box /bin/busybox --install -s /bin
mknod -m 666 /box/dev/null c 1 3
chmod 1777 /tmp /box/tmp
echo 'PRETTY_NAME="a box made by hand"' >/box/etc/os-release
mount -t proc proc /box/proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo +pids >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/box
echo {_PROCESS_LIMIT} >/sys/fs/cgroup/box/pids.max
ip link set lo up
"""


def line(steps: Sequence[str]) -> str:
    """The command line, typed by the guest's root, that takes ``steps`` and then looks around."""
    line = "chroot /box /bin/see" if "chroot" in steps else "/bin/see"
    if "seccomp" in steps:
        line = f"/bin/deny-mkdir /usr/bin/env {line}"  # it looks for no program itself
    if "mount" in steps:
        place = "/box/proc" if "chroot" in steps else "/proc"
        line = f"sh -c 'mount -t proc proc {place}; exec {line}'"
    if flags := [flag for name, flag in _FLAGS.items() if name in steps]:
        line = f"unshare {' '.join(flags)} {line}"
    if "user" in steps:
        line = f'su -s /bin/sh nobody -c "exec {line}"'
    if "cgroup" in steps:
        line = f"echo $$ >/sys/fs/cgroup/box/cgroup.procs; exec {line}"
    return line


def typed(line: str) -> str:
    """A line as people type it: with a shell in place of the observer, and a program of util-linux
    (2.40 and newer) in place of ours that forbids a system call."""
    line = re.sub(r"\S*/deny-mkdir /usr/bin/env", "enosys -s mkdir -s mkdirat", line)
    return re.sub(r"\S*/bin/see", "sh", line)


def lines() -> dict[str, tuple[str, ...]]:
    """Name → steps: the start, the steps one after the other, then all steps but one."""
    up = {step: STEPS[: number + 1] for number, step in enumerate(STEPS)}
    less = {all_but(step): tuple(one for one in STEPS if one != step) for step in STEPS}
    return {START: (), **up, **less}


def look(box: Sandbox, name: str) -> dict[str, str]:
    """What the observer sees at the end of a line: observation → value, the line as first.

    Args:
        box: the guest; prepared.
        name: one of :func:`lines`.

    Raises ``Unavailable``: the observer could not look around; the error says what was printed.
    """
    typed_line = line(lines()[name])
    done = box.run(["sh", "-c", typed_line])
    said = done.output.decode(errors="replace")
    seen = dict(_parsed(said.splitlines()))
    if done.exit_code or not seen:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise Unavailable(f"the observer did not start ({last})", "look at the recorded step")
    return {LINE: typed_line} | seen


def all_but(step: str) -> str:
    """What the line of all steps but one is called."""
    return f"all but {step}"


def prepare(box: Sandbox) -> None:
    """Make the box and what it needs in the guest. Raises ``LaunchFailure``, and as ``run``."""
    box.put("/bin/see", _OBSERVER.encode())
    box.put("/bin/deny-mkdir", deny_mkdir.elf(platform.machine()))
    done = box.run(["sh", "-c", _PREPARE])
    if done.exit_code:
        raise LaunchFailure(
            "the box could not be made", ("sh", "-c", "…"), done.output.decode(errors="replace")
        )


def same(name: str, one: str, other: str) -> bool:
    """Whether two values of an observation are the same; counts of processes come and go a little.

    A kernel's own workers are among the processes, so a tenth (at least 2) is no difference.
    """
    if name in _COUNTED and one.isdigit() and other.isdigit():
        low, high = sorted((int(one), int(other)))
        return high - low <= max(2, high // 10)
    return one == other


def written(seen: Mapping[str, str]) -> str:
    """Observations as the text of one row."""
    return "; ".join(f"{name}={value}" for name, value in seen.items())


def read(text: str) -> dict[str, str]:
    """The observations of a row's text, the line left out."""
    # A line holds semicolons too; what it leaves behind has no name of an observation.
    seen = {name: value for name, value in _parsed(text.split("; ")) if name != LINE}
    return {_OLD_NAMES.get(name, name): value for name, value in seen.items()}


def _parsed(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lines of the form ``name=value`` as pairs."""
    for text in lines:
        name, equals, value = text.partition("=")
        if equals:
            yield name, value
