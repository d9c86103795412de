"""Containers in a disposable VM, where a misconfigured one can do no harm.

The guest is ``vm-direct`` with the image ``CONTAINER_HOST``: its root starts containers with this
computer's own ``runc``, without an engine. They are configured as Docker does by default
(:mod:`vmcompare.engines.images.oci`), with a shorter call filter; then one flag of ``docker run``
at a time is changed, as Docker changes it (:func:`configuration`).

Other differences to Docker: ``runc run --no-pivot``, because a root file system in RAM cannot be
pivoted away; one root file system for all containers of a guest; no network bridge (a container's
own network has a loopback interface only); control groups are version 2.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vmcompare.engines.images.oci import CAPABILITIES, CPU_PERIOD_US
from vmcompare.engines.images.oci import configuration as by_default
from vmcompare.engines.programs import calls
from vmcompare.errors import LaunchFailure, Unavailable, UnknownName
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import probes
from vmcompare.experiments.isolation.boundaries import (
    OWN_NETWORKS,
    Pair,
    Step,
    Survey,
    Variant,
    neighbour_facts,
    neighbour_rows,
    try_neighbour,
)
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    DEVICES,
    END_OF_READING,
    FLIPS,
    HOST,
    PROBES,
    READING,
    BoundaryReading,
    Response,
    changed,
)
from vmcompare.measuring.experiment import Context, blank
from vmcompare.sandbox import (
    CONTAINER_HOST,
    RUNC_IN_A_GUEST,
    Completed,
    Launcher,
    Machine,
    Platform,
    Sandbox,
    Spec,
)

IMAGE = "/c/image"
"""The root file system of all containers, in the guest."""

IMAGE_OF_USER = "/c/image-of-user"
"""The same with ``--userns``: its files belong to the user that is root inside."""

FIRST_SUBORDINATE, _SUBORDINATES = 100_000, 65_536
"""What ``/etc/subuid`` gives a user, and so a rootless engine, on common distributions."""

FILTERED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
         "mount_setattr", "move_mount", "open_tree", "quotactl", "setdomainname",
         "sethostname", "setns", "umount", "umount2", "unshare"),
        ("CAP_SYS_ADMIN",)),
    "bpf": ("CAP_SYS_ADMIN", "CAP_BPF"),
    "perf_event_open": ("CAP_SYS_ADMIN", "CAP_PERFMON"),
    "syslog": ("CAP_SYS_ADMIN", "CAP_SYSLOG"),
    **dict.fromkeys(("delete_module", "finit_module", "init_module"), ("CAP_SYS_MODULE",)),
    **dict.fromkeys(("kexec_file_load", "kexec_load", "reboot"), ("CAP_SYS_BOOT",)),
    **dict.fromkeys(("get_mempolicy", "mbind", "set_mempolicy"), ("CAP_SYS_NICE",)),
    **dict.fromkeys(("clock_adjtime", "clock_settime", "settimeofday"), ("CAP_SYS_TIME",)),
    **dict.fromkeys(("ioperm", "iopl"), ("CAP_SYS_RAWIO",)),
    "acct": ("CAP_SYS_PACCT",), "kcmp": ("CAP_SYS_PTRACE",),
    "open_by_handle_at": ("CAP_DAC_READ_SEARCH",), "vhangup": ("CAP_SYS_TTY_CONFIG",),
    **dict.fromkeys(
        ("add_key", "keyctl", "move_pages", "nfsservctl", "pivot_root", "request_key",
         "swapoff", "swapon", "sysfs", "uselib", "userfaultfd", "ustat"),
        ()),
}  # fmt: skip
"""System call that the filter refuses → the capabilities any of which lifts that.

Source: https://docs.docker.com/engine/security/seccomp/ (the calls that its table lists as
blocked), with the capabilities of moby's ``profiles/seccomp/default.json``. Docker's profile names
what it allows; ours names what it refuses, so it lets more through.
"""

_NEW_NAMESPACES = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""The ``CLONE_NEW…`` bits (Linux, ``sched.h``): mnt, cgroup, uts, ipc, user, pid, net."""

_NOBODY = 65534

_WITHOUT_NAMESPACE = {
    "--pid=host": "pid",
    "--network=host": "network",
    "--ipc=host": "ipc",
    "--uts=host": "uts",
}

