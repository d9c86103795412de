"""A network that one container has to itself: a bridge of its own, as ``docker network create``."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from vmcompare.engines import cleanup
from vmcompare.engines.cleanup.connection import Request
from vmcompare.engines.docker.engine import REQUEST_TIMEOUT_S, engine_errors
from vmcompare.errors import AbnormalShutdown

if TYPE_CHECKING:
    from docker import APIClient

GONE_S = 15.0
"""Seconds until it must be gone; 0.1 s is usual, once its container has left it."""


class Network:
    """Made by :meth:`create`, removed by :meth:`remove`; both talk to the engine.

    Attributes:
        name: known before it exists, so that it can always be removed.
    """

    def __init__(self, api: APIClient, name: str) -> None:
        self.name = name
        self._api = api
        self._creation: Request[Any] | None = None

    def create(self) -> None:
        """Make it, with the labels by which the clean-up knows it. Raises the engine's errors."""
        api, name = self._api, self.name
        self._creation = Request(
            lambda: api.create_network(name, driver="bridge", labels=cleanup.labels())
        )
        self._creation.send()
        self._creation.answer(REQUEST_TIMEOUT_S)

    def remove(self) -> None:
        """Remove it, if there is one; its container must be gone. May be called again.

        Raises ``AbnormalShutdown`` if the engine does not, or the engine's own errors.
        """
        import docker.errors

        if self._creation is None or self._creation.cancel():
            return
        with contextlib.suppress(*engine_errors(TimeoutError, CancelledError)):
            self._creation.answer(REQUEST_TIMEOUT_S)  # one still on its way could not be removed
        deadline = time.monotonic() + GONE_S
        while True:
            try:
                self._api.remove_network(self.name)
                break
            except docker.errors.NotFound:
                break
            except docker.errors.APIError as error:
                if error.status_code not in (403, 409):  # 403: its container is leaving still
                    raise
                if time.monotonic() > deadline:
                    what = f"Docker did not remove the network {self.name}"
                    raise AbnormalShutdown(what, str(error.explanation or error)) from error
            time.sleep(0.02)
        self._creation = None
