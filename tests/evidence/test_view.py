"""Live rows where there are any, recorded rows for the rest, each marked and never pooled."""

from __future__ import annotations

from pathlib import Path

from vmcompare.evidence.recording import Measurement, Recorder, Recording, read
from vmcompare.evidence.view import compose
from vmcompare.sandbox import Platform

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
