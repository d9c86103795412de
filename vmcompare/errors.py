"""Every error a learner can meet: one clear sentence, and where there is one, the next step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from shutil import disk_usage

UNPRINTABLE = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\uffff\U000e0000-\U000e007f"
)
"""Inside of a regular expression's ``[…]``: what can move a cursor, reverse or hide other text
(C0 and C1 controls, line separators, marks of direction, characters without width), and half
surrogates, which no encoding takes. Spelt out, as ``str.isprintable`` differs between Pythons."""

_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")
_BREAKS = re.compile(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+")


def printable(text: str, limit: int = 200) -> str:
    """Text from a file, an engine or a guest on one line, at most ``limit`` characters long.

    Line breaks and tabs become one space, every other control character its escape (``\\x1b``).
    What is printable and short enough is returned as it is.
    """
    long = len(text) > limit
    if not long and not _UNPRINTABLE.search(text):
        return text
    text = _BREAKS.sub(" ", text[: 2 * limit])
    text = _UNPRINTABLE.sub(lambda c: c[0].encode("unicode_escape").decode("ascii"), text)
    return f"{text[: limit - 1]}…" if long or len(text) > limit else text


class VmcompareError(Exception):
    """Base of all errors this package raises on purpose. Its text is fit for a learner's eyes.

    A notebook shows that text without a traceback.
    """

    def _render_traceback_(self) -> list[str]:  # asked by IPython
        return [str(self)]


class UnknownName(VmcompareError):
    """A name (experiment, platform, figure …) that does not exist."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no {kind} called {name!r}; choose from: {', '.join(known)}")


class Unavailable(VmcompareError):
    """Something this computer lacks: ``what``, as a clause without a full stop ("Docker is not
    installed"), and the one ``next_step`` to do about it, as an imperative clause."""

    def __init__(self, what: str, next_step: str) -> None:
        self.what, self.next_step = what, next_step
        super().__init__(f"{what}. Next step: {next_step}")


class LaunchFailure(VmcompareError):
    """A sandbox could not be started: ``what`` went wrong, as a clause; the ``command`` line (or
    engine's request) that failed; the last of what it printed on its ``console``, if anything."""

    def __init__(self, what: str, command: Sequence[str], console: str = "") -> None:
        self.what, self.command, self.console = what, tuple(command), console[-2000:]
        tail = console.strip().splitlines()[-1:]
        super().__init__(what + (f": {tail[0]}" if tail else ""))


class WaitTimeout(VmcompareError):
    """Something that was waited for, ``what``, did not come within ``timeout_s`` seconds."""

    def __init__(self, what: str, timeout_s: float, console: str = "") -> None:
        self.what, self.timeout_s, self.console = what, timeout_s, console[-2000:]
        super().__init__(f"{what} did not come within {timeout_s:g} s")


class AbnormalShutdown(VmcompareError):
    """A sandbox ended by itself, or could not be ended in order."""

    def __init__(self, what: str, console: str = "") -> None:
        self.what, self.console = what, console[-2000:]
        super().__init__(what)


class RecordingError(VmcompareError):
    """A recording (or a table in ``data/``) that cannot be read.

    ``line`` counts from 1; it is 0 when the whole file is meant.
    """

    def __init__(self, path: Path, line: int, what: str) -> None:
        self.path, self.line, self.what = path, line, what
        name = printable(path.name, 100)
        where = f"{name}, line {line}" if line else name
        super().__init__(f"the recording {where} cannot be read: {printable(what, 300)}")

    @property
    def unnamed(self) -> str:
        """The same without the file's name, where that stands before it."""
        where = f"Line {self.line}" if self.line else "It"
        return f"{where} cannot be read: {printable(self.what, 300)}."


class TextError(VmcompareError):
    """A lesson's text (in ``notebooks/text/``) that cannot be read.

    ``line`` counts from 1; it is 0, and ``section`` empty, when the whole file is meant.
    """

    def __init__(self, path: Path, line: int, section: str, what: str) -> None:
        self.line = line
        where = [printable(path.name, 100)]
        where += [f"line {line}"] if line else []
        where += [f"“{printable(section, 80)}”"] if section else []
        super().__init__(f"the text {', '.join(where)} cannot be read: {printable(what, 300)}")


class StorageError(Unavailable):
    """A file or folder that cannot be used: full, read-only, somebody else's, or not there.

    What needs it is unavailable: a probe that meets this finds its platform missing, and says why.
    ``why`` is what the system said, as a clause; the room left where it lies is said, too.
    """

    def __init__(self, path: Path, why: str, next_step: str) -> None:
        self.path = path
        super().__init__(f"{short(path)} cannot be used ({why}{_room(path)})", next_step)

    @classmethod
    def of(cls, path: Path, error: OSError, next_step: str) -> StorageError:
        return cls(path, error.strerror or str(error), next_step)


def _room(path: Path) -> str:
    """``", 12.5 MiB free there"``: in the nearest folder above ``path`` that is there."""
    for place in (path, *path.parents):
        try:
            return f", {disk_usage(place).free / 2**20:,.1f} MiB free there"
        except OSError:
            continue
    return ""


def short(path: Path) -> str:
    """A path without the name of its user (a page is shown to a class), and on one line."""
    try:
        below = path.relative_to(Path.home())
        words = f"~/{below}" if below.parts else "~"
    except (ValueError, RuntimeError):
        words = str(path)
    return "".join(c if c.isprintable() else "�" for c in words)
