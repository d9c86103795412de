"""Reading a notebook and writing a page, with one sentence for whatever can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import nbformat

from vmcompare import paths
from vmcompare.errors import printable, short
from vmcompare.handout import HandoutError

INDEX = "index.html"  # the page that ties the handouts of a directory together

COMPANIONS = ("glossary.html", "cheat-sheet.html")
"""Pages beside it: what words mean, and the course on one sheet."""

NOTEBOOK_MAX = 5 * 2**20
"""Bytes of a notebook: pictures may be attached, but a page has to be handed out."""

_NESTED_MAX = 60  # levels of lists and objects in a notebook; a real one has about ten

_OURS = re.compile(
    r'<meta (?:name="generator" content="vmcompare [^"]*"'
    r'|content="vmcompare [^"]*" name="generator")'
)
_ORIGIN = re.compile(r'<meta name="vmcompare-notebook" content="([0-9a-f]+)">')
_HEAD, _BODY = 4096, 200_000
"""Characters in which the generator is named, and in which the body begins."""


def read(notebook: Path) -> nbformat.NotebookNode:
    """The notebook, checked. Raises ``HandoutError``."""
    text = _text(notebook)
    try:
        raw = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise HandoutError(notebook, f"it is not JSON (line {error.lineno})") from error
    except ValueError as error:
        raise HandoutError(notebook, f"it is not JSON ({printable(str(error), 80)})") from error
    except RecursionError as error:
        raise HandoutError(notebook, "it is nested too deeply for a notebook") from error
    if not isinstance(raw, dict) or raw.get("nbformat") != 4:
        raise HandoutError(notebook, "it is not a notebook of format 4")
    if _deep(raw):
        raise HandoutError(notebook, "it is nested too deeply for a notebook")
    with warnings.catch_warnings():
        # Cells without ids (written by older tools) are harmless here.
        warnings.simplefilter("ignore")
        try:
            nbformat.validate(raw)
            content: nbformat.NotebookNode = nbformat.v4.to_notebook(raw)  # type: ignore[no-untyped-call]
        except nbformat.ValidationError as error:
            what = printable(str(error.message), 120)
            raise HandoutError(notebook, f"it is not a valid notebook ({what})") from error
        except Exception as error:
            what = f"{type(error).__name__}: {printable(str(error), 100)}"
            raise HandoutError(notebook, f"it is not a valid notebook ({what})") from error
    return content


def heading(notebook: Path) -> str:
    """What a notebook is called: its first heading up to a colon, or else its name."""
    try:
        sources = (str(cell.source) for cell in read(notebook).cells)
        found = re.search(r"^# +([^:\n]+)", "\n".join(sources), flags=re.MULTILINE)
    except HandoutError:
        found = None
    return found[1].strip() if found else notebook.stem


def _text(notebook: Path) -> str:
    try:
        return paths.read(notebook, NOTEBOOK_MAX).decode("utf-8")
    except FileNotFoundError:
        raise HandoutError(notebook, "there is no such notebook") from None
    except UnicodeDecodeError as error:
        raise HandoutError(notebook, "it is not a text file") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise HandoutError(notebook, f"it cannot be read ({why})") from error


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _deep(value: object) -> bool:
    level = [value]
    for _ in range(_NESTED_MAX):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
        if not level:
            return False
    return True


def target(notebook: Path, out: Path, edition: str) -> Path:
    """Where the page goes: ``out`` itself if it names an HTML file, else a file in it."""
    if out.suffix.lower() in (".html", ".htm"):
        return out
    suffix = "" if edition == "student" else f"-{edition}"
    return out / f"{notebook.stem}{suffix}.html"


def refuse_clashes(notebooks: Sequence[Path], out: Path, edition: str, *, index: str = "") -> None:
    """See to it, before anything is run, that no page takes the place of another or of a stranger.

    ``index`` is the name of the page that will list them, if any. Raises ``HandoutError``: two
    would have the same name (case aside: some file systems do not tell), one would have that of an
    index, a file that vmcompare did not make or a page of another notebook lies there, or nothing
    can be written there.
    """
    if notebooks:
        refuse_unwritable(target(notebooks[0], out, edition).parent, notebooks[0])
    taken: dict[str, Path] = {}
    for notebook in notebooks:
        page = target(notebook, out, edition)
        before = taken.setdefault(page.name.casefold(), notebook)
        if before is not notebook:
            what = f"{before} would become {page.name} too: rename one, or use another --out"
            raise HandoutError(notebook, what)
        refuse_foreign(page, notebook)
        there = generator(page)
        if there == "index" or (page != out and page.name.casefold() in (INDEX, *COMPANIONS)):
            what = f"{page.name} is a page about the others: rename the notebook"
            raise HandoutError(notebook, what)
        if page != out and there not in ("", edition):
            what = f"{page.name} is there already as {there} edition: use another --out"
            raise HandoutError(notebook, what)
        if page != out and there and _origin(page) not in ("", _place(notebook, page)):
            what = f"{page.name} is there already, made from another notebook of that name"
            raise HandoutError(notebook, f"{what}: remove it, or use another --out")
    if index and notebooks:
        for name in (index, *COMPANIONS):
            refuse_foreign(out / name, notebooks[0])


def refuse_unwritable(folder: Path, notebook: Path) -> None:
    """Look before the minutes of a run, not after them, whether its page will have a place.

    Raises ``HandoutError`` where the folder, or the nearest one above it, takes no file.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = f"{short(there)} cannot be written to: make it a folder of yours"
        raise HandoutError(notebook, f"{what}, or use another --out")


