"""Tables of the lesson: who sees what hardware, the 512 bytes' program, the grid of comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import RecordingError, Unavailable
from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.view import View, emulated
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir
from vmcompare.sandbox import EMULATION, Platform, Start

if TYPE_CHECKING:
    import pandas as pd

_READ: Mapping[str, str] = MappingProxyType(
    {
        "processor": "processor",
        "devices": "PCI devices (vendor:device)",
        "firmware": "firmware",
        "maker": "maker of the computer",
        "kernel": "kernel release",
        "hypervisor": "“you are virtual” bit",
        "boot_id": "boot id (start)",
        "boot_sector_as_program": "the 512 bytes as a program",
    }
)
"""Observation → what was asked."""


def hardware_table(view: View) -> pd.DataFrame:
    """What each platform reads of the computer it is on, side by side, all with the same commands.

    Raises:
        Unavailable: nobody has been asked.
    """
    import pandas as pd

    frame = view.frame
    asked = frame[(frame["metric"] == "observation") & frame["phase"].isin(list(_READ))]
    columns: dict[str, dict[str, str]] = {}
    for platform in Platform:
        for rep, rows in asked[asked["platform"] == str(platform)].groupby("rep"):
            number = f", {'first' if rep == 0 else 'second'}" if platform.is_vm else ""
            under = f", {EMULATION}" if emulated(rows) else ""
            columns[f"{platform}{number}"] = {
                "": f"{rows['shown'].iloc[-1]}{under}",
            } | {
                str(row["phase"]): str(row["text"]) if row["status"] == "ok" else str(row["error"])
                for row in rows.to_dict("records")
            }
    if not columns:
        raise Unavailable("nobody has been asked for its hardware", "run the measurement")
    return pd.DataFrame(
        [
            {"asked for": words} | {whose: told.get(name) or "–" for whose, told in columns.items()}
            for name, words in {"": "where from", **_READ}.items()
        ]
    )


def code_table(view: View) -> pd.DataFrame:  # noqa: ARG001 - the same whatever was measured
    """The program of the boot sector, one row an instruction (text)."""
    import pandas as pd

    at, rows = boot_sector.LOADED_AT, []
    for one in boot_sector.listing(boot_sector.LOADED_AT + boot_sector.CODE_BYTES):
        rows.append(
            {
                "address": f"{at:X}h",
                "bytes": one.code.hex(" ").upper(),
                "instruction": one.text,
                "what for": one.purpose,
            }
        )
        at += len(one.code)
    return pd.DataFrame(rows)


_KINDS: Mapping[tuple[str, Start], tuple[str, str]] = MappingProxyType(
    {
        ("mechanism", Start.COLD): ("runc, bubblewrap", "plain QEMU boots a guest"),
        ("mechanism", Start.PRE_CREATED): ("runc create, then start", "QEMU waits stopped"),
        ("mechanism", Start.RUNNING): ("another process joins", "the guest runs another program"),
        ("mechanism", Start.CLONE): ("restored from a checkpoint", "copy of a running guest"),
        ("product", Start.COLD): ("docker run", "a new VM of a cloud or a VM manager"),
        ("product", Start.PRE_CREATED): ("docker start", "a stopped VM is started again"),
        ("product", Start.RUNNING): ("docker exec", "a command over ssh"),
        ("product", Start.CLONE): ("docker checkpoint", "a VM resumed from a snapshot"),
    }
)
"""(layer, warmth) → what belongs there on the side of containers, and of virtual machines."""


def grid_table(view: View) -> pd.DataFrame:
    """The grid of fair comparison: one row a cell, what belongs there, and who has measured it."""
    import pandas as pd

    held = _held(view)
    rows = [
        {
            "layer": layer,
            "start": str(warmth),
            "a container": ours,
            "a virtual machine": theirs,
            "measured in this course": "; ".join(held.get((layer, warmth), ())) or "not yet",
        }
        for (layer, warmth), (ours, theirs) in _KINDS.items()
    ]
    return pd.DataFrame(rows)


def _held(view: View) -> dict[tuple[str, Start], list[str]]:
    """Cell → experiments with platforms that the project's newest recordings and this view hold."""
    seen: dict[tuple[str, Start], dict[str, set[str]]] = {}
    for name in discover():
        for path in recordings(data_dir() / "recordings", name):
            try:
                rows = read(path).rows
            except RecordingError:
                continue  # the lesson whose recording it is says so
            _note(rows, seen)
            break
    _note(view.frame.to_dict("records"), seen)  # type: ignore[arg-type]  # keys are text
    order = [str(platform) for platform in Platform]
    return {
        cell: [
            f"{experiment.replace('_', ' ')}: {', '.join(sorted(whose, key=order.index))}"
            for experiment, whose in sorted(by.items())
        ]
        for cell, by in seen.items()
    }


def _note(
    rows: Iterable[Mapping[str, object]], seen: dict[tuple[str, Start], dict[str, set[str]]]
) -> None:
    for row in rows:
        if row["status"] == "ok" and row["layer"] in ("mechanism", "product") and row["warmth"]:
            cell = (str(row["layer"]), Start(str(row["warmth"])))
            whose = seen.setdefault(cell, {}).setdefault(str(row["experiment"]), set())
            whose.add(str(row["platform"]))
