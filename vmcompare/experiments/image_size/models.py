"""What the measured sizes mean on a line: transfer times and weekly traffic, modelled.

The model knows one thing: a line that carries ``v`` bits a second carries ``n`` copies of ``B``
bytes in ``n · 8 · B / v`` seconds. Protocols, latency, several senders and caches on the way are
left out; they change the time, not which technique sends more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmcompare.evidence.units import ratio, size
from vmcompare.evidence.view import View, absent, mixed
from vmcompare.experiments.image_size.measure import COMPRESSED, THIN, UPDATE
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.picture import WhatIf
from vmcompare.sandbox import Platform, Series

NODES, LINK_MBIT_S, UPDATES = 20, 100.0, 5.0
"""What a slider leaves alone: computers, speed of the line in Mbit/s, updates a week."""

_MBIT = 1e6
_FORMULA = r"t = \frac{n \cdot 8\,B}{v}"
_TIME = (
    "t: time, with the line as the only limit; n: computers; v: speed of the line in bits a second"
)


@dataclass(frozen=True, slots=True)
class Way:
    """How one technique sends something: its label and bytes (compressed)."""

    series: Series
    label: str
    sent_bytes: float


def time_s(copies: float, sent_bytes: float, link_mbit_s: float) -> float:
    """Seconds in which a line carries ``copies`` of ``sent_bytes``: n · 8 · B / v."""
    return copies * 8 * sent_bytes / (link_mbit_s * _MBIT)


def transfer(view: View) -> WhatIf:
    """To twenty computers over a line of 1 Mbit/s to 10 Gbit/s: the first time, and an update."""
    values = [float(f"{10 ** (step / 5):.2g}") for step in range(21)]
    first, update = _ways(view, COMPRESSED), _ways(view, UPDATE)
    titles = {
        f"The first time, to {NODES} computers": first,
        f"An update, to {NODES} computers": update,
    }

    def takes_s(way: Way, link: float) -> float:
        return time_s(NODES, way.sent_bytes, link)

    return _whatif(
        view, titles, values, takes_s, duration,
        label="speed of the line", unit="Mbit/s", start=LINK_MBIT_S, symbols=_TIME,
        formula=_FORMULA + rf", \quad n = {NODES}", said="A line of {:g} Mbit/s.",
    )  # fmt: skip


def nodes(view: View) -> WhatIf:
    """An update to one or many computers over one line."""
    values = [float(f"{10 ** (step / 6):.2g}") for step in range(19)]
    titles = {f"An update over {LINK_MBIT_S:g} Mbit/s": _ways(view, UPDATE)}

    def takes_s(way: Way, copies: float) -> float:
        return time_s(round(copies), way.sent_bytes, LINK_MBIT_S)

    return _whatif(
        view, titles, sorted({float(round(value)) for value in values}), takes_s, duration,
        label="computers that get the update", unit="computers", symbols=_TIME,
        start=46, formula=_FORMULA + rf", \quad v = {LINK_MBIT_S:g}\,\mathrm{{Mbit/s}}",
        said="{:g} computers.",
    )  # fmt: skip


def week(view: View) -> WhatIf:
    """What twenty computers receive in a week, by how often the application is updated."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 35.0, 50.0, 70.0, 100.0, 140.0,
              200.0, 280.0, 400.0, 560.0, 700.0]  # fmt: skip
    titles = {f"Sent in a week, to {NODES} computers": _ways(view, UPDATE)}

    def traffic(way: Way, updates: float) -> float:
        return updates * NODES * way.sent_bytes

    return _whatif(
        view, titles, values, traffic, size,
        label="updates a week", unit="a week", start=UPDATES,
        symbols="W: bytes sent in a week; u: updates a week; n: computers",
        formula=rf"W = u \cdot n \cdot B, \quad n = {NODES}", said="{:g} updates a week.",
    )  # fmt: skip


def duration(value_s: float) -> str:
    """A duration in the unit that suits it, up to days, three significant figures."""
    for unit, factor in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if value_s >= factor:
            return f"{ratio(value_s / factor).rstrip('×')} {unit}"
    return f"{ratio(value_s * 1000).rstrip('×')} ms"


def _ways(view: View, phase: str) -> list[Way]:
    found = view.need("image_bytes", "box that is sent")
    both = mixed(found)
    usual, thin = [], []
    for column in found:
        label, series, sizes = column.label(mixed=both), column.series, column.medians()
        if phase in sizes:
            usual.append(Way(series, label, sizes[phase]))
        # The archive of vm-direct is left to the figure of measured sizes: the backing file is
        # the way that everybody has.
        way = f"{phase}-{THIN[Platform.VM]}"
        if series.platform is Platform.VM and way in sizes:
            named = label.replace(series.label, f"{series.label}, backing file")
            thin.append(Way(series, named, sizes[way]))
    return [*usual, *thin]


def _whatif(
    view: View,
    titles: Mapping[str, Sequence[Way]],
    values: Sequence[float],
    amount: Callable[[Way, float], float],
    written: Callable[[float], str],
    *,
    label: str,
    unit: str,
    start: float,
    symbols: str,
    formula: str,
    said: str,
) -> WhatIf:
    shown = {title: ways for title, ways in titles.items() if ways}
    if not shown:
        raise absent("box that is sent")

    def panels(x: float) -> Panels:
        return {
            title: [
                Dot(way.series, way.label, amount(way, x), written(amount(way, x))) for way in ways
            ]
            for title, ways in shown.items()
        }

    copies = f"compressed bytes of one copy, {_kinds(view)}; no emulation is in them."
    return sliding_dots(
        panels,
        values,
        label=label,
        unit=unit,
        start=start,
        said=said,
        caption=f"{symbols}; B: {copies}",
        formula=formula,
        source=f"image_bytes (compressed, update); {view.caption()}",
    )


def _kinds(view: View) -> str:
    return " and ".join(dict.fromkeys(source.shown for source in view.sources))
