"""A lesson's notebook as one self-contained HTML file: no network, no kernel, sliders alive.

``export_all`` is the way in. What a notebook may say to it:

* cell tags: ``hide-input`` (show only the outputs), ``live-only`` (neither run nor shown);
* HTML: ``<details class="vmc-answer">`` is printed on a last page in the student edition.

What cells display is untrusted: only HTML that is known to be harmless comes through
(:mod:`.safe`), and standard error is left out.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vmcompare import paths
from vmcompare.errors import StorageError, UnknownName, VmcompareError
from vmcompare.measuring.mode import drawing_folder

# nbformat's validator would build a grammar of international addresses, which no notebook holds:
# more than a second of a processor whenever a handout is made.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

EDITIONS = ("student", "instructor")
TEMPLATES = (__name__, "template")  # the package and its folder that hold the templates of pages

TIMEOUT_S = 1800.0  # time a whole notebook may take, in seconds


class HandoutError(VmcompareError):
    """A handout that could not be made.

    Attributes:
        notebook: the notebook it was to be made from.
        cell: first line of the cell that failed; empty where no cell is to blame.
        line: the source line that failed, where that is known: errors of ours are shown
            without a traceback, and so have none.
    """

    def __init__(self, notebook: Path, what: str, *, cell: str = "", line: str = "") -> None:
        self.notebook, self.cell, self.line = notebook, cell, line
        where = f" in the cell that begins with `{cell}`" if cell else ""
        at = f", at `{line}`" if line and line != cell else ""
        super().__init__(f"no handout of {notebook.name}{where}{at}: {what}")


def export_all(
    notebooks: Sequence[Path],
    out: Path,
    finished: Callable[[Path | HandoutError], None],
    progress: Callable[[str], None] = lambda _: None,
    *,
    at_once: int = 1,
    edition: str = "student",
    index: str = "",
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Run notebooks, each from its beginning, and write each as one HTML file.

    Args:
        notebooks: the lessons, in the order in which ``finished`` hears of them; none is changed.
        out: the directory to write into, as ``<notebook>.html`` (instructor edition:
            ``<notebook>-instructor.html``); of one notebook also the file itself (``….html``).
        finished: told each file, or why there is none: one failure does not stop the others.
        progress: told ``"04-boot-speed: cell 3 of 17"``.
        at_once: how many run at the same time; where something is measured, one.
        edition: ``"student"`` or ``"instructor"``.
        index: name of the page that will be written afterwards to list them, perhaps none.
        timeout_s: time a whole notebook may take, in seconds.

    Raises:
        HandoutError: two pages would have one name, or a file that is not ours would be replaced.
            Then nothing was run and nothing written.
        UnknownName: there is no such edition.
    """
    from vmcompare.handout import execution, files, page

    if edition not in EDITIONS:
        raise UnknownName("edition", edition, EDITIONS)
    files.refuse_clashes(notebooks, out, edition, index=index)
    course = notebooks if index else ()

    async def make(notebook: Path) -> Path:
        content = files.read(notebook)
        page.leave_out(content)
        try:
            paths.temporary()
            await execution.execute(
                content,
                notebook,
                edition=edition,
                timeout_s=timeout_s,
                progress=lambda line: progress(f"{notebook.stem}: {line}"),
            )
        except StorageError as error:
            raise HandoutError(notebook, str(error)) from error
        text = page.render(content, notebook, edition=edition, course=course)
        made = files.write(text, files.target(notebook, out, edition), notebook)
        if f'href="{paths.browser_lab_page().name}"' in text:
            files.bring_browser_lab(made.parent, notebook)
        return made

    async def run() -> None:
        gate = asyncio.Semaphore(at_once)

        async def one(notebook: Path) -> Path | HandoutError:
            async with gate:
                try:
                    return await make(notebook)
                except HandoutError as error:
                    return error

        async with asyncio.TaskGroup() as group:
            for task in [group.create_task(one(notebook)) for notebook in notebooks]:
                finished(await task)

    with drawing_folder():
        execution.wait_for(run)
