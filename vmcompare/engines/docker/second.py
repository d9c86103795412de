"""A second Docker engine with nothing in it: another place to which an image can be moved.

It has a network, mounts and a ``/run`` of its own, so that it meets no other engine of this
computer: neither its bridge nor its containerd. Its sockets lie in that ``/run`` and go with it
(paths of sockets must be short); all else that it writes lies in one folder of ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vmcompare.engines import cleanup, log
from vmcompare.engines.commands import end_child
from vmcompare.engines.docker_connection import engine_errors
from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout

if TYPE_CHECKING:
    from docker import DockerClient

READY_S = 60.0  # until it answers; 0.5 s is usual
END_S = 30.0  # to end its containers and itself; 0.5 s is usual
_REQUEST_S = 120  # for one request: an image is loaded by one
_PAUSE_S = 0.02
_SOCKET = "/run/vmcompare-second.sock"
"""In its own ``/run``, which is reached through its process. In the computer's there is none."""

_MARK = "VMCOMPARE_ENGINE"  # in the environment of all that serves one engine; its folder
_ALONE = 'mount -t tmpfs tmpfs /run && exec dockerd "$@"'


@contextmanager
def second_engine() -> Iterator[DockerClient]:
    """A client of an engine that is started for it, and ended afterwards with all it holds.

    Raises ``Unavailable`` (it takes Linux, root, ``dockerd`` and ``unshare``), ``LaunchFailure``
    (it ended at once), ``WaitTimeout`` (it does not answer).
    """
    lacking = [name for name in ("dockerd", "unshare") if shutil.which(name) is None]
    if lacking or not hasattr(os, "geteuid") or os.geteuid() != 0:
        why = f"no {' and no '.join(lacking)} here" if lacking else "that takes root"
        step = "run this as root on Linux with Docker’s own engine, or replay a recording"
        raise Unavailable(f"a second Docker engine cannot be started ({why})", step)
    with cleanup.folder() as folder:
        command = _command(folder)
        (folder / "settings").write_text("{}")
        # A containerd that its dockerd finds too slow writes its stacks where temporary files go.
        environment = cleanup.marked() | {_MARK: str(folder), "TMPDIR": str(folder)}
        with (folder / "log").open("wb") as said:
            daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True, env=environment,
            )  # fmt: skip
        log.command(command)
        try:
            client = _answering(folder, daemon, command)
            try:
                yield client
            finally:
                client.close()
        finally:
            daemon.terminate()
            end_child(daemon, END_S)
            # Its containerd and shims, should it have been killed.
            cleanup.end_session_processes(cleanup.session_id(), {_MARK: str(folder)})
            cleanup.remove_cgroups(folder.name)


def _command(folder: Path) -> tuple[str, ...]:
    options = {
        "--host": f"unix://{_SOCKET}",
        "--config-file": f"{folder}/settings",  # not those of the computer's own engine
        "--data-root": f"{folder}/data",
        "--exec-root": "/run/docker",
        "--pidfile": "/run/docker.pid",
        "--exec-opt": "native.cgroupdriver=cgroupfs",
        "--cgroup-parent": f"/{folder.name}",  # by that name the clean-up knows it
        "--bridge": "none",
    }
    words = [word for option in options.items() for word in option]
    words += ["--iptables=false", "--ip6tables=false"]
    return ("unshare", "--net", "--mount", "--", "sh", "-c", _ALONE, "sh", *words)


def _answering(
    folder: Path, daemon: subprocess.Popen[bytes], command: tuple[str, ...]
) -> DockerClient:
    import docker

    url = f"unix:///proc/{daemon.pid}/root{_SOCKET}"
    deadline = time.monotonic() + READY_S
    while True:
        try:
            return docker.DockerClient(base_url=url, timeout=_REQUEST_S)
        except engine_errors():
            pass
        words = (folder / "log").read_text(errors="replace")[-500:]
        if daemon.poll() is not None:
            raise LaunchFailure("a second Docker engine ended by itself", command, words)
        if time.monotonic() > deadline:
            raise WaitTimeout("a second Docker engine", READY_S, words)
        time.sleep(_PAUSE_S)
