"""What the registered rules make of lesson 05's facts: every finding that each claim can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import planted_isolation as planted_rows
import pytest
from planted import planted, row

from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion, Finding
from vmcompare.evidence.recording import Measurement

BY_NAME = {(claim.id, claim.part): claim for claim in claims.load()}

SUPPORTED, CAVEATS = Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS
REFUTED, OPEN, NOT_MEASURED = Conclusion.REFUTED, Conclusion.INCONCLUSIVE, Conclusion.NOT_MEASURED


def judged(place: Path, name: tuple[str, str], *more: Measurement, **changed: Any) -> Finding:
    """What is found of a claim by the usual facts, of which some are changed, and ``more`` rows."""
    rows = [*planted_rows.facts(**changed), *more]
    return claims.judge(BY_NAME[name], planted(place, rows, experiment="isolation").frame())


@pytest.mark.parametrize(
    ("name", "changed", "verdict"),
    [
        (("S1a", "faults"), {}, SUPPORTED),
        (("S1a", "faults"), {"sibling_vm_misses_no_heartbeat": False}, REFUTED),
        (("S1a", "faults"), {"host_misses_no_heartbeat": False}, REFUTED),
        (("S1a", "faults"), {"container_kernel_panic_stops_both_containers": False}, OPEN),
        (("S1a", "faults"), {"host_misses_no_heartbeat": None}, NOT_MEASURED),
        (("S1b", "attack surface"), {}, CAVEATS),
        (("S1b", "attack surface"), {"vm_denies_more_than_the_container": False}, OPEN),
        (("S1b", "attack surface"), {"vm_denies_all_the_container_denies": None}, NOT_MEASURED),
        (
            ("S1b", "attack surface"),
            {
                "vm_denies_all_the_container_denies": False,
                "vm_denies_more_than_the_container": False,
                "container_denies_more_than_the_vm": True,
            },
            REFUTED,
        ),
        (("S2", "shared kernel"), {}, CAVEATS),
        (("S2", "shared kernel"), {"default_container_sysrq_takes_sibling_down": True}, SUPPORTED),
        (
            ("S2", "shared kernel"),
            {"privileged_container_sysrq_takes_sibling_down": None},
            NOT_MEASURED,
        ),
        (
            ("S2", "shared kernel"),
            {"privileged_container_sysrq_takes_sibling_down": False},
            REFUTED,
        ),
        (("S3", "not namespaced"), {}, REFUTED),
        (("S3", "not namespaced"), {"container_reads_sibling": True}, CAVEATS),
        (
            ("S3", "not namespaced"),
            {
                "container_reads_sibling": True,
                "container_lists_sibling": True,
                "container_kills_sibling": True,
                "five_namespaces_differ": False,
                "something_is_not_namespaced": False,
                "one_misconfiguration_flips_a_probe": False,
            },
            SUPPORTED,
        ),
        (("S3", "not namespaced"), {"five_namespaces_differ": False}, CAVEATS),
        (("S3", "not namespaced"), {"container_reads_sibling": None}, NOT_MEASURED),
        (("S5", "direct access"), {}, SUPPORTED),
        (("S5", "direct access"), {"vm_opens_host_devices": True}, REFUTED),
        (("S5", "direct access"), {"vm_sees_host_devices": True}, REFUTED),
        (("S5", "direct access"), {"privileged_container_opens_host_devices": False}, OPEN),
        (("S5", "direct access"), {"privileged_container_opens_host_devices": None}, NOT_MEASURED),
    ],
)
def test_a_finding_follows_the_facts(
    tmp_path: Path, name: tuple[str, str], changed: dict[str, bool | None], verdict: Conclusion
) -> None:
    assert judged(tmp_path, name, **changed).verdict is verdict


def test_which_barrier_held_is_named_beside_what_fell(tmp_path: Path) -> None:
    found = judged(tmp_path, ("S2", "shared kernel"))
    assert "a default container stops its neighbour" in found.reason.replace("_", " ")


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.98, CAVEATS), (1.3, REFUTED)], ids=["within -m", "beyond -m"]
)
def test_a_vm_that_stays_within_its_memory_is_restricted(
    tmp_path: Path, ratio: float, verdict: Conclusion
) -> None:
    rows = [row("vm", "guest_ram_to_limit_ratio", ratio, block=n, accel="tcg") for n in range(3)]
    found = judged(tmp_path, ("S4", "memory"), *rows)
    assert found.verdict is verdict
    assert any("memory limit holds" in words for words in (*found.caveats, *found.listed))


def test_without_the_kind_of_vm_that_it_is_about_memory_is_open(tmp_path: Path) -> None:
    assert judged(tmp_path, ("S4", "memory")).lacking


@pytest.mark.parametrize(
    ("accel", "ratio", "verdict"),
    [("tcg", 1.0, NOT_MEASURED), ("kvm", 1.0, CAVEATS), ("kvm", 1.4, REFUTED)],
)
def test_processor_time_is_judged_with_hardware_only(
    tmp_path: Path, accel: str, ratio: float, verdict: Conclusion
) -> None:
    rows = [row("vm", "host_cpu_to_vcpu_ratio", ratio, block=n, accel=accel) for n in range(3)]
    assert judged(tmp_path, ("S4", "processor"), *rows).verdict is verdict


def test_each_half_has_its_claims_and_none_is_lost() -> None:
    of = {claim.id: claim.lessons[0] for claim in claims.load() if claim.id.startswith("S")}
    assert of == {
        "S1a": "05b", "S1b": "05a", "S2": "05b", "S3": "05a", "S4": "05b", "S5": "05a",
    }  # fmt: skip
