"""Lessons by their number, and a learner's own copy of them, which is never written over.

The copy holds notebooks, figures and the glossary. A hidden file beside them says what was put
there: a file that still is that may be replaced by a newer one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vmcompare import paths
from vmcompare.errors import Unavailable, UnknownName, short

FIRST = "00-start-here.ipynb"  # the lesson that a learner sees first

NUMBER = r"\d\d[a-z]?"
"""A lesson's number, as a regular expression: ``04``, ``05a``."""

GIVEN = ".vmcompare-lessons.json"
"""In a learner's folder: the fingerprint of each file as it was put there."""

_NOTEBOOKS = "[0-9][0-9]*-*.ipynb"
_NUMBERED = re.compile(rf"({NUMBER})-.+\.ipynb")
_DECLARED = re.compile(rf'Lesson\(\\?"(\w+)\\?",\s*\\?"({NUMBER})\\?"')
_LARGEST = 64 << 20  # bytes of a file that is compared; a larger one is a learner's

_STEP = "make room there, or name another folder (vmcompare lab DIR)"
_ANOTHER = "name a new folder or an empty one (vmcompare lab DIR)"


@dataclass(frozen=True, slots=True)
class LessonFile:
    """A lesson that exists: its number, notebook, and experiments (none where it measures none)."""

    number: str
    notebook: Path
    experiments: tuple[str, ...]

    @property
    def experiment(self) -> str:
        """The first of its experiments; empty where there is none."""
        return self.experiments[0] if self.experiments else ""


def lesson_files(directory: Path | None = None) -> dict[str, LessonFile]:
    """The lessons there are, by number: notebooks ``NN-….ipynb``, or ``NNa-…`` and ``NNb-…``.

    A notebook names its own experiments and number (``Lesson("boot_speed", "04")``); there is no
    list to keep.
    """
    there = {}
    for path in sorted((directory or paths.lessons_dir()).glob("[0-9][0-9]*.ipynb")):
        if numbered := _NUMBERED.fullmatch(path.name):
            declared = _DECLARED.findall(path.read_text(encoding="utf-8", errors="replace"))
            experiments = tuple(dict.fromkeys(name for name, _ in declared))
            there[numbered[1]] = LessonFile(numbered[1], path, experiments)
    return there


def named(word: str) -> Path:
    """The notebook that ``"04"`` or ``"04-boot-speed"`` names. Raises ``UnknownName``."""
    there = lesson_files()
    for lesson in there.values():
        if word in (lesson.number, lesson.notebook.stem):
            return lesson.notebook
    raise UnknownName("lesson", word, list(there))


def default_folder() -> Path:
    return Path(os.path.expanduser("~"), "vmcompare-lessons")  # noqa: PTH111  # pathlib's may raise


def give(folder: Path) -> list[str]:
    """Bring ``folder``, a learner's own, up to date with the project's lessons; it is made.

    Returns a sentence for each lesson that the learner has changed and that is newer here: the
    newer one lies beside it, under another name. Raises ``StorageError``, or ``Unavailable`` where
    it belongs to another user, or holds something else.
    """
    with paths.as_storage_error(folder, _STEP):
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(os, "geteuid") and folder.stat().st_uid != os.geteuid():
            raise Unavailable(f"the folder {short(folder)} belongs to another user", _ANOTHER)
        visible = any(not entry.name.startswith(".") for entry in folder.iterdir())
        if visible and not (folder / GIVEN).exists():
            what = f"the folder {short(folder)} holds files that vmcompare did not put there"
            raise Unavailable(what, _ANOTHER)
        # The lock lies elsewhere: a folder on a network share may know none.
        with paths.locked(paths.state_dir() / "lessons.lock"):
            return _give(folder)


def _give(folder: Path) -> list[str]:
    given: dict[str, str] = {}  # where what was put there cannot be known, all counts as changed
    with contextlib.suppress(OSError):
        given = paths.understood(paths.read(folder / GIVEN, _LARGEST), dict[str, str]) or {}
    said = []
    # First of all: what lies in the folder after a crash is known to be ours.
    _write_given(folder, given)
    for name, content in _contents():
        new = _fingerprint(name, content)
        free = (p for p in _places(name) if _present(folder, p) in (None, new, given.get(p)))
        if (place := next(free)) != name:
            if given.get(name) == new:
                continue
            said.append(f"{name} stays as you changed it; the newer one is {place}")
        if _present(folder, place) != new:
            paths.write(folder / place, content)
        given[name] = given[place] = new
    _remove_renamed(folder, given)
    _write_given(folder, given)
    return said


def _remove_renamed(folder: Path, given: dict[str, str]) -> None:
    """Remove unchanged lessons that have another name now. Figures stay for those changed."""
    ours = [path.stem for path in paths.lessons_dir().glob(_NOTEBOOKS)]
    for name in [name for name in given if name.endswith(".ipynb")]:
        renamed = not any(name.startswith(stem) for stem in ours)  # "04-boot-speed-new" is not
        if renamed and _present(folder, name) == given[name]:
            (folder / name).unlink()
            del given[name]


def _contents() -> Iterator[tuple[str, bytes]]:
    project = paths.lessons_dir()
    for pattern in (_NOTEBOOKS, "figures/[!.]*"):
        for path in sorted(project.glob(pattern)):
            yield path.relative_to(project).as_posix(), path.read_bytes()
    if (glossary := project / "text" / "glossary.md").exists():
        yield glossary.name, glossary.read_bytes()


def _places(name: str) -> Iterator[str]:
    """Where a lesson goes: its own name, or another beside it where a learner's lies there."""
    yield name
    stem, _, suffix = name.rpartition(".")
    yield f"{stem}-new.{suffix}"
    yield from (f"{stem}-new-{number}.{suffix}" for number in itertools.count(2))


def _present(folder: Path, name: str) -> str | None:
    """The fingerprint of what lies there; none of nothing, empty of what is no ordinary file."""
    path = folder / name
    if not os.path.lexists(path):
        return None
    try:
        return "" if path.is_symlink() else _fingerprint(name, paths.read(path, _LARGEST))
    except OSError:
        return ""


def _fingerprint(name: str, content: bytes) -> str:
    """The same as long as nothing is changed: of a notebook no text, no output and no attachment.

    JupyterLab writes numbers and metadata into a notebook that was only opened.
    """
    notebook = paths.understood(content, dict) if name.endswith(".ipynb") else None
    cells = notebook.get("cells") if notebook else None
    if isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells):
        told = [[_text(cell.get(key)) for key in _CHANGEABLE] for cell in cells]
        content = msgspec.json.encode(told)
    return hashlib.sha256(content).hexdigest()


_CHANGEABLE = ("cell_type", "source", "outputs", "attachments")


def _text(value: object) -> object:
    """A text that may be written as a list of lines; nothing for whatever is empty."""
    is_lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return ("".join(value) if is_lines else value) or None  # type: ignore[arg-type]


def _write_given(folder: Path, given: Mapping[str, str]) -> None:
    paths.write(folder / GIVEN, msgspec.json.format(msgspec.json.encode(given)))
