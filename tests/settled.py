"""Planted recordings of several lessons at once, and notebooks that name them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from planted import counted_starts, planted, row, starts, wobble

from vmcompare.evidence.claims.runs import Evidence, gather
from vmcompare.evidence.recording import Measurement, Recording

LESSONS: Mapping[str, str] = {
    "00": "whole_computer",
    "01": "guest_os",
    "02": "shared_kernel",
    "03": "image_size",
    "04": "boot_speed boot_instructions",
}
"""Lesson → the experiments that its planted notebook names."""

MIB = 2**20
EACH: Mapping[str, float] = {
    "container": 4 * MIB, "vm-direct": 60 * MIB, "vm-tuned": 90 * MIB, "vm": 120 * MIB,
}  # fmt: skip
"""Platform → what one more instance costs in the planted ramps (bytes)."""


def facts(**held: bool) -> list[Measurement]:
    """One row a fact."""
    return [row("vm", "fact", float(value), phase=name) for name, value in held.items()]


def ramps(each: Mapping[str, float] = EACH, *, accel: str = "tcg") -> list[Measurement]:
    """Three ramps a platform: N = 0 to 3 instances that together cost 2 MiB + N × each."""
    return [
        row(
            platform, "pss_bytes", 2 * MIB + n * cost * wobble(block, n), phase="ramp",
            block=block, rep=n, accel=accel if platform.startswith("vm") else "",
        )
        for block in range(3)
        for platform, cost in each.items()
        for n in range(4)
    ]  # fmt: skip


def images(vm: float, container: float, *phases: str) -> list[Measurement]:
    """Exact sizes of both, the same for each phase."""
    return [
        row(platform, "image_bytes", value, phase=phase)
        for platform, value in (("vm", vm), ("container", container))
        for phase in phases
    ]


RECORDED: Mapping[str, Sequence[Measurement]] = {
    "whole_computer": facts(
        boot_sector_prints_in_vm=True, guest_hardware_differs_from_host=True,
        two_vms_have_two_boot_ids=True, guest_can_tell_it_is_virtual=True,
    ),
    "guest_os": [
        *ramps(), *facts(control_vm_boots=True, boot_sector_runs_without_os=True),
    ],
    "shared_kernel": facts(
        container_kernel_release_is_hosts=True, container_boot_id_is_hosts=True,
        vm_kernel_release_is_hosts=False, vm_boot_id_is_hosts=False,
        second_distribution_runs_as_container=True,
    ),
    "image_size": images(1.2e8, 1e8, "compressed", "allocated", "second-application", "update"),
    "boot_speed": starts(rounds=3),
    "boot_instructions": counted_starts(),
}  # fmt: skip
"""Experiment → rows that settle some claim of its lesson; every finding but one occurs."""


def notebooks(directory: Path, lessons: Mapping[str, str] = LESSONS) -> Path:
    """A directory of notebooks, each naming its experiments as a real one does."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, named in lessons.items():
        experiments = named.split() or [""]
        path = directory / f"{number}-{experiments[0].replace('_', '-')}.ipynb"
        cells = [f"x = Lesson({json.dumps(name)}, {json.dumps(number)})" for name in experiments]
        path.write_text(json.dumps({"cells": cells}))
    return directory


class Places:
    """The project's recordings, the learner's, and the notebooks, all planted."""

    def __init__(self, directory: Path) -> None:
        self.project, self.own = directory / "data" / "recordings", directory / "own"
        self.notebooks = notebooks(directory / "notebooks")

    def plant(self, recorded: Mapping[str, Sequence[Measurement]] = RECORDED) -> None:
        """Recordings of the project."""
        for experiment, rows in recorded.items():
            planted(self.project, rows, experiment=experiment)

    def add(self, experiment: str, rows: Sequence[Measurement], *, own: bool = False) -> Recording:
        """One more recording, of the project or the learner's."""
        return planted(self.own if own else self.project, rows, experiment=experiment)

    def delete(self, experiment: str) -> None:
        """All of the project's recordings of one experiment."""
        for path in (self.project / experiment).glob("*.jsonl"):
            path.unlink()

    def gather(self, *session: Recording) -> Evidence:
        """What there is to judge by."""
        return gather(
            session, project_dir=self.project, own_dir=self.own, notebooks_dir=self.notebooks
        )
