"""S1b, S3 and S5: the findings that the rows of planted instances come to, in every direction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from isolation_actors import ALL_PROBES, Actor, Said, Stage, containers, host, machines
from planted import planted, row
from test_isolation_boundaries import look
from test_isolation_guest_containers import guest
from test_isolation_guest_containers import look as look_nested

from vmcompare.evidence import claims
from vmcompare.evidence.claims import Finding, Verdict
from vmcompare.evidence.recording import Measurement

BY_ID = {claim.id: claim for claim in claims.load()}


def judged(tmp_path: Path, claim: str, rows: Sequence[Measurement]) -> Finding:
    return claims.judge(BY_ID[claim], planted(tmp_path, rows, experiment="isolation").frame())


def facts(**held: bool | None) -> list[Measurement]:
    return [
        row("container", "fact", None if value is None else float(value), phase=name)
        for name, value in held.items()
    ]


def same_kernel(*through: str) -> Stage:
    """A VM, so called, that runs on the host's kernel."""
    return Stage(cast=lambda _, __: Actor(Said(), frozenset(through)))


# ---- S1b: attack surface ------------------------------------------------------------------------


def test_a_vm_that_denies_more_is_supported_with_caveats(tmp_path: Path) -> None:
    rows = look(process=host(), container=containers(), vm_direct=machines())
    found = judged(tmp_path, "S1b", rows)
    assert found.verdict is Verdict.WITH_CAVEATS
    assert any("not all attacks" in caveat for caveat in found.caveats)


def test_a_vm_through_which_more_gets_is_refuted(tmp_path: Path) -> None:
    rows = look(process=host(), container=containers(), vm_direct=same_kernel(*ALL_PROBES))
    assert judged(tmp_path, "S1b", rows).verdict is Verdict.REFUTED


def test_a_container_that_denies_other_things_leaves_it_open(tmp_path: Path) -> None:
    vm = same_kernel("clock: set")
    rows = look(process=host(), container=containers(frozenset({"restart"})), vm_direct=vm)
    assert judged(tmp_path, "S1b", rows).verdict is Verdict.INCONCLUSIVE


def test_one_side_alone_measures_nothing_of_it(tmp_path: Path) -> None:
    rows = look(process=host(), container=containers())
    assert judged(tmp_path, "S1b", rows).verdict is Verdict.NOT_MEASURED


# ---- S3: "shared and not namespaced" -------------------------------------------------------------


def test_containers_that_cannot_touch_each_other_refute_the_sentence(tmp_path: Path) -> None:
    rows = [*look(process=host(), container=containers()), *look_nested(guest())]
    found = judged(tmp_path, "S3", rows)
    assert found.verdict is Verdict.REFUTED
    assert "0 of 4 observations" in found.reason


@pytest.mark.parametrize(
    ("through", "apart", "verdict"),
    [
        ((True, True, True), False, Verdict.SUPPORTED),
        ((True, False, False), True, Verdict.WITH_CAVEATS),
        ((False, False, False), False, Verdict.WITH_CAVEATS),
        ((False, False, False), True, Verdict.REFUTED),
        ((None, False, False), True, Verdict.NOT_MEASURED),
    ],
)
def test_the_finding_follows_what_got_through(
    tmp_path: Path, through: tuple[bool | None, ...], apart: bool, verdict: Verdict
) -> None:
    names = ("container_reads_sibling", "container_lists_sibling", "container_kills_sibling")
    rows = facts(**dict(zip(names, through, strict=True)), five_namespaces_differ=apart)
    assert judged(tmp_path, "S3", rows).verdict is verdict


# ---- S5: direct access ---------------------------------------------------------------------------


def test_a_vm_that_neither_opens_nor_sees_devices_is_supported(tmp_path: Path) -> None:
    rows = [*look(process=host(), vm_direct=machines()), *look_nested(guest())]
    assert judged(tmp_path, "S5", rows).verdict is Verdict.SUPPORTED


def test_a_vm_that_opens_the_hosts_devices_refutes_it(tmp_path: Path) -> None:
    through = same_kernel("disk: read", "memory: open")
    rows = [*look(process=host(), vm_direct=through), *look_nested(guest())]
    assert judged(tmp_path, "S5", rows).verdict is Verdict.REFUTED


def test_a_vm_that_is_handed_a_device_of_the_hosts_refutes_it(
    tmp_path: Path,
) -> None:
    handed = Stage(cast=lambda _, __: Actor(Said(boot_id="its own"), ALL_PROBES))
    rows = look(process=host(), vm_direct=handed)
    by_name = {r.phase: r for r in rows if r.metric == "fact"}
    assert by_name["vm_sees_host_devices"].value == 1
    assert "0000:00:02.0" in by_name["vm_sees_host_devices"].text
    found = judged(tmp_path, "S5", [*rows, *look_nested(guest())])
    assert found.verdict is Verdict.REFUTED


def test_where_even_a_privileged_container_opens_nothing_it_says_nothing(tmp_path: Path) -> None:
    closed = look_nested(guest({"--privileged": frozenset()}))
    rows = [*look(process=host(), vm_direct=machines()), *closed]
    assert judged(tmp_path, "S5", rows).verdict is Verdict.INCONCLUSIVE


def test_without_the_control_it_is_not_measured(tmp_path: Path) -> None:
    rows = look(process=host(), vm_direct=machines())
    assert judged(tmp_path, "S5", rows).verdict is Verdict.NOT_MEASURED
