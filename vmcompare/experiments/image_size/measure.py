"""What is in each image, how large it is, and what is sent again. Exact byte counts: one round.

No row has an accelerator: files are weighed, and no VM runs for that (a guest writes the
application onto its disk once, but what it writes does not depend on how it is executed). So no
caveat of emulation belongs to them. Rows:

- ``part_bytes`` by category (:data:`CATEGORIES`) of everything in the image;
- ``image_bytes``, phases ``virtual``, ``allocated``, ``compressed`` (the whole image with the first
  application), ``unique`` (allocated, beyond a shared base), ``second-application`` and ``update``
  (compressed: what a computer with the base still needs), the last two also
  ``…-on-backing-file`` for ``vm`` and ``…-as-archive`` for ``vm-direct``;
- ``part_bytes``, phases ``copy-up …``: one byte written to the base's largest file in a container;
- facts: ``musl_program_fails_on_host``, ``musl_program_runs_in_container``.
"""

from __future__ import annotations

import errno
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from vmcompare.errors import LaunchFailure
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.measuring.experiment import FAILURES, Context, Experiment, blank, failed, filled
from vmcompare.sandbox import (
    FIRST_BYTE_PROGRAM,
    FileFact,
    Launcher,
    Layered,
    Machine,
    Packer,
    Piece,
    Platform,
    Sandbox,
    Spec,
)

MACHINES: Mapping[Platform, Machine] = {
    Platform.CONTAINER: Machine.NONE,
    Platform.VM_DIRECT: Machine.PC,
    Platform.VM: Machine.Q35,
}
"""Whose images are weighed."""

SHARED = {Platform.VM_DIRECT: "as-archive", Platform.VM: "on-backing-file"}
"""How a VM can share a base by an extra step; a container's layers do so by themselves."""

ALLOCATED, COMPRESSED, VIRTUAL, UNIQUE = "allocated", "compressed", "virtual", "unique"
SECOND, UPDATE = "second-application", "update"

WRITTEN, COPIED_FILE, GROWN = "copy-up written", "copy-up file", "copy-up copied"
"""Bytes the program wrote; size of the file it wrote to; growth of the upper layer."""

FAILS_OUTSIDE, RUNS_INSIDE = "musl_program_fails_on_host", "musl_program_runs_in_container"

_MUSL_PROGRAM = "/bin/busybox"
"""Linked against musl, whose loader only Alpine and its relatives have."""

PROGRAM_BYTES = MIB
"""A small program of a compiled language. The lesson's text names this size."""

_SIXTEEN = bytes(random.Random(16).sample(range(256), 16)[b % 16] for b in range(256))
"""Maps all bytes to sixteen of them, so that half of every byte is redundant."""


def application(name: str, version: int) -> Mapping[str, bytes]:
    """Absolute path → content of ``/opt/<name>``: a program and the script that starts it.

    It is made up, but as heavy as a small real one. For shipping only bytes count: how many, how
    well they compress, whether they are the same as before. The program is seeded noise of sixteen
    values, which gzip halves, as it does machine code. Another version shares no stretch of bytes
    with the one before, as after a rebuild. The same name and version are the same bytes on every
    computer.
    """
    noise = random.Random(f"{name} {version}").randbytes(PROGRAM_BYTES)
    return {
        f"/opt/{name}/program": noise.translate(_SIXTEEN),
        f"/opt/{name}/run": f"#!/bin/sh\necho {name} version {version}\n".encode(),
    }


APPLICATIONS: Mapping[str, Mapping[str, bytes]] = {
    "whole": application("notes", 1),
    SECOND: application("meter", 1),
    UPDATE: application("notes", 2),
}
"""Occasion → what is put into the image: the first application, another one, the first rebuilt."""

# ---- categories -------------------------------------------------------------------------------

APPLICATION, KERNEL, RAM_DISK = "application", "kernel", "initial RAM disk"
MODULES, FIRMWARE, INIT = "modules", "firmware", "init and services"
PACKAGES, LIBRARIES, PROGRAMS = "package manager", "libraries", "programs"
REST = "data and settings"

ONLY_VM = (KERNEL, RAM_DISK, MODULES, FIRMWARE)
"""What starts a computer: a container's kernel runs already, so it needs none of it."""

CATEGORIES = (
    APPLICATION, LIBRARIES, PROGRAMS, REST, PACKAGES, INIT, FIRMWARE, MODULES, RAM_DISK, KERNEL,
)  # fmt: skip
"""All of them, the application first and what is closest to the hardware last."""

