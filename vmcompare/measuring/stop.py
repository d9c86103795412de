"""How a command is asked to stop, and how it goes on when nobody reads what it prints."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stoppable() -> Iterator[None]:
    """While inside, the first stop request raises ``KeyboardInterrupt`` in the main thread.

    Further ones are ignored until the process ends: what is being taken down is not interrupted.
    Whoever had SIGHUP ignored (``nohup``) is not stopped by it.
    """
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not stopped.is_set():
            stopped.set()
            raise KeyboardInterrupt

    # Ctrl-C, a polite end, and a terminal that was closed.
    requests = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in requests if hasattr(signal, name)]
    before = {
        number: signal.signal(number, stop)
        for number in numbers
        if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        # Once stopped, ignored by the system: Python takes its own handlers away before it ends,
        # and a request that came then would end the process by a signal, not with its exit code.
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stopped.is_set() else handler)


@contextmanager
def stopped_by_end_of_input() -> Iterator[None]:
    """While inside, the end of standard input, as of a kernel that died, is a stop request, too."""
    over = threading.Event()

    def wait() -> None:
        # Not through sys.stdin's buffer: its lock, held by this thread, breaks Python's own exit.
        while os.read(0, 1 << 10):
            pass
        if not over.is_set():
            request()

    threading.Thread(target=wait, name="stop-on-eof", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def request() -> None:
    """Ask this process to stop: SIGINT to its main thread, whose system calls return at once."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


class Unread(io.TextIOBase):
    """A text stream that is written to silently once it cannot be written to any more.

    A progress bar whose terminal was closed is no reason to lose a run.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            silence(self._stream.fileno())
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How text becomes bytes: a progress bar asks for it."""
        return str(self._stream.encoding)


def silence(descriptor: int) -> None:
    """Have what is still written to an open file go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_standard_streams() -> None:
    """Give a program that was started without standard streams (``>&-``) some that say nothing.

    Otherwise the next file it opens becomes its standard output.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
