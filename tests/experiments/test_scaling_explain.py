"""What lesson 08 draws, tabulates, models and finds, from chosen rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from explained import Asked
from planted import planted, row, wobble

from vmcompare.errors import Unavailable
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.recording import Measurement, Recording
from vmcompare.evidence.units import MIB
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.explanation import explanation
from vmcompare.experiments.scaling import explain
from vmcompare.experiments.scaling.measure import CELLS, MANY, Cell
from vmcompare.sandbox import Platform, Start

ALONE_S: Mapping[tuple[str, str], float] = {
    ("container", "cold"): 0.2, ("container", "pre-created"): 0.15, ("vm-direct", "clone"): 0.1,
    ("vm-direct", "cold"): 1.2, ("vm", "cold"): 16.0,
}  # fmt: skip
ONE_MORE_MIB: Mapping[tuple[str, str], float] = {
    ("container", "cold"): 2.5, ("container", "pre-created"): 2.5, ("vm-direct", "clone"): 20.0,
    ("vm-direct", "cold"): 150.0, ("vm", "cold"): 250.0,
}  # fmt: skip
WORK_S = {key: alone / 2 for key, alone in ALONE_S.items()}


def copies(
    *,
    rounds: int = 10,
    accel: str = "tcg",
    only: tuple[str, ...] = ("container", "vm-direct", "vm"),
    alone_s: Mapping[tuple[str, str], float] = {},
    one_more_mib: Mapping[tuple[str, str], float] = {},
    work_s: Mapping[tuple[str, str], float] = {},
    last_mib: float = 2.5,
) -> Iterator[Measurement]:
    """Rows of every cell: N copies take N times as long as one, and N times its memory."""
    for cell in CELLS:
        name = (str(cell.series.platform), str(cell.start))
        if cell.series.platform not in only:
            continue
        for block in range(rounds):
            for n in cell.ns:
                wall_s = (ALONE_S | alone_s)[name] * n * wobble(block)
                yield of(cell, "scale_wall_s", wall_s, accel, block, phase=str(n))
                for rep in range(n if n == 5 else 1):
                    yield of(cell, "scale_each_s", wall_s, accel, block, phase=str(n), rep=rep)
                work = (WORK_S | work_s)[name] * wobble(block)
                yield of(cell, "start_cpu_s", work, accel, block, phase=str(n))
                held = (8 + (ONE_MORE_MIB | one_more_mib)[name] * n) * MIB * wobble(block)
                yield of(cell, "pss_bytes", held, accel, block, phase="ramp", rep=n)
            yield of(cell, "heal_s", 0.5 * wobble(block), accel, block, phase="2")
            for phase, mib in (("first", 10.5), ("last", last_mib)):
                yield of(cell, "each_bytes", mib * MIB, accel, block, phase=phase)


def of(cell: Cell, metric: str, value: float, accel: str, block: int, **more: Any) -> Measurement:
    platform = str(cell.series.platform)
    is_vm = cell.series.platform.is_vm
    return row(
        platform, metric, value, warmth=cell.start, machine=cell.series.machine,
        accel=accel if is_vm else "", vmm="qemu 9.2" if is_vm else "", block=block, **more,
    )  # fmt: skip


def recorded(directory: Path, **planting: Any) -> Recording:
    return planted(directory, list(copies(**planting)), experiment="scaling")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A view of a whole recording."""
    return compose(None, recorded(tmp_path_factory.mktemp("scaling"), rounds=3))


@pytest.mark.parametrize("only", [(), ("container",), ("vm-direct",), ("container", "vm-direct")])
def test_whatever_is_missing_all_there_is_is_whole(tmp_path: Path, only: tuple[str, ...]) -> None:
    asked = Asked(
        compose(None, recorded(tmp_path, rounds=1, only=only)), drawn=only == ("container",)
    )
    found = explanation("scaling")
    assert len(list(asked.figures(found.figures.values()))) == (2 if only else 0)
    assert len(list(asked.tables(found.tables.values()))) == (2 if only else 0)
    list(asked.whatifs(found.whatifs.values()))
    asked.outcomes(found.outcomes)


