"""What is put into a place unlike this computer, and whether it runs there: facts, without a time.

Another kernel: the container's image in a second engine, in a VM. Other hardware: a VM's disk in
another virtual computer. Another processor: a program made for it, in an instance of each kind; a
container shares the host's processor, so what runs there was emulated.

Of each place an ``observation`` says whether what was put there runs; ``text`` has the answer, or
what is lacking to try it.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import replace

from vmcompare.engines.programs import first_byte
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation.guest_containers import start_engine
from vmcompare.measuring.experiment import failed, filled
from vmcompare.sandbox import (
    ENGINE_HOST,
    FIRST_BYTE,
    FOREIGN,
    RUNC_IN_A_GUEST,
    Launcher,
    Machine,
    Platform,
    Saver,
    Spec,
)

KERNEL, HARDWARE, IDE, PROGRAM = "other-kernel", "other-hardware", "ide-disk", "foreign-program"
"""Phases, one a place; in instances that differ for the last."""

GUEST = Spec(image=ENGINE_HOST, machine=Machine.PC, memory_mib=1024)
"""The guest with the second engine."""

OTHER = "arm64" if platform.machine().lower() in ("x86_64", "amd64") else "x86_64"
"""The other of the two processors that this course knows."""

BY_HAND = "unshare"  # the runtime of a container that is made by hand
FOREIGN_VM = Spec(image=FOREIGN, machine=Machine.VIRT, memory_mib=256)
_RAN, _NO_FORMAT = "it ran", "exec format error"  # the latter is the kernel's ENOEXEC, in words
_STARTS, _IDE_ROOT = "it starts", "/dev/sda"
_PATIENCE_S = 600.0  # for a line in that guest, on a busy computer
_IMAGE, _PLACE = "/tmp/image.tar.gz", "/tmp/foreign"
_ASKED = "uname -r; cat /etc/alpine-release"
_LOAD = f"""
docker load -qi {_IMAGE} >/dev/null && rm {_IMAGE}
image=$(docker images -q --no-trunc)
echo "$image" && docker run --rm --network none "$image" sh -c '{_ASKED}'
"""
_LOAD_FOREIGN = """
tar -C /tmp -c foreign | docker import - foreign >/dev/null
docker run --rm --network none foreign /foreign </dev/null 2>&1
"""

_REGISTERED = "registered"
_EMULATED = rf"""
set -e
emulator=$(command -v qemu-aarch64-static) || {{ echo 'no qemu-aarch64-static on PATH'; exit 1; }}
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf %s ":arm64:M:18:\xb7\x00::$emulator:F" >/proc/sys/fs/binfmt_misc/register
echo {_REGISTERED}
chroot "${{1%/*}}" /foreign </dev/null
"""
"""A container by hand: its root has one file, a program for arm64 (183, hexadecimal b7, at byte 18
of an ELF file). Since Linux 6.7 a user namespace can have emulators of its own."""

_GAVE_UP = re.compile(r"mounting (/dev/\S+) on \S+ failed: ([^\r\n]+)")
"""What BusyBox's ``mount`` says in the distribution's RAM disk."""

# Each of these makes the rows of one place, of a row that knows all but what is found; it raises
# what its launchers raise.


def kernel(row: Measurement, vms: Launcher, containers: Launcher) -> Iterator[Measurement]:
    """Save the image, load and run it in a guest's engine, which has none."""
    if not isinstance(containers, Saver):
        raise Unavailable("images cannot be saved with this engine", "use Docker")
    with containers.open(Spec(), lambda _: None) as box:
        said = [box.run(["sh", "-c", _ASKED])]
    with vms.open(GUEST, lambda _: None) as vm:
        start_engine(vm, timeout_s=_PATIENCE_S)
        vm.put(_IMAGE, containers.save(Spec()))
        said.append(vm.run(["sh", "-c", _LOAD], timeout_s=_PATIENCE_S))
        vm.put(_PLACE, first_byte.elf(OTHER))
        said.append(vm.run(["sh", "-c", _LOAD_FOREIGN], timeout_s=_PATIENCE_S))
    here, there, foreign = (done.output.decode(errors="replace").splitlines() for done in said)
    here.insert(0, containers.image(Spec()).digest)
    if len(here) != 3 or len(there) != 3:
        raise LaunchFailure("the image did not run in the guest", ("docker",), "\n".join(there))
    if here[1] == there[1]:
        raise Unavailable("the guest has this computer’s kernel", "replay a recording")
    same = float(here[::2] == there[::2])
    row = replace(
        row, metric="fact", platform=Platform.CONTAINER, layer="product", runtime=RUNC_IN_A_GUEST,
        image_digest=there[0], guest_kernel=there[1],
    )  # fmt: skip
    text = f"{_RAN if same else 'it differs'}; here {_told(*here)}; there {_told(*there)}"
    yield filled(row, same, metric="observation", phase=KERNEL, text=text)
    yield filled(row, same, phase="saved_image_runs_on_another_kernel")
    fails = any(_NO_FORMAT in line.lower() for line in foreign)
    yield filled(row, float(fails), phase="foreign_architecture_image_fails")


