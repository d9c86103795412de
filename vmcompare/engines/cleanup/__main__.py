"""``python -m vmcompare.engines.cleanup LEDGER``: the guardian, which ``guard`` starts."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

from vmcompare.engines.cleanup.ending import Swept, clear
from vmcompare.engines.cleanup.ledger import Damaged, Ledger


def main(ledger: Path) -> None:
    """Wait until standard input ends, then clear the ledger."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    while sys.stdin.buffer.read(4096):
        pass
    with contextlib.suppress(FileNotFoundError, Damaged):
        clear(Ledger.read(ledger), Swept())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
