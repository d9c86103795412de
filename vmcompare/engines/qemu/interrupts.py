"""Holding back Ctrl-C for the few instants in which it would leave something behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_HELD = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP wait; they are delivered when it ends.

    Only for short blocks. Outside the main thread nothing needs to be done: Python runs handlers
    in the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[signal.Signals, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append((signal.Signals(number), frame))

    handlers = {number: signal.getsignal(number) for number in _HELD}
    try:
        with contextlib.ExitStack() as stack:
            for number, handler in handlers.items():
                if callable(handler):
                    stack.callback(signal.signal, number, handler)
                    signal.signal(number, hold)
            yield
    finally:
        for number, frame in came:
            handler = handlers[number]
            if callable(handler):
                handler(number, frame)
