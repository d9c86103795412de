"""Each rule, with planted recordings that produce each of its possible findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted import as_once_recorded, planted, row, starts

from vmcompare.evidence.claims import (
    Claim,
    Conclusion,
    Finding,
    Rule,
    Undecided,
    combine,
    judge,
    load,
)
from vmcompare.evidence.claims.judging import estimate
from vmcompare.evidence.claims.rules import (
    ClaimKind,
    Observations,
    caveat,
    counted,
    parse,
    quantity,
)
from vmcompare.evidence.recording import Measurement
from vmcompare.sandbox import Start

START = "start_to_first_byte_s"
CLAIMS = {(claim.id, claim.part): claim for claim in load()}
F2, O3 = CLAIMS["F2", "start"], CLAIMS["O3", "start"]

Frame = Callable[[Sequence[Measurement]], pd.DataFrame]


@pytest.fixture
def frame(tmp_path: Path) -> Frame:
    """Rows → the tidy frame of one recording that holds them."""
    return lambda rows: planted(tmp_path, rows).frame()


def times(vm: float, container: float = 0.1, direct: float = 0.0) -> dict[tuple[str, str], float]:
    found = {("container", ""): container, ("vm", "pc"): vm}
    return found | ({("vm-direct", "pc"): direct} if direct else {})


def booted(accel: str = "kvm", rounds: int = 10, **more: Any) -> list[Measurement]:
    return starts(accel=accel, rounds=rounds, times=times(**more), whole=False)


def claim(rule: Rule, estimand: str, bound: float | None = None, **more: Any) -> Claim:
    wanted = parse(estimand)
    base = Claim("X1", "x", ClaimKind.SIZE, rule, wanted, bound, ("04",), "says", "quote", ())
    return replace(base, **more)


# --- the ratio rule ---------------------------------------------------------------------------


def test_a_ratio_well_above_its_bound_supports_the_claim(frame: Frame) -> None:
    found = judge(F2, frame(booted(vm=1.0, direct=0.9)))
    assert found.verdict is Conclusion.SUPPORTED
    assert found.interval is not None
    assert found.interval.estimate == pytest.approx(10)
    assert found.n == 10
    assert "10.0×" in found.reason
    assert "10 vm runs, 30 container runs" in found.reason
    assert "95 %" in found.reason


@pytest.mark.parametrize(
    ("accel", "rounds", "vm", "verdict", "said"),
    [
        ("kvm", 10, 0.3, Conclusion.WITH_CAVEATS, "yes, but not by that much"),
        ("kvm", 10, 0.05, Conclusion.REFUTED, "does not exceed 1×"),
        ("kvm", 1, 1.0, Conclusion.INCONCLUSIVE, "one run gives no interval"),
        ("kvm", 9, 1.0, Conclusion.WITH_CAVEATS, "9 vm runs (10 needed)"),
        ("tcg", 10, 25.0, Conclusion.NOT_MEASURED, "software emulation"),
    ],
    ids=["below its bound", "below 1", "one block", "few VM runs", "emulated time"],
)
def test_a_ratio_that_is_no_plain_yes_says_why(
    frame: Frame, accel: str, rounds: int, vm: float, verdict: Conclusion, said: str
) -> None:
    found = judge(F2, frame(booted(accel, rounds, vm=vm)))
    assert found.verdict is verdict
    assert said in " ".join((found.reason, *found.caveats))


def test_a_ratio_whose_interval_crosses_one_is_inconclusive(frame: Frame) -> None:
    rows = [
        row(platform, START, value, block=block, rep=rep)
        for block in range(10)
        for platform, value, reps in (("vm", 0.05 if block % 2 else 0.2, 1), ("container", 0.1, 3))
        for rep in range(reps)
    ]
    found = judge(F2, frame(rows))
    assert found.verdict is Conclusion.INCONCLUSIVE
    assert "crosses" in found.reason


@pytest.mark.parametrize(
    ("direct_s", "verdict", "said"),
    [
        (0.2, Conclusion.WITH_CAVEATS, "2.00×"),
        # 0.5 s ÷ 0.1 s lies on the bound of 5, so the interval crosses it.
        (0.5, Conclusion.SUPPORTED, "not below"),
        (0.0, Conclusion.SUPPORTED, "not measured"),
    ],
)
def test_a_caveat_arm_limits_a_yes_only_where_it_comes_out_the_other_way(
    frame: Frame, direct_s: float, verdict: Conclusion, said: str
) -> None:
    micro = starts(accel="kvm", times={("vm-direct", "microvm"): 0.2}, whole=False)  # no such arm
    found = judge(F2, frame([*booted(vm=1.0, direct=direct_s), *micro]))
    assert found.verdict is verdict
    words = found.caveats if verdict is Conclusion.WITH_CAVEATS else found.listed
    assert any("vm-direct (pc)" in one and said in one for one in words)


def test_a_caveat_arm_of_at_most_is_turned_round(frame: Frame) -> None:
    arm = claim(Rule.BOUND, "pss_bytes: process", 1e6, caveats=(caveat("pss_bytes: container"),))
    found = judge(arm, frame(starts(accel="kvm")))
    assert found.verdict is Conclusion.WITH_CAVEATS
    assert any("container" in caveat and "above" in caveat for caveat in found.caveats)


def test_warm_ups_and_failures_are_left_out_of_the_estimate(frame: Frame) -> None:
    rows = booted(vm=1.0)
    rows += [row("vm", START, 0.001, block=b, is_warmup=True, accel="kvm") for b in range(10)]
    rows += [row("container", START, None, block=b, rep=9) for b in range(10)]
    found = judge(F2, frame(rows))
    assert found.interval is not None
    assert found.interval.estimate == pytest.approx(10)


def test_starts_are_paired_within_their_block_so_a_drift_of_the_machine_cancels(
    frame: Frame,
) -> None:
    rows = [
        row(platform, START, value * (1 + block), block=block, rep=rep)
        for block in range(10)
        for platform, value, reps in (("vm", 1.0, 1), ("container", 0.1, 3))
        for rep in range(reps)
    ]
    found = judge(F2, frame(rows))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((10, 10))


def test_a_missing_engine_is_named_as_the_reason(frame: Frame) -> None:
    rows = starts(only=["container"], whole=False)
    found = judge(F2, frame(rows))
    assert found.verdict is Conclusion.NOT_MEASURED
    assert "vm took no part in this run" in found.reason


def test_a_platform_that_failed_throughout_is_not_measured_and_its_errors_are_counted(
    frame: Frame,
) -> None:
    rows = starts(accel="kvm", times=times(1.0), failures={"vm": 10}, whole=False)
    found = judge(F2, frame(rows))
    assert found.verdict is Conclusion.NOT_MEASURED
    assert "10 of 10 runs of vm failed" in found.reason
    assert "it did not start" in found.reason


def test_a_bare_mechanism_never_stands_in_for_docker(frame: Frame) -> None:
    rows = [
        replace(r, layer="mechanism", runtime="bubblewrap") if r.platform == "container" else r
        for r in booted(vm=1.0)
    ]
    found = judge(F2, frame(rows))
    assert found.verdict is Conclusion.NOT_MEASURED
    assert any("10.0×" in words for words in found.listed)  # shown beside it


def bare(runtime: str, seconds: float) -> list[Measurement]:
    """Starts of a container by a bare mechanism, in the blocks of the others."""
    rows = starts(only=["container"], times={("container", ""): seconds}, whole=False)
    return [replace(r, layer="mechanism", runtime=runtime) for r in rows]


def test_two_bare_runtimes_stand_beside_f2_each_by_its_name(frame: Frame) -> None:
    rows = [*booted(vm=1.0), *bare("runc", 0.02), *bare("bubblewrap", 0.004)]
    found = judge(F2, frame(rows))
    assert (found.verdict, found.n) == (Conclusion.SUPPORTED, 10)
    listed = [words for words in found.listed if "container (" in words]
    assert [re.findall(r"÷ (container \(\w+\)): (\S+)", w)[0] for w in listed] == [
        ("container (runc)", "50.0×"),
        ("container (bubblewrap)", "250×"),
    ]


def test_bare_runtimes_change_nothing_about_f2(frame: Frame) -> None:
    alone = judge(F2, frame(booted(vm=1.0)))
    beside = judge(F2, frame([*booted(vm=1.0), *bare("runc", 5.0)]))  # slower than a VM, even
    assert (beside.verdict, beside.interval, beside.caveats) == (
        alone.verdict, alone.interval, alone.caveats,
    )  # fmt: skip


def test_a_bare_runtime_that_was_not_measured_is_said_by_its_name(frame: Frame) -> None:
    found = judge(F2, frame([*booted(vm=1.0), *bare("runc", 0.02)]))
    [words] = [w for w in found.listed if "bubblewrap" in w]
    assert "not measured" in words


def test_two_mechanisms_under_one_word_are_never_pooled(frame: Frame) -> None:
    both = frame([*booted(vm=1.0), *bare("runc", 0.02), *bare("bubblewrap", 0.004)])
    with pytest.raises(Undecided, match="runtime"):
        estimate(quantity("start_to_first_byte_s: container+mechanism"), both)
    one = frame(bare("runc", 0.02))
    for how in ("mechanism", "runc"):
        found = estimate(quantity(f"start_to_first_byte_s: container+{how}"), one)
        assert found.interval.estimate == pytest.approx(0.02, rel=0.05)


def test_the_product_with_runc_below_is_not_runc(frame: Frame) -> None:
    with pytest.raises(Undecided, match="holds no"):
        estimate(quantity("start_to_first_byte_s: container+runc"), frame(booted(vm=1.0)))


def test_rows_of_unlike_series_are_never_pooled(frame: Frame) -> None:
    rows = [*booted(vm=1.0), row("vm", START, 0.2, accel="kvm", mem_limit_mib=64)]
    found = judge(F2, frame(rows))
    assert found.verdict is Conclusion.INCONCLUSIVE
    assert "mem_limit_mib" in found.reason


def test_a_side_with_a_network_is_not_set_against_one_without(frame: Frame) -> None:
    rows = [replace(r, network=True) if r.platform == "container" else r for r in booted(vm=1.0)]
    assert "network" in judge(F2, frame(rows)).reason


def test_rows_of_two_runs_are_refused(tmp_path: Path) -> None:
    frames = [planted(tmp_path, booted(vm=1.0)).frame() for _ in range(2)]
    with pytest.raises(ValueError, match="one run"):
        judge(F2, pd.concat(frames))


def test_an_empty_recording_measures_nothing(frame: Frame) -> None:
    for each in load():
        found = judge(each, frame([]))
        expected = Conclusion.JUDGEMENT if each.rule is Rule.JUDGEMENT else Conclusion.NOT_MEASURED
        assert found.verdict is expected, each


def test_exact_byte_counts_need_no_second_run(frame: Frame, monkeypatch: Any) -> None:
    for home in ("recording", "schema"):
        monkeypatch.setattr(f"vmcompare.evidence.{home}.METRICS", {"image_bytes": "bytes"})
    rows = [row("vm", "image_bytes", 8e7), row("container", "image_bytes", 3e6)]
    found = judge(claim(Rule.RATIO, "image_bytes: vm / container", 2), frame(rows))
    assert found.verdict is Conclusion.SUPPORTED


# --- kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accel", "shown"), [("tcg", True), ("kvm", False)])
def test_what_others_measured_stands_beside_a_time_not_measured_here_and_decides_nothing(
    frame: Frame, accel: str, shown: bool
) -> None:
    assert 1 <= len(F2.others) <= 6
    rows = frame(booted(accel, vm=25.0, container=0.1))
    found = judge(F2, rows)
    assert bool(found.others) is shown
    assert replace(found, others=()) == judge(replace(F2, others=()), rows)
    assert combine([found, found]).others == found.others
    if shown:
        assert any(
            re.search(r"QEMU pc, .* 244 .*\(Agache et al\., 2020\)", o) for o in found.others
        )


MEMORY = claim(Rule.RATIO, "pss_bytes: vm / container", 2.0)


@pytest.mark.parametrize(
    ("accel", "verdict"), [("kvm", Conclusion.SUPPORTED), ("tcg", Conclusion.WITH_CAVEATS)]
)
def test_a_size_under_emulation_is_at_best_a_yes_with_a_caveat(
    frame: Frame, accel: str, verdict: Conclusion
) -> None:
    found = judge(MEMORY, frame(starts(accel=accel)))
    assert found.verdict is verdict
    assert ("measured under software emulation" in found.caveats) == (accel == "tcg")


def test_a_size_can_be_refuted_under_emulation(frame: Frame) -> None:
    small = replace(MEMORY, estimand=parse("pss_bytes: process / vm"))
    assert judge(small, frame(starts())).verdict is Conclusion.REFUTED


# --- the bound rule ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0.1, Conclusion.SUPPORTED), (9.0, Conclusion.REFUTED), (3.0, Conclusion.INCONCLUSIVE)],
)
def test_a_container_start_is_held_against_three_seconds_on_every_machine(
    frame: Frame, seconds: float, verdict: Conclusion
) -> None:
    found = judge(O3, frame(booted("tcg", vm=25.0, container=seconds)))
    assert found.verdict is verdict
    assert "the image lies on the host already (a pull is not counted)" in found.listed
    assert found.caveats == ()


def test_few_container_starts_are_at_best_a_yes_with_a_caveat(frame: Frame) -> None:
    found = judge(O3, frame(booted(vm=1.0, rounds=3)))
    assert found.verdict is Conclusion.WITH_CAVEATS
    assert "9 container runs (30 needed)" in found.caveats[0]


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [(20.0, Conclusion.SUPPORTED), (30.0, Conclusion.REFUTED), (25.0, Conclusion.INCONCLUSIVE)],
)
def test_a_claim_of_at_least_so_much_is_turned_round(
    frame: Frame, bound: float, verdict: Conclusion
) -> None:
    least = claim(Rule.BOUND, "at least: pss_bytes: vm / process", bound)
    memory = {"vm": 25e6, "process": 1e6}
    rows = [
        row(platform, "pss_bytes", value * (1 + 0.01 * (block % 3 - 1) * (reps == 1)),
            block=block, rep=rep)
        for block in range(10)
        for platform, value in memory.items()
        for reps in (1 if platform == "vm" else 3,)
        for rep in range(reps)
    ]  # fmt: skip
    assert judge(least, frame(rows)).verdict is verdict


# --- against its own handicap -----------------------------------------------------------------

AT_LEAST = f"at least: {START}: vm"


@pytest.mark.parametrize(
    ("estimand", "bound", "seconds", "verdict"),
    [
        (AT_LEAST, 60.0, 16.0, Conclusion.REFUTED),
        (AT_LEAST, 60.0, 60.0, Conclusion.NOT_MEASURED),
        # An emulated VM is slow: that says nothing of VMs.
        (AT_LEAST, 60.0, 90.0, Conclusion.NOT_MEASURED),
        (f"{START}: vm", 3.0, 90.0, Conclusion.NOT_MEASURED),
        (f"{START}: vm", 3.0, 0.1, Conclusion.NOT_MEASURED),
        (f"{START}: vm / container", 5.0, 0.05, Conclusion.REFUTED),
        (f"{START}: vm / container", 5.0, 0.3, Conclusion.NOT_MEASURED),
        # Here emulation makes the ratio small; or it may be on both sides.
        (f"{START}: container / vm", 5.0, 90.0, Conclusion.NOT_MEASURED),
        (f"{START}: vm / vm-direct@pc", 5.0, 0.05, Conclusion.NOT_MEASURED),
    ],
)
def test_an_emulated_vm_decides_a_time_only_against_its_own_handicap(
    frame: Frame, estimand: str, bound: float, seconds: float, verdict: Conclusion
) -> None:
    rule = Rule.RATIO if "/" in estimand else Rule.BOUND
    time = claim(rule, estimand, bound, kind=ClaimKind.TIME)
    found = judge(time, frame(booted("tcg", vm=seconds, direct=0.1)))
    assert found.verdict is verdict
    assert bool(found.despite) == ("even under software emulation" in found.reason)
    assert bool(found.despite) == (verdict is Conclusion.REFUTED)


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(16.0, Conclusion.REFUTED), (90.0, Conclusion.WITH_CAVEATS)]
)
def test_minutes_are_decided_both_ways_where_nothing_was_emulated(
    frame: Frame, seconds: float, verdict: Conclusion
) -> None:
    found = judge(CLAIMS["T1c", "VM in minutes"], frame(booted("kvm", vm=seconds)))
    assert found.verdict is verdict
    assert "emulation" not in found.reason


# --- the slope rule ---------------------------------------------------------------------------

SLOPE = claim(Rule.SLOPE, "pss_bytes: vm / container", 2.0)


def ramps(
    vm_b: Sequence[float], container_b: float = 4e6, daemons: float = 2e8
) -> list[Measurement]:
    """One ramp a value of ``vm_b``: VM 0→3 and container 0→10, ``rep`` being N."""
    rows = []
    for block, b in enumerate(vm_b):
        rows += [row("vm", "pss_bytes", 1e6 + b * n, block=block, rep=n) for n in range(4)]
        rows += [
            row("container", "pss_bytes", daemons + container_b * n, block=block, rep=n)
            for n in range(11)
        ]
    return rows


@pytest.mark.parametrize(
    ("vm_b", "verdict"),
    [
        ((4e7, 4.1e7, 3.9e7), Conclusion.SUPPORTED),
        ((6e6, 6e6, 6e6), Conclusion.WITH_CAVEATS),
        ((2e6, 2e6, 2e6), Conclusion.REFUTED),
        ((2e6, 6e6, 4e7), Conclusion.INCONCLUSIVE),
        ((4e7, 4e7), Conclusion.WITH_CAVEATS),  # two ramps of three
    ],
)
def test_marginal_costs_are_compared_and_daemons_do_not_enter(
    frame: Frame, vm_b: Sequence[float], verdict: Conclusion
) -> None:
    assert judge(SLOPE, frame(ramps(vm_b))).verdict is verdict


def test_the_slope_is_the_cost_of_one_more_instance(frame: Frame) -> None:
    found = judge(SLOPE, frame(ramps((4e7,) * 3)))
    assert found.interval is not None
    assert found.interval.estimate == pytest.approx(10)
    assert found.interval.n == 3


def test_a_container_cost_that_does_not_grow_settles_nothing(frame: Frame) -> None:
    found = judge(SLOPE, frame(ramps((4e7,) * 3, container_b=-1e5)))
    assert found.verdict is Conclusion.INCONCLUSIVE
    assert "does not grow" in found.reason


def test_starts_of_single_instances_are_never_taken_for_a_ramp(frame: Frame) -> None:
    for part in (c for c in load() if c.rule is Rule.SLOPE):
        assert judge(part, frame(starts(accel="kvm"))).verdict is Conclusion.NOT_MEASURED


def test_ramps_that_cannot_be_fitted_measure_nothing(frame: Frame) -> None:
    rows = [r for r in ramps((4e7,) * 3) if r.platform != "vm" or r.rep == 1]
    assert judge(SLOPE, frame(rows)).verdict is Conclusion.NOT_MEASURED


# --- facts ------------------------------------------------------------------------------------


def facts(**values: float | None) -> list[Measurement]:
    rows = []
    for name, value in values.items():
        if counts := counted(name):
            found = (3 * (value or 0), 3)
            rows += [
                row(side.platform, counts.metric, count, phase=side.phase)
                for side, count in zip(counts.sides, found, strict=True)
            ]
        else:
            rows.append(row("vm", "fact", value, phase=name, accel="tcg"))
    return rows


S, C, R, I, N, J = (  # noqa: E741
    Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS, Conclusion.REFUTED, Conclusion.INCONCLUSIVE,
    Conclusion.NOT_MEASURED, Conclusion.JUDGEMENT,
)  # fmt: skip


@pytest.mark.parametrize(
    ("estimand", "caveats", "values", "verdict"),
    [
        ("all: a & b & !c", "", {"a": 1, "b": 1, "c": 0}, S),
        ("all: a & b & !c", "", {"a": 1, "b": 1, "c": 1}, R),
        ("graded: a & b", "", {"a": 1, "b": 1}, S),
        ("graded: a & b", "", {"a": 1, "b": 0}, C),
        ("graded: a & b", "", {"a": 0, "b": 0}, R),
        ("split: a & b", "", {"a": 1, "b": 1}, S),
        ("split: a & b", "", {"a": 1, "b": 0}, I),
        ("split: a & b", "", {"a": 0, "b": 0}, R),
        # Not observed, or every attempt failed.
        ("all: a & b", "", {"a": 1}, N),
        ("all: a & b", "", {"a": 1, "b": None}, N),
        # A control that fails, that holds, that is not there.
        ("control: boots; all: !runs", "", {"boots": 0, "runs": 0}, I),
        ("control: boots; all: !runs", "", {"boots": 1, "runs": 0}, S),
        ("control: boots; all: !runs", "", {"boots": 1, "runs": 1}, R),
        ("control: boots; all: !runs", "", {"runs": 0}, N),
        # A fact as a caveat, and texts: one always holds, the other is only listed.
        ("all: a", "fact: but", {"a": 1, "but": 1}, C),
        ("all: a", "fact: but", {"a": 1, "but": 0}, S),
        ("all: a", "fact: but", {"a": 1}, S),
        ("all: a", "always: one host", {"a": 1}, C),
        ("all: a", "always: one host", {"a": 0}, R),
        ("all: a", "text: one host", {"a": 1}, S),
    ],
)
def test_facts_are_judged_as_registered_even_under_emulation(
    frame: Frame,
    estimand: str,
    caveats: str,
    values: dict[str, float | None],
    verdict: Conclusion,
) -> None:
    listed = (caveat(caveats),) if caveats else ()
    fact = claim(Rule.FACTS, estimand, kind=ClaimKind.FACT, caveats=listed)
    assert judge(fact, frame(facts(**values))).verdict is verdict


def test_observations_that_disagree_settle_nothing(frame: Frame) -> None:
    rows = facts(a=1) + facts(a=0)
    fact = claim(Rule.FACTS, "all: a", kind=ClaimKind.FACT)
    assert judge(fact, frame(rows)).verdict is Conclusion.INCONCLUSIVE


@pytest.mark.parametrize("each", [c for c in load() if c.rule is Rule.FACTS], ids=lambda c: c.id)
def test_every_registered_fact_can_be_flipped_by_data(frame: Frame, each: Claim) -> None:
    wanted = each.estimand
    assert wanted is not None
    assert isinstance(wanted.body, Observations)
    controls = dict(wanted.control.terms) if wanted.control else {}
    terms = dict(wanted.body.terms)
    yes = judge(each, frame(facts(**{k: float(v) for k, v in (controls | terms).items()})))
    turned = {name: not value for name, value in terms.items()}
    no = judge(each, frame(facts(**{k: float(v) for k, v in (controls | turned).items()})))
    assert yes.verdict in (Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS)
    assert no.verdict is Conclusion.REFUTED


# --- every registered number can be flipped ---------------------------------------------------


@pytest.mark.parametrize(
    "each",
    [c for c in load() if c.rule in (Rule.RATIO, Rule.BOUND, Rule.SLOPE)],
    ids=lambda c: f"{c.id}-{c.part}",
)
def test_every_registered_number_can_be_flipped_by_data(
    frame: Frame, each: Claim, monkeypatch: Any
) -> None:
    wanted = each.quantity
    assert wanted is not None
    assert each.bound is not None
    for home in ("recording", "schema"):
        monkeypatch.setattr(f"vmcompare.evidence.{home}.METRICS", {wanted.metric: wanted.unit})
    found = {}
    for factor in (0.01, 100.0):
        rows = []
        sides = [(wanted.above, each.bound * factor), (wanted.below, 1.0)]
        for side, value in sides:
            if side is None:
                continue
            for block in range(10):
                for rep in range(4):
                    rows.append(
                        row(side.platform, wanted.metric,
                            value * (rep + 1 if each.rule is Rule.SLOPE else 1),
                            block=block, rep=rep, phase=side.phase or "",
                            warmth=Start(side.warmth or "cold"))
                    )  # fmt: skip
        found[factor] = judge(each, frame(rows)).verdict
    low, high = found[0.01], found[100.0]
    at_most = each.rule is Rule.BOUND and not wanted.at_least
    good, bad = (low, high) if at_most else (high, low)
    assert good in (Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS)
    assert bad is Conclusion.REFUTED


# --- judgements and several parts -------------------------------------------------------------


def test_a_judgement_stays_one_whatever_was_measured_and_shows_it_beside(frame: Frame) -> None:
    weights = [("vm", 4e7, 3.2e8), ("container", 2e6, 2e6)]
    rows = [
        row(platform, metric, n * (value + 1e6 * (n - 1)), phase="ramp", block=block, rep=n,
            accel="tcg" if platform == "vm" else "")
        for block in range(3)
        for platform, without, with_cache in weights
        for n in (1, 2)
        for metric, value in (
            ("pss_bytes", without), ("pss_with_code_cache_bytes", with_cache),
        )
    ]  # fmt: skip
    found = judge(CLAIMS["V1", "economical"], frame(rows))
    assert found.verdict is Conclusion.JUDGEMENT
    assert "(one alone): 20.0× (range of 3: 20.0× to 20.0×; n = 3 blocks" in found.reason
    assert "without the translator’s code cache, under software emulation" in found.reason


def test_the_code_cache_is_not_spoken_of_where_nothing_was_emulated(frame: Frame) -> None:
    assert "code cache" in judge(MEMORY, frame(starts(accel="tcg"))).reason
    assert "code cache" not in judge(MEMORY, frame(starts(accel="kvm"))).reason


def test_memory_weighed_only_with_the_code_cache_settles_no_claim_on_memory(frame: Frame) -> None:
    found = judge(MEMORY, frame(as_once_recorded(starts())))
    assert found.verdict is Conclusion.NOT_MEASURED
    assert found.lacking


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ((R, R), R),
        ((R, N), N),
        ((S, N, I), N),
        ((S, I, C), I),
        ((S, R), C),
        ((S, C), C),
        ((C, C), C),
        ((S, S), S),
        ((S, J), S),
        ((J, J), J),
        ((I,), I),
    ],
)
def test_parts_are_combined_by_the_registered_order(
    parts: tuple[Conclusion, ...], verdict: Conclusion
) -> None:
    found = combine([Finding(part, f"because of {part}") for part in parts])
    assert found.verdict is verdict
    assert all(f"because of {part}" in found.reason for part in parts)


def test_a_claim_without_parts_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        combine([])
