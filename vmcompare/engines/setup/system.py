"""A look at this computer: which engines there are, and what may be done about them."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from vmcompare.engines import docker
from vmcompare.engines.setup.decisions import QEMU, Facts

SOCKET = Path("/var/run/docker.sock")
"""Where every Docker client looks first."""

DAEMON = "dockerd"


def facts() -> Facts:
    """Look at this system."""
    found = docker.probe()
    trouble = docker.Trouble.OTHER
    if not found.ok:
        try:
            docker.connect(docker.PROBE_TIMEOUT_S)
        except docker.EngineUnavailable as missing:
            trouble = missing.trouble
    if trouble is docker.Trouble.NOT_RUNNING and not shutil.which(DAEMON):
        trouble = docker.Trouble.ABSENT
    program, _ = QEMU.get(platform.machine().lower(), ("", ""))
    return Facts(
        docker_version=found.version if found.ok else "",
        trouble=trouble,
        docker_what=found.what,
        docker_next=found.next_step,
        elsewhere=docker.endpoint() not in ("", f"unix://{SOCKET}", "unix:///run/docker.sock")
        and not docker.endpoint().endswith(str(SOCKET)),
        other_daemon=bool(daemons_here()),
        dockerd=shutil.which(DAEMON) is not None,
        qemu=bool(program) and shutil.which(program) is not None,
        root=hasattr(os, "geteuid") and os.geteuid() == 0,
        debian=_is_debian(),
        apt=shutil.which("apt-get") is not None,
        systemd=Path("/run/systemd/system").is_dir(),
        linux=sys.platform == "linux",
        machine=platform.machine(),
        missing=_missing_packages(),
    )


def _is_debian() -> bool:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return False
    return "debian" in f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()


def _missing_packages() -> tuple[str, ...]:
    packages = []
    if not shutil.which(DAEMON):
        packages.append("docker.io")
    if not shutil.which("docker") and _debian_knows("docker-cli"):
        packages.append("docker-cli")  # a package of its own from Debian 13 on
    if not shutil.which("iptables"):
        packages.append("iptables")
    if not Path("/etc/ssl/certs/ca-certificates.crt").exists():
        packages.append("ca-certificates")
    return tuple(packages)


def _debian_knows(package: str) -> bool:
    if not shutil.which("apt-cache"):
        return False
    try:
        shown = subprocess.run(
            ["apt-cache", "show", package], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return shown.returncode == 0 and bool(shown.stdout.strip())


def daemons_here() -> list[psutil.Process]:
    """Docker daemons in this network namespace, ours included."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == DAEMON:
            with contextlib.suppress(OSError):
                here = Path("/proc/self/ns/net").stat().st_ino
                if Path(f"/proc/{process.pid}/ns/net").stat().st_ino == here:
                    found.append(process)
    return found
