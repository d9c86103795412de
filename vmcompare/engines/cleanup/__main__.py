"""``python -m vmcompare.engines.cleanup LEDGER``: the guardian, which ``guard`` starts."""

from __future__ import annotations

import sys

from vmcompare.engines.cleanup.guardian import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
