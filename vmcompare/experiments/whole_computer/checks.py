"""What answers in the first lesson are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.engines.programs import boot_sector
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.whole_computer.explain import explained
from vmcompare.sandbox import EMULATION, SOFTWARE


@explained.check("longest_message", unit="bytes", within=0.0)
def longest_message(_: View) -> float:
    """Bytes that the fixed parts of the boot sector leave for a message."""
    return float(boot_sector.MESSAGE_MAX_BYTES)


@explained.values("longest_message")
def _longest_message(_: View) -> Values:
    parts = boot_sector.parts(boot_sector.image(""))
    fixed = (f"{len(data)} ({part})" for part, data in parts if part not in ("message", "zeros"))
    return {
        "total": boot_sector.SECTOR_BYTES,
        "fixed": " − ".join(fixed),
        "room": boot_sector.MESSAGE_MAX_BYTES,
    }


@explained.values("kvm_exists")
def _kvm_exists(view: View) -> Values:
    found = sorted(set(view.frame["accel"].dropna().map(str)) - {""})
    words = (f"{name} ({EMULATION})" if name == SOFTWARE else name for name in found)
    return {"vm": bool(found), "accelerators": literal(", ".join(words))}
