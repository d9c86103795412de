"""What answers in the lesson on boot speed are checked against, and values of model answers."""

from __future__ import annotations

from collections.abc import Mapping

from vmcompare.errors import Unavailable
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View, container
from vmcompare.experiments.boot_speed.explain import START, explained
from vmcompare.experiments.explanation import Values
from vmcompare.plots.times import phase_name, until_first_byte
from vmcompare.sandbox import EMULATION, Phase, Platform

BUDGET = 0.1
"""Share of a job that its start may take, in the planning exercise."""


# Tight: who counts what comes after the first byte, too, is only a few per cent off.
@explained.check("services_share", unit="per cent", within=0.01)
def services_share(view: View) -> float:
    """Per cent of the full VM's time to its first byte that its services take.

    Raises ``Unavailable``: the view holds no phases of a full VM up to its first byte.
    """
    parts = _vm_phases(view)[1]
    return 100 * parts[Phase.FIRST_BYTE] / sum(parts.values())


@explained.values("services_share")
def _services_share(view: View) -> Values:
    column, parts = _vm_phases(view)
    return {
        "phases": " + ".join(f"{phase_name(column, p)} {seconds(s)}" for p, s in parts.items()),
        "total": seconds(sum(parts.values())),
        "services": seconds(parts[Phase.FIRST_BYTE]),
        "share": f"{services_share(view):.1f}",
        "emulated": column.emulated,
    }


@explained.values("flawed_study")
def _flawed_study(view: View) -> Values:
    found = container(view.columns("phase_s"))
    names = dict.fromkeys(found.rows["phase"]) if found else ()
    return {"measured": found is not None, "phases": literal(", ".join(names))}


@explained.check("job_length", unit="s", within=0.05)
def shortest_container_job_s(view: View) -> float:
    """How long a job in a container must work (s)."""
    return shortest_job_s(_container(view).median.estimate)


@explained.values("job_length")
def _job_length(view: View) -> Values:
    lines = []
    for column in view.need(START, "start"):
        median_s = column.median.estimate
        under = f" ({EMULATION})" if column.emulated else ""
        lines.append(
            f"- {literal(column.series.label)}{under}: starts in {seconds(median_s)}, so a job "
            f"works for at least {seconds(shortest_job_s(median_s))}"
        )
    return {"jobs": "\n".join(lines)}


def shortest_job_s(start_s: float) -> float:
    """How long a job must work (s) for its start to be :data:`BUDGET` of both together."""
    return start_s * (1 - BUDGET) / BUDGET


def _container(view: View) -> Column:
    found = container(view.need(START, "start"))
    if found is None:
        raise Unavailable("there is no container start to look at", "replay a recording")
    return found


def _vm_phases(view: View) -> tuple[Column, Mapping[Phase, float]]:
    """The full VM, and the median seconds of each phase of its start, up to the first byte."""
    for column in view.columns("phase_s"):
        if column.series.platform is Platform.VM:
            parts = until_first_byte(column)
            if Phase.FIRST_BYTE in parts:
                return column, parts
    raise Unavailable("there are no phases of a full VM to look at", "replay a recording")
