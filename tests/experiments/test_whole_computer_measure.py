"""The first lesson's rows: what is tried once, what a failure becomes, and what decides A1, A2."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from planted import planted
from whole_computer_fakes import BOOT_ID, GUEST, HOST, files, full, machine, process, rows

from vmcompare.errors import LaunchFailure, Unavailable, WaitTimeout
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion, Finding
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.whole_computer.measure import EXPERIMENT
from vmcompare.measuring.experiment import RunProgress
from vmcompare.measuring.run import run
from vmcompare.sandbox import Platform

SILENT = WaitTimeout("the first byte", 60)
BROKEN = LaunchFailure("QEMU could not be started", ("qemu",))


def finding(name: str, made: list[Measurement], tmp_path: Path) -> Finding:
    [claim] = [c for c in claims.load() if c.id == name]
    return claims.judge(claim, planted(tmp_path, made, experiment="whole_computer").frame())


def facts(made: list[Measurement]) -> dict[str, float | None]:
    return {row.phase: row.value for row in made if row.metric == "fact"}


def texts(made: list[Measurement], platform: Platform) -> dict[str, str]:
    return {
        row.phase: row.text
        for row in made
        if row.metric == "observation" and row.platform is platform and row.rep == 0
    }


def test_every_registered_fact_of_a1_and_a2_has_one_row() -> None:
    assert facts(full()) == {
        "control_vm_boots": 1, "guest_hardware_differs_from_host": 1,
        "guest_can_tell_it_is_virtual": 1, "two_vms_have_two_boot_ids": 1,
        "boot_sector_prints_in_vm": 1, "boot_sector_runs_without_os": 1,
    }  # fmt: skip
    assert len([row for row in full() if row.metric == "fact"]) == 6


def test_a_machine_that_can_tell_supports_a1_with_a_caveat_and_refutes_a2(tmp_path: Path) -> None:
    a1 = finding("A1", full(), tmp_path)
    assert a1.verdict is Conclusion.WITH_CAVEATS
    assert "virtual" in a1.caveats[0]
    assert finding("A2", full(), tmp_path).verdict is Conclusion.REFUTED


def test_a_machine_that_cannot_tell_supports_a1(tmp_path: Path) -> None:
    made = full(known=files("Host CPU", "80861237"))
    assert finding("A1", made, tmp_path).verdict is Conclusion.SUPPORTED


@pytest.mark.parametrize(
    "changes",
    [{"known": HOST}, {"known": GUEST | {BOOT_ID: "bbbbbbbb"}}, {"mute": True},
     {"sector_fails": SILENT}],
    ids=["the host’s devices", "one boot id for two", "another message", "silence"],
)  # fmt: skip
def test_a_machine_that_is_no_whole_computer_refutes_a1(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    assert finding("A1", full(**changes), tmp_path).verdict is Conclusion.REFUTED


@pytest.mark.parametrize("changes", [{"sector_fails": SILENT}, {"disk_bytes": 4096}])
def test_a_machine_that_needs_more_than_the_sector_supports_a2(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    assert finding("A2", full(**changes), tmp_path).verdict is Conclusion.SUPPORTED


def test_silence_counts_only_where_another_system_boots(tmp_path: Path) -> None:
    made = full(fails=SILENT, sector_fails=SILENT)
    assert facts(made)["control_vm_boots"] == 0
    assert facts(made)["boot_sector_prints_in_vm"] is None
    assert finding("A1", made, tmp_path).verdict is Conclusion.NOT_MEASURED
    assert finding("A2", made, tmp_path).verdict is Conclusion.INCONCLUSIVE


def test_a_machine_that_could_not_be_tried_is_rows_with_the_reason_and_no_finding(
    tmp_path: Path,
) -> None:
    made = full(fails=BROKEN, sector_fails=BROKEN)
    assert set(facts(made).values()) == {None}
    assert {r.error for r in made if r.metric == "fact"} == {"QEMU could not be started"}
    assert finding("A1", made, tmp_path).verdict is Conclusion.NOT_MEASURED
    assert finding("A2", made, tmp_path).verdict is Conclusion.NOT_MEASURED
    assert any(row.metric == "start_to_first_byte_s" and row.status == "ok" for row in made)


def test_v3_stays_a_judgement_whatever_was_measured(tmp_path: Path) -> None:
    assert finding("V3", full(), tmp_path).verdict is Conclusion.JUDGEMENT


def test_without_a_machine_there_are_no_facts_and_the_rest_is_measured(tmp_path: Path) -> None:
    made = rows({Platform.PROCESS: process()})
    assert not facts(made)
    assert {row.platform for row in made} == {Platform.PROCESS}
    assert finding("A1", made, tmp_path).verdict is Conclusion.NOT_MEASURED


def test_the_processor_alone_decides_only_where_nothing_else_was_read_on_both_sides() -> None:
    bare = {"/proc/cpuinfo": HOST["/proc/cpuinfo"]}
    other = {"/proc/cpuinfo": "model name : QEMU Virtual CPU\nflags : hypervisor\n"}
    for known, differs in ((bare, 0), (other, 1)):
        made = rows({Platform.PROCESS: process(), Platform.VM_DIRECT: machine(known=known)})
        assert facts(made)["guest_hardware_differs_from_host"] == differs
    nothing = rows({Platform.PROCESS: process(), Platform.VM_DIRECT: machine(known={})})
    assert facts(nothing)["guest_hardware_differs_from_host"] is None
    assert facts(nothing)["guest_can_tell_it_is_virtual"] is None


def test_a_container_reads_the_host_s_hardware_and_its_refusal_names_no_path() -> None:
    made = full()
    own, inside = (texts(made, p) for p in (Platform.PROCESS, Platform.CONTAINER))
    assert inside["boot_id"] == own["boot_id"] == "aaaaaaaa"
    assert inside["processor"] == "Host CPU"
    assert inside["devices"] == "8086:1111, 8086:7000"
    assert inside["boot_sector_as_program"] == "Exec format error (exit code 126)"


def test_the_sector_s_bytes_are_kept_with_what_it_printed() -> None:
    made = full()
    told = texts(made, Platform.VM_DIRECT)
    assert told["boot_sector_printed"].startswith("Hello from")
    assert len(bytes.fromhex(told["boot_sector_bytes"])) == 512


def test_half_of_the_starts_of_each_round_are_a_in_an_order_that_the_seed_decides() -> None:
    starts = [row for row in full() if row.metric == "start_to_first_byte_s"]
    counted = Counter((r.platform, r.block, r.phase) for r in starts if not r.is_warmup)
    assert set(counted.values()) == {3}
    assert len(counted) == 8  # two platforms, two rounds, A and B
    again = [row.phase for row in full() if row.metric == "start_to_first_byte_s"]
    assert [row.phase for row in starts] == again
    assert again != sorted(again)


def test_a_start_that_fails_is_a_row_and_the_others_go_on() -> None:
    gone = process(fails=Unavailable("Docker is not running", "start it"))
    made = rows({Platform.PROCESS: process(), Platform.CONTAINER: gone})
    failed = [row for row in made if row.status == "error"]
    assert {row.platform for row in failed} == {Platform.CONTAINER}
    assert all("Docker is not running" in row.error for row in failed)
    assert sum(row.metric == "start_to_first_byte_s" for row in made) == 26  # with two warm-ups


@pytest.mark.docker
@pytest.mark.qemu
def test_on_this_computer_the_machine_starts_the_sector_and_the_container_refuses_it(
    tmp_path: Path,
) -> None:
    from vmcompare.evidence.recording import read

    told: list[RunProgress] = []
    recording = read(run(EXPERIMENT, (), 1, tmp_path, told.append, lambda _: None))
    frame = recording.frame()
    held = frame[frame["metric"] == "fact"].set_index("phase")["value"].to_dict()
    assert held["control_vm_boots"] == held["boot_sector_prints_in_vm"] == 1
    assert held["boot_sector_runs_without_os"] == held["two_vms_have_two_boot_ids"] == 1
    assert held["guest_hardware_differs_from_host"] == 1
    refused = frame[frame["phase"] == "boot_sector_as_program"]
    assert set(refused["platform"]) == {"process", "container", "vm-direct"}
    assert set(refused["value"]) == {0}
    assert refused["text"].str.contains("Exec format error").all()
    assert not frame["text"].str.contains("/tmp|/home|/root").any()
    assert told[-1].done == told[-1].planned