def _told(image: str, release: str, version: str) -> str:
    return f"image {image.removeprefix('sha256:')[:12]}, Linux {release}, Alpine {version}"


def hardware(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    """Start the VM's disk in another virtual computer than its makers do; then as an IDE disk.

    The latter as its makers do, and told the disk's name by hand.
    """
    spec = Spec(machine=Machine(row.machine))
    row, said = replace(row, metric="observation"), _started(launcher, spec)
    yield filled(row, float(said == _STARTS), phase=HARDWARE, text=said)
    as_made = _started(launcher, replace(spec, ide=True))
    by_hand = _started(launcher, replace(spec, ide=True, root=_IDE_ROOT))
    said = f"{as_made}; with root={_IDE_ROOT} {by_hand}"
    yield filled(row, float(as_made == _STARTS), phase=IDE, text=said)


def _started(launcher: Launcher, spec: Spec) -> str:
    try:
        with launcher.open(spec, lambda _: None):
            return _STARTS
    except LaunchFailure as failure:
        if (gave_up := _GAVE_UP.search(failure.console)) is None:
            raise
        return f"it gives up: {gave_up[1]}: {gave_up[2]}"


def program(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    """Start the other processor's program in an instance that has this computer's."""
    with launcher.open(Spec(machine=Machine(row.machine)), lambda _: None) as box:
        box.put(_PLACE, first_byte.elf(OTHER))
        done = box.run(["env", _PLACE])  # a shell would take it for a script, and complain of that
    ran, refused = FIRST_BYTE in done.output, _NO_FORMAT.encode() in done.output.lower()
    said = _RAN if ran else _NO_FORMAT if refused else f"exit code {done.exit_code}"
    yield filled(row, float(ran), metric="observation", phase=PROGRAM, text=said)
    if row.platform is Platform.CONTAINER:
        fact, phase = replace(row, metric="fact"), "foreign_binary_runs_in_container"
        # What runs on the wrong processor was emulated: then this says nothing of a container.
        why = "this computer emulates the other processor for its containers"
        yield failed(fact, why, phase=phase) if ran else filled(fact, 0.0, phase=phase)
        if ran:
            yield filled(fact, 1.0, phase=f"{phase}_with_emulation")


def emulated_program(row: Measurement, processes: Launcher, _: Launcher) -> Iterator[Measurement]:
    """Start a program for arm64 in a container with an emulator: made by hand, not by Docker.

    So Docker's launcher is not asked; without it the run is to hold nothing of containers.
    """
    with processes.open(Spec(), lambda _: None) as box:
        box.put(_PLACE, first_byte.elf("arm64"))
        container = ("unshare", "-U", "-r", "-m", "-p", "-f", "sh", "-c", _EMULATED, "sh")
        output = box.run([*container, _PLACE]).output
    lines, ran = output.decode(errors="replace").split("\n"), float(FIRST_BYTE in output)
    row = replace(row, metric="fact", platform=Platform.CONTAINER, runtime=BY_HAND)
    said = _RAN if ran else " ".join(line for line in lines if line)
    tried = _REGISTERED in lines
    text = said if tried else f"not tried: {said}"
    yield filled(row, ran, metric="observation", phase=PROGRAM, text=text)
    if tried:
        yield filled(row, ran, phase="foreign_binary_runs_in_container_with_emulation")


def program_in_its_vm(row: Measurement, launcher: Launcher) -> Iterator[Measurement]:
    """Start a program for arm64 in a VM that has such a processor."""
    row, said, ran = replace(row, metric="fact"), _RAN, 1.0
    try:
        traits = launcher.traits(FOREIGN_VM)
        digest = launcher.image(FOREIGN_VM).digest
        row = replace(row, vmm=traits.vmm, accel=traits.accel, image_digest=digest)
        with launcher.open(FOREIGN_VM, lambda _: None):
            pass
    except Unavailable as lacking:
        said, ran = f"not tried: {lacking.what}; {lacking.next_step}", 0.0
    yield filled(row, ran, metric="observation", phase=PROGRAM, text=said)
    if ran:
        yield filled(row, ran, phase="foreign_binary_runs_in_vm")
