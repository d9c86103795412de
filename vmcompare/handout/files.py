"""Reading a notebook and writing a page, with one sentence for whatever can go wrong."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from pathlib import Path

import nbformat

from . import HandoutError


def read(notebook: Path) -> nbformat.NotebookNode:
    """The notebook, checked.

    Raises:
        HandoutError: it is missing, or not a notebook.
    """
    try:
        text = notebook.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HandoutError(notebook, "there is no such notebook") from None
    except UnicodeDecodeError as error:
        raise HandoutError(notebook, "it is not a text file") from error
    except OSError as error:
        raise HandoutError(notebook, f"it cannot be read ({error.strerror})") from error
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise HandoutError(notebook, f"it is not JSON (line {error.lineno})") from error
    if not isinstance(raw, dict) or raw.get("nbformat") != 4:
        raise HandoutError(notebook, "it is not a notebook of format 4")
    with warnings.catch_warnings():
        # Cells without ids (written by older tools) are harmless here.
        warnings.simplefilter("ignore")
        try:
            nbformat.validate(raw)
        except nbformat.ValidationError as error:
            raise HandoutError(notebook, f"it is not a valid notebook ({error.message})") from error
        content: nbformat.NotebookNode = nbformat.reads(text, 4)  # type: ignore[no-untyped-call]
        return content


def target(notebook: Path, out: Path, edition: str) -> Path:
    """Where the page goes: ``out`` itself if it names an HTML file, else a file in it."""
    if out.suffix.lower() in (".html", ".htm"):
        return out
    suffix = "" if edition == "student" else f"-{edition}"
    return out / f"{notebook.stem}{suffix}.html"


def write(text: str, path: Path, notebook: Path) -> Path:
    """Write the page all at once: nobody ever sees half of it.

    Raises:
        HandoutError: it cannot be written.
    """
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
        raise HandoutError(notebook, f"{path.name} cannot be written ({why})") from error
    return path