def test_the_picture_tells_the_time_of_every_n(whole: View) -> None:
    alt = explanation("scaling").figures["wall"](whole).alt
    assert "container, pre-created: 150 ms at 1" in alt
    assert "vm (q35), cold · software emulation: " in alt
    assert "vm-direct (pc), clone · software emulation" in alt


@pytest.mark.parametrize("name", ["wall", "memory"])
def test_doubts_name_the_kind_of_start_and_no_other_n_is_a_further_run(
    whole: View, name: str
) -> None:
    said = explanation("scaling").figures[name](whole).caption
    assert (
        "(3 where 30 are needed: container cold, container pre-created; 3 where 10 are needed: "
        in said
    )
    assert "vm-direct (pc) clone, vm-direct (pc) cold, vm (q35) cold)" in said
    assert "the interval is wide" not in said


@pytest.mark.parametrize(("clone_s", "overlap"), [(0.1, False), (0.15, True), (0.3, False)])
def test_ready_made_copies_are_told_to_overlap_where_they_do(
    tmp_path: Path, clone_s: float, overlap: bool
) -> None:
    run = recorded(tmp_path, rounds=3, alone_s={("vm-direct", "clone"): clone_s})
    drawn = explanation("scaling").figures["wall"](compose(None, run))
    assert drawn.placeholders["overlap"] is overlap


@pytest.mark.parametrize(("cold_s", "alike"), [(0.15, True), (0.3, False), (0.05, False)])
def test_containers_are_told_to_be_alike_only_within_what_rounds_differ(
    tmp_path: Path, cold_s: float, alike: bool
) -> None:
    run = recorded(tmp_path, rounds=3, alone_s={("container", "cold"): cold_s})
    values = explanation("scaling").placeholders["table", "cells"](compose(None, run))
    assert values["alike"] is alike


def test_rows_of_a_strange_n_are_left_out_of_the_picture(whole: View) -> None:
    wall = explanation("scaling").figures["wall"]
    strange = whole.frame.copy()
    chosen = strange["metric"] == "scale_wall_s"
    strange.loc[chosen & (strange["block"] == 0), "phase"] = "1,2"
    assert "container, pre-created: " in wall(View(strange, whole.sources)).alt
    strange.loc[chosen, "phase"] = "1,2"
    with pytest.raises(Unavailable, match="copy that was started"):
        wall(View(strange, whole.sources))


def test_the_table_tells_time_work_and_memory_of_each_kind(whole: View) -> None:
    rows = {row["copy"]: row for row in explanation("scaling").tables["cells"](whole)}
    clone = rows["vm-direct (pc), clone · software emulation"]
    assert clone["memory, one more"] == "20.0 MiB"
    assert clone["processor, each of 5"] == "50.0 ms"
    assert len(rows) == len(CELLS)


def test_the_model_needs_more_hosts_for_more_copies(whole: View) -> None:
    model = explanation("scaling").whatifs["many"](whole)
    few, many = model.draw(model.values[0]).alt, model.draw(model.values[-1]).alt
    assert "Hosts of 64 GiB that hold them" in few
    assert "container, cold 1" in few
    assert few != many
    assert model.placeholders["emulated"]


