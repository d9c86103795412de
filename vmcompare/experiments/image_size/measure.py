"""What is in each box, what it weighs, and what is sent again. Exact byte counts: one round.

Rows, all of them without an accelerator: files are weighed, and no virtual machine runs for that
(a guest writes the application onto its disk once, and perhaps a byte onto an overlay, but what it
writes does not depend on who executes it). So no caveat of emulation belongs to them.

- ``part_bytes`` by category (:mod:`.categories`) of everything in the box;
- ``image_bytes``, phases ``virtual``, ``allocated``, ``compressed`` (the whole box with the first
  application), ``unique`` (allocated, beyond a shared base), ``second-application`` and ``update``
  (compressed: what a computer with the base still needs), the last two also
  ``…-on-backing-file`` for ``vm`` and ``…-as-archive`` for ``vm-direct``;
- ``part_bytes``, phase ``piece <occasion>: <name>``, one row a piece, its digest in ``text``;
- ``part_bytes``, phases ``copy-up …``: one byte written to the base's largest file, in a container
  or, where there is none, in a ``vm`` (:mod:`.copy_up`);
- facts: ``musl_program_fails_on_host``, ``musl_program_runs_in_container``,
  ``engine_names_layer_by_sha256_of_its_tar``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from vmcompare.errors import LaunchFailure
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.image_size import application, categories, copy_up
from vmcompare.measuring.experiment import FAILURES, Context, Experiment, blank, failed, filled
from vmcompare.sandbox import Completed, Launcher, Machine, Packer, Parcel, Piece, Platform, Spec

MACHINES: Mapping[Platform, Machine] = {
    Platform.CONTAINER: Machine.NONE,
    Platform.VM_DIRECT: Machine.PC,
    Platform.VM: Machine.Q35,
}
"""Whose boxes are weighed."""

THIN = {Platform.VM_DIRECT: "as-archive", Platform.VM: "on-backing-file"}
"""How a machine can share a base; a container's layers do so by themselves."""

ALLOCATED, COMPRESSED, VIRTUAL, UNIQUE = "allocated", "compressed", "virtual", "unique"
SECOND, UPDATE = "second-application", "update"

_OCCASIONS: Mapping[str, Mapping[str, bytes]] = {
    "whole": application.WHOLE,
    SECOND: application.SECOND,
    UPDATE: application.UPDATE,
}

NAMED_BY_TAR = "engine_names_layer_by_sha256_of_its_tar"
"""The fact that the digest we made of the base's tar is the engine's name of that layer."""

FAILS_OUTSIDE, RUNS_INSIDE = "musl_program_fails_on_host", "musl_program_runs_in_container"

_MUSL_PROGRAM = "/bin/busybox"
"""Linked against musl, whose loader only Alpine and its relatives have."""

Rows = Iterator[Measurement]


def measure(context: Context) -> Iterator[Measurement]:
    """Rows, step by step. What fails is a row, and the run goes on."""
    steps: list[tuple[str, Callable[[], Rows]]] = []
    broken: set[Platform] = set()
    for platform, machine in MACHINES.items():
        launcher = context.launchers.get(platform)
        if launcher is None:
            continue
        spec = Spec(machine=machine)
        steps.append((f"{platform}: files", partial(_categories, launcher, platform, spec)))
        for occasion in _OCCASIONS:
            weigh = partial(_weigh, launcher, platform, spec, occasion, broken)
            steps.append((f"{platform}: {occasion}", weigh))
    place = next((place for place in copy_up.PLACES if place in context.launchers), None)
    if place is not None:
        one_byte = partial(_copy_up, context.launchers[place], place, context)
        steps.append((f"{place}: one byte", one_byte))
    source = next((platform for platform in MACHINES if platform in context.launchers), None)
    if source is not None:
        # Its dependencies are the same wherever it is taken from: a container, else a machine.
        steps.append(("one program, two places", partial(_musl, source, context)))
    for step in context.steps(steps):
        yield from step()


def _categories(launcher: Launcher, platform: Platform, spec: Spec) -> Rows:
    row = _row(launcher, platform, spec, "part_bytes")
    try:
        found = categories.weigh(_packer(launcher).contents(spec, application.WHOLE))
    except FAILURES as problem:
        yield failed(row, str(problem), phase=categories.APPLICATION)
        return
    for name, amount in found.items():
        yield filled(row, float(amount), phase=name)


