"""The pages beside the lessons' handouts: index, glossary, and a cheat sheet of one A4 page.

The index is made from the handouts themselves, so there is no list to edit. The words of the others
are Markdown in ``notebooks/text/``; the figures of the cheat sheet are those of the project's
recordings, computed when it is written. The same handouts always give the same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup
from bs4.element import Tag

from vmcompare import __version__, paths
from vmcompare.course import text
from vmcompare.course.exercises import works
from vmcompare.course.templates import environment
from vmcompare.course.verdict.explain import choices, headlines, parts_of_headlines
from vmcompare.evidence.claims.runs import gather
from vmcompare.evidence.markdown import to_html
from vmcompare.evidence.view import MEASURED, RECORDED
from vmcompare.handout import EDITIONS, TEMPLATES, HandoutError, files, safe
from vmcompare.paths.lessons import NUMBER

GLOSSARY, CHEAT_SHEET = files.COMPANIONS
TITLES = {GLOSSARY: "Glossary", CHEAT_SHEET: "Cheat sheet: one A4 page"}

_SOURCE = re.compile(rf"\b({MEASURED}|{RECORDED})(?: ·|,) run \S+?(?: ·|,) (\d{{4}}-\d\d-\d\d)")
_MINUTES = re.compile(r"(\d+)\s*minutes")
_NUMBERED = re.compile(rf"^({NUMBER})\s*·\s*(.+)$")
_LESSON = re.compile(r"## (\w+) · ")
_TERM = re.compile(r"\*\*(.+?)\*\*: (.+)")


def write(directory: Path) -> list[Path]:
    """Write all three on the handouts in ``directory``; returns their paths, the index last.

    Raises ``HandoutError``: one cannot be written, or somebody else's lies there.
    """
    made = []
    for name, render in (
        (GLOSSARY, glossary),
        (CHEAT_SHEET, lambda _: cheat_sheet()),
        (files.INDEX, index),
    ):
        target = directory / name
        files.refuse_foreign(target, target)
        made.append(files.write(render(directory), target, target))
    return made


def _page(template: str, **values: object) -> str:
    made = environment(*TEMPLATES).get_template(f"{template}.html.j2")
    return made.render(values, version=__version__, policy=safe.policy(()))


# ---- the index -----------------------------------------------------------------------------------


def index(directory: Path) -> str:
    """The page of contents: every handout in ``directory``, and what lies beside them."""
    pages = (page for page in sorted(directory.glob("*.html")) if files.generator(page) in EDITIONS)
    lab = paths.browser_lab_page().name
    return _page(
        "contents",
        entries=[entry for page in pages if (entry := read(page))],
        browser_lab=lab if (directory / lab).exists() else "",
        companions=[
            {"address": name, "title": title}
            for name, title in TITLES.items()
            if files.generator(directory / name)
        ],
    )


def read(page: Path) -> dict[str, object] | None:
    """What a handout says of itself, for the index; ``None`` where it has no heading."""
    try:
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), features="html.parser")
    except (OSError, UnicodeDecodeError) as error:
        raise HandoutError(page, f"it cannot be read ({error})") from error
    heading = soup.find("h1")
    if not isinstance(heading, Tag):
        return None
    title = heading.get_text(" ", strip=True)
    numbered = _NUMBERED.match(title)
    minutes = _MINUTES.search(_paragraph(soup, "Time."))
    return {
        "address": page.name,
        "number": numbered[1] if numbered else "",
        "title": numbered[2] if numbered else title,
        "question": _paragraph(soup, "Question.") or _one_line(heading.find_next("p")),
        "minutes": minutes[1] if minutes else "",
        "provenance": _provenance(soup),
        "instructor": files.generator(page) == "instructor",
    }


def _paragraph(soup: BeautifulSoup, beginning: str) -> str:
    """The rest of the paragraph that begins, in bold, with ``beginning``."""
    for bold in soup.select("main p > strong"):
        if bold.get_text(strip=True) == beginning and bold.parent is not None:
            return _one_line(bold.parent).removeprefix(beginning).strip()
    return ""


def _one_line(paragraph: object) -> str:
    return " ".join(paragraph.get_text().split()) if isinstance(paragraph, Tag) else ""


def _provenance(soup: BeautifulSoup) -> str:
    """``"measured 2026-11-25; recorded 2026-11-20"``, from what figures and tables say."""
    said = [c.get_text(" ", strip=True) for c in soup.select("main figcaption, main caption")]
    dates: dict[str, set[str]] = {MEASURED: set(), RECORDED: set()}
    for shown, date in _SOURCE.findall(" ".join(said)):
        dates[shown].add(date)
    return "; ".join(f"{shown} {', '.join(sorted(on))}" for shown, on in dates.items() if on)


# ---- glossary and cheat sheet --------------------------------------------------------------------


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


def terms(directory: Path) -> list[Term]:
    """The terms of the course, by lesson; with addresses of the handouts in ``directory``."""
    found: list[Term] = []
    lesson = address = ""
    content = (paths.lessons_dir() / "text" / "glossary.md").read_text(encoding="utf-8")
    for paragraph in content.split("\n\n"):
        line = " ".join(paragraph.split())
        if heading := _LESSON.match(line):
            lesson = heading[1]
            pages = sorted(directory.glob(f"{lesson}-*.html"))
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
    asked = works(text.read(folder / "09-verdict.md"), choices(evidence))
    right = {work.prose: choice for work in asked for choice in work.choices if choice.right}
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
