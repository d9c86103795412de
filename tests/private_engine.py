"""A Docker of a test's own, which it may kill: the computer's is left alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from waiting import until

from vmcompare.engines import cleanup
from vmcompare.engines import docker as backend


@pytest.fixture
def private_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a Docker of the test's own, in a network namespace of its own."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0):
        pytest.skip("needs root")
    if not (shutil.which("dockerd") and shutil.which("unshare")):
        pytest.skip("needs dockerd and unshare")
    root = Path("/tmp") / f"vmc-{os.getpid()}"  # sockets below it: their paths must be short
    cgroup = f"/vmc-{os.getpid()}"
    root.mkdir(mode=0o700)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{root}/d.sock")
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        for stale in ("d.pid", "exec/containerd/containerd.pid"):  # a zombie's pid looks alive
            (root / stale).unlink(missing_ok=True)
        options = {
            "--host": f"unix://{root}/d.sock",
            "--data-root": f"{root}/data",
            "--exec-root": f"{root}/exec",
            "--pidfile": f"{root}/d.pid",
            "--cgroup-parent": cgroup,
        }
        argv = ["unshare", "-n", "--", "dockerd"]
        argv += [word for option in options.items() for word in option]
        with (root / "log").open("ab") as log:
            daemon = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        running.append(daemon)
        until(lambda: backend.probe(5).ok or daemon.poll() is not None, 120)
        if not backend.probe(5).ok:
            complain = pytest.skip if len(running) == 1 else pytest.fail
            complain(f"no private daemon here: {(root / 'log').read_text()[-300:]}")
        return daemon

    yield start
    for daemon in running:
        daemon.terminate()
        daemon.wait(120)
    # Whatever a killed daemon left: only processes and mounts that name this test's own folder.
    for process in psutil.process_iter(["cmdline"]):
        if any(f"{root}/" in word for word in process.info["cmdline"] or ()):
            for each in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{root}/")]):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(root, ignore_errors=True)
    for folder in sorted(cleanup.CGROUP_ROOT.glob(f"**{cgroup}/**/"), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
