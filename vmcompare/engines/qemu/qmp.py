"""QEMU's control channel (QMP): one JSON object per line, synchronous.

Protocol: QEMU, ``docs/interop/qmp-spec.rst``. The greeting is read elsewhere (its arrival is a
time mark); this client starts with the negotiation.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from vmcompare.errors import AbnormalShutdown, LaunchFailure, WaitTimeout

ANSWER_S = 10.0
"""Seconds for an answer; QEMU needs milliseconds, except on a very busy computer."""


class Qmp:
    """A client on a connected socket whose greeting has been read."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._buffer = b""
        self._number = 0
        self._negotiated = False
        self.events: list[dict[str, Any]] = []

    def command(self, name: str, *, timeout_s: float = ANSWER_S, **arguments: object) -> Any:
        """Send a command, wait for its answer; events that arrive meanwhile are kept.

        Raises:
            LaunchFailure: QEMU refuses the command.
            AbnormalShutdown: QEMU has closed the channel.
            WaitTimeout: no answer in ``timeout_s`` seconds.
        """
        if not self._negotiated:
            self._negotiated = True
            self.command("qmp_capabilities", timeout_s=timeout_s)
        self._number += 1
        request = {"execute": name, "arguments": arguments, "id": self._number}
        deadline = time.monotonic() + timeout_s
        try:
            self._channel.settimeout(timeout_s)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._message(deadline)
                if "event" in message:
                    self.events.append(message)
                elif message.get("id") == self._number:
                    break
        except TimeoutError:
            raise WaitTimeout(f"QEMU's answer to {name!r}", timeout_s) from None
        except OSError as error:
            raise AbnormalShutdown(f"QEMU closed its control channel at {name!r}") from error
        if "error" in message:
            raise LaunchFailure(f"QEMU refuses {name!r}", (name,), str(message["error"]["desc"]))
        return message["return"]

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            piece = self._channel.recv(65536)
            if not piece:
                raise ConnectionResetError
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