def test_the_answers_are_worked_out_from_the_rows(whole: View, tmp_path: Path) -> None:
    wall_s = 0.15 * MANY[-1] * wobble(0)
    assert explain.per_second(whole) == pytest.approx(MANY[-1] / wall_s, rel=0.05)
    outcomes = explanation("scaling").outcomes
    assert outcomes["clones_over_pre_created"](whole) == pytest.approx(0.1 / 0.15)
    said = explanation("scaling").placeholders["exercise", "per_second"](whole)
    assert (said["full"], said["idle"], said["busy"]) == (False, True, "25 %")
    busy = recorded(tmp_path / "busy", rounds=3, work_s={("container", "cold"): 0.4})
    assert explanation("scaling").placeholders["exercise", "per_second"](compose(None, busy))[
        "full"
    ]
    assert explanation("scaling").whatifs["many"](whole).placeholders["first"] != "none"
    nothing = compose(None, recorded(tmp_path, rounds=1, only=("vm",)))
    with pytest.raises(Unavailable, match="20 pre-created"):
        explain.per_second(nothing)


def test_the_demonstration_is_replayed_from_the_recording(whole: View) -> None:
    assert [(row["copy"], row["provenance"]) for row in explain.replay(whole)] == [
        ("container, new ones created", "recorded"),
        ("vm-direct (pc), clone", "recorded, software emulation"),
    ]
    with pytest.raises(Unavailable, match="no replacing"):
        explain.replay(compose(None, None))


WITHOUT = {"accel": "kvm"}
"""Ten blocks are few for containers: what would be supported has that caveat."""

CASES: list[tuple[tuple[str, str], dict[str, Any], Conclusion]] = [
    (("F4", "cold, wall time"), WITHOUT, Conclusion.WITH_CAVEATS),
    (("F4", "cold, wall time"), {}, Conclusion.NOT_MEASURED),
    (("F4", "cold, wall time"), WITHOUT | {"alone_s": {("vm", "cold"): 0.01}}, Conclusion.REFUTED),
    (("F4", "cold, each"), WITHOUT | {"alone_s": {("vm", "cold"): 0.01}}, Conclusion.REFUTED),
    (("F4", "cold, memory"), {}, Conclusion.WITH_CAVEATS),
    (("F4", "cold, memory"), {"one_more_mib": {("vm", "cold"): 1.0}}, Conclusion.REFUTED),
    (("F4", "ready-made, wall time"), WITHOUT, Conclusion.REFUTED),
    (
        ("F4", "ready-made, wall time"),
        WITHOUT | {"alone_s": {("vm-direct", "clone"): 0.4}},
        Conclusion.WITH_CAVEATS,
    ),
    (("F4", "ready-made, each"), WITHOUT, Conclusion.REFUTED),
    (("F4", "ready-made, memory"), WITHOUT, Conclusion.SUPPORTED),
    (
        ("F4", "ready-made, memory"),
        WITHOUT | {"one_more_mib": {("vm-direct", "clone"): 1.0}},
        Conclusion.REFUTED,
    ),
    (("O4", "processor"), {}, Conclusion.NOT_MEASURED),
    (("O4", "processor"), WITHOUT | {"work_s": {("vm", "cold"): 0.05}}, Conclusion.REFUTED),
    (("O5", "the N-th copy"), {}, Conclusion.WITH_CAVEATS),
    (("O5", "the N-th copy"), {"last_mib": 20.0}, Conclusion.REFUTED),
    (("O5", "the N-th copy"), {"only": ("vm",)}, Conclusion.NOT_MEASURED),
]


@pytest.mark.parametrize(("which", "planting", "conclusion"), CASES)
def test_data_decide_each_finding(
    tmp_path: Path, which: tuple[str, str], planting: dict[str, Any], conclusion: Conclusion
) -> None:
    [claim] = [c for c in claims.load() if (c.id, c.part) == which]
    found = claims.judge(claim, recorded(tmp_path, **planting).frame())
    assert found.verdict is conclusion, found


def test_ready_made_is_set_beside_ready_made() -> None:
    for claim in claims.load():
        if claim.part.startswith("ready-made"):
            assert claim.quantity is not None
            assert claim.quantity.below is not None
            assert claim.quantity.above.warmth == Start.CLONE
            assert claim.quantity.below.warmth == Start.PRE_CREATED
            assert claim.quantity.above.platform is Platform.VM_DIRECT
