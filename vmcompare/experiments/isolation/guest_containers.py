"""Real containers in a disposable guest, where one that is badly held can harm nobody.

The guest is ``vm-direct`` with the image ``CONTAINER_HOST``: its root starts containers with this
computer's own ``runc``, without an engine. They are asked for what Docker asks for by default
(:mod:`vmcompare.engines.images.oci`), with a short call filter of our own; then one word of a
``docker run`` line at a time is changed, as Docker changes it (:func:`configuration`).

Differences to Docker, beside the filter: ``runc run --no-pivot``, because a root file system in RAM
cannot be pivoted away; one shared root file system for all of a guest's containers; no network
bridge (a network of one's own holds a loopback interface); memory cgroups are version 2.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from vmcompare.engines.images.oci import CAPABILITIES, CPU_PERIOD_US
from vmcompare.engines.images.oci import configuration as by_default
from vmcompare.engines.programs import calls
from vmcompare.errors import LaunchFailure, Unavailable, UnknownName
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import boundaries
from vmcompare.experiments.isolation.boundaries import Step
from vmcompare.experiments.isolation.probes import (
    CAPABILITY_NAMES,
    DEVICES,
    END_OF_READING,
    FLIPS,
    HOST,
    PROBES,
    READING,
    Arm,
    Reading,
    Targets,
    Told,
    failed_rows,
    observation_rows,
    possible,
    probe_rows,
    read,
    targets,
    tell,
    understood,
)
from vmcompare.measuring.experiment import FAILURES, Context, blank, failed, filled
from vmcompare.sandbox import (
    CONTAINER_HOST,
    RUNC_IN_A_GUEST,
    Completed,
    Machine,
    Platform,
    Sandbox,
    Spec,
)

IMAGE = "/c/image"
"""Where, in the guest, the root file system of all containers lies; put programs into it."""

IMAGE_OF_USER = "/c/image-of-user"
"""The same where a container's root is another user outside: the files belong to that one."""

FIRST_SUBORDINATE, _SUBORDINATES = 100_000, 65_536
"""What ``/etc/subuid`` gives a user on common distributions, and so to a rootless engine."""

FILTERED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
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
    }
)  # fmt: skip
"""System call → the capabilities each of which lifts the filter from it (none: nothing does).

Source: https://docs.docker.com/engine/security/seccomp/ (the calls that its table lists as
blocked), with the capabilities of moby's ``profiles/seccomp/default.json``. Docker's profile names
what it allows and refuses all the rest; ours names what it refuses, so it is the wider one.
"""

_NEW_NAMESPACES = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
"""The ``CLONE_NEW…`` bits (Linux, ``sched.h``): mnt, cgroup, uts, ipc, user, pid, net."""

ALL_CAPABILITIES: Sequence[str] = tuple(f"CAP_{name}" for name in CAPABILITY_NAMES)

_NOBODY = 65534

_WITHOUT_NAMESPACE = {
    "--pid=host": "pid",
    "--network=host": "network",
    "--ipc=host": "ipc",
    "--uts=host": "uts",
}

WORDS: tuple[str, ...] = (
    "", *_WITHOUT_NAMESPACE, "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined", "--device-cgroup-rule='b *:* rmw'", "-v /:/host",
    "--privileged", "--cap-drop=ALL", "--user=65534", "--read-only",
    "--security-opt=no-new-privileges", "--userns",
)  # fmt: skip
"""The one word that differs, weakenings before hardenings; empty: the defaults."""


def configuration(
    word: str = "",
    *,
    args: Sequence[str],
    memory_mib: int | None = None,
    pids: int | None = None,
    cpus: float | None = None,
) -> dict[str, Any]:
    """An OCI configuration: Docker's defaults with one ``docker run`` word changed.

    Args:
        word: of :data:`WORDS`.
        args: argv of the first program; its standard output is the line's that starts it.
        memory_mib, pids, cpus: limits, as ``--memory``, ``--pids-limit``, ``--cpus``; ``None``: no
            limit. The cgroup's name is the container's: see :func:`write`.

    Raises:
        UnknownName: there is no such word.
    """
    if word not in WORDS:
        raise UnknownName("word", word, WORDS)
    held = ALL_CAPABILITIES if word == "--privileged" else CAPABILITIES
    if word == "--cap-add=SYS_ADMIN":
        held = (*CAPABILITIES, "CAP_SYS_ADMIN")
    elif word == "--cap-drop=ALL":
        held = ()
    made = by_default(
        IMAGE_OF_USER if word == "--userns" else IMAGE,
        args,
        "unnamed",
        _limits(memory_mib, pids, cpus),
        capabilities=held,
        own_cgroups=True,
        read_only=word == "--read-only",
    )
    if word not in ("--security-opt=seccomp=unconfined", "--privileged"):
        made["linux"]["seccomp"] = call_filter(held)
    _change(word, made)
    return made