def refuse_foreign(page: Path, notebook: Path) -> None:
    """Leave alone what vmcompare did not make. Raises ``HandoutError``."""
    if (page.exists() or page.is_symlink()) and not generator(page):
        what = f"{page.name} in {page.parent} was not made by vmcompare and is left as it is"
        raise HandoutError(notebook, f"{what}: use another --out")


def generator(page: Path) -> str:
    """What of ours lies there: an edition, ``"index"`` for a page about the others, or nothing."""
    try:
        if not stat.S_ISREG(page.stat().st_mode):
            return ""
        with page.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_HEAD)
            made = _OURS.search(text)
            text += file.read(_BODY) if made else ""
    except OSError:
        return ""
    if made is None:
        return ""
    if ", index" in made[0]:
        return "index"
    return "instructor" if '<body class="vmc-instructor">' in text else "student"


def signed(text: str, page: Path, notebook: Path) -> str:
    """The page's text with a mark by which the same notebook may replace it, and no other."""
    mark = f'<meta name="vmcompare-notebook" content="{_place(notebook, page)}">'
    return text.replace("<title>", f"{mark}\n<title>", 1)


def _place(notebook: Path, page: Path) -> str:
    """Where a notebook is, seen from its page, as a hash: a page tells no names of folders."""
    try:
        way = os.path.relpath(notebook.resolve(), page.parent.resolve())
    except ValueError:  # another drive of Windows
        way = str(notebook.resolve())
    return hashlib.sha256(os.fsencode(way)).hexdigest()[:16]


def _origin(page: Path) -> str:
    """The mark of a page; empty where it has none, as older pages."""
    with page.open(encoding="utf-8", errors="replace") as file:
        found = _ORIGIN.search(file.read(_HEAD))
    return found[1] if found else ""


def bring_browser_lab(folder: Path, notebook: Path) -> None:
    """Have the browser lab's page, and its sources, beside a handout that links to it."""
    for file in (paths.browser_lab_page(), paths.browser_lab_sources()):
        try:
            paths.bring(file, folder)
        except OSError as error:
            what = f"{file.name} cannot be put beside it ({error.strerror}): make room there"
            raise HandoutError(notebook, f"{what}, or use another --out") from error


def write(text: str, path: Path, notebook: Path) -> Path:
    """Write the page all at once: nobody ever sees half of it. Raises ``HandoutError``."""
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        # mkstemp makes files only their owner may read; a handout is for handing out.
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except OSError as error:
        if partial:
            Path(partial).unlink(missing_ok=True)
        why = error.strerror or str(error)
        what = f"{path.name} cannot be written ({why}): make room there, or use another --out"
        raise HandoutError(notebook, what) from error
    return path
