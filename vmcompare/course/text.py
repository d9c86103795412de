"""The words of a lesson: one Markdown file, ``notebooks/text/NN-name.md``, and where they go.

A file has sections, ``## kind: name``. What a section may hold depends on its kind: fields
(``Label: …``), prose, hints, choices, and parts (``### Model answer``). Words name values as
``{placeholders}``, which Python gives.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmcompare import paths
from vmcompare.errors import TextError
from vmcompare.experiments.explanation import Row, Values
from vmcompare.measuring.experiment import package_dir
from vmcompare.plots.picture import Picture, WhatIf

KINDS = ("exercise", "question", "work", "what-if", "figure", "table", "demo")

FIELDS = {"what-if": ("Label", "Unit", "Formula", "Inputs")}
"""Kind of section → the fields that it must begin with."""

OWN_WORDS = "Check yourself"
"""The part of an exercise that is answered by a sentence: no program judges it."""

FILE_BYTES = 1 << 20

_SECTION = re.compile(r"## ([a-z-]+): (\w+)\s*$")
_PART = re.compile(r"### (Right|Check yourself|Model answer)\s*$")
_FIELD = re.compile(r"([A-Z]\w+): *(.*)$")
_ITEM = re.compile(r"- (?:(Hint): |\[([ x])\] )(.*)$")
_BLOCK = re.compile(r"- |\d{1,2}[.)] |\||\{if ")
_IF = re.compile(r"^\{if (not )?(\w+)\} *", re.MULTILINE)
_KEPT = re.compile(
    r"(`+)(?:.+?)\1|\$\$.+?\$\$|\$[^\s$](?:[^$]*[^\s$])?\$|\{([a-z]\w*)\}", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer to a question, and what is said to whoever chooses it."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One ``## kind: name``; what its kind has no use for is empty. All words are Markdown.

    Attributes:
        path, line: where its heading is.
        fields: what stands before the prose, by name.
        prose: the question that is asked, or a caption.
        parts: heading (``"Model answer"``) → words.
    """

    path: Path
    line: int
    kind: str
    name: str
    fields: Mapping[str, str]
    prose: str
    hints: tuple[str, ...]
    choices: tuple[Choice, ...]
    parts: Mapping[str, str]

    def fill(self, words: str, values: Values) -> str:
        """``words`` with values for placeholders, without the paragraphs that do not apply.

        Nothing is replaced in a formula or in code. Raises ``TextError`` if a placeholder has no
        value.
        """

        def value(name: str) -> str | bool | int | float:
            if name not in values:
                known = ", ".join(sorted(values)) or "none"
                raise self.error(f"there is no value for {{{name}}}; those given: {known}")
            return values[name]

        def put(found: re.Match[str]) -> str:
            given = value(found[2]) if found[2] else found[0]
            return f"{given:g}" if isinstance(given, float) else str(given)

        paragraphs = []
        for paragraph in words.split("\n\n"):
            first, *rest = _IF.split(paragraph)
            pieces = [first.strip("\n")]
            for no, name, piece in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
                if bool(value(name)) is not bool(no):
                    pieces.append(piece.strip("\n"))
            paragraphs.append(" ".join(filter(None, pieces)))
        return _KEPT.sub(put, "\n\n".join(filter(None, paragraphs)))

    def error(self, what: str) -> TextError:
        return TextError(self.path, self.line, f"{self.kind}: {self.name}", what)


def placeholders(words: str) -> set[str]:
    named = {found[2] for found in _KEPT.finditer(words) if found[2]}
    return named | {name for _, name in _IF.findall(words)}


@dataclass(frozen=True, slots=True)
class Text:
    """A lesson's words: its sections in their order."""

    path: Path
    sections: tuple[Section, ...]

    def all(self, kind: str) -> tuple[Section, ...]:
        return tuple(section for section in self.sections if section.kind == kind)

    def find(self, kind: str, name: str) -> Section | None:
        return next((s for s in self.all(kind) if s.name == name), None)


def of_lesson(number: str, experiment: str = "") -> Text | None:
    """The text of the lesson with this number, if it has one. Raises ``TextError``.

    Where the ``experiment`` is another package's, its text is that package's ``text.md``.
    """
    package = package_dir(experiment) if experiment else None
    folder, name = (package, "text") if package else (paths.lessons_dir() / "text", f"{number}-*")
    found = sorted(folder.glob(f"{name}.md"))
    return read(found[0]) if found else None


