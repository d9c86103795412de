"""What to do about a computer's engines: decided from facts, without looking at anything."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from vmcompare.engines.docker import Trouble

QEMU = {
    "x86_64": ("qemu-system-x86_64", "qemu-system-x86"),
    "amd64": ("qemu-system-x86_64", "qemu-system-x86"),
    "aarch64": ("qemu-system-aarch64", "qemu-system-arm"),
    "arm64": ("qemu-system-aarch64", "qemu-system-arm"),
}
"""Processor → QEMU's program and its Debian package."""

REMEDIES = (
    (("iptables", "nf_tables", "netfilter", "ip_tables"), ("--iptables=false",)),
    (("bridge", "docker0", "network controller"), ("--iptables=false", "--bridge=none")),
    (("overlay", "graphdriver", "storage driver", "snapshotter"), ("--storage-driver=vfs",)),
)
"""Words in the daemon's last words → the options that help. vfs is slow and large: last resort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides: nothing below looks at the system itself.

    Attributes:
        skip: ``ENGINES=skip``.
        docker_version: of the engine that answers, or empty.
        trouble, docker_what, docker_next: why none answers, and the next step.
        elsewhere: the user named an engine (``DOCKER_HOST`` or a context) other than the default.
        other_daemon: another daemon runs in this network namespace.
        dockerd: the daemon's program is installed.
        qemu: QEMU's program is installed.
        root, debian, apt: who we are, on Debian or a child of it, with ``apt-get``.
        systemd: systemd is running.
        linux: this is Linux.
        machine: the processor, as ``platform.machine()`` calls it.
        missing: Debian packages Docker needs here that are not there.
    """

    skip: bool = False
    docker_version: str = ""
    trouble: Trouble = Trouble.ABSENT
    docker_what: str = "Docker is not installed"
    docker_next: str = "install it: https://docs.docker.com/engine/install/"
    elsewhere: bool = False
    other_daemon: bool = False
    dockerd: bool = False
    qemu: bool = False
    root: bool = False
    debian: bool = False
    apt: bool = False
    systemd: bool = False
    linux: bool = True
    machine: str = "x86_64"
    missing: tuple[str, ...] = ("docker.io", "iptables", "ca-certificates")


@dataclass(frozen=True, slots=True)
class Tell:
    """Print a line."""

    line: str


@dataclass(frozen=True, slots=True)
class Install:
    """Install Debian packages."""

    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartDocker:
    """Start the engine, through systemd or as a daemon of our own."""

    systemd: bool


Step = Tell | Install | StartDocker


def plan(facts: Facts) -> list[Step]:
    """What to do about ``facts``: lines to print, packages to install, an engine to start."""
    if facts.skip:
        return [Tell("ENGINES=skip: nothing is installed or started")]
    told: list[Step] = []
    packages: tuple[str, ...] = ()
    start = False
    may_install = facts.linux and facts.root and facts.debian and facts.apt
    startable = facts.trouble in (
        Trouble.ABSENT,
        Trouble.NOT_RUNNING,
        Trouble.REFUSED,
    )
    if facts.docker_version:
        told.append(Tell(f"Docker {facts.docker_version} is ready"))
    elif facts.other_daemon and not facts.elsewhere:
        told.append(
            Tell(
                "A Docker daemon runs, but not where it is looked for. Next step: put its client "
                "docker on PATH, or name its address in DOCKER_HOST"
            )
        )
    elif facts.elsewhere or not startable or not (facts.dockerd or may_install) or not facts.root:
        told.append(Tell(f"{facts.docker_what}. Next step: {facts.docker_next}"))
    else:
        start = True
        if may_install:
            packages += facts.missing
    program, package = QEMU.get(facts.machine.lower(), ("", ""))
    if facts.qemu:
        told.append(Tell(f"QEMU is ready ({program})"))
    elif may_install and package:
        packages += (package,)
    else:
        told.append(Tell(f"QEMU is not installed. Next step: {_qemu_next(facts, package)}"))
    steps: list[Step] = [Install(packages)] if packages else []
    if start:
        steps.append(StartDocker(facts.systemd))
    return told + steps


def _qemu_next(facts: Facts, package: str) -> str:
    if facts.linux and facts.debian and package:
        return f"run: sudo apt-get install {package}"
    if platform.system() == "Darwin":
        return "run: brew install qemu"
    return "install it: https://www.qemu.org/download/"


def remedy(last_words: str, tried: Sequence[str], other_daemon: bool) -> tuple[str, ...]:
    """Options to try after the daemon died saying ``last_words``; empty if nothing is known.

    Never ``--bridge=none`` beside another daemon: it deletes that one's bridge.
    """
    for words, options in REMEDIES:
        fresh = tuple(option for option in options if option not in tried)
        if other_daemon:
            fresh = tuple(option for option in fresh if option != "--bridge=none")
        if fresh and any(word in last_words.lower() for word in words):
            return fresh
    return ()
