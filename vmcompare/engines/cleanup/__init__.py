"""Nothing left behind, even after ``kill -9``: a mark, a ledger on disk, a guardian, a sweep.

Every process we start carries its session's name (:func:`marked`), and whatever else outlives a
crash is written down before it exists (:func:`folder`, :func:`watch`). Two read that:
the *guardian* (:func:`guard`), a child whose standard input ends when its owner dies, and
:func:`sweep`, for ledgers whose owner and guardian are both dead. After an orderly end neither has
anything to do.
"""

from __future__ import annotations

from vmcompare.engines.cleanup.containers import end_shim, environment
from vmcompare.engines.cleanup.ending import CGROUP_ROOT, Ended, Swept, remove_cgroups, sweep
from vmcompare.engines.cleanup.guardian import guard
from vmcompare.engines.cleanup.ledger import (
    CONTAINERS,
    LABEL,
    Damaged,
    boot,
    folder,
    forget,
    is_same_process,
    labels,
    private,
    session_id,
    started,
    watch,
)
from vmcompare.engines.cleanup.processes import end_session_processes, marked, spared

__all__ = [
    "CGROUP_ROOT",
    "CONTAINERS",
    "LABEL",
    "Damaged",
    "Ended",
    "Swept",
    "boot",
    "end_session_processes",
    "end_shim",
    "environment",
    "folder",
    "forget",
    "guard",
    "is_same_process",
    "labels",
    "marked",
    "private",
    "remove_cgroups",
    "session_id",
    "spared",
    "started",
    "sweep",
    "watch",
]
