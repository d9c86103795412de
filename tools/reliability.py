"""``python -m tools.reliability``: run the fault suite and write its results as a table.

Nothing in ``docs/reliability.md`` is typed by hand: a fault that was not tried is not in it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "reliability.md"

HEAD = """\
# Reliability: what was broken on purpose

Made by `make reliability` from the results of [tests/faults](../tests/faults), on {date}. Each
line is a kind of fault; *tried* counts its forms, or the moments at which it struck. *Survived*
means that the test held: one sentence instead of a traceback, nothing lost that was measured,
nothing left behind, nothing touched that is not ours. A fault that needs an engine which is missing
is *skipped*.

| area | fault | tried | survived | skipped |
|---|---|---:|---:|---:|
"""


class Results:
    """A pytest plugin that counts, for each fault, how often it was tried and survived."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one phase of one test: it is tried once, and fails in any phase."""
        told = dict(report.user_properties)
        if "fault" not in told:
            return
        fault = told["fault"]
        if report.skipped:
            self.skipped[str(fault)] += 1
        # A test that cannot even be set up was tried, and did not survive.
        if (report.when == "call" and not report.skipped) or (
            report.when == "setup" and report.failed
        ):
            self.tried[str(fault)] += int(str(told.get("times", 1)))
        if report.failed:
            self.failed[str(fault)] += int(str(told.get("failures", 1)))

    def table(self) -> str:
        """The rows of the table, sorted by area and fault."""
        lines = []
        for fault in sorted(self.tried | self.skipped):
            area, _, kind = fault.partition(": ")
            tried, skipped = self.tried[fault], self.skipped[fault]
            lines.append(
                f"| {area} | {kind} | {tried} | {tried - self.failed[fault]} | {skipped} |"
            )
        return "\n".join(lines) + "\n"


ENGINES = "docker or qemu or browser"
"""Their tests run one after the other, so that the next run clears away nothing of the last."""


def main() -> int:
    """Run the suite; the table is written whether all survived or not."""
    results = Results()
    os.environ["VMCOMPARE_THOROUGH"] = "1"  # read by tests/faults/thorough.py
    workers = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal"]
    codes = []
    for marks, how in ((f"not ({ENGINES})", workers), (ENGINES, [])):
        arguments = [str(ROOT / "tests" / "faults"), "-q", "-m", marks, *how, *sys.argv[1:]]
        codes.append(int(pytest.main(arguments, plugins=[results])))
    head = HEAD.format(date=f"{datetime.now(UTC):%Y-%m-%d}")
    TARGET.write_text(head + results.table(), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
