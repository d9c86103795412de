"""One word of a ``docker run`` line at a time: what runc is asked, what becomes of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from isolation_actors import ALL_PROBES, HOST_KERNEL, Actor, Said, Stage, all_rows, dead

from vmcompare.engines.images import oci
from vmcompare.evidence.recording import Measurement
from vmcompare.evidence.units import MIB
from vmcompare.experiments.isolation import guest_containers, probes
from vmcompare.experiments.isolation.guest_containers import Limits
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import Platform, Spec, Traits

WEAK: Mapping[str, frozenset[str]] = {
    word: frozenset(name for name in flips if name not in ("host's root", "set-uid: gain"))
    for word, flips in probes.FLIPS.items()
}
TCG = Traits("mechanism", vmm="qemu 7", accel="tcg")


def made(word: str = "", **limits: Any) -> dict[str, Any]:
    return guest_containers.configuration(word, args=["/calls"], **limits)


def guest(words: Mapping[str, frozenset[str]] = WEAK, **more: Any) -> Stage:
    def cast(spec: Spec, number: int) -> Actor:
        said = Said(boot_id=HOST_KERNEL)
        return Actor(said, ALL_PROBES, words={"": frozenset(), **words}, **more)

    return Stage(cast=cast, trait=TCG)


def look(stage: Stage) -> list[Measurement]:
    return all_rows(guest_containers, Context({Platform.VM_DIRECT: stage}))


def column(rows: Sequence[Measurement], word: str) -> dict[str, float | None]:
    return {r.phase: r.value for r in rows if r.metric == "probe" and r.confinement == word}


# ---- configurations -----------------------------------------------------------------------------


def test_the_defaults_are_those_that_the_runc_backend_asks_for() -> None:
    plain = made()
    assert plain["linux"]["maskedPaths"] == list(oci.MASKED)
    assert plain["linux"]["readonlyPaths"] == list(oci.READ_ONLY)
    assert plain["process"]["capabilities"]["effective"] == list(oci.CAPABILITIES)
    assert {space["type"] for space in plain["linux"]["namespaces"]} == {
        *oci.NAMESPACES, "cgroup",
    }  # fmt: skip
    assert not plain["root"]["readonly"]


@pytest.mark.parametrize("word", guest_containers.FLAGS[1:])
def test_a_word_changes_its_part_and_no_other(word: str) -> None:
    where = {
        "--pid=host": {"linux.namespaces"},
        "--network=host": {"linux.namespaces"},
        "--ipc=host": {"linux.namespaces"},
        "--uts=host": {"linux.namespaces", "hostname"},
        "--cap-add=SYS_ADMIN": {"process.capabilities", "linux.seccomp"},
        "--security-opt=seccomp=unconfined": {"linux.seccomp"},
        "--security-opt=systempaths=unconfined": {"linux.maskedPaths", "linux.readonlyPaths"},
        "--device-cgroup-rule='b *:* rmw'": {"linux.resources"},
        "-v /:/host": {"mounts"},
        "--privileged": {"process.capabilities", "linux.seccomp", "linux.maskedPaths",
                         "linux.readonlyPaths", "linux.resources", "mounts"},
    }  # fmt: skip
    assert parts(made(word)) == where[word]


def parts(changed: dict[str, Any]) -> set[str]:
    """Names of the parts in which a configuration differs from the defaults."""
    plain = made()
    found = set()
    for top in {*plain, *changed}:
        if plain.get(top) == changed.get(top):
            continue
        if top in ("linux", "process"):
            below = {*plain[top], *changed[top]}
            found |= {f"{top}.{k}" for k in below if plain[top].get(k) != changed[top].get(k)}
        else:
            found.add(top)
    return found


def test_limits_are_asked_for_only_where_they_are_wanted() -> None:
    assert set(made()["linux"]["resources"]) == {"devices"}
    limits = made(limits=Limits(memory_mib=64, pids=20, cpus=0.5))["linux"]["resources"]
    assert limits["memory"] == {"limit": 64 * MIB}
    assert limits["pids"] == {"limit": 20}
    assert limits["cpu"] == {"period": 100_000, "quota": 50_000}


def test_a_capability_lifts_the_filter_from_its_calls_and_no_others() -> None:
    def refused(word: str) -> set[str]:
        rules = made(word)["linux"]["seccomp"]["syscalls"]
        return {name for rule in rules for name in rule["names"]}

    assert refused("") - refused("--cap-add=SYS_ADMIN") >= {"mount", "unshare", "clone", "bpf"}
    assert {"keyctl", "userfaultfd", "init_module"} <= refused("--cap-add=SYS_ADMIN")


# ---- the grid -----------------------------------------------------------------------------------


def test_every_word_is_a_column_of_containers_in_an_emulated_guest() -> None:
    stage = guest()
    rows = look(stage)
    for word in (guest_containers.NO_CONTAINER, *guest_containers.FLAGS):
        assert set(column(rows, word)) == {probe.name for probe in probes.GRID}
    for word in (guest_containers.NO_CONTAINER, ""):
        read = {r.phase for r in rows if (r.metric, r.confinement) == ("observation", word)}
        assert read == {"capabilities"}
    one = next(row for row in rows if row.confinement == "--pid=host")
    assert (one.platform, one.layer, one.runtime, one.accel, one.machine) == (
        Platform.CONTAINER, "mechanism", "runc in a guest", "tcg", "pc",
    )  # fmt: skip
    assert column(rows, "--privileged")["module: load"] == 1
    assert column(rows, "")["module: load"] == 0
    assert not stage.running


def fact(rows: Sequence[Measurement], name: str) -> Measurement:
    return next(row for row in rows if row.metric == "fact" and row.phase == name)


def test_one_word_that_opens_a_wall_is_a_fact() -> None:
    found = fact(look(guest()), "one_misconfiguration_flips_a_probe")
    assert found.value == 1
    assert found.text == "9 of 9 words, 9 as registered"


def test_words_that_change_no_call_are_counted_and_open_no_device() -> None:
    rows = look(guest({word: frozenset() for word in WEAK}))
    found = fact(rows, "one_misconfiguration_flips_a_probe")
    assert (found.value, found.text) == (1, "4 of 9 words, 2 as registered")  # namespaces are read
    opens = fact(rows, "privileged_container_opens_host_devices")
    assert (opens.value, opens.status) == (0, "ok")


def test_words_that_open_no_wall_at_all_are_a_fact_as_well() -> None:
    spaces = frozenset(word for word in probes.WEAKENINGS if "=host" in word)
    rows = look(guest({word: frozenset() for word in WEAK}, broken=spaces))
    found = fact(rows, "one_misconfiguration_flips_a_probe")
    assert (found.value, found.status) == (0, "ok")
    assert found.text.startswith("0 of 5 words")


def test_a_word_whose_container_does_not_start_is_rows_with_the_reason() -> None:
    rows = look(guest(broken=frozenset({"--privileged", "--pid=host"})))
    failures = [row for row in rows if row.status == "error"]
    assert {row.confinement for row in failures} == {"--privileged", "--pid=host"}
    assert "no such thing" in failures[0].error
    assert fact(rows, "privileged_container_opens_host_devices").value is None
    assert fact(rows, "one_misconfiguration_flips_a_probe").value == 1


def test_a_guest_that_does_not_start_is_said_once_and_no_word_is_taken_as_refused() -> None:
    rows = look(dead("no runc here"))
    assert {row.status for row in rows} == {"error"}
    assert {row.confinement for row in rows if row.metric == "probe"} == {
        guest_containers.NO_CONTAINER
    }
    assert fact(rows, "one_misconfiguration_flips_a_probe").error == "no runc here"
