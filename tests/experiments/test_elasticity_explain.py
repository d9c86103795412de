"""What lesson 07 draws, tabulates, models and finds, from chosen rows."""

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
from vmcompare.experiments.elasticity import explain
from vmcompare.experiments.elasticity.explain import COURSES, Course, fitting
from vmcompare.experiments.elasticity.measure import (
    CLOCKED,
    IDE,
    LOOPBACK,
    NO_FILTER,
    VOLUME,
    WORK,
    WRITES,
)
from vmcompare.experiments.explanation import explanation

LEVELS_MIB: Mapping[tuple[str, str], tuple[float, float, float]] = {
    ("process", ""): (0.1, 200.1, 0.1), ("container", ""): (5.0, 213.0, 13.0),
    ("vm", ""): (290.0, 490.0, 490.0), ("vm", "-balloon"): (290.0, 490.0, 285.0),
    ("vm", "-page-reporting"): (295.0, 495.0, 300.0),
}  # fmt: skip
"""Platform and ending → MiB before, at the peak, after."""

WORK_S = {
    "computing": 0.3, "gzip": 0.5, "system calls": 0.2, "fork and exec": 0.25,
    WRITES: 0.02, LOOPBACK: 0.2,
}  # fmt: skip
WAITED_S = (("container", VOLUME, 2.0), ("vm", "", 6.0), ("vm", IDE, 8.0))
SLOWER = {"process": 1.0, "container": 1.02, NO_FILTER: 1.0, "by the clock": 1.0}
ASKED = {
    "container": ("update: 1024 → 512 MiB", "512 MiB | 24105 → 24105 MiB"),
    "vm": ("balloon: 1024 → 256 MiB", "256 MiB | 971 → 203 MiB"),
}


def course(
    *,
    rounds: int = 10,
    accel: str = "tcg",
    only: tuple[str, ...] = ("process", "container", "vm"),
    levels: Mapping[tuple[str, str], tuple[float, float, float]] = {},
    slower: Mapping[str, float] = {},
    new: bool = False,
) -> Iterator[Measurement]:
    """Rows of every course, of one request a side, and of the work."""
    for block in range(rounds):
        factor = wobble(block)
        for one in COURSES:
            platform = str(one.series.platform)
            if platform in only:
                yield from of(
                    one, accel, block, (LEVELS_MIB | levels)[platform, one.suffix], factor
                )
        for platform, (asked, text) in ASKED.items():
            if platform in only:
                more = {"block": block, "phase": asked, **engine(platform, accel)}
                yield row(platform, "duration_s", 0.03 * factor, **more)
                yield row(platform, "observation", 1.0, text=text, **more)
        for platform, suffix in (("process", ""), ("container", ""), ("container", NO_FILTER)):
            for piece, used_s in WORK_S.items() if platform in only else ():
                times = (SLOWER | slower)[suffix or platform]
                clocked = CLOCKED.get(piece) if not suffix else None
                waits = (SLOWER | slower)["by the clock"] if platform == "container" else 1.0
                for rep in range(5):
                    value = used_s * times * wobble(block, rep)
                    more = {"phase": piece + suffix, "block": block, "rep": rep}
                    yield row(platform, "work_cpu_s", value, **more)
                    if clocked:
                        yield row(platform, clocked, waits * wobble(block, rep), **more)
        for platform, ending, waited_s in WAITED_S if new else ():
            more = {"phase": WRITES + ending, "block": block, **engine(platform, accel, "pc")}
            if platform in only:
                yield row(platform, CLOCKED[WRITES + ending], waited_s * wobble(block), **more)


def engine(platform: str, accel: str, machine: str = "q35") -> dict[str, Any]:
    """Columns that only a VM has."""
    return {"machine": machine, "accel": accel, "vmm": "qemu 9.2"} if platform == "vm" else {}


def of(
    one: Course, accel: str, block: int, mib: tuple[float, float, float], factor: float
) -> Iterator[Measurement]:
    platform = str(one.series.platform)
    more = {"block": block, "mem_limit_mib": 1024, **engine(platform, accel)}
    before, peak, after = (value * MIB * factor for value in mib)
    for rep, value in ((0, before), (30, peak), (90, after)):
        yield row(platform, "host_bytes", value, phase="over time" + one.suffix, rep=rep, **more)
    if one.suffix == one.base:
        yield row(platform, "host_bytes", before, phase="before" + one.base, **more)
        yield row(platform, "host_bytes", peak, phase="peak" + one.base, **more)
        share = before / (1024 * MIB)
        yield row(platform, "host_bytes_to_limit_ratio", share, phase="start" + one.base, **more)
    share = (peak - after) / (peak - before)
    yield row(platform, "returned_ratio", share, phase="freed" + one.suffix, **more)
    yield row(platform, "host_bytes", after, phase="freed" + one.suffix, **more)


