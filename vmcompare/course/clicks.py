"""Buttons that act on the value of a field, although the click may overtake the value.

JupyterLab sends the messages of widgets over subshells, and ipykernel (7.4) may hand those of the
field and of the button to two threads: the click can be there before the value that it means.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

LATE_S = 1.0
"""A value that arrives this soon (s) after its button was pressed was meant by it."""


def submitted(button: Any, field: Any, act: Callable[[Any, bool], None]) -> None:
    """Let ``button`` act on the value of ``field``: ``act(value, late)``.

    A value that arrives right after a click is acted on as well, with ``late`` true. Where acting
    cannot be done twice, wait for :data:`LATE_S` after the click instead, and read the value then.
    """
    lock = threading.Lock()
    pressed_s = -math.inf

    def on_click(_: Any) -> None:
        nonlocal pressed_s
        with lock:
            act(field.value, False)
            pressed_s = time.monotonic()

    def on_value(change: Mapping[str, Any]) -> None:
        with lock:
            if time.monotonic() - pressed_s < LATE_S:
                act(change["new"], True)

    button.on_click(on_click)
    field.observe(on_value, names="value")
