"""The page that ties the handouts of a directory together: what a class opens first.

It is made from the handouts themselves, so there is no list to edit. The same handouts always give
the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup
from bs4.element import Tag

from vmcompare import __version__, paths
from vmcompare.course.templates import environment
from vmcompare.evidence.view import MEASURED, RECORDED
from vmcompare.handout import EDITIONS, TEMPLATES, HandoutError, companions, files, safe
from vmcompare.paths.lessons import NUMBER

_SOURCE = re.compile(rf"\b({MEASURED}|{RECORDED})(?: ·|,) run \S+?(?: ·|,) (\d{{4}}-\d\d-\d\d)")
_MINUTES = re.compile(r"(\d+)\s*minutes")
_NUMBERED = re.compile(rf"^({NUMBER})\s*·\s*(.+)$")


@dataclass(frozen=True, slots=True)
class HandoutEntry:
    """One handout, as the index shows it; all but ``address`` and ``title`` may be empty."""

    address: str
    number: str
    title: str
    question: str
    minutes: str
    provenance: str
    instructor: bool


def write(directory: Path) -> Path:
    """Write ``index.html`` on all handouts in ``directory``; returns its path.

    Raises ``HandoutError``: it cannot be written, or somebody else's lies there.
    """
    target = directory / files.INDEX
    files.refuse_foreign(target, target)
    pages = sorted(directory.glob("*.html"))
    found = (read(path) for path in pages if files.generator(path) in EDITIONS)
    lab = paths.browser_lab_page().name
    text = render(
        (entry for entry in found if entry),
        lab if (directory / lab).exists() else "",
        companions.links(directory),
    )
    return files.write(text, target, target)


def read(page: Path) -> HandoutEntry | None:
    """What a handout says of itself; ``None`` for a page that is not one of ours."""
    try:
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), features="html.parser")
    except (OSError, UnicodeDecodeError) as error:
        raise HandoutError(page, f"it cannot be read ({error})") from error
    made_with = soup.find("meta", attrs={"name": "generator"})
    heading, body = soup.find("h1"), soup.find("body")
    ours = isinstance(made_with, Tag) and str(made_with.get("content")).startswith("vmcompare")
    if not ours or not isinstance(heading, Tag) or not isinstance(body, Tag):
        return None
    title = heading.get_text(" ", strip=True)
    numbered = _NUMBERED.match(title)
    minutes = _MINUTES.search(_paragraph(soup, "Time."))
    return HandoutEntry(
        address=page.name,
        number=numbered[1] if numbered else "",
        title=numbered[2] if numbered else title,
        question=_paragraph(soup, "Question.") or _first_paragraph(heading),
        minutes=minutes[1] if minutes else "",
        provenance=_provenance(soup),
        instructor="vmc-instructor" in (body.get("class") or ()),
    )


def render(
    entries: Iterable[HandoutEntry],
    browser_lab: str = "",
    beside: Sequence[Mapping[str, str]] = (),
) -> str:
    """The page; ``browser_lab`` is that page's name, or empty; ``beside`` are further links."""
    template = environment(*TEMPLATES).get_template("contents.html.j2")
    return template.render(
        entries=list(entries),
        browser_lab=browser_lab,
        companions=beside,
        version=__version__,
        policy=safe.policy(()),
    )


def _paragraph(soup: BeautifulSoup, beginning: str) -> str:
    """The rest of the paragraph that begins, in bold, with ``beginning``."""
    for bold in soup.select("main p > strong"):
        if bold.get_text(strip=True) == beginning and bold.parent is not None:
            return " ".join(bold.parent.get_text().strip().removeprefix(beginning).split())
    return ""


def _first_paragraph(heading: Tag) -> str:
    first = heading.find_next("p")
    return " ".join(first.get_text().split()) if isinstance(first, Tag) else ""


def _provenance(soup: BeautifulSoup) -> str:
    """``"measured 2026-11-25; recorded 2026-11-20"``, from what figures and tables say."""
    said = [c.get_text(" ", strip=True) for c in soup.select("main figcaption, main caption")]
    dates: dict[str, set[str]] = {MEASURED: set(), RECORDED: set()}
    for shown, date in _SOURCE.findall(" ".join(said)):
        dates[shown].add(date)
    return "; ".join(f"{shown} {', '.join(sorted(on))}" for shown, on in dates.items() if on)
