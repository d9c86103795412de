"""What others published about the memory of an instance, below this view's own figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...literature import CHECKED
from ...literature import load as load_literature
from ...units import size
from ...view import View
from . import fits

if TYPE_CHECKING:
    import pandas as pd

METRICS = (
    "mem_overhead_mapped", "mem_overhead_rss", "mem_process_rss", "mem_overhead_vmm",
    "mem_pss_per_container", "mem_per_container",
)  # fmt: skip
"""Of ``data/literature.csv``; only rows whose source was read are shown."""


def literature_table(view: View) -> pd.DataFrame:
    """This view's marginal costs above what others published; all text.

    Raises:
        Unavailable: the view holds no ramp.
    """
    import pandas as pd

    rows: list[dict[str, str]] = []
    for metric, what in (("pss_bytes", "one more"), ("overhead_bytes", "managing one more")):
        for fit in fits.fits(view, metric) if rows else fits.need_fits(view, metric):
            rows.append(
                {
                    "what": fit.group.label(mixed=False),
                    "figure": f"{size(fit.each.estimate)} PSS, {what}",
                    "conditions": f"b of {fit.ramps} ramps, without the translator’s code cache"
                    if fit.group.emulated
                    else f"b of {fit.ramps} ramps",
                    "source": f"{fit.group.shown}, run {fit.group.run_id}",
                }
            )
    published = load_literature()
    chosen = published[published["metric"].isin(METRICS) & (published["checked"] == CHECKED)]
    for row in chosen.to_dict("records"):
        rows.append(
            {
                "what": str(row["system"]),
                "figure": f"{row['value']} {row['unit']}",
                "conditions": str(row["conditions"]),
                "source": f"literature: {_short(str(row['citation']))}, {row['year']}",
            }
        )
    return pd.DataFrame(rows)


def _short(citation: str) -> str:
    """First author and title of a citation, for a table's column."""
    authors, colon, rest = citation.partition(":")
    if not colon:
        return citation.split(",")[0]
    others = " et al." if "," in authors else ""
    return f"{authors.split(',')[0]}{others}: {rest.split(',')[0].split(':')[0].strip()}"
