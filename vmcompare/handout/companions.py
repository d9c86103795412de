"""Two pages beside the lessons' handouts: the glossary, and a cheat sheet of one A4 page.

Their words are Markdown in ``notebooks/text/``; the figures of the cheat sheet are those of the
project's recordings, computed when it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmcompare import __version__, paths
from vmcompare.course import text
from vmcompare.course.templates import environment
from vmcompare.course.verdict.explain import choices, headlines, parts_of_headlines
from vmcompare.evidence.claims.runs import gather
from vmcompare.evidence.markdown import to_html
from vmcompare.handout import TEMPLATES, files, safe

GLOSSARY, CHEAT_SHEET = files.COMPANIONS
TITLES: Mapping[str, str] = {GLOSSARY: "Glossary", CHEAT_SHEET: "Cheat sheet: one A4 page"}

_LESSON = re.compile(r"## (\w+) · ")
_TERM = re.compile(r"\*\*(.+?)\*\*: (.+)")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the course, and its definition in Markdown.

    ``lesson`` is where it first stands; ``address`` is empty where that handout does not lie
    beside.
    """

    name: str
    definition: str
    lesson: str
    address: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the page: ``"control-group"``."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def write(directory: Path) -> list[Path]:
    """Write ``glossary.html`` and ``cheat-sheet.html``. Raises ``HandoutError``."""
    made = []
    for name, render in ((GLOSSARY, glossary), (CHEAT_SHEET, lambda _: cheat_sheet())):
        target = directory / name
        files.refuse_foreign(target, target)
        made.append(files.write(render(directory), target, target))
    return made


def terms(directory: Path | None = None) -> list[Term]:
    """The terms of the course, by lesson; with addresses of the handouts in ``directory``."""
    found: list[Term] = []
    lesson = address = ""
    content = (paths.lessons_dir() / "text" / "glossary.md").read_text(encoding="utf-8")
    for paragraph in content.split("\n\n"):
        line = " ".join(paragraph.split())
        if heading := _LESSON.match(line):
            lesson = heading[1]
            pages = sorted(directory.glob(f"{lesson}-*.html")) if directory else []
            editions = {files.generator(page): page.name for page in reversed(pages)}
            address = editions.get("student") or editions.get("instructor", "")
        elif term := _TERM.fullmatch(line):
            found.append(Term(term[1], term[2], lesson, address))
    return found


def glossary(directory: Path) -> str:
    ordered = sorted(terms(directory), key=lambda term: term.name.strip("`-").casefold())
    return _page("glossary", terms=ordered)


def cheat_sheet() -> str:
    """Commands, the headline figure of each lesson, and what to choose when: one A4 page."""
    folder = paths.lessons_dir() / "text"
    evidence = gather(own=False)
    _, *sections = re.split(r"^(?=## )", (folder / "cheat-sheet.md").read_text("utf-8"), flags=re.M)
    parts = parts_of_headlines(evidence)
    works = text.works(text.read(folder / "09-verdict.md"), choices(evidence))
    right = {work.ask: choice for work in works for choice in work.choices if choice.right}
    return _page(
        "cheat-sheet",
        sections=[to_html(section) for section in sections],
        headlines=list(headlines(evidence)),
        brief=evidence.brief(parts),
        source=evidence.caption(parts),
        works=[
            {
                "name": ask.split("**")[1].rstrip("."),
                "choose": choice.text.partition(":")[0],
                "because": choice.feedback.removeprefix("Yes. "),
            }
            for ask, choice in right.items()
        ],
    )


def links(directory: Path) -> Sequence[Mapping[str, str]]:
    return [
        {"address": name, "title": title}
        for name, title in TITLES.items()
        if files.generator(directory / name)
    ]


def _page(template: str, **values: object) -> str:
    made = environment(*TEMPLATES).get_template(f"{template}.html.j2")
    return made.render(values, version=__version__, policy=safe.policy(()))