RULES: tuple[tuple[str, str], ...] = (
    # What is shipped for its own sake: ours, and the tiny program that every start waits for.
    (APPLICATION, r"/opt/|" + re.escape(FIRST_BYTE_PROGRAM) + r"$"),
    # mkinitfs writes it; it unpacks into RAM, finds the disk and hands over.
    (RAM_DISK, r"/boot/initramfs"),
    # The rest of /boot: the kernel, its symbol table and its configuration.
    (KERNEL, r"/boot/"),
    (MODULES, r"(/usr)?/lib/modules/"),
    (FIRMWARE, r"(/usr)?/lib/firmware/"),
    # OpenRC, BusyBox init's table, what they start, and the two agents that take commands.
    (
        INIT,
        r"/init$|/etc/(init\.d|conf\.d|runlevels|inittab|rc\.conf|local\.d)|/(usr/)?lib(exec)?/rc/"
        r"|/s?bin/(openrc|rc-|rc$|supervise-daemon|start-stop-daemon|vmcompare-agent)"
        r"|/(usr/)?lib/lib(rc|einfo)\.|/etc/init\.d/|/usr/local/bin/quicksand-guest-agent",
    ),
    # apk, its library, its database of what is installed, its keys.
    (PACKAGES, r"/s?bin/apk|/(usr/)?lib/(apk|libapk)|/etc/apk|/var/cache/apk|/usr/share/apk"),
    # Shared objects wherever they lie; the C library is also the loader.
    (LIBRARIES, r".*\.so(\.|$)|/lib/ld-musl|(/usr)?/lib/"),
    (PROGRAMS, r"(/usr(/local)?)?/s?bin/|/usr/libexec/"),
)
"""(category, pattern matched from the start of the path); the first that matches counts, and what
none matches is :data:`REST`."""


def category(path: str) -> str:
    """To which part of a system a file belongs, by its path."""
    return next((name for name, pattern in RULES if re.match(pattern, path)), REST)


def weigh(files: Iterable[FileFact]) -> Mapping[str, int]:
    """Category → bytes of its files, every category once, zeros too."""
    found: Counter[str] = Counter()
    for file in files:
        found[category(file.path)] += file.size_bytes
    return {name: found[name] for name in CATEGORIES}


# ---- rows -------------------------------------------------------------------------------------

Rows = Iterator[Measurement]


def measure(context: Context) -> Iterator[Measurement]:
    """Rows, step by step. What fails is a row, and the run goes on."""
    steps: list[tuple[str, Callable[[], Rows]]] = []
    broken: set[Platform] = set()
    there = [platform for platform in MACHINES if platform in context.launchers]
    for platform in there:
        launcher = context.launchers[platform]
        steps.append((f"{platform}: files", partial(_categories, launcher, platform)))
        for occasion in APPLICATIONS:
            sizes = partial(_sizes, launcher, platform, occasion, broken)
            steps.append((f"{platform}: {occasion}", sizes))
    if Platform.CONTAINER in there:
        steps.append(("container: one byte", partial(_copy_up, context)))
    for platform in there[:1]:
        # Its dependencies are the same wherever it is taken from: a container, else a VM.
        steps.append(("one program, two places", partial(_musl, platform, context)))
    for step in context.steps(steps):
        yield from step()


def _categories(launcher: Launcher, platform: Platform) -> Rows:
    row = _row(launcher, platform, "part_bytes")
    try:
        found = weigh(_packer(launcher).contents(_spec(platform), APPLICATIONS["whole"]))
    except FAILURES as problem:
        yield failed(row, str(problem), phase=APPLICATION)
        return
    for name, amount in found.items():
        yield filled(row, float(amount), phase=name)


def _sizes(launcher: Launcher, platform: Platform, occasion: str, broken: set[Platform]) -> Rows:
    row, spec = _row(launcher, platform, "image_bytes"), _spec(platform)
    first = COMPRESSED if occasion == "whole" else occasion
    if platform in broken:
        yield failed(row, "not tried again after a failure", phase=first)
        return
    try:
        parcel = _packer(launcher).parcel(spec, APPLICATIONS[occasion])
    except FAILURES as problem:
        broken.add(platform)
        yield failed(row, str(problem), phase=first)
        return
    if occasion == "whole":
        sums = {
            VIRTUAL: sum(piece.virtual_bytes for piece in parcel.whole),
            ALLOCATED: sum(piece.allocated_bytes for piece in parcel.whole),
            COMPRESSED: _sent(parcel.whole),
        }
    else:
        sums = {occasion: _sent(parcel.again)}
        if parcel.thin:
            sums[f"{occasion}-{SHARED[platform]}"] = _sent(parcel.thin)
        if occasion == SECOND:
            sums[UNIQUE] = sum(piece.allocated_bytes for piece in parcel.thin or parcel.again)
    for phase, size_bytes in sums.items():
        yield filled(row, float(size_bytes), phase=phase)


