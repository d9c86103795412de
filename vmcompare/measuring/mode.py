"""How a lesson is being run: by whom, live or from recordings."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path

from vmcompare.engines import platform_named
from vmcompare.errors import UnknownName, VmcompareError
from vmcompare.sandbox import Platform


class Mode(StrEnum):
    """How much of a lesson is measured.

    ``AUTO`` measures what can be measured, in a lesson when *Run* is pressed, and replays the rest;
    a handout then measures only the experiments that ask for it. ``LIVE`` measures every experiment
    without *Run*, and refuses to make a handout where nothing can be compared. ``REPLAY`` measures
    nothing.
    """

    AUTO = "auto"
    LIVE = "live"
    REPLAY = "replay"


HANDOUT_ENV = "VMCOMPARE_HANDOUT"  # set to 1 in the kernel while a handout is made

EDITION_ENV = "VMCOMPARE_EDITION"  # names the edition of the handout that is being made

PROGRESS_ENV = "VMCOMPARE_PROGRESS"  # a file into which a long cell writes how far it is

PLATFORMS_ENV = "VMCOMPARE_PLATFORMS"
"""Names the platforms a session may measure, separated by commas: the others are replayed."""

HANDOUT_ROUNDS = 3  # blocks of the live run behind a handout: few, and the figures say so


def mode(named: str = Mode.AUTO) -> Mode:
    """What a notebook names; where that is ``auto``, from ``VMCOMPARE_MODE``, ``auto`` when unset.

    Raises ``UnknownName``.
    """
    if named == Mode.AUTO:
        named = os.environ.get("VMCOMPARE_MODE") or named
    try:
        return Mode(named)
    except ValueError:
        raise UnknownName("mode", named, [m.value for m in Mode]) from None


def chosen(platforms: Sequence[Platform], named: str = Mode.AUTO) -> tuple[Platform, ...]:
    """Those of ``platforms`` that this session may measure: mode and ``VMCOMPARE_PLATFORMS``."""
    if mode(named) is Mode.REPLAY:
        return ()
    names = [name.strip() for name in os.environ.get(PLATFORMS_ENV, "").split(",") if name.strip()]
    wanted = [platform_named(name) for name in names] or list(Platform)
    return tuple(platform for platform in platforms if platform in wanted)


def is_handout() -> bool:
    """Whether the notebook is being rendered for paper and static HTML."""
    return os.environ.get(HANDOUT_ENV) == "1"


def edition() -> str:
    """Which edition of a handout is being made; ``"student"`` unless it is said otherwise."""
    return os.environ.get(EDITION_ENV) or "student"


_DRAWING_ENV = "MPLCONFIGDIR"


@contextmanager
def drawing_folder() -> Iterator[None]:
    """Give kernels started within a folder that matplotlib may write, where it has none.

    Without one it warns on the page, naming the home, and each kernel leaves a folder behind.
    """
    from vmcompare.engines import cleanup

    home = os.environ.get(_DRAWING_ENV)
    unix = [
        Path(os.environ.get(name) or os.path.expanduser(f"~/{hidden}")) / "matplotlib"  # noqa: PTH111
        for name, hidden in (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"))
    ]
    if os.name == "nt" or all(_writable(path) for path in ([Path(home)] if home else unix)):
        yield
        return
    with ExitStack() as stack:
        with contextlib.suppress(OSError, VmcompareError):  # no room: matplotlib does without
            os.environ[_DRAWING_ENV] = str(stack.enter_context(cleanup.folder()))
        try:
            yield
        finally:
            os.environ.pop(_DRAWING_ENV, None)
            if home is not None:
                os.environ[_DRAWING_ENV] = home


def _writable(path: Path) -> bool:
    """Whether a folder can be written, or be made by whoever needs it."""
    # Not Path.exists(): it raises where a folder above may not be entered.
    there = next((place for place in (path, *path.parents) if os.path.exists(place)), path)  # noqa: PTH110
    return os.access(there, os.W_OK | os.X_OK) and there.is_dir()


def tell_progress(line: str) -> None:
    """How far a long cell is, for whoever renders the handout; nobody else hears it."""
    path = os.environ.get(PROGRESS_ENV)
    if path:
        with contextlib.suppress(OSError):  # a run outlives its progress
            Path(path).write_text(line, encoding="utf-8")


def handout_rounds() -> int:
    """From ``VMCOMPARE_ROUNDS``; :data:`HANDOUT_ROUNDS` when unset or not a positive number."""
    named = os.environ.get("VMCOMPARE_ROUNDS", "")
    return int(named) if re.fullmatch(r"0*[1-9]\d{0,8}", named, re.ASCII) else HANDOUT_ROUNDS
