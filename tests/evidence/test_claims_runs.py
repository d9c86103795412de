"""One recording settles a part; which one is known before its finding is; a lost one is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planted import planted, row, starts, wobble
from settled import LESSONS, MIB, RECORDED, Places, facts, images, notebooks, ramps

from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.claims.runs import (
    NO_RECORDING,
    Evidence,
    Part,
    RunFindings,
    Whose,
    settle,
)
from vmcompare.evidence.recording import Measurement
from vmcompare.sandbox import Start

IDS = list(dict.fromkeys(claim.id for claim in claims.load()))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def part(evidence: Evidence, claim_id: str, name: str = "") -> Part:
    """One part alone, which is quicker than the table."""
    table = [c for c in claims.load() if c.id == claim_id and name in ("", c.part)]
    [found] = [p for row in settle(evidence, table) for p in row.parts]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """All planted recordings, judged once: what is left out later is judged no second time."""
    places = Places(tmp_path_factory.mktemp("whole"))
    places.plant()
    return places.gather()


def left_out(evidence: Evidence, experiment: str, **more: Any) -> Evidence:
    runs = tuple(run for run in evidence.runs if run.recording.experiment != experiment)
    return replace(evidence, runs=runs, **more)


@pytest.mark.parametrize("count", [0, 2, len(RECORDED)])
def test_every_claim_has_a_row_with_all_its_parts_whatever_recordings_there_are(
    whole: Evidence, count: int
) -> None:
    rows = settle(replace(whole, runs=whole.runs[:count]))
    assert [r.id for r in rows] == IDS
    assert [p.claim for r in rows for p in r.parts] == list(claims.load())
    assert all(p.finding.reason for r in rows for p in r.parts)


@pytest.mark.parametrize("experiment", RECORDED)
@pytest.mark.parametrize("problem", ["", "x.jsonl, line 1: it is broken"])
def test_a_recording_that_is_gone_or_damaged_changes_only_its_own_cells_and_they_say_so(
    whole: Evidence, experiment: str, problem: str
) -> None:
    number = next(n for n, names in LESSONS.items() if experiment in names.split())
    problems = {experiment: (problem,)} if problem else {}
    after = left_out(whole, experiment, problems=problems)
    said = problem or f"There is no recording of lesson {number} here."
    told = 0
    for old, new in zip(whole.parts, after.parts, strict=True):
        came_from_it = old.run is not None and old.run.recording.experiment == experiment
        if not came_from_it and number not in old.claim.lessons:
            assert (old.finding, old.lesson) == (new.finding, new.lesson)
        elif came_from_it and new.run is None and number in old.claim.lessons:
            told += 1
            assert new.finding.reason == said
    assert told


def test_a_damaged_file_is_told_of_and_leaves_an_older_good_one_in_place(places: Places) -> None:
    places.plant({name: RECORDED[name] for name in ("boot_speed", "image_size")})
    [good] = (places.project / "boot_speed").glob("*.jsonl")
    [broken] = (places.project / "image_size").glob("*.jsonl")
    broken.write_text("{broken\n")
    (good.parent / "99991231T000000Z-ffffff.jsonl").write_text("{broken\n")
    evidence = places.gather()
    assert [run.recording.run_id for run in evidence.runs] == [good.stem]
    assert "99991231T000000Z-ffffff" in evidence.problems["boot_speed"][0]
    [problem] = evidence.problems["image_size"]
    assert f"{broken.name}, line 1" in problem
    assert broken.parent.as_posix() not in problem


def listed(platform: str, seen: int) -> list[Measurement]:
    """Three processes were started inside, and so many stand in the host's list."""
    counts = {"started inside": 3, "in the host’s list": seen}
    return [row(platform, "item_count", count, phase=phase) for phase, count in counts.items()]


def ready_made(vm: float, container: float) -> list[Measurement]:
    """Ten times one cloned VM and three containers that were created before."""
    ready = {"vm-direct": (vm, Start.CLONE), "container": (container, Start.PRE_CREATED)}
    return [
        row(platform, "scale_each_s", seconds * wobble(block, rep), phase="1", block=block,
            rep=rep, warmth=warmth, accel="" if platform == "container" else "tcg")
        for platform, (seconds, warmth) in ready.items()
        for block in range(10)
        for rep in range(3 if platform == "container" else 1)
    ]  # fmt: skip


FLIPS = {
    ("A1", "a whole computer"): ("whole_computer", facts(
        boot_sector_prints_in_vm=False, guest_hardware_differs_from_host=True,
        two_vms_have_two_boot_ids=True), Conclusion.REFUTED),
    ("O1", "memory"): ("guest_os", ramps(
        {"container": 60 * MIB, "vm": 4 * MIB}), Conclusion.REFUTED),
    ("P3", "bytes"): ("image_size", images(1e9, 1e8, "compressed"), Conclusion.SUPPORTED),
    ("F2", "start"): ("boot_speed", starts(
        accel="kvm", times={("container", ""): 1.0, ("vm", "pc"): 0.2}, whole=False),
        Conclusion.REFUTED),
    ("T1g", "ready-made"): ("scaling", ready_made(0.2, 0.3), Conclusion.REFUTED),
}  # fmt: skip
"""(id, part) → recording with the contrary rows, and the finding they give. That each registered
claim can be flipped is tested in ``test_claims.py``: here one of each kind goes through files."""


