"""A command that is followed in a container: an exec whose output is read as it comes.

The engine has no request to end an exec, so a second one kills it inside. Where that cannot run
(no process may be started any more) and the engine shares this kernel, it is killed from outside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vmcompare.engines.docker import inside
from vmcompare.engines.docker.engine import engine_errors
from vmcompare.engines.docker.stream import Output, Stream
from vmcompare.engines.following import END_S, Descent, Heard, beginning, crowded_ending, ending
from vmcompare.errors import AbnormalShutdown, WaitTimeout
from vmcompare.sandbox import OnOutput

if TYPE_CHECKING:
    from docker import APIClient


@contextlib.contextmanager
def followed(
    api: APIClient, container: str, argv: Sequence[str], on_output: OnOutput, output: Output
) -> Iterator[Heard]:
    """Start ``argv`` in ``container``, whose own ``output`` tells when that has ended.

    Needs a shell in the image. Raises what :meth:`vmcompare.sandbox.Follower.follow` does, and
    ``AbnormalShutdown`` while leaving should the command not end; before the command has begun
    also the engine's own errors.
    """
    command = api.exec_create(container, list(beginning(argv)))["Id"]
    stream = Stream(api.exec_start(command, socket=True))
    stream.timeout(None)
    heard = Heard(on_output, announced=True)
    pids = None
    threading.Thread(
        target=_listen, args=(stream, heard), name="vmcompare docker follow", daemon=True
    ).start()
    try:
        pids = heard.pid(argv), int(api.exec_inspect(command)["Pid"])
        yield heard
    finally:
        heard.silence()  # what a shell remarks while its children are killed is no output
        gone = pids is None or output.ended.is_set() or _end(api, container, pids, output)
        heard.wait(END_S if gone else 0.0)
        stream.close()
        heard.end(time.perf_counter_ns())
    if not gone:
        raise AbnormalShutdown(f"{argv[0]} could not be ended in the container", output.text())


def _listen(stream: Stream, heard: Heard) -> None:
    try:
        for _, piece in stream.frames():
            heard.hand_on(piece, time.perf_counter_ns())
    except (OSError, ValueError):
        pass  # closed by us, or the engine went away: either way this is the end
    finally:
        heard.end(time.perf_counter_ns())


def _end(api: APIClient, container: str, pids: tuple[int, int], output: Output) -> bool:
    """Kill the command and all it has started; whether that is gone, or the container is.

    ``pids``: the command's number inside, and the engine's.
    """
    inner, outer = pids
    for line in (ending(inner), crowded_ending(inner)):
        with contextlib.suppress(*engine_errors(AbnormalShutdown, WaitTimeout)):
            done = inside.run(api, container, ("sh", "-c", line), output, END_S)
            if done.exit_code == 0:
                return True
        if output.ended.wait(0.2):
            return True

    def serving() -> tuple[int, ...]:
        return inside.host_pids(api, container)

    # Only where the shim is seen are the engine's numbers this kernel's.
    return bool(serving()) and Descent(outer, serving).end()