FLAGS: tuple[str, ...] = ("", *FLIPS)
"""The one flag that differs; empty: the defaults."""


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


def configuration(
    flag: str = "", *, args: Sequence[str], limits: Limits | None = None
) -> dict[str, Any]:
    """An OCI configuration: Docker's defaults with one flag of ``docker run`` changed.

    Args:
        flag: of :data:`FLAGS`.
        args: argv of the first program.
        limits: of its control group.

    Raises:
        UnknownName: there is no such flag.
    """
    if flag not in FLAGS:
        raise UnknownName("flag", flag, FLAGS)
    held: Sequence[str] = {
        "--privileged": tuple(f"CAP_{name}" for name in CAPABILITY_NAMES),
        "--cap-add=SYS_ADMIN": (*CAPABILITIES, "CAP_SYS_ADMIN"),
        "--cap-drop=ALL": (),
    }.get(flag, CAPABILITIES)
    made = by_default(
        IMAGE_OF_USER if flag == "--userns" else IMAGE,
        args,
        "unnamed",
        limits.resources if limits else {},
        capabilities=held,
        own_cgroups=True,
        read_only=flag == "--read-only",
    )
    if flag not in ("--security-opt=seccomp=unconfined", "--privileged"):
        made["linux"]["seccomp"] = call_filter(held)
    _change(flag, made)
    return made


def _change(flag: str, made: dict[str, Any]) -> None:
    """What a flag changes beside capabilities, filter and root file system."""
    linux, process = made["linux"], made["process"]
    if flag in _WITHOUT_NAMESPACE:
        kind = _WITHOUT_NAMESPACE[flag]
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
    elif flag == "--user=65534":
        process["user"] = {"uid": _NOBODY, "gid": _NOBODY}
        process["capabilities"] |= {"effective": [], "permitted": []}
    elif flag == "--security-opt=no-new-privileges":
        process["noNewPrivileges"] = True
    elif flag == "--userns":
        linux["namespaces"].append({"type": "user"})
        mapping = {"containerID": 0, "hostID": FIRST_SUBORDINATE, "size": _SUBORDINATES}
        linux["uidMappings"] = linux["gidMappings"] = [mapping]


def call_filter(held: Sequence[str]) -> dict[str, Any]:
    """The part ``linux.seccomp``: all calls are allowed but those of :data:`FILTERED`."""
    refused = sorted(call for call, by in FILTERED.items() if not set(by) & set(held))
    calls: list[dict[str, Any]] = [{"names": refused, "action": "SCMP_ACT_ERRNO"}]
    if "CAP_SYS_ADMIN" not in held:
        # As Docker's: clone is refused with any of those bits. A filter cannot read those of
        # clone3, so that gets ENOSYS, and libraries fall back to clone.
        calls += [
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}],
            }
            for bit in _NEW_NAMESPACES
        ]
        calls.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}


# ---- a guest for containers --------------------------------------------------------------------

HOST_FILE = "/srv/of-the-host"
"""A file of the guest that no image holds."""

_PREPARE = f"""
set -e
grep -q '/sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
mkdir -p /c /srv && mount -t tmpfs -o mode=755 tmpfs /c && mkdir -p {IMAGE}
echo 'a file of the host' > {HOST_FILE}
cp -a /bin /sbin /lib /etc {IMAGE}/
cd {IMAGE} && mkdir -p proc sys dev tmp host usr/bin usr/sbin srv root && chmod 1777 tmp
/bin/busybox --install -s {IMAGE}/bin
cp -a {IMAGE} {IMAGE_OF_USER} && chown -R {FIRST_SUBORDINATE}:{FIRST_SUBORDINATE} {IMAGE_OF_USER}
if [ -e /lib/modules/loop.ko ]; then
  insmod /lib/modules/loop.ko && truncate -s 1M /srv/disk && losetup /dev/loop0 /srv/disk
fi
"""


