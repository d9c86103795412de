"""What the first lesson draws, tabulates, models and does on the spot.

Rows: ``start_to_first_byte_s`` of process and container with ``A`` or ``B`` in ``phase``, facts and
observations of each platform, and ``part_bytes`` of the boot sector. Every function raises
``Unavailable`` where its rows are not there; an outcome is then ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import Outcome, View
from vmcompare.experiments.whole_computer.demo import BOOT_SECTOR_DEMO
from vmcompare.experiments.whole_computer.layers import HERE
from vmcompare.experiments.whole_computer.noise import halves, noise_figure, noise_table
from vmcompare.experiments.whole_computer.runs import runs_needed
from vmcompare.experiments.whole_computer.tables import code_table, grid_table, hardware_table
from vmcompare.measuring.experiment import Demo
from vmcompare.plots.picture import Picture, WhatIf
from vmcompare.sandbox import Platform, Series

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEMOS", "FIGURES", "HERE", "OUTCOMES", "TABLES", "WHATIFS"]


def _container_pair(view: View) -> float | None:
    try:
        found = halves(view)
    except Unavailable:
        return None
    own = [both for both in found if both.column.series == Series(Platform.CONTAINER)]
    return own[0].pair_percent if own else None


def _code_bytes(view: View) -> float | None:
    rows = view.values(metric="part_bytes", phase="code") if len(view.frame) else view.frame
    return float(rows["value"].iloc[0]) if len(rows) else None


FIGURES: Mapping[str, Callable[[View], Picture]] = MappingProxyType({"noise": noise_figure})
"""Name → figure of a view."""

TABLES: Mapping[str, Callable[[View], pd.DataFrame]] = MappingProxyType(
    {"noise": noise_table, "grid": grid_table, "hardware": hardware_table, "code": code_table}
)
"""Name → table of a view; every cell is text."""

WHATIFS: Mapping[str, Callable[[View], WhatIf]] = MappingProxyType({"runs": runs_needed})
"""Name → modelled figure with one slider."""

OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        "pair_percent": Outcome((Platform.CONTAINER,), _container_pair),
        # The program is the same whoever runs it, so no platform's emulation bears on it.
        "code_bytes": Outcome((), _code_bytes),
    }
)
"""Name → what a prediction is set beside (per cent, bytes); ``None`` where not measured."""

DEMOS: Mapping[str, Demo] = MappingProxyType({"boot_sector": BOOT_SECTOR_DEMO})
"""Name → something done on the spot."""
