"""A request to the engine that Ctrl-C cannot tear apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from vmcompare.backends.docker.engine import engine_errors

T = TypeVar("T")


class Request(Generic[T]):
    """A request in a thread of its own; gives its answer and when it came (host clock).

    Ctrl-C then interrupts the waiting, never the request: a container that is being created
    cannot slip away. A daemon thread, so that a hung engine cannot hold us back. The object exists
    before its thread does, as Ctrl-C may come while that is being started.
    """

    def __init__(self, request: Callable[[], T]) -> None:
        self._request = request
        self._future: Future[tuple[T, int]] = Future()

    def send(self) -> None:
        """Make the request, unless it was cancelled meanwhile."""
        threading.Thread(target=self._call, daemon=True, name="vmcompare docker request").start()

    def cancel(self) -> bool:
        """Whether the request was not made yet, and now never will be."""
        return self._future.cancel()

    def answer(self, timeout_s: float) -> tuple[T, int]:
        """The answer and its stamp. Raises ``TimeoutError`` or what the request raised."""
        return self._future.result(timeout_s)

    def _call(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        try:
            answer = self._request()
            self._future.set_result((answer, time.perf_counter_ns()))
        except engine_errors(ValueError) as error:
            self._future.set_exception(error)