@pytest.mark.parametrize("key", FLIPS, ids=" ".join)
def test_contrary_rows_flip_a_finding(
    places: Places, whole: Evidence, key: tuple[str, str]
) -> None:
    experiment, rows, wanted = FLIPS[key]
    assert part(whole, *key).finding.verdict is not wanted
    others = left_out(whole, experiment)
    contrary = RunFindings(places.add(experiment, rows), Whose.PROJECT)
    after = replace(others, runs=(*others.runs, contrary))
    assert part(after, *key).finding.verdict is wanted


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [((3, 0), Conclusion.SUPPORTED), ((3, 2), Conclusion.INCONCLUSIVE),
     ((0, 0), Conclusion.REFUTED), ((None, 0), Conclusion.NOT_MEASURED)],
)  # fmt: skip
def test_a_counted_fact_holds_of_all_or_of_none(
    places: Places, seen: tuple[Any, int], wanted: Conclusion
) -> None:
    rows = facts(container_boot_id_is_hosts=True, vm_boot_id_is_hosts=False)
    places.add("shared_kernel", rows + listed("container", seen[0]) + listed("vm-direct", seen[1]))
    assert part(places.gather(), "T1a").finding.verdict is wanted


def test_judgements_stay_judgements_and_beside_them_stands_what_was_measured(
    places: Places, whole: Evidence
) -> None:
    nothing = places.gather()
    judged = [c for c in claims.load() if c.rule is claims.Rule.JUDGEMENT]
    for evidence in (nothing, whole):
        found = {c.id: part(evidence, c.id).finding for c in judged}
        assert {finding.verdict for finding in found.values()} == {Conclusion.JUDGEMENT}
    assert "beside it stands" not in part(nothing, "V1").finding.reason
    assert "beside it stands memory (PSS), vm (one alone) ÷ container" in found["V1"].reason
    assert part(whole, "V1").emulated


def test_what_no_lesson_measures_says_so_and_links_nowhere(whole: Evidence) -> None:
    found = whole.part("S5", "direct access")
    assert found
    assert found.finding.verdict is Conclusion.NOT_MEASURED
    assert found.finding.reason == "No lesson measures this yet."
    assert (found.run, found.lesson) == (None, None)


def test_the_parts_of_one_claim_may_come_from_two_recordings(whole: Evidence) -> None:
    [o1] = [one for one in whole.claims if one.id == "O1"]
    assert [p.run.recording.experiment for p in o1.parts if p.run] == ["guest_os", "image_size"]
    assert [p.lesson.number for p in o1.parts if p.lesson] == ["01", "03"]
    assert o1.finding == claims.combine([p.finding for p in o1.parts])


def test_what_findings_come_from_is_said_in_brief_and_in_full(
    places: Places, whole: Evidence
) -> None:
    assert whole.brief().startswith("Recorded ")
    assert whole.brief().endswith("; VMs under software emulation.")
    runs = {found.run.recording.run_id for found in whole.parts if found.run}
    assert all(run_id in whole.caption() for run_id in runs)
    assert places.gather().brief() == places.gather().caption() == NO_RECORDING


def test_an_own_run_comes_first_and_this_sessions_is_measured(places: Places) -> None:
    places.plant()
    assert part(places.gather(), "O3").run.whose is Whose.PROJECT  # type: ignore[union-attr]
    own = places.add("boot_speed", starts(times={("container", ""): 9.0}, whole=False), own=True)
    found = part(places.gather(), "O3")
    assert found.run is not None
    assert (found.run.recording.run_id, found.run.whose) == (own.run_id, Whose.LEARNER)
    assert found.finding.verdict is Conclusion.REFUTED
    session = planted(places.own.parent / "session", starts(rounds=3))
    found = part(places.gather(session), "O3")
    assert found.run is not None
    assert (found.run.recording.run_id, found.run.whose) == (session.run_id, Whose.SESSION)


def test_an_own_run_without_machines_leaves_what_needs_them_to_the_project(places: Places) -> None:
    places.plant()
    places.add("boot_speed", starts(only=("process", "container")), own=True)
    evidence = places.gather()
    assert part(evidence, "O3").run.whose is Whose.LEARNER  # type: ignore[union-attr]
    assert part(evidence, "F2", "start").run.whose is Whose.PROJECT  # type: ignore[union-attr]


def test_an_own_run_in_the_making_does_not_count_yet(places: Places) -> None:
    places.plant()
    own = places.add("boot_speed", starts(rounds=3), own=True)
    own.path.write_text(own.path.read_text().replace('{"kind":"end","status":"complete"}\n', ""))
    assert part(places.gather(), "O3").run.whose is Whose.PROJECT  # type: ignore[union-attr]


