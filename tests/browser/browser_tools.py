"""What the browser tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parents[2]

Open = Callable[..., Any]


def missing(what: str) -> NoReturn:
    """Skip, or fail where ``VMCOMPARE_REQUIRE`` says that browser tests must run."""
    if "browser" in os.environ.get("VMCOMPARE_REQUIRE", "").split(","):
        pytest.fail(f"browser tests are required here, but {what}")
    pytest.skip(what)