def recorded(directory: Path, **planting: Any) -> Recording:
    return planted(directory, list(course(**planting)), experiment="elasticity")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A view of a whole recording."""
    return compose(None, recorded(tmp_path_factory.mktemp("elasticity"), rounds=3))


@pytest.mark.parametrize(
    ("only", "tables"), [((), 0), (("process",), 2), (("container",), 3), (("vm",), 2)]
)
def test_whatever_is_missing_all_there_is_is_whole(
    tmp_path: Path, only: tuple[str, ...], tables: int
) -> None:
    asked = Asked(
        compose(None, recorded(tmp_path, rounds=1, only=only)), drawn=only == ("container",)
    )
    found = explanation("elasticity")
    drawn = (only != ()) + bool({"process", "container"}.intersection(only))
    assert len(list(asked.figures(found.figures.values()))) == drawn
    assert len(list(asked.tables(found.tables.values()))) == tables
    list(asked.whatifs(found.whatifs.values()))
    asked.outcomes(found.outcomes)


def test_the_picture_tells_each_peak_and_what_was_left(whole: View) -> None:
    alt = explanation("elasticity").figures["memory"](whole).alt
    assert "vm (q35), balloon inflated · software emulation" in alt
    assert "vm (q35), page reporting · software emulation" in alt
    assert "container 213 → 13," in alt
    assert "the balloon is inflated" in alt


def test_the_tables_tell_what_came_back_and_what_was_seen(whole: View) -> None:
    tables = explanation("elasticity").tables
    back = {r["instance"].split(" ·")[0]: r["came back"] for r in tables["moments"](whole)}
    assert back["vm (q35), balloon not inflated"].startswith("0 %")
    assert back["container"].startswith("96 %")
    seen = {r["instance"].split(" ·")[0]: r["seen inside"] for r in tables["limits"](whole)}
    assert seen == {"container": "24105 → 24105 MiB", "vm (q35)": "971 → 203 MiB"}
    done = {r["work"]: r for r in tables["work"](whole)}
    assert list(done) == [*WORK]
    assert done[WRITES]["by the clock"] == "1.00×"
    assert done[WRITES + VOLUME]["container"] == "not measured"
    assert done[WRITES + VOLUME]["by the clock"] == "–"


def test_writes_are_shown_where_they_were_measured_and_emulation_is_said(
    whole: View, tmp_path: Path
) -> None:
    writes = explanation("elasticity").figures["writes"]
    assert "vm" not in writes(whole).alt
    assert not writes(whole).placeholders["emulated"]
    assert not writes(whole).placeholders["vm"]
    newer = compose(None, recorded(tmp_path, rounds=3, new=True))
    alt = writes(newer).alt
    assert "vm, virtio disk · software emulation · recorded: median 30" in alt
    assert "vm, IDE disk · software emulation · recorded: median 40" in alt
    assert "container, volume · recorded: median 10" in alt
    assert writes(newer).placeholders["emulated"]
    assert writes(newer).placeholders["vm"]
    work = {r["work"]: r for r in explanation("elasticity").tables["work"](newer)}
    assert work[WRITES + VOLUME]["by the clock"] == "2.00×"
    said = explanation("elasticity").placeholders["table", "work"](newer)
    assert "VMs" not in said["brief"]
    assert (said["gzip"], said["calls"], said["sent"]) == (True, "2,000,000", "500 MiB")


def test_more_fit_the_rarer_the_peak_and_a_vm_that_keeps_its_peak_gains_nothing(
    whole: View,
) -> None:
    room, low, high = 64 * 1024.0, 300.0, 500.0
    counts = [fitting(room, low, high, share) for share in (0.01, 0.1, 0.5, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == int(room / high)
    assert fitting(room, high, high, 0.1) == int(room / high)
    model = explanation("elasticity").whatifs["overcommit"](whole)
    assert "vm, 1024 MiB of RAM reserved 64" in model.draw(model.values[0]).alt
    assert model.draw(model.values[0]).alt != model.draw(model.values[-1]).alt


def test_the_answer_is_the_price_of_the_filter(tmp_path: Path) -> None:
    costly = compose(None, recorded(tmp_path, rounds=3, slower={"container": 1.3}))
    assert explain.filter_(costly) == pytest.approx(1.3)
    said = explanation("elasticity").placeholders["exercise", "filter"](costly)
    assert said["nearly"]
    assert (said["whole"], said["left"]) == ("1.30×", "1.00×")
    slower = {"container": 1.3, NO_FILTER: 1.2}
    partly = compose(None, recorded(tmp_path / "part", rounds=3, slower=slower))
    assert explanation("elasticity").placeholders["exercise", "filter"](partly)["part"]
    computing = ("more", "falls", "stays")
    assert [said[name] for name in computing] == [True, True, False]
    stays = explanation("elasticity").placeholders["exercise", "filter"](partly)
    assert [stays[name] for name in computing] == [True, False, True]
    even = compose(None, recorded(tmp_path / "even", rounds=3))
    equal = explanation("elasticity").placeholders["exercise", "filter"](even)
    assert not any(equal[name] for name in computing)
    with pytest.raises(Unavailable, match="system calls"):
        explain.filter_(compose(None, None))


def test_where_the_vm_begins_is_told_only_below_what_it_was_given(
    whole: View, tmp_path: Path
) -> None:
    values = explanation("elasticity").placeholders["table", "moments"]
    assert values(whole)["begins"] == "290 MiB"
    assert values(whole)["inflated"]
    reserved = {("vm", ""): (1030.0, 1040.0, 1040.0)}
    assert not values(compose(None, recorded(tmp_path, levels=reserved)))["begins"]


def test_what_came_back_is_predicted_in_mib(whole: View) -> None:
    outcomes = explanation("elasticity").outcomes
    assert outcomes["container_back_mib"](whole) == pytest.approx(200)
    assert outcomes["vm_back_mib"](whole) == 0


NATIVE = {"accel": "kvm"}
KEPT = {("container", ""): (5.0, 213.0, 150.0)}
AT_ONCE = {("vm", ""): (900.0, 1020.0, 1020.0)}
GIVES = {("vm", ""): (290.0, 490.0, 290.0)}
HOLDS = {
    ("vm", "-balloon"): (290.0, 490.0, 489.0),
    ("vm", "-page-reporting"): (295.0, 495.0, 494.0),
}

CASES: list[tuple[tuple[str, str], dict[str, Any], Conclusion]] = [
    (("F3a", "memory follows load"), {}, Conclusion.WITH_CAVEATS),
    (("F3a", "memory follows load"), {"levels": KEPT}, Conclusion.REFUTED),
    (("F3a", "memory follows load"), {"only": ("vm",)}, Conclusion.NOT_MEASURED),
    (("F3b", "allocated"), {}, Conclusion.REFUTED),
    (("F3b", "allocated"), NATIVE | {"levels": AT_ONCE}, Conclusion.SUPPORTED),
    (("F3b", "permanently"), NATIVE, Conclusion.WITH_CAVEATS),
    (("F3b", "permanently"), NATIVE | {"levels": HOLDS}, Conclusion.SUPPORTED),
    (("F3b", "permanently"), {"levels": HOLDS}, Conclusion.WITH_CAVEATS),
    (("F3b", "permanently"), {"levels": GIVES}, Conclusion.REFUTED),
    (("F1", "system calls, against a process"), {}, Conclusion.SUPPORTED),
    (("F1", "system calls, against a process"), {"slower": {"container": 1.3}}, Conclusion.REFUTED),
    (("F1", "processor, against a process"), {"slower": {"container": 1.3}}, Conclusion.REFUTED),
    (("F1", "fork and exec, against a process"), {}, Conclusion.SUPPORTED),
    (("F1", "system calls, against a VM"), {}, Conclusion.NOT_MEASURED),
    (("F1", "disk, against a process"), {}, Conclusion.SUPPORTED),
    (("F1", "disk, against a process"), {"slower": {"by the clock": 1.3}}, Conclusion.REFUTED),
    (("F1", "disk, against a process"), {"only": ("container",)}, Conclusion.NOT_MEASURED),
    (("F1", "disk, against a process"), {"new": True}, Conclusion.SUPPORTED),
    (("F1", "disk, against a VM"), {"new": True}, Conclusion.NOT_MEASURED),
    (("F1", "disk, against a VM"), {"new": True, "accel": "kvm"}, Conclusion.SUPPORTED),
    (("F1", "network, against a process"), {}, Conclusion.SUPPORTED),
    (("F1", "network, against a process"), {"slower": {"by the clock": 1.3}}, Conclusion.REFUTED),
]


@pytest.mark.parametrize(("which", "planting", "conclusion"), CASES)
def test_data_decide_each_finding(
    tmp_path: Path, which: tuple[str, str], planting: dict[str, Any], conclusion: Conclusion
) -> None:
    [claim] = [c for c in claims.load() if (c.id, c.part) == which]
    found = claims.judge(claim, recorded(tmp_path, **planting).frame())
    assert found.verdict is conclusion, found


def test_the_balloon_and_reporting_are_what_limits_permanently(tmp_path: Path) -> None:
    [claim] = [c for c in claims.load() if (c.id, c.part) == ("F3b", "permanently")]
    found = claims.judge(claim, recorded(tmp_path, accel="kvm").frame())
    assert sum("below" in words for words in found.caveats) == 2
