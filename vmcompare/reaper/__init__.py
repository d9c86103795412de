"""Nothing left behind, even after ``kill -9``: a ledger on disk, a guardian process, a sweep.

Whoever starts something that outlives a crash writes it down first (:func:`watch_process`,
:func:`watch_path`, :func:`watch_containers`) and crosses it out once it is gone. Three things read
that ledger: the *guardian* (:func:`guard`), a child whose standard input ends when its owner dies;
:func:`sweep`, for ledgers whose owner and guardian are both dead; and nobody, when all went well.
"""

from __future__ import annotations

from vmcompare.reaper.cleanup import CGROUP_ROOT, Ended, Swept, sweep
from vmcompare.reaper.containers import end_shim, environment
from vmcompare.reaper.folder import folder
from vmcompare.reaper.guardian import guard
from vmcompare.reaper.identity import boot, end_process, is_same_process, started
from vmcompare.reaper.ledger import (
    LABEL,
    forget_containers,
    forget_path,
    forget_process,
    labels,
    session_id,
    watch_containers,
    watch_path,
    watch_process,
)

__all__ = [
    "CGROUP_ROOT",
    "LABEL",
    "Ended",
    "Swept",
    "boot",
    "end_process",
    "end_shim",
    "environment",
    "folder",
    "forget_containers",
    "forget_path",
    "forget_process",
    "guard",
    "is_same_process",
    "labels",
    "session_id",
    "started",
    "sweep",
    "watch_containers",
    "watch_path",
    "watch_process",
]
