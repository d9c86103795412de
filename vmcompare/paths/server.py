"""JupyterLab on a learner's folder of lessons: on this computer only, with a token."""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import warnings
from pathlib import Path

from vmcompare.errors import Unavailable
from vmcompare.paths import lessons

SERVER = {
    "ip": "127.0.0.1",
    "sock": "",
    "allow_remote_access": False,
    "allow_origin": "",
    "allow_origin_pat": "",
    "allow_credentials": False,
    "disable_check_xsrf": False,
}
"""Who may come in is never a matter of the user's configuration of Jupyter, which may switch tokens
off or listen to the world. These go before what stands there, and are looked at once more."""

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
"""JupyterLab's settings unless a learner chose others: no news, names of lessons in full, and all
of a lesson on its page: controls out of sight, too, are hidden when their kernel is gone."""


def serve(folder: Path, place: Path, *, port: int | None, browser: bool) -> None:
    """JupyterLab on ``folder``, its settings and layout in ``place``, until it is ended.

    Raises ``Unavailable`` where the configuration of Jupyter would open it to others.
    """
    from jupyterlab.labapp import LabApp

    settings = place / "settings"
    settings.mkdir()
    (settings / "overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    token = secrets.token_hex(24)
    identity = "jupyter_server.auth.identity.PasswordIdentityProvider"
    options = [
        f"--ServerApp.identity_provider_class={identity}",
        f"--IdentityProvider.token={token}",
        f"--PasswordIdentityProvider.token={token}",
        "--PasswordIdentityProvider.hashed_password=",
        "--PasswordIdentityProvider.password_required=False",
    ]
    for application in ("ServerApp", "LabApp", "NotebookApp"):  # each passes its own to the first
        options += [f"--{application}.{name}={value}" for name, value in SERVER.items()]
    options += [
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{lessons.FIRST}",
        "--LabApp.extension_manager=readonly",
        "--ServerApp.log_level=ERROR",
        "--LabApp.log_level=ERROR",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
        f"--LabApp.app_settings_dir={settings}",
        f"--LabApp.workspaces_dir={place / 'workspaces'}",
    ]
    if port:
        options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    options += ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    options += ["--no-browser"] if not browser else []
    # In this process: anybody may read the arguments of another one, and so the token.
    # Jupyter warns of options that are said to several of its applications, its extensions of one
    # another.
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(record=True):
        server = LabApp.initialize_server(options)
    logging.disable(logging.NOTSET)
    open_to = [name for name, value in SERVER.items() if getattr(server, name) != value]
    if open_to or server.identity_provider.token != token:
        raise Unavailable(
            f"the configuration of Jupyter would open the lab to others ({', '.join(open_to)})",
            "look through what `jupyter --paths` lists under config",
        )
    server.identity_provider.token_generated = True  # by us: so it is shown in the address

    def stop(*_: object) -> None:
        server.io_loop.add_callback_from_signal(server.stop)

    # Jupyter's own handler logs first, which fails where the signal comes while something is
    # logged; and it leaves out SIGHUP. (Ignored: nohup.)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    server.start()


def refuse_taken_port(port: int) -> None:
    """Raise ``Unavailable`` where nothing could listen on ``port`` of the loopback address."""
    with socket.socket() as probe:
        if os.name != "nt":  # as the server does; on Windows it would let two listen
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((SERVER["ip"], port))
        except OSError as error:
            why = error.strerror or str(error)
            step = "name another one with --port, or none"
            raise Unavailable(f"port {port} cannot be used ({why})", step) from error
