"""Units: what each metric is measured in, and how a figure is written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

MIB = 1024 * 1024
NS_PER_S = 1_000_000_000

DEFINITIONS: Mapping[str, str] = {
    "start_to_first_byte_s": "from the client's call to the first byte of the same tiny program",
    "ready_s": "from the client's call until a command was answered inside",
    "phase_s": "one step of a start or an end, named in `phase`: since the step before it",
    "pss_bytes": "proportional set size (PSS) of every host process that serves the instance, or "
    "the N instances of phase `ramp`, without the translator's code cache, which exists under "
    "software emulation only",
    "pss_with_code_cache_bytes": "the same with the translator's code cache; recorded of emulated "
    "VMs only, because elsewhere both are the same",
    "gzip_s": "compressing 2 MB, from the request to the answer",
    "syscall_s": "a million system calls, from the request to the answer",
    "fork_s": "500 times fork and exec, from the request to the answer",
    "host_delta_bytes": "how much less memory the host has available (MemAvailable) than before "
    "the first instance; may be negative",
    "cgroup_bytes": "usage of the instance's control group, less inactive file cache",
    "overhead_bytes": "the part of `pss_bytes` that manages instances: shim and PID 1, or the "
    "emulator without guest RAM and boot files",
    "image_bytes": "size of an image, counted as `phase` says",
    "duration_s": "how long what `phase` names took",
    "part_bytes": "the part of a size that `phase` names",
    "idle_cpu_ratio": "host processor seconds ÷ wall seconds while the instance does nothing",
    "item_count": "how many there are of what `phase` names",
    "fact": "whether what `phase` names holds (1) or not (0); claims are judged by it",
    "observation": "whether what `phase` names could be observed (1) or not (0); `text` has what "
    "was read, or the error",
    "probe": "whether the attempt that `phase` names got through to its target (1) or not (0); "
    "`text` has the answer (`ok`, `EPERM`)",
    "gap_s": "longest time between two heartbeats in second `rep` of a run",
    "gap_p50_s": "median of the times between two heartbeats of a stretch",
    "gap_p99_s": "99th percentile of the times between two heartbeats of a stretch",
    "detection_s": "from the last heartbeat until the host saw the instance's output end",
    "guest_ram_to_limit_ratio": "guest RAM that the host holds for a guest that wants more, ÷ the "
    "memory it was given",
    "scale_wall_s": "N copies let go at once (`phase` is N): until the last one's first byte",
    "scale_each_s": "the same, until the first byte of copy `rep`",
    "start_cpu_s": "processor seconds of this host for a start, of all that serves it: of N at "
    "once the Nth part",
    "start_instructions": "executed by one virtual computer for a start, waiting left out: of a "
    "VM from power-on to the first byte; of a process or container inside a guest of that "
    "computer, from the request to the first byte",
    "sector_instructions": "the same from power-on until a boot sector has sent its byte: what "
    "firmware takes",
    "fork_instructions": "the same of 500 times fork and exec, inside the guest",
    "fork_cpu_s": "processor seconds of 500 times fork and exec on the host itself",
    "each_bytes": "what the first copy costs in memory (PSS), or one more (`phase` first, last)",
    "heal_s": "copies were ended, `phase` of them: from noticing to as many as before",
    "load_and_start_s": "a saved image in a second, empty engine: from its file to the first byte "
    "of a start there",
    "talk_s": "from the first step towards two instances on a network of their own until one has "
    "the other's answer",
    "step_count": "steps that are taken until then; `text` lists them",
    "host_bytes": "what the host pays for an instance (`pss_bytes`) at the moment that `phase` "
    "names; of phases `over time` every half second (`rep`: tenths of a second)",
    "host_bytes_to_limit_ratio": "`host_bytes` ÷ the memory that the instance was given",
    "returned_ratio": "of memory that a program took and freed the share that came back to the "
    "host: (peak − freed) ÷ (peak − before) of `host_bytes`; may be negative",
    "throttled_ratio": "share of the periods of a busy container in which the kernel stopped it "
    "at its limit (`nr_throttled` ÷ `nr_periods`)",
    "work_cpu_s": "processor seconds that the kernel charged one program for the work that "
    "`phase` names",
    "disk_s": "writes to a file, each followed by `fsync`: from the first to the last, waiting "
    "included",
    "network_s": "a transfer between two processes through 127.0.0.1: from the socket to the last "
    "byte, waiting included",
    "host_cpu_to_vcpu_ratio": "host processor seconds of an instance with two busy loops a vCPU, "
    "÷ (vCPUs × wall seconds)",
}  # fmt: skip
"""Metric → its definition, in Markdown."""

UNITS = ("s", "bytes", "ratio", "count", "instructions")

METRICS: Mapping[str, str] = {
    name: unit if (unit := name.rpartition("_")[2]) in UNITS else "bool" for name in DEFINITIONS
}
"""Metric → its unit. A metric's name ends in it, so that no axis can be mislabelled; ``fact``,
``observation`` and ``probe`` are 1 or 0."""

NAMES: Mapping[str, str] = {
    "start_to_first_byte_s": "time to the first byte",
    "pss_bytes": "memory (PSS)",
    "pss_with_code_cache_bytes": "memory (PSS with the translator’s code cache)",
    "overhead_bytes": "memory of emulator (or shim and init)",
    "image_bytes": "image size",
    "part_bytes": "part of the memory",
    "gzip_s": "time of gzip",
    "syscall_s": "time of a system call",
    "fork_s": "time of fork and exec",
    "scale_wall_s": "time until all copies are there",
    "scale_each_s": "time until a copy is there",
    "start_cpu_s": "processor seconds of a start",
    "start_instructions": "instructions of a start",
    "each_bytes": "memory of a copy (PSS)",
    "load_and_start_s": "time to load and start elsewhere",
    "talk_s": "time until two talk",
    "step_count": "steps until two talk",
    "host_bytes": "memory that the host pays (PSS)",
    "host_bytes_to_limit_ratio": "memory that the host pays ÷ its limit",
    "returned_ratio": "share of freed memory that came back",
    "work_cpu_s": "processor seconds of known work",
    "disk_s": "time of known work on a disk",
    "network_s": "time of a known transfer",
    "guest_ram_to_limit_ratio": "guest RAM in use ÷ its limit",
    "host_cpu_to_vcpu_ratio": "host processor time ÷ (the VM’s processors × elapsed time)",
}
"""Metric name → what a finding calls it."""


def seconds(value_s: float) -> str:
    """A duration in seconds, with three significant figures: ``"1.23 s"``, ``"45.6 ms"``."""
    if not math.isfinite(value_s):
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if abs(value_s) * factor >= 0.9995:
            return f"{_three(value_s * factor)} {unit}"
    return f"{_three(value_s * 1e6)} µs"


def size(value_bytes: float) -> str:
    """A size in bytes, written in binary units: ``"23.4 MiB"``."""
    if not math.isfinite(value_bytes):
        return "–"
    for unit, factor in (("GiB", 1024**3), ("MiB", MIB), ("KiB", 1024)):
        if abs(value_bytes) >= factor:
            return f"{_three(value_bytes / factor)} {unit}"
    return f"{value_bytes:.0f} bytes"


def millions(value: float) -> str:
    """A count in millions, with three significant figures: ``"815 million"``."""
    return "–" if not math.isfinite(value) else f"{_three(value / 1e6)} million"


def ratio(value: float) -> str:
    """A ratio with a multiplication sign: ``"12.3×"``."""
    return "–" if not math.isfinite(value) else f"{_three(value)}×"


def written(value: float, unit: str) -> str:
    """``value`` for people; in a unit without a form of its own a whole number is a count."""
    forms = {"s": seconds, "bytes": size, "ratio": ratio, "instructions": millions}
    if unit in forms:
        return forms[unit](value)
    return f"{value:,.0f} {unit}" if float(value).is_integer() else f"{_three(value)} {unit}"


def _three(value: float) -> str:
    """Three significant figures, never in exponent form, with a real minus sign."""
    if value == 0:
        return "0"
    rounded = float(f"{abs(value):.3g}")  # or 0.9996 would be written 1.000
    # Nine decimals are enough for all that was measured; a smaller number is not written in full.
    digits = min(9, max(0, 2 - math.floor(math.log10(rounded))))
    return f"{value:,.{digits}f}".replace("-", "−")
