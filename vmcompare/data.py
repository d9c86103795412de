"""Where things lie: the project's own data, and the learner's.

Root uses root's own places, whoever's home ``HOME`` and the ``XDG_*`` variables name: what
``sudo vmcompare`` writes into a learner's home would lock the learner out, and a learner could lead
it elsewhere by a link. A recording that root makes for somebody else goes where ``--out`` says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile

from platformdirs import user_cache_path, user_data_path, user_state_path

from . import storage
from .errors import StorageError


def data_dir() -> Path:
    """The project's ``data/``: beside the package in a checkout, inside it in a wheel."""
    beside = Path(__file__).parent.parent / "data"
    return beside if (beside / "claims.csv").exists() else Path(__file__).parent / "_data"


def lessons_dir() -> Path:
    """The project's ``notebooks/``: beside the package in a checkout, inside it in a wheel."""
    beside = Path(__file__).parent.parent / "notebooks"
    return beside if beside.is_dir() else Path(__file__).parent / "_notebooks"


def user_recordings_dir() -> Path:
    """Where this learner's own recordings go. Raises ``StorageError``, as all that follow, where
    no place is known."""
    return _place(user_data_path, DATA_HOME, ".local/share") / "recordings"


def answers_path() -> Path:
    """The one local file that keeps a learner's predictions and answers."""
    return _place(user_data_path, DATA_HOME, ".local/share") / "answers.json"


def cache_dir() -> Path:
    """Derived images and probe results: safe to delete at any time."""
    return _place(user_cache_path, CACHE_HOME, ".cache")


def state_dir() -> Path:
    """The ledger of what is running, and the pid file of a daemon that set-up started.

    Where a home cannot be written, below the folder for temporary files: a replay needs no home.
    """
    with suppress(StorageError):
        place = _place(user_state_path, STATE_HOME, ".local/state")
        if _takes_a_file(place):
            return place
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return storage.temporary() / f"vmcompare-state-{user}"


def settle_home() -> None:
    """Make ``HOME`` and ``XDG_*`` name places that this process, and whatever it starts, may use.

    Without a home Jupyter's parts end in a traceback; as root they, too, would write into the
    learner's.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # pathlib's raises where there is none
    if not home.is_absolute():
        os.environ["HOME"] = "/nonexistent"
    if not _is_root():
        return
    import pwd

    if _is_foreign(home):
        os.environ["HOME"] = pwd.getpwuid(0).pw_dir
    for variable in (DATA_HOME, CACHE_HOME, STATE_HOME, "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        if (named := os.environ.get(variable)) and _is_foreign(Path(named)):
            del os.environ[variable]


DATA_HOME, CACHE_HOME, STATE_HOME = "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"
"""The variables that name other places."""


def advice(variable: str) -> str:
    """The next step where the place that ``variable`` names cannot be used."""
    return f"free some room there or make it writable, or name another folder in {variable}"


@lru_cache(maxsize=16)
def _takes_a_file(folder: Path) -> bool:
    """Whether a small file can be written in ``folder``, which is made; asked once a process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError:
        return False
    return True


def _place(find: Callable[[str], Path], variable: str, below_home: str) -> Path:
    unknown = f"name a folder by its whole path in HOME or {variable}"
    try:
        path = find("vmcompare")
    except RuntimeError as error:  # HOME is unset or relative, and the user has no entry either
        raise StorageError(Path("~", below_home), "no home directory", unknown) from error
    if not path.is_absolute():
        raise StorageError(path, "not a whole path", unknown)
    if not (_is_root() and _is_foreign(path)):
        return path
    import pwd

    return Path(pwd.getpwuid(0).pw_dir, below_home, "vmcompare")


def _is_root() -> bool:
    """Whether this is root over everything, not one in a user namespace, who owns little."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    try:
        return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    except OSError:
        return True


def _is_foreign(path: Path) -> bool:
    """Whether another user than root owns it or a folder above it, and so decides where it is."""
    for place in (path, *path.parents):
        try:
            if place.stat().st_uid:
                return True
        except OSError:
            continue
    return False
