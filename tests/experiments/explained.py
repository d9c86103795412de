"""What every lesson's figures, tables, what-ifs and outcomes must be, whatever the view holds.

A test asks a lesson for all it has, on a view where much may be missing. Either the thing is there
and whole, or the lesson has said in one clause what is missing, and the next step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View

NO_NUMBER = re.compile(r"\b(nan|inf)\b")


class Asked:
    """Asks a lesson for what it makes of one view.

    Args:
        view: which.
        drawn: whether figures are drawn to the end; on most views their words are enough.
        clause: whether what is missing is said without a full stop (it may quote an error instead).
    """

    def __init__(self, view: View, *, drawn: bool = False, clause: bool = True) -> None:
        self.view, self.drawn, self.clause = view, drawn, clause

    def made(self, make: Callable[..., Any], *more: Any) -> Any:
        """``make(view, *more)``, or ``None`` where it says what is missing."""
        try:
            return make(self.view, *more)
        except Unavailable as error:
            said = error
        assert said.what
        assert said.next_step
        assert not self.clause or "." not in said.what
        return None

    def figures(self, makes: Iterable[Callable[[View], Any]]) -> Iterator[Any]:
        """The pictures there are."""
        for make in makes:
            if picture := self.made(make):
                assert not self.drawn or picture.svg().startswith("<svg")
                assert picture.alt
                assert picture.words
                assert not NO_NUMBER.search(picture.alt + picture.words)
                yield picture

    def tables(self, makes: Iterable[Callable[[View], Any]]) -> Iterator[Any]:
        """The tables there are: words in every cell."""
        for make in makes:
            made = self.made(lambda view, make=make: pd.DataFrame(make(view)))
            if made is not None:
                assert len(made)
                assert (
                    made.map(lambda c: isinstance(c, str) and not NO_NUMBER.search(c)).all().all()
                )
                yield made

    def whatifs(
        self, makes: Iterable[Callable[[View], Any]], most: int = 40
    ) -> Iterator[tuple[Any, Any]]:
        """The models there are, each with its picture at both ends, which says what it is."""
        for make in makes:
            if model := self.made(make):
                assert len(model.values) <= most
                assert list(model.values) == sorted(set(model.values))
                assert 0 <= model.start < len(model.values)
                for value in (model.values[0], model.values[-1]):
                    picture = model.draw(value)
                    assert "odelled" in picture.words or model.placeholders
                    assert not NO_NUMBER.search(picture.alt)
                    yield model, picture

    def outcomes(self, outcomes: Mapping[str, Callable[[View], float | None]]) -> None:
        """Numbers or nothing."""
        for outcome in outcomes.values():
            value = outcome(self.view)
            assert value is None or math.isfinite(value)
