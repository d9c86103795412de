"""The command line; see :mod:`vmcompare.engines.setup`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vmcompare.engines.setup import ensure, stop
from vmcompare.errors import Unavailable


def main(argv: Sequence[str]) -> int:
    """``ensure`` or ``stop``; the exit code is 0 unless the command is unknown."""
    if list(argv) not in (["ensure"], ["stop"]):
        print("usage: python -m vmcompare.engines.setup ensure|stop", file=sys.stderr)
        return 2
    try:
        ensure() if argv[0] == "ensure" else stop()
    except Unavailable as missing:
        print(missing)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
