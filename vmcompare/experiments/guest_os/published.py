"""What others published about the memory of an instance, below this view's own figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.evidence.published import CHECKED, load_literature
from vmcompare.evidence.units import size
from vmcompare.evidence.view import View
from vmcompare.experiments.guest_os import fits
from vmcompare.sandbox import Platform

if TYPE_CHECKING:
    import pandas as pd

COUNTED: Mapping[str, str] = MappingProxyType(
    {
        "mem_overhead_mapped": "mapped, guest RAM left out",
        "mem_overhead_rss": "resident, guest RAM left out",
        "mem_overhead_vmm": "the VMM alone",
        "mem_process_rss": "resident, guest RAM included",
        "mem_pss_per_container": "PSS of hypervisor, virtiofsd and shim",
        "mem_per_container": "less left on the host, for each container",
    }
)
"""Metric of ``data/literature.csv`` → what was counted; rows whose source was read are shown."""

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
    published = load_literature()
    chosen = published[published["metric"].isin(list(COUNTED)) & (published["checked"] == CHECKED)]
    for row in chosen.to_dict("records"):
        rows.append(
            {
                "what": str(row["system"]),
                "figure": f"{row['value']} {row['unit'].split()[0]}".replace("<=", "≤ "),
                "counted": COUNTED[str(row["metric"])],
                "conditions": str(row["conditions"]),
                "source": f"literature: {_short(str(row['citation']))}, {row['year']}".replace(
                    "/", f"/{_BREAK}"
                ),
            }
        )
    return pd.DataFrame(rows)


def _short(citation: str) -> str:
    """First author and title of a citation, for a table's column."""
    authors, colon, rest = citation.partition(":")
    if not colon:
        return re.sub(r" \(.*", "", citation).split(",")[0]
    others = " et al." if "," in authors else ""
    return f"{authors.split(',')[0]}{others}: {rest.split(',')[0].split(':')[0].strip()}"
