"""What others published about the memory of an instance, below this view's own figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcompare.evidence.published import load_figures
from vmcompare.evidence.units import size
from vmcompare.evidence.view import View
from vmcompare.experiments.guest_os import fits
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

_BREAK = "\u200b"
"""A place where a long path may be broken, so that the table fits a page."""


def literature_table(view: View) -> pd.DataFrame:
    """This view's marginal costs above what others published; all text.

    Raises:
        Unavailable: the view holds no ramp.
    """
    import pandas as pd

    rows: list[dict[str, str]] = []
    for metric, what in (("pss_bytes", "one more"), ("overhead_bytes", "managing one more")):
        for fit in fits.fits(view, metric) if rows else fits.need_fits(view, metric):
            bare = fit.column.series.platform is Platform.CONTAINER and fits.product([fit]) is None
            if bare and metric == "overhead_bytes":
                continue  # next to nothing, and nobody published it
            rows.append(
                {
                    "what": fit.column.label(mixed=False),
                    "figure": size(fit.each.estimate),
                    "counted": f"PSS, {what}",
                    "conditions": ("b of one ramp" if fit.ramps == 1 else f"b of {fit.ramps} ramps")
                    + (", code cache left out" if fit.column.emulated else ""),
                    "source": fit.column.shown,
                }
            )
    for figure in load_figures():
        if figure.counted and figure.checked:
            source = f"literature: {figure.short}, {figure.year}"
            rows.append(
                {
                    "what": figure.system,
                    "figure": f"{figure.value} {figure.unit}",
                    "counted": figure.counted,
                    "conditions": figure.conditions,
                    "source": source.replace("/", f"/{_BREAK}"),
                }
            )
    return pd.DataFrame(rows)