def _limits(memory_mib: int | None, pids: int | None, cpus: float | None) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if memory_mib is not None:
        limits["memory"] = {"limit": memory_mib * MIB}
    if pids is not None:
        limits["pids"] = {"limit": pids}
    if cpus is not None:
        limits["cpu"] = {"period": CPU_PERIOD_US, "quota": round(cpus * CPU_PERIOD_US)}
    return limits


def _change(word: str, made: dict[str, Any]) -> None:
    """What a word changes beside capabilities, filter and root file system."""
    linux, process = made["linux"], made["process"]
    if word in _WITHOUT_NAMESPACE:
        kind = _WITHOUT_NAMESPACE[word]
        linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != kind]
        if kind == "uts":
            del made["hostname"]
    elif word == "--security-opt=systempaths=unconfined":
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    elif word.startswith("--device-cgroup-rule"):
        rule = {"allow": True, "type": "b", "access": "rwm"}
        linux["resources"]["devices"].append(rule)
    elif word == "-v /:/host":
        bind = {"destination": "/host", "type": "none", "source": "/"}
        made["mounts"].append({**bind, "options": ["rbind", "rprivate"]})
    elif word == "--privileged":
        linux["maskedPaths"] = linux["readonlyPaths"] = []
        linux["resources"]["devices"].append({"allow": True, "access": "rwm"})
        for mount in made["mounts"]:
            mount["options"] = [option for option in mount["options"] if option != "ro"]
    elif word == "--user=65534":
        process["user"] = {"uid": _NOBODY, "gid": _NOBODY}
        process["capabilities"] |= {"effective": [], "permitted": []}
    elif word == "--security-opt=no-new-privileges":
        process["noNewPrivileges"] = True
    elif word == "--userns":
        linux["namespaces"].append({"type": "user"})
        mapping = {
            "containerID": 0, "hostID": FIRST_SUBORDINATE, "size": _SUBORDINATES,
        }  # fmt: skip
        linux["uidMappings"] = linux["gidMappings"] = [mapping]


def call_filter(held: Sequence[str]) -> dict[str, Any]:
    """The part ``linux.seccomp``: everything is let through but what :data:`FILTERED` names."""
    refused = sorted(call for call, by in FILTERED.items() if not set(by) & set(held))
    calls: list[dict[str, Any]] = [{"names": refused, "action": "SCMP_ACT_ERRNO"}]
    if "CAP_SYS_ADMIN" not in held:
        # clone is refused with any of those bits; clone3, whose bits lie in memory where a filter
        # cannot look, is said not to exist, and libraries fall back to clone. So does Docker's.
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


def prepare(vm: Sandbox) -> None:
    """Make a guest of the image ``CONTAINER_HOST`` ready for containers; once each guest.

    Raises:
        LaunchFailure: it could not be made ready.
        AbnormalShutdown, WaitTimeout: as :meth:`Sandbox.run`.
    """
    done = vm.run(["sh", "-c", _PREPARE])
    if done.exit_code:
        what = "the guest could not be made ready for containers"
        raise LaunchFailure(what, ("sh",), done.output.decode(errors="replace")[-500:])


def write(vm: Sandbox, name: str, configuration: Mapping[str, Any]) -> None:
    """Lay down a bundle in a prepared guest; ``name`` becomes the container's and its cgroup's.

    The cgroup is ``/sys/fs/cgroup/<name>`` in the guest while the container runs.
    """
    whole = dict(configuration)
    whole["linux"] = {**configuration["linux"], "cgroupsPath": f"/{name}"}
    vm.put(f"/c/{name}.json", json.dumps(whole).encode())


def start_line(name: str) -> str:
    """The line of shell that runs a container in the foreground, its output where the line's is.

    Its exit code is the first program's, or runc's own where the container did not start.
    """
    folder, written = shlex.quote(f"/c/{name}"), shlex.quote(f"/c/{name}.json")
    return (
        f"mkdir -p {folder} && cp {written} {folder}/config.json && "
        f"runc run --no-pivot --bundle {folder} {shlex.quote(name)} </dev/null"
    )


# ---- the grid: one word at a time --------------------------------------------------------------

GUEST = Spec(image=CONTAINER_HOST, machine=Machine.PC)
"""The guest that is the host here."""

NO_CONTAINER = "no container"
"""The guest's own root process, with nothing around it."""

RUNTIME = RUNC_IN_A_GUEST

WEAKENINGS: tuple[str, ...] = WORDS[1 : WORDS.index("--privileged")]
"""Words that take one wall away; ``--privileged`` takes nearly all of them."""

