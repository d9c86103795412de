"""What lesson 06 records: every step as rows, failures as rows, and what counting comes to."""

from __future__ import annotations

import pytest
from fake import FakeLauncher

from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.portability.counting import Counted
from vmcompare.experiments.portability.measure import STEPS
from vmcompare.measuring.experiment import Context, load
from vmcompare.sandbox import Moved, Platform, Spec, Traits


class Launcher(FakeLauncher):
    """Moves a file of 1,000 bytes."""

    def move(self, spec: Spec) -> Moved:
        return Moved(1000, 0.1, 0.2, 0.3)


def run(**launchers: FakeLauncher) -> list[Measurement]:
    """Rows of one round with these launchers, by platform ("vm_direct")."""
    found = {Platform(name.replace("_", "-")): one for name, one in launchers.items()}
    return list(load("portability").measure(Context(found, rounds=1)))


def test_a_move_is_a_row_a_step_and_the_bytes_that_travel() -> None:
    rows = [row for row in run(container=Launcher()) if row.status == "ok"]
    steps = {row.phase: row.value for row in rows if row.metric == "duration_s"}
    assert steps == dict(zip(STEPS, (0.1, 0.2, 0.3), strict=True))
    assert [row.value for row in rows if row.metric == "image_bytes"] == [1000]
    assert [row.value for row in rows if row.metric == "load_and_start_s"] == [0.5]


def test_what_cannot_be_moved_is_a_row_and_the_run_goes_on() -> None:
    launcher = FakeLauncher(trait=Traits("mechanism", vmm="qemu 9", accel="tcg"))
    rows = run(vm=launcher, vm_direct=launcher)
    errors = {(row.platform, row.phase): row.error for row in rows if row.status == "error"}
    assert "nothing to move" in errors[Platform.VM, "move"]
    assert "cannot be moved" in errors[Platform.VM_DIRECT, "count"]
    assert launcher.running == set()


@pytest.mark.parametrize(
    ("before", "after", "goes_on", "again"),
    [
        ((1, 2, 3), (4, 5), True, False),
        ((1, 2, 3), (5, 6), False, False),
        ((1, 2, 3), (3, 4), False, False),
        ((1, 2, 3), (1, 2), False, True),
        ((1, 2, 3), (), False, False),
        ((), (1, 2), False, False),
    ],
)
def test_a_number_that_is_missing_or_comes_twice_is_noticed(
    before: tuple[int, ...], after: tuple[int, ...], goes_on: bool, again: bool
) -> None:
    counted = Counted(before, after)
    assert (counted.goes_on, counted.starts_again) == (goes_on, again)


def test_a_few_numbers_of_either_side_are_kept() -> None:
    assert Counted(tuple(range(1, 48)), (48, 49)).text == "44 45 46 47 | 48 49"
