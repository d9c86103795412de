"""``python -m vmcompare.reaper LEDGER``: the guardian, which ``guard`` starts."""

from __future__ import annotations

import sys

from vmcompare.reaper.guardian import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
