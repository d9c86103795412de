"""Where things lie: the project's own data, and the learner's."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_data_path, user_state_path


def data_dir() -> Path:
    """The project's ``data/``: beside the package in a checkout, inside it in a wheel."""
    beside = Path(__file__).parent.parent / "data"
    return beside if (beside / "claims.csv").exists() else Path(__file__).parent / "_data"


def lessons_dir() -> Path:
    """The project's ``notebooks/``: beside the package in a checkout, inside it in a wheel."""
    beside = Path(__file__).parent.parent / "notebooks"
    return beside if beside.is_dir() else Path(__file__).parent / "_notebooks"


def user_recordings_dir() -> Path:
    """Where this learner's own recordings go."""
    return user_data_path("vmcompare") / "recordings"


def answers_path() -> Path:
    """The one local file that keeps a learner's predictions and answers."""
    return user_data_path("vmcompare") / "answers.json"


def cache_dir() -> Path:
    """Derived images and probe results: safe to delete at any time."""
    return user_cache_path("vmcompare")


def state_dir() -> Path:
    """The ledger of what is running, and the pid file of a daemon that set-up started."""
    return user_state_path("vmcompare")
