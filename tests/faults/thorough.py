"""How much the fault suite tries: a little with all other tests, everything for its table."""

from __future__ import annotations

import os

THOROUGH = "VMCOMPARE_THOROUGH" in os.environ
"""Set by ``tools/reliability.py``."""