def prepare(vm: Sandbox, *, timeout_s: float = 60.0) -> None:
    """Make a guest of the image ``CONTAINER_HOST`` ready for containers, once.

    Raises:
        LaunchFailure: it could not be made ready.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    done = vm.run(["sh", "-c", _PREPARE], timeout_s=timeout_s)
    if done.exit_code:
        what = "the guest could not be made ready for containers"
        raise LaunchFailure(what, ("sh",), done.output.decode(errors="replace")[-500:])


def write(vm: Sandbox, name: str, configuration: Mapping[str, Any]) -> None:
    """Write the configuration of a container into a prepared guest.

    Its control group is ``/sys/fs/cgroup/<name>`` in the guest.
    """
    whole = dict(configuration)
    whole["linux"] = {**configuration["linux"], "cgroupsPath": f"/{name}"}
    vm.put(f"/c/{name}.json", json.dumps(whole).encode())


def start_line(name: str, options: str = "") -> str:
    """The line of shell that runs a container, in the foreground without other ``options``.

    Its exit code is the first program's, or runc's own where the container did not start.
    """
    folder, written = shlex.quote(f"/c/{name}"), shlex.quote(f"/c/{name}.json")
    return (
        f"mkdir -p {folder} && cp {written} {folder}/config.json && "
        f"runc run {options}--no-pivot --bundle {folder} {shlex.quote(name)} </dev/null"
    )


def error_file(name: str) -> str:
    """The file of the guest for standard error of a container and of ``runc``."""
    return f"/tmp/{name}.err"


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

WEAKENINGS: tuple[str, ...] = FLAGS[1 : FLAGS.index("--privileged")]
"""Flags that remove one boundary; ``--privileged`` removes nearly all."""

_PORT = 8098
_LOOP_DEVICE = (7, 0)
_CALLS = "/calls"
# A server of the guest's: no process of a container has its number.
_SERVE = f"nc -lk -p {_PORT} -e /bin/true </dev/null >/dev/null 2>&1 & echo $!"

_START_TIMEOUT_S = 60.0


def blank_row(launcher: Launcher, spec: Spec, metric: str) -> Measurement:
    """A row of a container in a guest; ``launcher`` opens the guest."""
    return replace(blank(launcher, Platform.CONTAINER, spec, metric), runtime=RUNTIME)


def variant(confinement: str) -> Variant:
    """A container with that flag, or ``NO_CONTAINER``."""
    return Variant(confinement, Platform.CONTAINER, GUEST, confinement, RUNTIME)


@dataclass(slots=True)
class Misconfigurations(Survey):
    """What the guest and its containers have answered so far.

    Attributes:
        vm: the guest, once it is ready.
        wanted: the probes that are made in every container, in order.
    """

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
    if Platform.CONTAINER not in context.launchers:  # these two stand in for Docker's
        plan.append(("in the guest: two containers", partial(_neighbours, grid)))
    plan.append(("what the words changed", partial(_conclude, grid)))
    return plan


def _open(grid: Misconfigurations) -> Iterator[Measurement]:
    """Start the guest, make it ready, make the probes outside any container."""

    def respond() -> tuple[Response, BoundaryReading]:
        launcher = grid.context.launchers[Platform.VM_DIRECT]
        vm = grid.kept.enter_context(launcher.open(GUEST, grid.context.on_event))
        prepare(vm)
        pid = _process_number(vm.run(["sh", "-c", _SERVE]), "the guest's own server")
        host = probes.read(vm)
        aimed = replace(probes.targets(host, pid, _PORT, HOST_FILE), disk=_LOOP_DEVICE)
        response = probes.ask(vm, replace(aimed, root=""))
        wanted = probes.possible(aimed, platform.machine())
        program = calls.elf(platform.machine(), tuple(wanted.values()))
        for image in (IMAGE, IMAGE_OF_USER):
            vm.put(image + _CALLS, program)
        grid.vm, grid.wanted, grid.host = vm, tuple(wanted), host
        return Response(host, response.answers), host

    return grid.ask(variant(NO_CONTAINER), respond)


def _try(grid: Misconfigurations, flag: str) -> Iterable[Measurement]:
    """The probes in a container with that flag; no rows where the guest did not start.

    The default container has observations, too: it stands in for Docker's where there is none.
    """
    if grid.vm is None:
        return ()
    respond = partial(_ask_container, grid, grid.vm, flag)
    return grid.ask(variant(flag), respond, observed=not flag)


def _ask_container(
    grid: Misconfigurations, vm: Sandbox, flag: str
) -> tuple[Response, BoundaryReading | None]:
    name = f"w{FLAGS.index(flag)}"
    write(vm, name, configuration(flag, args=["sh", "-c", f"{READING}exec {_CALLS}"]))
    done = vm.run(["sh", "-c", start_line(name)], timeout_s=_START_TIMEOUT_S)
    text, found, answers = done.output.partition(f"\n{END_OF_READING}\n".encode())
    if not found:
        output = done.output.decode(errors="replace").strip()[-300:]
        raise Unavailable(f"the container did not start ({output})", "look at a recording")
    reading = probes.parse_reading(f"{text.decode(errors='replace')}\n{END_OF_READING}\n")
    decoded = calls.decode(answers, len(grid.wanted))
    return Response(reading, dict(zip(grid.wanted, decoded, strict=True))), grid.host


def _conclude(grid: Misconfigurations) -> Iterator[Measurement]:
    """The facts of S3 and S5: what one flag changes, and what a privileged container opens."""
    grid.kept.close()
    no_guest = grid.why.get(NO_CONTAINER, "")
    tried = [flag for flag in WEAKENINGS if flag in grid.through]
    one = partial(grid.fact, variant(""), "one_misconfiguration_flips_a_probe")
    if "" not in grid.through or not tried:
        yield one(None, no_guest or "the containers of the guest did not start")
    else:
        flips = {flag: changed(grid.through[""], grid.through[flag]) for flag in tried}
        some = sum(any(PROBES[name].aim == HOST for name in flips[flag]) for flag in tried)
        as_said = sum(flips[flag] == FLIPS[flag] for flag in tried)
        yield one(some > 0, f"{some} of {len(tried)} words, {as_said} as registered")
    opens = partial(grid.fact, variant("--privileged"), "privileged_container_opens_host_devices")
    if "--privileged" not in grid.through:
        yield opens(None, no_guest or "the privileged container did not start")
    else:
        opened = [name for name in DEVICES if grid.through["--privileged"].get(name)]
        yield opens(bool(opened), ", ".join(opened))


# ---- neighbours, where there is no Docker --------------------------------------------------------


@dataclass(slots=True)
class Contained:
    """A running container of the guest, as a :class:`vmcompare.sandbox.Sandbox`."""

    vm: Sandbox
    name: str
    pid: int

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
        return self.vm.run(["runc", "exec", self.name, *argv], timeout_s=timeout_s)

    def put(self, path: str, data: bytes) -> None:
        self.vm.put(f"/proc/{self.pid}/root{path}", data)

    def host_pids(self) -> tuple[int, ...]:
        return (self.pid,)

    def console(self) -> str:
        return self.vm.console()


def contained(vm: Sandbox, name: str) -> Contained:
    """Start a default container that runs until the guest ends.

    Raises:
        LaunchFailure: it did not start.
    """
    write(vm, name, configuration(args=["sleep", "3600"]))
    written = f"/c/{name}/pid"
    line = start_line(name, f"--detach --pid-file {written} ")
    errors = error_file(name)
    done = vm.run(["sh", "-c", f"{line} >/dev/null 2>{errors}; cat {written} {errors}"])
    return Contained(vm, name, _process_number(done, "a container of the guest"))


def _process_number(done: Completed, what: str) -> int:
    try:
        return int(done.output)
    except ValueError:
        output = done.output.decode(errors="replace")
        raise LaunchFailure(f"{what} did not start", ("sh",), output) from None


def _neighbours(grid: Misconfigurations) -> Iterator[Measurement]:
    """Probes of container A against B, both in the guest, each with an unconnected network."""
    vm, pair, apart = grid.vm, Pair(), variant(OWN_NETWORKS)
    if vm is None:
        return

    def attempt() -> None:
        a, b = (contained(vm, name) for name in ("one", "other"))
        try_neighbour(a, b, pair, lambda pid: _stat(vm, pid))

    yield from neighbour_rows(apart.row(grid.context), pair, attempt)
    yield from neighbour_facts(grid, apart, pair)


def _stat(vm: Sandbox, pid: int) -> str:
    return vm.run(["cat", f"/proc/{pid}/stat"]).output.decode(errors="replace")
