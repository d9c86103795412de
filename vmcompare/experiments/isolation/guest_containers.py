"""Containers in a disposable VM, where a misconfigured one can do no harm.

Root of the guest starts them with this computer's own ``runc``, without an engine, configured as
Docker does by default (:mod:`vmcompare.engines.images.oci`) but with a shorter call filter; then
one flag of ``docker run`` at a time is changed, as Docker changes it.

Other differences to Docker: ``runc run --no-pivot``, because a root file system in RAM cannot be
pivoted away; one root file system for all containers of a guest; no network bridge (a container's
own network has a loopback interface only); control groups are version 2.
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vmcompare.engines.images.oci import CAPABILITIES, CPU_PERIOD_US
from vmcompare.engines.images.oci import configuration as by_default
from vmcompare.engines.programs import calls
from vmcompare.errors import LaunchFailure, Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import probes
from vmcompare.experiments.isolation.boundaries import Found, Step, Survey, Variant
from vmcompare.experiments.isolation.probes import FLIPS, PROBES, BoundaryReading, Response, changed
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import (
    CONTAINER_HOST,
    RUNC_IN_A_GUEST,
    Machine,
    Platform,
    Sandbox,
    Spec,
)

IMAGE = "/c/image"
"""The root file system of all containers, in the guest."""

FLAGS: tuple[str, ...] = ("", *FLIPS)
"""The one flag that differs; empty: the defaults."""

_FILTERED: Mapping[str, str] = {
    "SYS_ADMIN BPF": "bpf",
    "SYS_ADMIN PERFMON": "perf_event_open",
    "SYS_ADMIN SYSLOG": "syslog",
    "SYS_ADMIN": "fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr "
    "move_mount open_tree quotactl setdomainname sethostname setns umount umount2 unshare",
    "SYS_MODULE": "delete_module finit_module init_module",
    "SYS_BOOT": "kexec_file_load kexec_load reboot",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy",
    "SYS_TIME": "clock_adjtime clock_settime settimeofday",
    "SYS_RAWIO": "ioperm iopl",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "SYS_TTY_CONFIG": "vhangup",
    "": "add_key keyctl move_pages nfsservctl pivot_root request_key swapoff swapon sysfs uselib "
    "userfaultfd ustat",
}
"""Capabilities → the calls that the filter refuses to who holds none of these.

Source: https://docs.docker.com/engine/security/seccomp/ (the calls that its table lists as
blocked), with the capabilities of moby's ``profiles/seccomp/default.json``. Docker's profile names
what it allows; ours names what it refuses, so it lets more through.
"""

_NEW_NAMESPACES = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""The ``CLONE_NEW…`` bits (Linux, ``sched.h``): mnt, cgroup, uts, ipc, user, pid, net."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a container, as ``--memory``, ``--pids-limit`` and ``--cpus`` set them."""

    memory_mib: int
    pids: int
    cpus: float

    @property
    def resources(self) -> dict[str, Any]:
        """The part ``linux.resources`` of an OCI configuration."""
        return {
            "memory": {"limit": self.memory_mib * MIB},
            "pids": {"limit": self.pids},
            "cpu": {"period": CPU_PERIOD_US, "quota": round(self.cpus * CPU_PERIOD_US)},
        }

    @property
    def read_back(self) -> str:
        """What ``memory.max``, ``pids.max`` and ``cpu.max`` hold then, between blanks."""
        quota = round(self.cpus * CPU_PERIOD_US)
        return f"{self.memory_mib * MIB} {self.pids} {quota} {CPU_PERIOD_US}"


def configuration(
    flag: str = "", *, args: Sequence[str], limits: Limits | None = None
) -> dict[str, Any]:
    """An OCI configuration: Docker's defaults with one flag of :data:`FLAGS` changed.

    ``args`` is the argv of the first program.
    """
    held: Sequence[str] = {
        "--privileged": tuple(f"CAP_{name}" for name in probes.CAPABILITY_NAMES),
        "--cap-add=SYS_ADMIN": (*CAPABILITIES, "CAP_SYS_ADMIN"),
    }.get(flag, CAPABILITIES)
    made = by_default(
        IMAGE,
        args,
        "unnamed",
        limits.resources if limits else {},
        capabilities=held,
        own_cgroups=True,
        read_only=False,
    )
    if flag not in ("--security-opt=seccomp=unconfined", "--privileged"):
        made["linux"]["seccomp"] = _call_filter(held)
    _change(flag, made)
    return made


def _change(flag: str, made: dict[str, Any]) -> None:
    """What a flag changes beside capabilities, filter and root file system."""
    linux = made["linux"]
    if flag.endswith("=host"):
        kind = flag.removeprefix("--").removesuffix("=host")
        linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != kind]
        if kind == "uts":
            del made["hostname"]
    elif flag == "--security-opt=systempaths=unconfined":
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    elif flag.startswith("--device-cgroup-rule"):
        rule = {"allow": True, "type": "b", "access": "rwm"}
        linux["resources"]["devices"].append(rule)
    elif flag == "-v /:/host":
        bind = {"destination": "/host", "type": "none", "source": "/"}
        made["mounts"].append({**bind, "options": ["rbind", "rprivate"]})
    elif flag == "--privileged":
        linux["maskedPaths"] = linux["readonlyPaths"] = []
        linux["resources"]["devices"].append({"allow": True, "access": "rwm"})
        for mount in made["mounts"]:
            mount["options"] = [option for option in mount["options"] if option != "ro"]


