"""Live rows where there are any, recorded rows for the rest, each marked and never pooled."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import planted, row, starts

from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement, Recorder, Recording, read
from vmcompare.evidence.view import compose, container, of_series
from vmcompare.sandbox import Machine, Platform, Series

HOST = {"host_id": "abc", "os": "Test OS", "cores": 2, "cpu": "Test CPU", "versions": {"qemu": "9"}}


def run(directory: Path, *platforms: Platform, fails: bool = False, accel: str = "") -> Recording:
    with Recorder(directory, "boot_speed", HOST, rounds=1) as recorder:
        for platform in platforms:
            recorder.append(
                Measurement(
                    platform=platform,
                    metric="start_to_first_byte_s",
                    value=None if fails else 1.0,
                    status="error" if fails else "ok",
                    error="broken" if fails else "",
                    accel=accel,
                )
            )
    return read(recorder.path)


def test_a_platform_that_was_measured_is_not_replayed(tmp_path: Path) -> None:
    live = run(tmp_path, Platform.PROCESS, Platform.CONTAINER)
    recorded = run(tmp_path, Platform.CONTAINER, Platform.VM)
    view = compose(live, recorded)
    shown = dict(zip(view.frame["platform"], view.frame["shown"], strict=True))
    assert shown == {"process": "measured", "container": "measured", "vm": "recorded"}
    assert set(view.frame.loc[view.frame["shown"] == "measured", "run_id"]) == {live.run_id}


def test_the_figures_of_a_page_share_one_view_and_other_rows_give_another(tmp_path: Path) -> None:
    live, recorded = run(tmp_path, Platform.PROCESS), run(tmp_path, Platform.CONTAINER)
    assert compose(live, recorded) is compose(live, recorded)
    longer = run(tmp_path, Platform.PROCESS)
    assert list(compose(longer, recorded).frame["run_id"]) == [longer.run_id, recorded.run_id]


def test_a_platform_that_only_failed_keeps_its_errors_beside_the_recorded_rows(
    tmp_path: Path,
) -> None:
    view = compose(run(tmp_path, Platform.VM, fails=True), run(tmp_path, Platform.VM))
    assert sorted(view.frame["status"]) == ["error", "ok"]
    assert [s.shown for s in view.sources] == ["recorded"]
    assert len(view.values(platform="vm")) == 1


def test_an_anchor_stays_beside_the_recorded_rows_that_need_it_and_only_there(
    tmp_path: Path,
) -> None:
    live = run(tmp_path, Platform.PROCESS, Platform.CONTAINER)
    anchors = (Platform.PROCESS,)
    with_vm = compose(live, run(tmp_path, Platform.PROCESS, Platform.VM), anchors).frame
    hosts = with_vm[with_vm["platform"] == "process"]
    assert sorted(hosts["shown"]) == ["measured", "recorded"]
    without = compose(live, run(tmp_path, Platform.PROCESS, Platform.CONTAINER), anchors).frame
    assert set(without["shown"]) == {"measured"}


def test_the_caption_names_run_date_machine_and_versions(tmp_path: Path) -> None:
    recorded = run(tmp_path, Platform.VM)
    caption = compose(None, recorded).caption()
    for words in ("recorded", recorded.run_id, "Test CPU", "2 cores", "Test OS", "qemu 9"):
        assert words in caption
    assert compose(recorded, None).caption().startswith("measured")


def test_emulation_is_seen_where_any_row_was_emulated(tmp_path: Path) -> None:
    assert compose(run(tmp_path, Platform.VM, accel="tcg"), None).emulated()
    assert not compose(run(tmp_path, Platform.VM, accel="kvm"), None).emulated()


def test_nothing_at_all_is_an_empty_view() -> None:
    view = compose(None, None)
    assert view.frame.empty
    assert view.caption() == ""
    assert not view.emulated()


START = "start_to_first_byte_s"


def test_a_bare_mechanism_is_a_series_of_its_own_beside_the_product(tmp_path: Path) -> None:
    rows = [
        row("container", START, 0.2),
        row("container", START, 0.01, layer="mechanism", runtime="runc"),
    ]
    found = compose(planted(tmp_path, rows), None).columns(START)
    assert [column.series.label for column in found] == ["container", "container (runc)"]
    product = container(found)
    assert product is not None
    assert product.values == [0.2]


def test_a_column_holds_valid_rows_and_says_why_the_others_failed(tmp_path: Path) -> None:
    view = compose(planted(tmp_path, starts(failures={"vm": 2}, whole=False)), None)
    vm = of_series(view.columns(START), Series(Platform.VM, Machine.PC))
    assert vm is not None
    assert (vm.n, vm.failed, vm.count()) == (8, 2, "n = 8, 2 failed")
    assert all(vm.errors)
    assert vm.provenance == "measured, software emulation"


def test_columns_can_be_narrowed_to_rows_with_certain_values(tmp_path: Path) -> None:
    rows = [row("process", "phase_s", 1.0 + rep, phase=phase, rep=rep, text=phase.upper())
            for phase in ("spawn", "ready") for rep in range(3)]  # fmt: skip
    view = compose(planted(tmp_path, rows), None)
    [spawn] = view.columns("phase_s", phase="spawn")
    assert spawn.values == [1, 2, 3]
    assert spawn.where(rep=2).values == [3]
    [both] = view.columns("phase_s")
    assert both.medians() == {"ready": 2, "spawn": 2}
    assert both.texts() == {"spawn": "SPAWN", "ready": "READY"}


def test_what_every_run_failed_at_is_absent_with_its_number_of_failures(tmp_path: Path) -> None:
    view = compose(run(tmp_path, Platform.VM, fails=True), None)
    assert view.columns(START) == []
    assert [column.n for column in view.columns(START, failed_too=True)] == [0]
    with pytest.raises(Unavailable, match=r"no start to show \(all 1 runs failed\)"):
        view.need(START, "start")