_PORT = 8098
_LOOP_DEVICE = (7, 0)
_CALLS = "/calls"
# Its process number is far from those of a container's few, and it answers whoever connects.
_SERVE = f"nc -lk -p {_PORT} -e /bin/true </dev/null >/dev/null 2>&1 & echo $!"

_START_TIMEOUT_S = 60.0
"""Seconds for one container; emulated and alone on the machine it needs about two."""


@dataclass(slots=True)
class Misconfigurations:
    """What is known so far.

    Attributes:
        context: launchers, and who watches.
        kept: holds the guest to the end of this part.
        vm: the guest, once it is ready; ``why``: why there is none.
        targets: what probes are aimed at; ``wanted``: those that can be made, in order.
        host: what the guest's own root read.
        values: word → probe → whether it got through.
    """

    context: Context
    kept: contextlib.ExitStack
    vm: Sandbox | None = None
    why: str = ""
    targets: Targets | None = None
    wanted: tuple[str, ...] = ()
    host: Reading | None = None
    values: dict[str, Mapping[str, bool]] = field(default_factory=dict)

    def arm(self, word: str) -> Arm:
        """A column: its rows are containers', made in a virtual machine."""
        return Arm(word, Platform.CONTAINER, GUEST, word)


def measured(context: Context) -> Iterator[Measurement]:
    """All rows of this part."""
    with contextlib.ExitStack() as stack:
        for step in context.steps(steps(context, stack)):
            yield from step()


def steps(context: Context, stack: contextlib.ExitStack) -> list[Step]:
    """This part's steps in their order; empty where no guest can be started.

    The guest is opened by the first step and left by the last; ``stack`` sees to it otherwise.
    """
    if Platform.VM_DIRECT not in context.launchers:
        return []
    grid = Misconfigurations(context, contextlib.ExitStack())
    stack.push(grid.kept)
    plan: list[Step] = [("a guest for containers", partial(_open, grid))]
    plan += [(f"in the guest: {word or 'as by default'}", partial(_try, grid, word))
             for word in WORDS]  # fmt: skip
    if Platform.CONTAINER not in context.launchers:  # these two stand in for Docker's
        plan.append(("in the guest: two containers", partial(_neighbours, grid)))
    plan.append(("what the words changed", partial(_conclude, grid)))
    return plan


def _row(grid: Misconfigurations, word: str, metric: str, phase: str) -> Measurement:
    launcher = grid.context.launchers[Platform.VM_DIRECT]
    row = blank(launcher, Platform.CONTAINER, GUEST, metric)
    return replace(row, phase=phase, confinement=word, runtime=RUNTIME)


def _marked(rows: Iterator[Measurement]) -> Iterator[Measurement]:
    return (replace(row, runtime=RUNTIME) for row in rows)


def _open(grid: Misconfigurations) -> Iterator[Measurement]:
    """Start the guest, make it ready, ask its own root."""
    launcher, arm = grid.context.launchers[Platform.VM_DIRECT], grid.arm(NO_CONTAINER)
    try:
        vm = grid.kept.enter_context(launcher.open(GUEST, grid.context.on_event))
        prepare(vm)
        pid = int(vm.run(["sh", "-c", _SERVE]).output)
        host = read(vm)
        aimed = replace(targets(host, pid, _PORT, HOST_FILE), disk=_LOOP_DEVICE)
        told = tell(vm, replace(aimed, root=""))
        wanted = possible(aimed, platform.machine())
        program = calls.elf(platform.machine(), tuple(wanted.values()))
        for image in (IMAGE, IMAGE_OF_USER):
            vm.put(image + _CALLS, program)
    except (*FAILURES, ValueError) as error:
        grid.why = str(error)
        grid.kept.close()
        yield from _marked(failed_rows(arm, launcher, grid.why))
        return
    grid.vm, grid.targets, grid.wanted, grid.host = vm, aimed, tuple(wanted), host
    yield from _marked(probe_rows(arm, launcher, told, host, own_kernel=False))
    yield from _marked(observation_rows(arm, launcher, host))


def _try(grid: Misconfigurations, word: str) -> Iterator[Measurement]:
    """One container, held as the word says."""
    if grid.vm is None:
        return  # said once, by the guest's own rows
    launcher, arm = grid.context.launchers[Platform.VM_DIRECT], grid.arm(word)
    try:
        told = _told(grid, word)
    except FAILURES as error:
        yield from _marked(failed_rows(arm, launcher, str(error)))
        return
    rows = list(_marked(probe_rows(arm, launcher, told, grid.host, own_kernel=False)))
    grid.values[word] = {row.phase: bool(row.value) for row in rows if row.status == "ok"}
    yield from rows
    if not word:  # it stands in for Docker's container where there is none
        yield from _marked(observation_rows(arm, launcher, told.reading))


