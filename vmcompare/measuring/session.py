"""Starts, follows and stops a recording in a child process: what lab and handout measure by.

The child writes its rows to a file and tells its progress as JSON lines on standard output. Closing
its standard input stops it; when this process dies, the operating system closes it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from vmcompare.engines import child_python
from vmcompare.engines.commands import kill_child
from vmcompare.errors import AbnormalShutdown, VmcompareError, WaitTimeout
from vmcompare.evidence.recording import Recording, read
from vmcompare.sandbox import Platform

STOP_TIMEOUT_S = 60.0
"""How long an orderly end may take: the slowest is a distribution guest that is being shut down."""


class Session:
    """A recording in progress; its ``path`` is known once the ``child`` has told it."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.path: Path | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=200)
        self._over = False
        self._readers = (
            threading.Thread(target=self._pump, daemon=True),
            threading.Thread(target=self._errors.extend, args=(child.stderr,), daemon=True),
        )
        for reader in self._readers:
            reader.start()

    def _pump(self) -> None:
        for line in self.child.stdout or ():
            self._lines.put(line)
        self._lines.put(None)

    def messages(self, timeout_s: float | None = None) -> Iterator[Mapping[str, Any]]:
        """Progress messages as they come, to the child's end or ``timeout_s`` of silence."""
        while not self._over:
            try:
                line = self._lines.get(block=timeout_s != 0, timeout=timeout_s)
            except queue.Empty:
                return
            if line is None:
                self._over = True
                return
            message = json.loads(line)
            if message.get("event") == "run":
                self.path = Path(message["path"])
            yield message

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def stop(self) -> None:
        """Ask for an orderly end and wait for it.

        Raises ``WaitTimeout`` if it did not come in time; the child was killed, its guardian cleans
        up.
        """
        if self.child.stdin and not self.child.stdin.closed:
            self.child.stdin.close()
        try:
            self.child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            kill_child(self.child)
            raise WaitTimeout("the end of the recording", STOP_TIMEOUT_S) from error
        finally:
            for reader in self._readers:
                reader.join(5)

    def recording(self) -> Recording:
        """What was recorded, as far as it went. Raises ``RecordingError``, or ``AbnormalShutdown``
        with the child's words where it ended before it wrote anything.
        """
        for _ in self.messages(0):
            pass
        if self.path is None:
            raise AbnormalShutdown(self.complaint() or "the recording ended before its first row")
        return read(self.path)

    def complaint(self) -> str:
        """The last line the child wrote to standard error, without its prefix; empty if none."""
        said = "".join(self._errors).strip().splitlines()
        return said[-1].removeprefix("vmcompare: ") if said else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    experiment: str, *, rounds: int, platforms: Sequence[Platform] = (), out: Path | None = None
) -> Session:
    """Start ``vmcompare record`` as a child process.

    Without ``platforms`` it measures all that can be had, without ``out`` it writes to the
    learner's own recordings. Raises ``VmcompareError`` if it cannot be started.
    """
    command = child_python.command("vmcompare", "record", experiment)
    command += ["--rounds", str(rounds), "--stop-on-eof", "--events"]
    command += [word for platform in platforms for word in ("--platform", platform.value)]
    command += ["--out", str(out)] if out else []
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # the notebook's Ctrl-C is not the child's
            env=child_python.environment(),
        )
    except OSError as error:
        raise VmcompareError(f"the recording could not be started: {error.strerror}") from error
    return Session(child)