def _call_filter(held: Sequence[str]) -> dict[str, Any]:
    """The part ``linux.seccomp``: all calls are allowed but those of :data:`_FILTERED`."""
    refused = [
        name
        for by, names in _FILTERED.items()
        if not any(f"CAP_{capability}" in held for capability in by.split())
        for name in names.split()
    ]
    refuse = {"action": "SCMP_ACT_ERRNO"}
    rules: list[dict[str, Any]] = [refuse | {"names": refused}]
    if "CAP_SYS_ADMIN" not in held:
        # As Docker's: clone is refused with any of those bits. A filter cannot read those of
        # clone3, so that gets ENOSYS, and libraries fall back to clone.
        for bit in _NEW_NAMESPACES:
            when = {"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}
            rules.append(refuse | {"names": ["clone"], "args": [when]})
        rules.append(refuse | {"names": ["clone3"], "errnoRet": 38})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


# ---- a guest for containers --------------------------------------------------------------------

_HOST_FILE = "/srv/of-the-host"
"""A file of the guest that no image holds."""

_CGROUPS = "grep -q '/sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 cgroup /sys/fs/cgroup"

_PREPARE = f"""
set -e
{_CGROUPS}
ip link set lo up
mkdir -p /c /srv && mount -t tmpfs -o mode=755 tmpfs /c && mkdir -p {IMAGE}
echo 'a file of the host' > {_HOST_FILE}
cp -a /bin /sbin /lib /etc {IMAGE}/
cd {IMAGE} && mkdir -p proc sys dev tmp host usr/bin usr/sbin srv root && chmod 1777 tmp
/bin/busybox --install -s {IMAGE}/bin
if [ -e /lib/modules/loop.ko ]; then
  insmod /lib/modules/loop.ko && truncate -s 1M /srv/disk && losetup /dev/loop0 /srv/disk
fi
"""

_START_ENGINE = f"""
set -e
{_CGROUPS}
insmod /lib/modules/overlay.ko
mkdir -p /var/lib/docker && mount -t tmpfs -o size=400m docker /var/lib/docker
awaited() {{ until grep -q "$1" "$2"; do kill -0 $!; sleep 0.1; done; }}
containerd >/tmp/containerd.log 2>&1 &
awaited 'successfully booted' /tmp/containerd.log
DOCKER_RAMDISK=1 dockerd --containerd /run/containerd/containerd.sock --iptables=false \
  --ip6tables=false --bridge=none >/tmp/dockerd.log 2>&1 &
awaited 'API listen' /tmp/dockerd.log
"""


def prepare(vm: Sandbox, *, timeout_s: float = 60.0) -> None:
    """Make a guest of the image ``CONTAINER_HOST`` ready for containers, once.

    Raises what :meth:`Sandbox.run` raises, and ``LaunchFailure``: it could not be made ready.
    """
    _must_run(vm, _PREPARE, timeout_s, "the guest could not be made ready for containers")


def start_engine(vm: Sandbox, *, timeout_s: float, then: str = "") -> None:
    """Start this computer's own Docker, without an image, in a guest of ``ENGINE_HOST``.

    ``then`` is a line of shell that makes it one. Raises as :func:`prepare`.
    """
    _must_run(vm, _START_ENGINE + then, timeout_s, "Docker did not start in the guest")


def _must_run(vm: Sandbox, lines: str, timeout_s: float, otherwise: str) -> None:
    done = vm.run(["sh", "-c", lines], timeout_s=timeout_s)
    if done.exit_code:
        raise LaunchFailure(otherwise, ("sh",), done.output.decode(errors="replace")[-500:])


def write(vm: Sandbox, name: str, configuration: Mapping[str, Any]) -> None:
    """Write the configuration of a container into a prepared guest.

    Its control group is ``/sys/fs/cgroup/<name>`` in the guest.
    """
    linux = {**configuration["linux"], "cgroupsPath": f"/{name}"}
    vm.put(f"/c/{name}.json", json.dumps({**configuration, "linux": linux}).encode())


def start_line(name: str) -> str:
    """The line of shell that runs a container in the foreground.

    Its exit code is the first program's, or runc's own where the container did not start.
    """
    return (
        f"mkdir -p /c/{name} && cp /c/{name}.json /c/{name}/config.json && "
        f"runc run --no-pivot --bundle /c/{name} {name} </dev/null"
    )


def first_process(name: str) -> str:
    """Shell that prints the process number, in the guest, of a container's first process.

    Read from the state file of ``runc``, because ``runc state`` takes most of a second under
    emulation.
    """
    return f"""sed 's/.*"init_process_pid":\\([0-9]*\\).*/\\1/' /run/runc/{name}/state.json"""


# ---- the grid: one flag at a time --------------------------------------------------------------

GUEST = Spec(image=CONTAINER_HOST, machine=Machine.PC)
"""The guest that is the containers' host."""

NO_CONTAINER = "no container"
"""A process of the guest's root, outside any container."""

RUNTIME = RUNC_IN_A_GUEST

_PORT = 8098
_LOOP_DEVICE = 7 << 8  # number 7:0
_CALLS = "/calls"
# A server of the guest's: no process of a container has its number.
_SERVE = f"nc -lk -p {_PORT} -e /bin/true </dev/null >/dev/null 2>&1 & echo $!"


def variant(confinement: str) -> Variant:
    """A container with that flag, or ``NO_CONTAINER``."""
    return Variant(confinement, Platform.CONTAINER, GUEST, confinement, RUNTIME)


@dataclass(slots=True)
class Misconfigurations(Survey):
    """What the guest, once it is ready, and its containers answered to the ``wanted`` probes."""

    vm: Sandbox | None = None
    wanted: tuple[str, ...] = ()


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """The steps of this part; none without QEMU. ``stack`` closes the guest if the run stops."""
    if Platform.VM_DIRECT not in context.launchers:
        return []
    grid = Misconfigurations(context)
    stack.push(grid.kept)
    plan: list[Step] = [("a guest for containers", partial(_open, grid))]
    plan += [(f"in the guest: {flag or 'as by default'}", partial(_try, grid, flag))
             for flag in FLAGS]  # fmt: skip
    plan.append(("what the words changed", partial(_conclude, grid)))
    return plan


def _open(grid: Misconfigurations) -> Iterator[Measurement]:
    """Start the guest, make it ready, make the probes outside any container."""

    def respond() -> tuple[Response, BoundaryReading]:
        launcher = grid.context.launchers[Platform.VM_DIRECT]
        vm = grid.kept.enter_context(launcher.open(GUEST, grid.context.on_event))
        prepare(vm)
        served = vm.run(["sh", "-c", _SERVE]).output.decode(errors="replace")
        if not served.strip().isdigit():
            raise LaunchFailure("the guest's own server did not start", ("sh",), served)
        host = probes.read(vm)
        aim = partial(probes.targets, host, int(served), _PORT, _HOST_FILE)
        response = probes.ask(vm, {**aim(root=""), "{disk}": _LOOP_DEVICE})
        wanted = probes.possible({**aim(), "{disk}": _LOOP_DEVICE}, platform.machine())
        vm.put(IMAGE + _CALLS, calls.elf(platform.machine(), tuple(wanted.values())))
        grid.vm, grid.wanted, grid.host = vm, tuple(wanted), host
        return Response(host, response.answers), host

    return grid.ask(variant(NO_CONTAINER), respond)


def _try(grid: Misconfigurations, flag: str) -> Iterable[Measurement]:
    """The probes in a container with that flag; no rows where the guest did not start.

    The default container has observations, too: it stands in for Docker's where there is none.
    """
    vm, name = grid.vm, f"w{FLAGS.index(flag)}"
    if vm is None:
        grid.why[flag] = grid.why[NO_CONTAINER]
        return ()

    def respond() -> tuple[Response, BoundaryReading | None]:
        write(vm, name, configuration(flag, args=["sh", "-c", f"{probes.READING}exec {_CALLS}"]))
        output = vm.run(["sh", "-c", start_line(name)]).output
        text, end, answers = output.partition(f"\n{probes.END_OF_READING}\n".encode())
        if not end:
            said = output.decode(errors="replace").strip()[-300:]
            raise Unavailable(f"the container did not start ({said})", "look at a recording")
        reading = probes.parse_reading((text + end).decode(errors="replace"))
        decoded = calls.decode(answers, len(grid.wanted))
        return Response(reading, dict(zip(grid.wanted, decoded, strict=True))), grid.host

    return grid.ask(variant(flag), respond, observed=not flag)


def _conclude(grid: Misconfigurations) -> Iterator[Measurement]:
    """The facts of S3 and S5: what one flag changes, and what a privileged container opens."""
    grid.kept.close()
    for flag, name, find in (
        ("", "one_misconfiguration_flips_a_probe", _flips),
        ("--privileged", "privileged_container_opens_host_devices", _opens),
    ):
        yield from grid.facts(variant(flag), [name], partial(find, grid))


def _flips(grid: Misconfigurations) -> Found:
    base = grid.answers(variant(""))
    tried = [flag for flag in probes.WEAKENINGS if flag in grid.through]
    if not tried:
        raise Unavailable("the containers of the guest did not start", "look at a recording")
    flips = {flag: changed(base, grid.through[flag]) for flag in tried}
    some = sum(any(PROBES[name].aim == probes.HOST for name in flips[flag]) for flag in tried)
    as_said = sum(flips[flag] == FLIPS[flag] for flag in tried)
    return [(some > 0, f"{some} of {len(tried)} words, {as_said} as registered")]


def _opens(grid: Misconfigurations) -> Found:
    answers = grid.answers(variant("--privileged"))
    opened = [name for name in probes.DEVICES if answers.get(name)]
    return [(bool(opened), ", ".join(opened))]
