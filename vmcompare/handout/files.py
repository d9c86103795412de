"""Reading a notebook and writing a page, with one sentence for whatever can go wrong."""

from __future__ import annotations

import json
import os
import re
import stat
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

_OURS = re.compile(r'<meta (?=[^>]*name="generator")[^>]*content="vmcompare [^",]*(?:, (\w+))?"')
_HEAD = 4096
"""Characters in which the generator is named."""


def read(notebook: Path) -> nbformat.NotebookNode:
    """The notebook, checked. Raises ``HandoutError``."""
    try:
        raw = json.loads(paths.read(notebook, NOTEBOOK_MAX))
    except FileNotFoundError:
        raise HandoutError(notebook, "there is no such notebook") from None
    except OSError as error:
        raise HandoutError(notebook, f"it cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise HandoutError(notebook, "it is not a text file") from error
    except ValueError as error:
        raise HandoutError(notebook, f"it is not JSON ({printable(str(error), 80)})") from error
    except RecursionError as error:
        raise HandoutError(notebook, "it is nested too deeply for a notebook") from error
    if not isinstance(raw, dict) or raw.get("nbformat") != 4:
        raise HandoutError(notebook, "it is not a notebook of format 4")
    with warnings.catch_warnings():
        # Cells without ids (written by older tools) are harmless here.
        warnings.simplefilter("ignore")
        try:
            nbformat.validate(raw)
            content: nbformat.NotebookNode = nbformat.v4.to_notebook(raw)  # type: ignore[no-untyped-call]
        except Exception as error:
            said = getattr(error, "message", str(error)) or type(error).__name__
            what = f"it is not a valid notebook ({printable(str(said), 120)})"
            raise HandoutError(notebook, what) from error
    return content


def heading(notebook: Path) -> str:
    """What a notebook is called: its first heading up to a colon, or else its name."""
    try:
        sources = (str(cell.source) for cell in read(notebook).cells)
        found = re.search(r"^# +([^:\n]+)", "\n".join(sources), flags=re.MULTILINE)
    except HandoutError:
        found = None
    return found[1].strip() if found else notebook.stem


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
    index, a file that vmcompare did not make lies there, or nothing can be written there.
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
        is_index = page != out and page.name.casefold() in (INDEX, *COMPANIONS)
        if is_index or generator(page) == "index":
            what = f"{page.name} is a page about the others: rename the notebook"
            raise HandoutError(notebook, what)
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
            made = _OURS.search(file.read(_HEAD))
    except OSError:
        return ""
    return made[1] or "student" if made else ""


def bring_browser_lab(folder: Path, notebook: Path) -> None:
    """Have the browser lab's page, and its sources, beside a handout that links to it."""
    page = paths.browser_lab_page()
    for file in (page, page.with_name("browser-lab-sources.tar")):
        try:
            paths.bring(file, folder)
        except OSError as error:
            what = f"{file.name} cannot be put beside it ({error.strerror}): make room there"
            raise HandoutError(notebook, f"{what}, or use another --out") from error


def write(text: str, path: Path, notebook: Path) -> Path:
    """Write the page all at once: nobody ever sees half of it. Raises ``HandoutError``."""
    try:
        paths.write(path, text)
        path.chmod(0o644)  # a handout is for handing out
    except OSError as error:
        why = error.strerror or str(error)
        what = f"{path.name} cannot be written ({why}): make room there, or use another --out"
        raise HandoutError(notebook, what) from error
    return path
