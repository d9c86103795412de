"""The grid on this computer: what becomes of answers, of kernels of one's own, and of failures."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from isolation_actors import (
    ALL_PROBES,
    Actor,
    Said,
    Stage,
    all_rows,
    containers,
    dead,
    host,
    machines,
)

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import boundaries, probes
from vmcompare.experiments.isolation.probes import GRID, PROBES
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import Platform, Spec


def look(**stages: Stage) -> list[Measurement]:
    launchers: Mapping[Platform, Any] = {
        Platform(name.replace("_", "-")): stage for name, stage in stages.items()
    }
    return all_rows(boundaries, Context(launchers))


def facts(rows: Sequence[Measurement]) -> dict[str, float | None]:
    return {row.phase: row.value for row in rows if row.metric == "fact"}


def answers(
    rows: Sequence[Measurement], platform: str, confinement: str = ""
) -> dict[str, tuple[float | None, str]]:
    return {
        row.phase: (row.value, row.text or row.error)
        for row in rows
        if (row.metric, row.platform, row.confinement) == ("probe", platform, confinement)
    }


# ---- the registry -------------------------------------------------------------------------------


def test_every_probe_says_what_it_tries_and_fits_beside_a_grid() -> None:
    assert len(GRID) > 30
    for probe in PROBES.values():
        assert len(probe.name) <= 24
        assert probe.says
        assert probe.aim in ("host", "itself", "neighbour")
    assert {probe.aim for probe in GRID} == {"host", "itself"}


def test_every_flip_is_of_a_registered_probe() -> None:
    for word, flips in probes.FLIPS.items():
        assert flips, word
        assert flips <= {probe.name for probe in GRID}


def test_no_probe_writes_or_truncates_or_asks_with_a_real_pointer() -> None:
    targets = probes.targets(probes.parse_reading(Said().text()), 4321, 80, "/etc/hostname")
    for name, made in probes.possible(targets, "x86_64").items():
        for call in made:
            assert call.name not in ("write", "pwrite64", "unlink", "truncate", "ftruncate"), name
            if call.name == "openat":
                assert int(call.args[2]) & ~0b11 == 0, f"{name} opens with more than a mode"  # type: ignore[arg-type]
            if call.name == "kill":
                assert call.args == (4321, 0)
            if call.name == "unlinkat":
                assert call.always
                assert call.args[1] == probes.NODE


@pytest.mark.parametrize(
    ("name", "answer", "own", "expected"),
    [
        ("mount", -1, False, (0, "EPERM")),
        ("mount", -22, False, (1, "ok (EINVAL)")),
        ("mount", -22, True, (0, "ok, by its own kernel")),
        ("mount", -14, False, (0, "EFAULT")),
        ("keys: read", 0, False, (0, "empty")),
        ("keys: read", 1, False, (1, "ok")),
        ("chroot", 0, True, (1, "ok, by its own kernel")),
        ("chroot", -1, True, (0, "EPERM")),
    ],
)
def test_an_answer_is_judged_by_what_the_probe_registered(
    name: str, answer: int, own: bool, expected: tuple[float, str]
) -> None:
    assert PROBES[name].outcome(answer, own_kernel=own) == expected


# ---- a reading ----------------------------------------------------------------------------------


def test_a_user_of_a_namespace_is_told_by_its_number_outside() -> None:
    assert probes.parse_reading(Said().text()).outer_uid == 0
    assert probes.parse_reading(Said(outside=100000).text()).outer_uid == 100000
    assert probes.parse_reading(Said(uid=70000).text()).outer_uid is None


def test_a_reading_that_is_not_whole_is_refused() -> None:
    whole = Said().text()
    with pytest.raises(Unavailable, match="all that was asked"):
        probes.parse_reading(whole.replace(probes.END_OF_READING, ""))
    with pytest.raises(Unavailable, match="all that was asked"):
        probes.parse_reading(whole.replace("capabilities=00000000a80425fb\n", ""))
    with pytest.raises(Unavailable, match="understood"):
        probes.parse_reading(whole.replace("map=0 0 65536", "map=0"))


def test_a_device_is_the_hosts_only_with_its_address_and_its_numbers() -> None:
    one = probes.parse_reading(Said().text())
    elsewhere = probes.parse_reading(Said(pci=("0000:00:03.0 0x8086:0x9a49 0x17aa",)).text())
    virtual = probes.parse_reading(Said(pci=("0000:00:02.0 0x1af4:0x1001 0x1af4",)).text())
    assert len(probes.shared_devices(one, one)) == 1
    assert not probes.shared_devices(one, elsewhere)
    assert not probes.shared_devices(virtual, virtual)


# ---- a whole look -------------------------------------------------------------------------------


def test_a_usual_computer_gives_the_usual_facts_and_leaves_nothing() -> None:
    stages = {"process": host(), "container": containers(), "vm_direct": machines()}
    rows = look(**stages)
    assert facts(rows) == {
        "vm_denies_all_the_container_denies": 1, "vm_denies_more_than_the_container": 1,
        "container_denies_more_than_the_vm": 0, "container_reads_sibling": 0,
        "container_lists_sibling": 0, "container_kills_sibling": 0, "five_namespaces_differ": 1,
        "something_is_not_namespaced": 1, "vm_opens_host_devices": 0, "vm_sees_host_devices": 0,
    }  # fmt: skip
    assert not any(stage.running for stage in stages.values())
    arms = [("process", ""), *(("container", c) for c in ("", "no-capabilities", "no-seccomp"))]
    for platform, confinement in [*arms, ("vm-direct", "")]:
        assert set(answers(rows, platform, confinement)) >= {probe.name for probe in GRID}
    assert not [row for row in rows if row.status == "error"]


def test_what_a_vms_kernel_grants_did_not_reach_the_host() -> None:
    told = answers(look(process=host(), vm_direct=machines()), "vm-direct")
    assert told["clock: set"] == (0, "ok, by its own kernel")
    assert told["namespace: uts"] == (0, "ok, by its own kernel")  # equal numbers, two kernels
    assert told["chroot"] == (1, "ok, by its own kernel")
    assert told["devices: see"] == (0, "not there")


def test_a_vm_that_shares_the_hosts_kernel_would_be_noticed() -> None:
    same = Stage(cast=lambda _, __: Actor(Said(), ALL_PROBES))
    rows = look(process=host(), container=containers(), vm_direct=same)
    found = facts(rows)
    assert found["vm_denies_all_the_container_denies"] == 0
    assert found["container_denies_more_than_the_vm"] == 1
    assert found["vm_opens_host_devices"] == 1
    assert found["vm_sees_host_devices"] == 1
    assert answers(rows, "vm-direct")["clock: set"] == (1, "ok")


def test_a_device_of_the_hosts_that_a_vm_was_handed_is_seen() -> None:
    handed = Stage(cast=lambda _, __: Actor(Said(boot_id="its own"), ALL_PROBES))
    rows = {r.phase: r for r in look(process=host(), vm_direct=handed) if r.metric == "fact"}
    assert rows["vm_sees_host_devices"].value == 1
    assert "0000:00:02.0" in rows["vm_sees_host_devices"].text


def test_a_container_that_gets_through_to_its_neighbour_turns_the_facts() -> None:
    stage = containers(ALL_PROBES)
    found = facts(look(process=host(), container=stage))
    assert found["container_reads_sibling"] == 1
    assert found["container_lists_sibling"] == 0
    assert found["container_kills_sibling"] == 0  # some process has that number, not B's


def test_too_few_namespaces_of_their_own_are_no_five() -> None:
    shared = tuple(kind for kind in probes.NAMESPACES if kind not in ("mnt", "uts", "ipc", "pid"))

    def cast(spec: Spec, number: int) -> Actor:
        return Actor(Said(first=1000 * (number + 1), shared=shared), pids=(1, 2))

    assert facts(look(process=host(), container=Stage(cast=cast)))["five_namespaces_differ"] == 0


def test_two_processes_see_read_and_reach_each_other() -> None:
    told = answers(look(process=host()), "process")
    assert told["neighbour: read"] == (1, "ok")
    assert told["neighbour: list"] == (1, "ok")
    assert told["neighbour: kill"] == (1, "ok")


def test_containers_of_a_hidden_vm_are_not_held_against_this_computer() -> None:
    rows = look(process=host(), container=containers(boot_id="hidden"), vm_direct=machines())
    told = answers(rows, "container")
    assert told["process: signal"][0] is None
    assert "was not asked" in told["process: signal"][1]
    assert told["clock: set"] == (0, "EPERM")
    by_name = {row.phase: row for row in rows if row.metric == "fact"}
    assert by_name["five_namespaces_differ"].value == 1
    assert "could not be asked" in by_name["five_namespaces_differ"].text


def test_without_the_hosts_number_of_a_process_it_is_neither_listed_nor_signalled() -> None:
    rows = look(container=containers(pids=()))
    told = answers(rows, "container", "default bridge")
    assert told["neighbour: list"][0] is None
    assert told["neighbour: read"] == (0, "EPERM")
    assert facts(rows)["container_lists_sibling"] is None


@pytest.mark.parametrize("broken", ["process", "container", "vm_direct"])
def test_who_fails_is_rows_with_the_reason_and_the_look_goes_on(broken: str) -> None:
    stages = {"process": host(), "container": containers(), "vm_direct": machines()}
    stages[broken] = dead("it fell over")
    rows = look(**stages)
    failures = [row for row in rows if row.status == "error"]
    name = broken.replace("_", "-")
    assert any(row.platform == name and row.error == "it fell over" for row in failures)
    for other in {"process", "container", "vm-direct"} - {name}:
        assert any(row.platform == other and row.status == "ok" for row in rows)
    if broken != "process":
        assert facts(rows)["vm_denies_all_the_container_denies"] is None


def test_a_program_that_does_not_run_is_told_and_not_taken_for_refusals() -> None:
    mute = Stage(cast=lambda _, __: Actor(Said(), mute=True))
    told = answers(look(process=host(), container=mute), "container")
    assert {value for value, _ in told.values()} == {None}
    assert "did not finish" in told["mount"][1]


def test_a_stopped_run_lets_go_of_what_it_aimed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[socket.socket] = []
    real = boundaries.listener

    def listener(stack: contextlib.ExitStack) -> socket.socket:
        heard.append(real(stack))
        return heard[-1]

    monkeypatch.setattr(boundaries, "listener", listener)
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        (_, first), *_ = boundaries.steps(Context({Platform.PROCESS: host()}), stack)
        list(first())
        assert [one.fileno() < 0 for one in heard] == [False]
        raise KeyboardInterrupt
    assert [one.fileno() < 0 for one in heard] == [True]


def test_own_networks_are_another_series_than_the_default_bridge() -> None:
    rows = look(container=containers(frozenset({"neighbour: connect"})))
    for confinement in ("default bridge", "own networks"):
        assert answers(rows, "container", confinement)["neighbour: connect"] == (1, "ok")
    specs = {arm.confinement: arm.spec for arm in boundaries.PAIRS}
    assert specs["own networks"] == replace(specs["default bridge"], own_network=True)
