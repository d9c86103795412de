"""What the registered rules make of ramps: every finding that each claim of lesson 01 can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted import planted
from planted_ramps import CONTAINER, DIRECT, LINES_MIB, VM, ramps

from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion, Finding

Lines = Mapping[tuple[str, str, str], tuple[float, float]]

BY_NAME = {(claim.id, claim.part): claim for claim in claims.load()}
MEMORY = [("O1", "memory"), ("F1", "memory")]


def judged(tmp_path: Path, name: tuple[str, str], **more: Any) -> Finding:
    frame = planted(tmp_path, ramps(**more), experiment="guest_os").frame()
    return claims.judge(BY_NAME[name], frame)


def lines(container: float, direct: float, vm: float) -> Lines:
    """Ramps with these b, in MiB."""
    return {CONTAINER: (10, container), DIRECT: (20, direct), VM: (30, vm)}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_at_twice_the_container_or_more_is_supported_on_hardware(
    tmp_path: Path, name: tuple[str, str]
) -> None:
    found = judged(tmp_path, name, accel="kvm")
    assert found.verdict is Conclusion.SUPPORTED
    assert found.interval is not None
    assert found.interval.estimate == pytest.approx(250 / 3)
    assert "3 ramps" in found.reason


@pytest.mark.parametrize("name", MEMORY)
def test_under_emulation_memory_is_at_best_supported_with_caveats(
    tmp_path: Path, name: tuple[str, str]
) -> None:
    found = judged(tmp_path, name)
    assert found.verdict is Conclusion.WITH_CAVEATS
    assert "measured under software emulation" in found.caveats


@pytest.mark.parametrize("name", MEMORY)
@pytest.mark.parametrize(
    ("vm_mib", "verdict"),
    [(150, Conclusion.WITH_CAVEATS), (50, Conclusion.REFUTED), (250, Conclusion.SUPPORTED)],
)
def test_the_verdict_on_memory_follows_the_slope(
    tmp_path: Path, name: tuple[str, str], vm_mib: float, verdict: Conclusion
) -> None:
    other = lines(container=100, direct=230, vm=vm_mib)
    assert judged(tmp_path, name, accel="kvm", lines=other).verdict is verdict


@pytest.mark.parametrize("name", MEMORY)
def test_a_lean_vm_turns_supported_into_with_caveats(tmp_path: Path, name: tuple[str, str]) -> None:
    found = judged(tmp_path, name, accel="kvm", lines=lines(container=100, direct=110, vm=250))
    assert found.verdict is Conclusion.WITH_CAVEATS
    assert any("vm-direct (pc)" in caveat for caveat in found.caveats)


@pytest.mark.parametrize("name", [*MEMORY, ("O2", "light"), ("O4", "memory")])
def test_fewer_than_three_ramps_are_at_best_with_caveats(
    tmp_path: Path, name: tuple[str, str]
) -> None:
    found = judged(tmp_path, name, accel="kvm", rounds=2, daemons_cost_more=False)
    assert found.verdict is Conclusion.WITH_CAVEATS
    assert "few runs: 2 ramps (3 needed)" in found.caveats


@pytest.mark.parametrize("name", [*MEMORY, ("O2", "light"), ("O4", "memory")])
def test_without_containers_or_machines_nothing_is_decided(
    tmp_path: Path, name: tuple[str, str]
) -> None:
    for kept in ({CONTAINER: (10, 3)}, {DIRECT: (20, 160), VM: (30, 250)}):
        found = judged(tmp_path, name, lines=kept)
        assert found.verdict is Conclusion.NOT_MEASURED
        assert "took no part in this run" in found.reason


@pytest.mark.parametrize("name", MEMORY)
def test_ramps_that_disagree_settle_nothing(tmp_path: Path, name: tuple[str, str]) -> None:
    rows = ramps(accel="kvm", rounds=0)
    for block, vm_mib in enumerate((60, 100, 150)):
        one = ramps(accel="kvm", rounds=1, lines=lines(100, 110, vm_mib), spread=False)
        rows += [replace(r, block=block) for r in one]
    found = claims.judge(BY_NAME[name], planted(tmp_path, rows, experiment="guest_os").frame())
    assert found.verdict is Conclusion.INCONCLUSIVE


@pytest.mark.parametrize(
    ("direct_mib", "verdict"),
    [(250, Conclusion.SUPPORTED), (150, Conclusion.WITH_CAVEATS), (80, Conclusion.REFUTED)],
)
def test_light_sets_the_container_against_the_leanest_machine(
    tmp_path: Path, direct_mib: float, verdict: Conclusion
) -> None:
    other = lines(container=100, direct=direct_mib, vm=300)
    assert judged(tmp_path, ("O2", "light"), accel="kvm", lines=other).verdict is verdict


@pytest.mark.parametrize(
    ("emulator_mib", "more", "verdict"),
    [
        (60, False, Conclusion.SUPPORTED),
        (60, True, Conclusion.WITH_CAVEATS),
        (20, False, Conclusion.WITH_CAVEATS),
        (5, False, Conclusion.REFUTED),
    ],
)
def test_management_is_judged_by_shim_against_emulator_and_daemons_are_a_caveat(
    tmp_path: Path, emulator_mib: float, more: bool, verdict: Conclusion
) -> None:
    managing = {CONTAINER: (9.0, 10.0), VM: (5.0, emulator_mib)}
    found = judged(
        tmp_path, ("O4", "memory"), accel="kvm", overhead=managing, daemons_cost_more=more
    )
    assert found.verdict is verdict
    said = [c for c in found.caveats if "daemons" in c]
    assert bool(said) == (more and verdict is not Conclusion.REFUTED)


def test_the_sizes_and_ages_of_guests_never_enter_a_slope(tmp_path: Path) -> None:
    found = judged(tmp_path, ("O1", "memory"), accel="kvm")
    rows = [r for r in ramps(accel="kvm") if r.phase not in ("size", "fresh", "aged")]
    frame = planted(tmp_path, rows, experiment="guest_os").frame()
    assert claims.judge(BY_NAME["O1", "memory"], frame).interval == found.interval
    assert LINES_MIB[VM][1] / LINES_MIB[CONTAINER][1] > 2