def _weigh(
    launcher: Launcher, platform: Platform, spec: Spec, occasion: str, broken: set[Platform]
) -> Rows:
    row = _row(launcher, platform, spec, "image_bytes")
    first = COMPRESSED if occasion == "whole" else occasion
    if platform in broken:
        yield failed(row, "not tried again after a failure", phase=first)
        return
    try:
        parcel = _packer(launcher).parcel(spec, _OCCASIONS[occasion])
        layers = launcher.image(spec).layers
    except FAILURES as problem:
        broken.add(platform)
        yield failed(row, str(problem), phase=first)
        return
    for phase, size_bytes in _sizes(parcel, occasion, platform):
        yield filled(row, float(size_bytes), phase=phase)
    for piece in dict.fromkeys((*parcel.whole, *parcel.thin)):
        # One row a piece: which digests stay the same from one occasion to the next?
        phase = f"piece {occasion}: {piece.name}"
        value = float(piece.compressed_bytes)
        yield filled(row, value, metric="part_bytes", phase=phase, text=piece.digest)
    if platform is Platform.CONTAINER and occasion == "whole":
        same = parcel.whole[0].digest in layers
        digest = parcel.whole[0].digest
        yield filled(row, float(same), metric="fact", phase=NAMED_BY_TAR, text=digest)


def _sizes(parcel: Parcel, occasion: str, platform: Platform) -> Iterator[tuple[str, int]]:
    if occasion == "whole":
        yield VIRTUAL, sum(piece.virtual_bytes for piece in parcel.whole)
        yield ALLOCATED, sum(piece.allocated_bytes for piece in parcel.whole)
        yield COMPRESSED, _sent(parcel.whole)
        return
    yield occasion, _sent(parcel.again)
    if parcel.thin:
        yield f"{occasion}-{THIN[platform]}", _sent(parcel.thin)
    if occasion == SECOND:
        yield UNIQUE, sum(piece.allocated_bytes for piece in parcel.thin or parcel.again)


def _sent(pieces: tuple[Piece, ...]) -> int:
    return sum(piece.compressed_bytes for piece in pieces)


def _copy_up(launcher: Launcher, platform: Platform, context: Context) -> Rows:
    """Append one byte to the largest file of the base, and see what the layer grows by."""
    spec = Spec(machine=MACHINES[platform])
    row = _row(launcher, platform, spec, "part_bytes")
    try:
        base = copy_up.largest(_packer(launcher).contents(spec, {}))
        row = replace(row, text=base.path)
        with launcher.open(spec, context.on_event) as box:
            grown = copy_up.grown_bytes(box, platform, base.path)
    except FAILURES as problem:
        yield failed(row, str(problem), phase=copy_up.PHASES[-1])
        return
    sizes = (copy_up.WRITTEN_BYTES, base.size_bytes, grown)
    for phase, value in zip(copy_up.PHASES, sizes, strict=True):
        yield filled(row, float(value), phase=phase)


def _musl(source: Platform, context: Context) -> Rows:
    """The same program where its C library is, and on the host."""
    launcher, spec = context.launchers[source], Spec(machine=MACHINES[source])
    row = replace(_row(launcher, source, spec, "fact"), phase=RUNS_INSIDE)
    program, error = b"", ""
    try:
        with launcher.open(spec, context.on_event) as box:
            row = filled(row, float(box.run([_MUSL_PROGRAM, "true"]).exit_code == 0))
            program = box.run(["cat", _MUSL_PROGRAM]).output
    except FAILURES as problem:
        error = str(problem)
        row = failed(row, error)
    if source is Platform.CONTAINER:
        yield row
    host = context.launchers.get(Platform.PROCESS)
    if host is not None:
        row = replace(_row(host, Platform.PROCESS, Spec(), "fact"), phase=FAILS_OUTSIDE)
        yield failed(row, error) if error else _on_host(host, row, program, context)


def _on_host(host: Launcher, row: Measurement, program: bytes, context: Context) -> Measurement:
    try:
        with host.open(Spec(), context.on_event) as box:
            box.put("/busybox", program)
            fails, why = _fails(partial(box.run, ["/busybox", "true"]))
    except FAILURES as problem:
        return failed(row, str(problem))
    return filled(row, float(fails), text=why)


def _fails(attempt: Callable[[], Completed]) -> tuple[bool, str]:
    """Whether a program did not run for want of its loader or libraries, and what was said to it.

    Raises:
        LaunchFailure: it did not run for another reason (a place where nothing may be executed).
    """
    try:
        code = attempt().exit_code
    except LaunchFailure as problem:
        cause = problem.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENOEXEC):
            return True, cause.strerror or ""  # the full text names a path of this computer
        raise
    return code != 0, f"exit code {code}"


def _packer(launcher: Launcher) -> Packer:
    if not isinstance(launcher, Packer):
        raise LaunchFailure("this engine cannot say what is in its boxes", ())
    return launcher


def _row(launcher: Launcher, platform: Platform, spec: Spec, metric: str) -> Measurement:
    """A failed row to be filled; without accelerator, as nothing is executed to get its value."""
    return replace(blank(launcher, platform, spec, metric), accel="")


EXPERIMENT = Experiment(
    name="image_size",
    question="What is in the box, and what has to be shipped twice?",
    platforms=(Platform.PROCESS, *MACHINES),
    measure=measure,
    rounds=1,
)
