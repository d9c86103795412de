"""Measure, on your own computer, how virtual machines and containers differ."""

import sys as _sys

__version__ = "0.1.0"

if "ipykernel" in _sys.modules:  # in a notebook: before anything is imported from beside it
    from vmcompare.interpreter import refuse_hidden_modules as _refuse

    _refuse()
elif (
    _sys.argv[:1] == ["-m"]
    and not _sys.flags.safe_path
    and not __file__.startswith((f"{_sys.path[0]}/vmcompare/", f"{_sys.path[0]}\\vmcompare\\"))
):
    # python -m vmcompare…: Python put the working folder first, which a program has no use for
    # unless it is where this package lies.
    del _sys.path[0]
