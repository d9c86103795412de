"""What answers in the lesson on portability are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import seconds, size
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.portability.explain import Move, explained, moves, transfer_s
from vmcompare.sandbox import Platform

ASKED_MBIT = 30
"""A speed at which the slider does not stop: it would show the answer."""


@explained.check("transfer", unit="s", within=0.05)
def transfer(view: View) -> float:
    """Seconds that the VM's file travels over the link that is asked for."""
    return transfer_s(_vm(view).bytes, ASKED_MBIT)


@explained.values("transfer")
def _way(view: View) -> Values:
    shipped = _vm(view).bytes
    return {
        "size": size(shipped), "bits": f"{8 * shipped / 1e6:.0f}", "link": ASKED_MBIT,
        "time": seconds(transfer(view)),
    }  # fmt: skip


def _vm(view: View) -> Move:
    for one in moves(view):
        if one.shipped.series.platform is Platform.VM:
            return one
    raise Unavailable("no move of a VM was measured", "replay a recording")