def _told(grid: Misconfigurations, word: str) -> Told:
    assert grid.vm is not None
    name = f"w{WORDS.index(word)}"
    script = f"{READING}exec {_CALLS}"
    write(grid.vm, name, configuration(word, args=["sh", "-c", script]))
    done = grid.vm.run(["sh", "-c", start_line(name)], timeout_s=_START_TIMEOUT_S)
    text, found, answers = done.output.partition(f"\n{END_OF_READING}\n".encode())
    if not found:
        said = done.output.decode(errors="replace").strip()[-300:]
        raise Unavailable(f"the container did not start ({said})", "look at a recording")
    reading = understood(f"{text.decode(errors='replace')}\n{END_OF_READING}\n")
    told = calls.decode(answers, len(grid.wanted))
    return Told(reading, dict(zip(grid.wanted, told, strict=True)))


def flipped(values: Mapping[str, Mapping[str, bool]], word: str) -> frozenset[str]:
    """The probes whose answer a word changed, against the defaults (word → probe → through)."""
    default, changed = values.get("", {}), values.get(word, {})
    return frozenset(name for name in default if name in changed and default[name] != changed[name])


def _conclude(grid: Misconfigurations) -> Iterator[Measurement]:
    """S3 and S5: what one word changes, and that a privileged container opens devices."""
    grid.kept.close()
    one = _row(grid, "", "fact", "one_misconfiguration_flips_a_probe")
    opens = _row(grid, "--privileged", "fact", "privileged_container_opens_host_devices")
    if "" not in grid.values or not any(word in grid.values for word in WEAKENINGS):
        yield failed(one, grid.why or "the containers of the guest did not start")
    else:
        told = [word for word in WEAKENINGS if word in grid.values]
        aimed = {name for name in PROBES if PROBES[name].aim == HOST}
        flips = {word: flipped(grid.values, word) & aimed for word in told}
        some = sum(bool(flips[word]) for word in told)
        as_said = sum(flipped(grid.values, word) == FLIPS[word] for word in told)
        text = f"{some} of {len(told)} words, {as_said} as registered"
        yield filled(one, float(some > 0), text=text)
    if "--privileged" not in grid.values:
        yield failed(opens, grid.why or "the privileged container did not start")
    else:
        opened = [name for name in DEVICES if grid.values["--privileged"].get(name)]
        yield filled(opens, float(bool(opened)), text=", ".join(opened))


# ---- neighbours, where Docker has none ---------------------------------------------------------


@dataclass(slots=True)
class Contained:
    """A container of the guest that runs: a :class:`vmcompare.sandbox.Sandbox`."""

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
    """Start a container with the defaults that runs until the guest ends.

    Raises:
        LaunchFailure: it did not start.
    """
    write(vm, name, configuration(args=["sleep", "3600"]))
    written = f"/c/{name}/pid"
    line = start_line(name).replace(
        "runc run", f"runc run --detach --pid-file {shlex.quote(written)}"
    )
    done = vm.run(
        ["sh", "-c", f"{line} >/dev/null 2>/tmp/{name}.err; cat {written} /tmp/{name}.err"]
    )
    try:
        return Contained(vm, name, int(done.output))
    except ValueError:
        what = "a container of the guest did not start"
        raise LaunchFailure(what, ("runc", "run"), done.output.decode(errors="replace")) from None


def _neighbours(grid: Misconfigurations) -> Iterator[Measurement]:
    """A against B, both in the guest, each with a network of its own that leads nowhere."""
    pair = boundaries.Pair()
    if grid.vm is None:
        return
    rows = {
        name: _row(grid, boundaries.OWN_NETWORKS, "probe", name)
        for name in (boundaries.LIST, boundaries.READ, boundaries.KILL, boundaries.CONNECT)
    }
    try:
        a, b = (contained(grid.vm, name) for name in ("one", "other"))
        told = boundaries.between(a, b, pair, lambda pid: _stat(grid.vm, pid))
    except FAILURES as error:
        yield from (failed(row, str(error)) for row in rows.values())
    else:
        for name, (value, text) in told.items():
            yield filled(rows[name], float(value), text=text)
    for name, holds, text in boundaries.neighbour_facts(pair, grid.host):
        row = _row(grid, boundaries.OWN_NETWORKS, "fact", name)
        yield failed(row, holds) if isinstance(holds, str) else filled(row, float(holds), text=text)


def _stat(vm: Sandbox | None, pid: int) -> str:
    assert vm is not None
    return vm.run(["cat", f"/proc/{pid}/stat"]).output.decode(errors="replace")