def test_a_run_is_not_passed_over_for_what_it_says(places: Places) -> None:
    """Failures and emulation are findings of the run that was chosen; another is not looked for."""
    places.plant({"boot_speed": starts(accel="kvm")})
    assert part(places.gather(), "F2", "start").finding.verdict is not Conclusion.NOT_MEASURED
    places.add("boot_speed", starts(failures={"vm": 10}), own=True)
    found = part(places.gather(), "F2", "start")
    assert found.run is not None
    assert found.run.whose is Whose.LEARNER
    assert "10 of 10 runs of vm failed" in found.finding.reason


def test_an_own_run_of_too_few_rounds_stands_back_for_a_longer_one_and_that_is_said(
    places: Places,
) -> None:
    other = {("container", ""): 9.0}
    places.plant()
    own = places.add("boot_speed", starts(times=other, rounds=2, whole=False), own=True)
    found = part(places.gather(), "O3")
    assert found.run is not None
    assert found.run.whose is Whose.PROJECT
    assert found.finding.verdict is not Conclusion.REFUTED
    assert found.note == (
        f"Run {own.run_id}, of the computer that ran this lesson, is too short to settle this: it "
        "has 2 rounds of it, and 3 are needed."
    )
    own.path.unlink()
    longer = places.add("boot_speed", starts(times=other, rounds=3, whole=False), own=True)
    found = part(places.gather(), "O3")
    assert found.run is not None
    assert (found.run.recording.run_id, found.note) == (longer.run_id, "")


def test_a_short_own_run_stands_where_nothing_longer_is_there(places: Places) -> None:
    """Also beside one of the project's that is as short: sizes are weighed once."""
    own = places.add("boot_speed", starts(rounds=1, whole=False), own=True)
    places.add("image_size", images(1.2e8, 1e8, "allocated"))
    size = places.add("image_size", images(1.1e8, 1e8, "allocated"), own=True)
    for key, run in ((("O3",), own), (("O1", "disk"), size)):
        found = part(places.gather(), *key)
        assert found.run is not None
        assert (found.run.recording.run_id, found.note) == (run.run_id, "")


def test_a_fact_takes_no_rounds(places: Places) -> None:
    places.plant()
    held = facts(
        boot_sector_prints_in_vm=False,
        guest_hardware_differs_from_host=True,
        two_vms_have_two_boot_ids=True,
    )
    places.add("whole_computer", held, own=True)
    found = part(places.gather(), "A1", "a whole computer")
    assert found.run is not None
    assert found.run.whose is Whose.LEARNER


def test_failures_do_not_make_a_run_short(places: Places) -> None:
    """How many blocks were tried counts: else a run could be passed over for what it says."""
    places.plant({"boot_speed": starts(accel="kvm")})
    places.add("boot_speed", starts(rounds=3, failures={"vm": 2}), own=True)
    found = part(places.gather(), "F2", "start")
    assert found.run is not None
    assert found.run.whose is Whose.LEARNER


def test_rows_of_two_recordings_are_never_pooled(places: Places) -> None:
    """Containers in one run, machines in another: no ratio is made of them."""
    places.add("boot_speed", starts(only=("process", "container")))
    places.add("guest_os", [
        row("vm", "start_to_first_byte_s", 25 * wobble(b), block=b, accel="kvm") for b in range(10)
    ])  # fmt: skip
    found = part(places.gather(), "F2", "start")
    assert found.finding.verdict is Conclusion.NOT_MEASURED
    assert found.finding.interval is None


def test_of_a_ramps_sums_only_the_first_counts_as_one_idle_instance(places: Places) -> None:
    places.add("guest_os", [r for r in ramps() if r.rep != 1])
    assert "beside it stands" not in part(places.gather(), "V1").finding.reason
    places.delete("guest_os")  # two of one second would be told apart by chance
    places.add("guest_os", ramps())
    alone = (2 + 120) / (2 + 4)  # MiB: what is there once, and one instance
    assert f"container (one alone): {alone:.1f}×" in part(places.gather(), "V1").finding.reason


def test_an_estimate_that_emulation_leaves_undecided_is_kept_with_its_interval(
    places: Places,
) -> None:
    places.plant()
    found = part(places.gather(), "F2", "start")
    assert found.finding.verdict is Conclusion.NOT_MEASURED
    assert found.emulated
    assert found.finding.interval is not None
    assert found.finding.interval.estimate == pytest.approx(250, rel=0.05)


def test_two_lessons_may_be_on_one_experiment_and_a_claim_finds_the_one_it_names(
    places: Places,
) -> None:
    notebooks(places.notebooks, {"05a": "isolation", "05b": "isolation"})
    both = facts(
        privileged_container_opens_host_devices=True, vm_opens_host_devices=False,
        vm_sees_host_devices=False, privileged_container_sysrq_takes_sibling_down=True,
        default_container_sysrq_takes_sibling_down=False,
    )  # fmt: skip
    places.add("isolation", both)
    found = {id_: part(places.gather(), id_) for id_ in ("S5", "S2")}
    assert [p.lesson.number for p in found.values() if p.lesson] == ["05a", "05b"]
    assert found["S5"].finding.verdict is Conclusion.SUPPORTED
    places.delete("isolation")
    waiting = part(places.gather(), "S2")
    assert waiting.finding.reason == "There is no recording of lesson 05b here."
