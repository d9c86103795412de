"""Using a container that runs: commands, files, and the processes the host sees."""

from __future__ import annotations

import io
import shlex
import tarfile
import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import psutil

from vmcompare.engines.docker.engine import engine_errors
from vmcompare.engines.docker.stream import Output, Stream
from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.sandbox import Completed

if TYPE_CHECKING:
    from docker import APIClient


def run(
    api: APIClient, container: str, argv: Sequence[str], output: Output, timeout_s: float
) -> Completed:
    """Run a command in ``container``, whose own ``output`` tells when that has ended.

    Raises:
        WaitTimeout: the command did not end within ``timeout_s`` seconds; it goes on.
        AbnormalShutdown: the container ended, and the command with it.
    """
    import docker.errors

    deadline = time.monotonic() + timeout_s
    printed = bytearray()
    try:
        command = api.exec_create(container, list(argv))["Id"]
        stream = Stream(api.exec_start(command, socket=True))
    except docker.errors.APIError as error:
        # Newer engines refuse a program that does not exist, older ones print the same.
        if error.status_code == 400 and "executable file not found" in str(error):
            return Completed(str(error.explanation).encode(), 127)
        raise
    try:
        stream.timeout(max(0.001, deadline - time.monotonic()))
        for _, piece in stream.frames():
            printed += piece
            stream.timeout(max(0.001, deadline - time.monotonic()))
        code = _exit_code(api, command, output, deadline)
    except TimeoutError as error:
        raise WaitTimeout(
            f"the end of {shlex.join(argv)}", timeout_s, printed.decode(errors="replace")
        ) from error
    finally:
        stream.close()
    return Completed(bytes(printed), code)


def _exit_code(api: APIClient, command: str, output: Output, deadline: float) -> int:
    """The exit code, which the engine knows a moment after the command's output ended."""
    while True:
        found = api.exec_inspect(command)
        if not found["Running"] and found["ExitCode"] is not None:
            code = int(found["ExitCode"])
            # 137: killed. With the whole container, or alone (out of memory)?
            if code == 137 and output.ended.wait(0.2):
                raise AbnormalShutdown("the container ended by itself", output.text())
            return code
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)


def archive(path: str, data: bytes) -> tuple[str, bytes]:
    """The folder of ``path``, and a tar to unpack there: one file of root's, mode 755."""
    target = PurePosixPath(path)
    member = tarfile.TarInfo(target.name)
    member.size, member.mode, member.mtime = len(data), 0o755, int(time.time())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(member, io.BytesIO(data))
    return str(target.parent), packed.getvalue()


def host_pids(api: APIClient, container: str) -> tuple[int, ...]:
    """The shim and all processes of ``container``; empty where they cannot be seen.

    An engine in a hidden VM or on another computer reports pids of *its* kernel. So the shim is
    believed only if its command line, which anybody may read, names this container.
    """
    try:
        state = api.inspect_container(container)
        first = psutil.Process(int(state["State"]["Pid"]))
        shim = first.parent()
        if shim is None or not any(str(state["Id"]) in part for part in shim.cmdline()):
            return ()
        return (shim.pid, *sorted(child.pid for child in shim.children(recursive=True)))
    except engine_errors(psutil.Error, ValueError):
        return ()
