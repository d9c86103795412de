"""Measure, on your own computer, how virtual machines and containers differ."""

import sys as _sys

__version__ = "0.1.0"

if "ipykernel" in _sys.modules:  # in a notebook: before anything is imported from beside it
    from vmcompare.interpreter import refuse_hidden_modules as _refuse

    _refuse()
elif _sys.argv[:1] == ["-m"]:  # python -m vmcompare…: a program, which needs nothing from there
    from vmcompare.interpreter import is_here as _is_here

    _sys.path[:] = [entry for entry in _sys.path if not _is_here(entry)]
