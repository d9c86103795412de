"""A command that is followed as a child of this process: of a bare process, of a bare container."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from vmcompare.engines import cleanup
from vmcompare.engines.following import END_S, Descent, Heard
from vmcompare.errors import AbnormalShutdown, LaunchFailure, WaitTimeout
from vmcompare.sandbox import OnOutput

_PIECE = 1 << 16


@contextmanager
def followed(
    command: Sequence[str],
    on_output: OnOutput,
    *,
    announced: Sequence[str] = (),
    end_inside: Callable[[int], object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Heard]:
    """Start ``command`` and listen to it; leaving ends it and all that it has started.

    Args:
        command: argv on this computer.
        on_output: is told of its output.
        announced: what the command is to become inside, where its first line says whether that is
            there (:func:`vmcompare.engines.following.beginning`).
        end_inside: kills what it started by the number it announced, from inside: its session has
            another number out here, which is not known of one that ended at once.
        environment: of ``command``; this process's own where it is ``None``.

    Raises:
        LaunchFailure: it cannot be started, or says that there is no such program.
        AbnormalShutdown: the instance ended meanwhile; or, while leaving, something does not end.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=cleanup.marked(environment),
        )
    except OSError as error:
        raise LaunchFailure(f"{command[0]} could not be run", command, str(error)) from error
    heard = Heard(on_output, announced=bool(announced))
    descent = Descent(child.pid)
    inner = 0
    try:
        assert child.stdout is not None
        thread = threading.Thread(
            target=_listen, args=(child.stdout, heard), name="vmcompare-follow", daemon=True
        )
        thread.start()
        if announced:
            inner = heard.pid(announced)
            descent.look()  # for its session, should nothing more be started inside at the end
        yield heard
    finally:
        heard.silence()  # what a shell remarks while its children are killed is no output
        if inner and end_inside is not None:
            end_inside(inner)
        gone = descent.end()
        child.wait()
        heard.wait(END_S)
        heard.end(time.perf_counter_ns())
        if child.stdout is not None:
            child.stdout.close()
    if not gone:
        raise AbnormalShutdown(f"something that {command[0]} started does not end")


def completed(
    command: Sequence[str],
    *,
    timeout_s: float,
    data: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> tuple[bytes, int]:
    """Run ``command`` to its end; what it printed, and its exit code as :mod:`subprocess` has it.

    What did not end in time, or was interrupted, is ended with all that it has started.

    Raises:
        OSError: it cannot be started.
        WaitTimeout: it did not end.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=cleanup.marked(environment),
    ) as child:
        try:
            output, _ = child.communicate(data, timeout_s)
        except subprocess.TimeoutExpired as error:
            Descent(child.pid).end()
            raise WaitTimeout(f"the end of {shlex.join(command)}", timeout_s) from error
        except BaseException:
            Descent(child.pid).end()
            raise
    return output, child.returncode


def _listen(output: IO[bytes], heard: Heard) -> None:
    try:
        while piece := os.read(output.fileno(), _PIECE):
            heard.hand_on(piece, time.perf_counter_ns())
    except (OSError, ValueError):
        pass  # closed by us
    finally:
        heard.end(time.perf_counter_ns())
