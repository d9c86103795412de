"""Measure, on your own computer, how virtual machines and containers differ.

A notebook needs two names: ``from vmcompare import Lesson, Verdict``. ``vmcompare.read(path)``
gives the rows of a recording as a data frame. All three are imported when first asked for, so that
importing the package costs nothing.
"""

import sys as _sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmcompare.course.lesson import Lesson as Lesson
    from vmcompare.course.verdict import Verdict as Verdict
    from vmcompare.evidence.export import read as read

__version__ = "0.1.0"

if "ipykernel" in _sys.modules:  # in a notebook: before anything is imported from beside it
    from vmcompare.engines.child_python import refuse_hidden_modules as _refuse

    _refuse()
elif (
    _sys.argv[:1] == ["-m"]
    and not _sys.flags.safe_path
    and not __file__.startswith((f"{_sys.path[0]}/vmcompare/", f"{_sys.path[0]}\\vmcompare\\"))
):
    # python -m vmcompare…: Python put the working folder first, which a program has no use for
    # unless it is where this package lies.
    del _sys.path[0]

_HOMES = {
    "Lesson": "vmcompare.course.lesson",
    "Verdict": "vmcompare.course.verdict",
    "read": "vmcompare.evidence.export",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