def _sent(pieces: tuple[Piece, ...]) -> int:
    return sum(piece.compressed_bytes for piece in pieces)


def _copy_up(context: Context) -> Rows:
    launcher, spec = context.launchers[Platform.CONTAINER], _spec(Platform.CONTAINER)
    row = _row(launcher, Platform.CONTAINER, "part_bytes")
    try:
        files = _packer(launcher).contents(spec, {})
        userland = (file for file in files if category(file.path) not in ONLY_VM)
        base = max(userland, key=lambda file: file.size_bytes)
        row = replace(row, text=base.path)
        with launcher.open(spec, context.on_event) as box:
            grown = grown_bytes(box, base.path)
    except FAILURES as problem:
        yield failed(row, str(problem), phase=GROWN)
        return
    for phase, value in ((WRITTEN, 1), (COPIED_FILE, base.size_bytes), (GROWN, grown)):
        yield filled(row, float(value), phase=phase)


def grown_bytes(box: Sandbox, path: str) -> int:
    """Append one byte to the file at ``path``; the bytes by which the upper layer grew.

    A container writes through its engine's storage driver. Raises ``LaunchFailure``: the file could
    not be written to, or no layer could be looked at.
    """
    if not isinstance(box, Layered):
        raise LaunchFailure("this engine does not tell what a container wrote", ())
    before = box.written_bytes()
    if box.run(["sh", "-c", f"printf x >> {path}"]).exit_code:
        raise LaunchFailure(f"{path} could not be written to", ("printf", "x"))
    return box.written_bytes() - before


def _musl(source: Platform, context: Context) -> Rows:
    """The same program where its C library is, and on the host."""
    launcher = context.launchers[source]
    row = replace(_row(launcher, source, "fact"), phase=RUNS_INSIDE)
    program, error = b"", ""
    try:
        with launcher.open(_spec(source), context.on_event) as box:
            row = filled(row, float(box.run([_MUSL_PROGRAM, "true"]).exit_code == 0))
            program = box.run(["cat", _MUSL_PROGRAM]).output
    except FAILURES as problem:
        error = str(problem)
        row = failed(row, error)
    if source is Platform.CONTAINER:
        yield row
    host = context.launchers.get(Platform.PROCESS)
    if host is not None:
        row = replace(_row(host, Platform.PROCESS, "fact"), phase=FAILS_OUTSIDE)
        yield failed(row, error) if error else _on_host(host, row, program, context)


def _on_host(host: Launcher, row: Measurement, program: bytes, context: Context) -> Measurement:
    try:
        with host.open(Spec(), context.on_event) as box:
            box.put("/busybox", program)
            fails, why = _fails(box)
    except FAILURES as problem:
        return failed(row, str(problem))
    return filled(row, float(fails), text=why)


def _fails(box: Sandbox) -> tuple[bool, str]:
    """Whether the program lacks its loader or libraries, and what was said to it.

    Raises ``LaunchFailure``: it did not run for another reason (nothing may be executed there).
    """
    try:
        code = box.run(["/busybox", "true"]).exit_code
    except LaunchFailure as problem:
        cause = problem.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENOEXEC):
            return True, cause.strerror or ""  # the full text names a path of this computer
        raise
    return code != 0, f"exit code {code}"


def _packer(launcher: Launcher) -> Packer:
    if not isinstance(launcher, Packer):
        raise LaunchFailure("this engine cannot say what is in its images", ())
    return launcher


def _spec(platform: Platform) -> Spec:
    return Spec(machine=MACHINES.get(platform, Machine.NONE))


def _row(launcher: Launcher, platform: Platform, metric: str) -> Measurement:
    """A failed row to be filled; without accelerator, as nothing is executed to get its value."""
    return blank(launcher, platform, _spec(platform), metric, accel="")


EXPERIMENT = Experiment(
    name="image_size",
    question="What is in an image, and what has to be sent twice?",
    platforms=(Platform.PROCESS, *MACHINES),
    measure=measure,
    rounds=1,
)
