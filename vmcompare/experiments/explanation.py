"""What an experiment explains: figures, tables, what-ifs, outcomes, and the checks of answers.

An experiment's ``explain.py`` makes one :class:`Explanation` called ``explained`` and declares its
functions on it by decorators. Python gives the values; the words that a learner reads stand in the
lesson's text (``notebooks/text/``), which names values as ``{placeholders}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from vmcompare.evidence.view import Outcome, View, absent
from vmcompare.measuring.experiment import Demo, module
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Platform

S = TypeVar("S")
"""What is explained: a :class:`View`, or the table of the last lesson."""

F = TypeVar("F", bound=Callable[..., Any])

Row = Mapping[str, str]
"""A row of a table: column → text."""

Values = Mapping[str, str | bool | int | float]
"""Placeholder → what stands for it; text is already formatted for people."""


@dataclass(frozen=True, slots=True)
class Number(Generic[S]):
    """What a numeric answer is compared with.

    Attributes:
        expected: the number, in ``unit``; may raise ``Unavailable``.
        unit: ``"s"``, ``"bytes"``, ``"ratio"``, ``"per cent"`` or any word.
        within: relative tolerance; 0 for a count.
    """

    expected: Callable[[S], float]
    unit: str
    within: float


@dataclass(slots=True)
class Explanation(Generic[S]):
    """All that one experiment explains, by name. Functions of a view may raise ``Unavailable``.

    Attributes:
        figures: pictures of a view; the first grows while a run is measured.
        tables: rows of a view, as mappings from column to text.
        whatifs: modelled figures with a slider.
        outcomes: numbers that are predicted before they are measured.
        scenes: HTML that plays by itself, without a script.
        demos: what is done on the spot.
        numbers: what the answer to an exercise is held to.
        placeholders: (kind of section, name) → values of its placeholders.
    """

    figures: dict[str, Callable[[S], Picture]] = field(default_factory=dict)
    tables: dict[str, Callable[[S], Iterable[Row]]] = field(default_factory=dict)
    whatifs: dict[str, Callable[..., WhatIf]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    scenes: dict[str, Callable[[S], Markup]] = field(default_factory=dict)
    demos: dict[str, Demo] = field(default_factory=dict)
    numbers: dict[str, Number[S]] = field(default_factory=dict)
    placeholders: dict[tuple[str, str], Callable[[S], Values]] = field(default_factory=dict)

    def figure(self, name: str) -> Callable[[F], F]:
        return _into(self.figures, name)

    def table(self, name: str, lacking: str = "") -> Callable[[F], F]:
        """Rows; ``lacking`` is what is missing where there are none."""

        def listed(rows: Callable[[S], Iterable[Row]]) -> Callable[[S], Sequence[Row]]:
            def some(shown: S) -> Sequence[Row]:
                found = list(rows(shown))
                if lacking and not found:
                    raise absent(lacking)
                return found

            return some

        return _into(self.tables, name, listed)

    def whatif(self, name: str) -> Callable[[F], F]:
        return _into(self.whatifs, name)

    def outcome(self, name: str, *platforms: Platform, of_files: bool = False) -> Callable[[F], F]:
        """A number, ``None`` where it was not measured within one run of ``platforms``.

        ``of_files``: it is how large files are.
        """
        return _into(self.outcomes, name, lambda find: Outcome(platforms, find, of_files))

    def scene(self, name: str) -> Callable[[F], F]:
        return _into(self.scenes, name)

    def demo(self, name: str, demo: Demo) -> None:
        self.demos[name] = demo

    def check(self, name: str, *, unit: str, within: float = 0.1) -> Callable[[F], F]:
        """The number that an exercise asks for; see :class:`Number`."""
        return _into(self.numbers, name, lambda expected: Number(expected, unit, within))

    def values(self, name: str, kind: str = "exercise") -> Callable[[F], F]:
        """Values of the placeholders in a section of the text (of an exercise's section: in its
        model answer and in what is said to choices)."""
        return _into(self.placeholders, (kind, name))


def _into(
    known: dict[Any, Any], name: Any, made: Callable[[Any], Any] = lambda function: function
) -> Callable[[F], F]:
    def add(function: F) -> F:
        known[name] = made(function)
        return function

    return add


def of_table(explained: Explanation[View], name: str, view: View) -> Values:
    """Values of a table's placeholders: where its rows come from, and what else was declared."""
    find = explained.placeholders.get(("table", name))
    return {**view.sourced(), **(find(view) if find else {})}


def explanation(experiment: str) -> Explanation[View]:
    """What the experiment of that name explains.

    Raises ``UnknownName``; ``Unavailable`` if it is another package's and cannot be imported.
    """
    found: Explanation[View] = module(experiment, "explain").explained
    return found