def read(path: Path) -> Text:
    """A lesson's text. Raises ``TextError``, which names file, line and section."""
    try:
        content = paths.read(path, FILE_BYTES).decode("utf-8")
    except OSError as error:
        raise TextError(path, 0, "", error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise TextError(path, 0, "", "it is not UTF-8") from error
    sections: list[Section] = []
    for line, heading, lines in _sections(content.splitlines()):
        found = _SECTION.match(heading)
        if found is None or found[1] not in KINDS:
            what = f"a heading is “## kind: name” ({', '.join(KINDS)})"
            raise TextError(path, line, heading, what)
        section = _read_section(path, line, found[1], found[2], lines)
        if any((s.kind, s.name) == (section.kind, section.name) for s in sections):
            raise section.error("there are two of that name")
        sections.append(section)
    return Text(path, tuple(sections))


def _sections(lines: Sequence[str]) -> Iterator[tuple[int, str, Sequence[str]]]:
    """Number and text of each heading, and the lines below it; what is above the first is free."""
    begins, fenced = [], False
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("## ") and not fenced:
            begins.append(number)
    for begin, end in itertools.pairwise([*begins, len(lines)]):
        yield begin + 1, lines[begin], lines[begin + 1 : end]


def _read_section(path: Path, begin: int, kind: str, name: str, lines: Sequence[str]) -> Section:
    prose: list[str] = []
    fields: dict[str, list[str]] = {}
    hints: list[list[str]] = []
    choices: list[tuple[bool, list[str], list[str]]] = []
    parts: dict[str, list[str]] = {}
    into = prose  # takes the words of the lines that follow

    for number, line in enumerate(map(str.rstrip, lines), start=begin + 1):
        if kind == "exercise" and line.startswith("### "):
            heading = _PART.match(line)
            if not heading:
                what = "a part is “### Right”, “### Check yourself” or “### Model answer”"
                raise TextError(path, number, f"{kind}: {name}", what)
            into = parts.setdefault(heading[1], [])
        elif parts:
            into.append(line)
        elif kind in ("exercise", "question", "work") and (item := _ITEM.match(line)):
            hint, tick, words = item.groups()
            into = [words]
            if hint:
                hints.append(into)
            else:
                choices.append((tick == "x", into, []))
        elif line.startswith("  : ") and choices:
            into = choices[-1][2]
            into.append(line[4:])
        elif (found := _FIELD.match(line)) and found[1] in FIELDS.get(kind, ()):
            into = fields.setdefault(found[1], [])
            into.append(found[2])
        elif into is prose:
            prose.append(line)
        elif not line:
            into = prose
        elif line.startswith("  "):
            into.append(line.strip())
        else:
            what = "begin a further line of an item or field with two spaces"
            raise TextError(path, number, f"{kind}: {name}", what)
    section = Section(
        path,
        begin,
        kind,
        name,
        {field: joined(words) for field, words in fields.items()},
        joined(prose),
        tuple(map(joined, hints)),
        tuple(Choice(joined(t), joined(f), right=right) for right, t, f in choices),
        {heading: joined(words) for heading, words in parts.items()},
    )
    if unfit := _unfit(section):
        raise section.error(unfit)
    return section


def _unfit(section: Section) -> str:
    """What the section lacks that its kind needs, or has no use for."""
    asks, right = section.kind in ("question", "work"), sum(c.right for c in section.choices)
    if asks and not section.prose:
        return "it asks nothing"
    if (asks or section.choices) and right != 1:
        return f"exactly one choice is right, not {right}"
    if not all(choice.feedback for choice in section.choices):
        return "every choice has its feedback, an indented line “: …”"
    if section.kind == "exercise" and section.prose:
        return f"what is this line for? “{section.prose[:40]}”"
    if section.kind == "exercise" and not (section.hints and "Model answer" in section.parts):
        return "an exercise has a hint and a “### Model answer”"
    lacking = (name for name in FIELDS.get(section.kind, ()) if name not in section.fields)
    return next((f"“{name}: …” is missing" for name in lacking), "")


def joined(lines: Sequence[str]) -> str:
    """Lines of one paragraph as one; lists, tables, code and ``{if …}`` keep their lines."""
    words, fenced, whole = "", False, True
    for line in lines:
        fence = line.lstrip().startswith("```")
        whole = whole or fenced or fence or not line or bool(_BLOCK.match(line.lstrip()))
        words += f"\n{line}" if whole else f" {line.strip()}"
        fenced ^= fence
        whole = fence or not line
    return re.sub(r"\n{3,}", "\n\n", words).strip("\n")


# ---- words around what Python made -----------------------------------------------------------


def caption(picture: Picture, section: Section | None, kind: str = "") -> Picture:
    """``picture`` with the words of the text.

    The first paragraph stands under the picture, behind ``kind`` (what kind of figures it shows,
    where the picture itself does not say so); the others fold away with provenance and warnings.
    """
    words = section.fill(section.prose, picture.placeholders) if section else ""
    first, _, rest = words.partition("\n\n")
    return replace(
        picture,
        brief=" ".join(filter(None, [first, picture.brief or kind])),
        caption=" ".join(filter(None, [rest.replace("\n\n", " "), picture.caption])),
    )


def whatif(model: WhatIf, section: Section | None) -> WhatIf:
    if section is None:
        return model

    def draw(value: float) -> Picture:
        drawn = model.draw(value)
        values = {**model.placeholders, **drawn.placeholders}
        return caption(replace(drawn, placeholders=values), section)

    label, unit, source = (
        section.fill(section.fields[name], model.placeholders)
        for name in ("Label", "Unit", "Inputs")
    )
    formula = section.fields["Formula"]
    return replace(model, draw=draw, label=label, unit=unit, source=source, formula=formula)


def table(
    made: Iterable[Row], section: Section | None, values: Callable[[], Values] = dict
) -> tuple[list[Row], str]:
    """Its rows and its caption; without words of its own, the caption says where they come from."""
    rows, told = list(made), values()
    if section:
        return rows, section.fill(section.prose, told)
    return rows, "\n\n".join(str(told[name]) for name in ("brief", "source") if told.get(name))
