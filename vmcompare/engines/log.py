"""What engines are asked to do, for the logger ``vmcompare.engines``; nobody hears it unasked.

A line is written after something was started, or before its clock runs: no timed start is longer
for it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vmcompare.errors import printable

LOG = logging.getLogger("vmcompare.engines")

LINE_CHARS = 4000  # longest line; QEMU's arguments take about 1,500 characters


def command(argv: Sequence[str | os.PathLike[str]], where: str = "") -> None:
    """A program is run: on this computer, or ``where``."""
    if LOG.isEnabledFor(logging.INFO):
        _say(f"{where or 'run'}: {shlex.join(os.fspath(word) for word in argv)}")


def docker_call(response: Any, *_: object, **__: object) -> None:
    """Docker's engine has answered a request (a hook of ``requests``)."""
    if LOG.isEnabledFor(logging.INFO):
        asked = response.request
        is_json = asked.headers.get("Content-Type") == "application/json"
        body = asked.body if is_json else ""
        text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
        _say(f"docker: {asked.method} {asked.path_url} {text} -> {response.status_code}")


def _say(text: str) -> None:
    LOG.info("%s", printable(homeless(text), LINE_CHARS))


def homeless(text: str) -> str:
    """``text`` without the path of a home, which holds its user's name."""
    try:
        home = Path.home()
    except RuntimeError:
        return text
    if len(home.parts) < 3:  # root's names nobody, and /root may be a part of other paths
        return text
    return re.sub(rf"{re.escape(str(home))}(?![\w.-])", "~", text)


@contextlib.contextmanager
def shown(stream: io.TextIOBase) -> Iterator[None]:
    """While inside, all that the package logs goes to ``stream``, a line each with its time."""
    package = logging.getLogger("vmcompare")
    handler = logging.StreamHandler(stream)
    form = "%(asctime)s.%(msecs)03d %(name)s %(message)s"
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    before = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)
