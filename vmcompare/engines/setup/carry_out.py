"""Doing what was decided: packages, the service manager, a daemon of our own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

from vmcompare.engines import docker
from vmcompare.engines.setup import daemon
from vmcompare.engines.setup.daemon import Say
from vmcompare.engines.setup.decisions import Facts, Install, StartDocker, Tell, plan
from vmcompare.engines.setup.system import DAEMON, daemons_here, facts

APT_S = 900
"""Seconds for one apt-get; 16 s were measured, a slow classroom line takes minutes."""


def ensure(say: Say = print) -> None:
    """Make the engines usable, as far as that needs nobody's decision; says what it does."""
    skip = os.environ.get("ENGINES") == "skip"
    for step in plan(Facts(skip=True) if skip else facts()):
        match step:
            case Tell(line):
                say(line)
            case Install(packages):
                _install(packages, say)
            case StartDocker(systemd):
                _start_docker(systemd, say)


def _install(packages: tuple[str, ...], say: Say) -> None:
    say(f"Installing {', '.join(packages)} (apt-get) …")
    log = daemon.engine_dir() / "install.log"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=120"]
    # A failed update is no reason to stop: the lists on this computer may do.
    with log.open("wb") as out:
        for command in (
            ["apt-get", *wait, "update"],
            ["apt-get", *wait, "install", "-y", "--no-install-recommends", *packages],
        ):
            try:
                ended = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    timeout=APT_S,
                    check=False,
                ).returncode
            except (OSError, subprocess.TimeoutExpired):
                ended = -1
    if ended == 0:
        say(f"Installed {', '.join(packages)}")
    else:
        last = daemon.last_line(log)
        say(f"Not installed: {last}. Next step: apt-get install {' '.join(packages)}")


def _start_docker(systemd: bool, say: Say) -> None:
    """Start the engine unless installing it did so already, and wait until it answers."""
    if daemons_here() and daemon.wait_until_it_answers():
        say(f"Docker {docker.probe().version} is ready")
        return
    if not shutil.which(DAEMON):
        say("Docker is not there. Next step: install it: https://docs.docker.com/engine/install/")
        return
    if systemd:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # whether it answers, counts
            subprocess.run(
                ["systemctl", "start", "docker"], capture_output=True, timeout=120, check=False
            )
        if daemon.wait_until_it_answers():
            say(f"Docker {docker.probe().version} is ready")
        else:
            say("Docker did not start. Next step: see: journalctl -u docker")
        return
    daemon.start_own(say)
