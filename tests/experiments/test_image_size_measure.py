"""What is measured of images: on fakes, and what goes wrong becomes rows."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from fake import VM_PHASES, FakeLauncher, FakeSandbox

from vmcompare.engines.bare.process import ProcessLauncher
from vmcompare.errors import LaunchFailure
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.image_size.measure import (
    APPLICATIONS,
    CATEGORIES,
    EXPERIMENT,
    PROGRAM_BYTES,
    application,
    category,
    weigh,
)
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import (
    Completed,
    FileFact,
    Launcher,
    OnEvent,
    Parcel,
    Phase,
    Platform,
    Spec,
    Traits,
)


@dataclass(slots=True)
class Thin(FakeLauncher):
    """A fake VM that can share its base by an extra step."""

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        usual = FakeLauncher.parcel(self, spec, added)
        return Parcel(usual.whole, usual.whole, usual.again)


@dataclass(slots=True)
class Broken(FakeLauncher):
    """A fake that cannot be packed."""

    def parcel(self, spec: Spec, added: Mapping[str, bytes]) -> Parcel:
        raise LaunchFailure("the box could not be made", ())


def measured(launchers: Mapping[Platform, Launcher]) -> list[Measurement]:
    return list(EXPERIMENT.measure(Context(launchers, rounds=1)))


@pytest.fixture(scope="module")
def rows() -> list[Measurement]:
    emulated = Traits("mechanism", vmm="fake", accel="tcg")
    return measured(
        {
            Platform.CONTAINER: FakeLauncher(),
            Platform.VM_DIRECT: Thin(phases=VM_PHASES, trait=emulated),
            Platform.VM: Thin(phases=VM_PHASES, trait=emulated),
        }
    )


def sizes(rows: list[Measurement], platform: Platform) -> dict[str, float]:
    return {
        row.phase: row.value
        for row in rows
        if row.platform is platform and row.metric == "image_bytes" and row.value is not None
    }


def test_every_registered_phase_is_there(rows: list[Measurement]) -> None:
    usual = {"virtual", "allocated", "compressed", "unique", "second-application", "update"}
    assert set(sizes(rows, Platform.CONTAINER)) == usual
    for platform, way in ((Platform.VM, "on-backing-file"), (Platform.VM_DIRECT, "as-archive")):
        thin = {f"second-application-{way}", f"update-{way}"}
        assert set(sizes(rows, platform)) == usual | thin


def test_a_container_sends_its_layer_again_and_a_vm_all_or_the_overlay(
    rows: list[Measurement],
) -> None:
    container, vm = sizes(rows, Platform.CONTAINER), sizes(rows, Platform.VM)
    assert container["update"] < container["compressed"]
    assert vm["update"] > vm["update-on-backing-file"] == container["update"]


def test_no_row_of_a_weighed_file_carries_an_accelerator(rows: list[Measurement]) -> None:
    assert {row.accel for row in rows} == {""}


def test_every_category_has_a_row_zeros_too(rows: list[Measurement]) -> None:
    found = [
        row.phase for row in rows if row.platform is Platform.VM and row.metric == "part_bytes"
    ]
    assert found == list(CATEGORIES)


def test_an_image_that_cannot_be_made_is_a_row_and_is_not_tried_again() -> None:
    found = measured({Platform.VM: Broken(phases=VM_PHASES), Platform.CONTAINER: FakeLauncher()})
    errors = [row.error for row in found if row.platform is Platform.VM and row.status == "error"]
    assert errors == ["the box could not be made", *["not tried again after a failure"] * 2]
    assert sizes(found, Platform.CONTAINER)


def test_a_container_that_does_not_start_leaves_the_weighing_alone() -> None:
    broken = FakeLauncher(fail_at={Phase.START: LaunchFailure("it did not start", ())})
    found = measured({Platform.CONTAINER: broken})
    failures = {row.phase for row in found if row.status == "error"}
    assert failures == {"copy-up copied", "musl_program_runs_in_container"}
    assert sizes(found, Platform.CONTAINER)


def test_the_host_s_failure_is_a_fact_wherever_the_program_is_taken_from() -> None:
    for source, names in (
        (Platform.CONTAINER, {"musl_program_runs_in_container", "musl_program_fails_on_host"}),
        (Platform.VM_DIRECT, {"musl_program_fails_on_host"}),
    ):
        found = measured({source: FakeLauncher(), Platform.PROCESS: FakeLauncher()})
        facts = {row.phase: row for row in found if row.metric == "fact"}
        assert names <= set(facts)
        assert facts["musl_program_fails_on_host"].platform is Platform.PROCESS
        assert ("musl_program_runs_in_container" in facts) is (source is Platform.CONTAINER)


@pytest.mark.parametrize(
    ("number", "fact"), [(errno.ENOENT, 1.0), (errno.ENOEXEC, 1.0), (errno.EACCES, None)]
)
def test_only_a_missing_loader_counts_as_a_missing_dependency(
    number: int, fact: float | None
) -> None:
    class Host(FakeSandbox):
        def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Completed:
            if argv[0] != "/busybox":
                return FakeSandbox.run(self, argv, timeout_s=timeout_s)
            raise LaunchFailure("no", argv) from OSError(number, "why", "/home/somebody/busybox")

    class HostLauncher(FakeLauncher):
        @contextmanager
        def open(self, spec: Spec, on_event: OnEvent) -> Iterator[FakeSandbox]:
            yield Host(pid=1)

    found = measured({Platform.CONTAINER: FakeLauncher(), Platform.PROCESS: HostLauncher()})
    [row] = [row for row in found if row.phase == "musl_program_fails_on_host"]
    assert row.value == fact
    assert "somebody" not in row.text + row.error


def test_a_program_that_could_not_be_taken_out_says_nothing_about_the_host() -> None:
    broken = FakeLauncher(fail_at={Phase.START: LaunchFailure("it did not start", ())})
    found = measured({Platform.CONTAINER: broken, Platform.PROCESS: FakeLauncher()})
    [row] = [row for row in found if row.phase == "musl_program_fails_on_host"]
    assert (row.status, row.error) == ("error", "it did not start")


def test_a_platform_without_launcher_has_no_rows() -> None:
    assert measured({}) == []
    assert {row.platform for row in measured({Platform.VM: Thin()})} == {Platform.VM}


def test_a_launcher_without_an_image_is_a_row() -> None:
    found = measured({Platform.CONTAINER: ProcessLauncher()})
    assert {row.error for row in found if row.metric == "image_bytes"} == {
        "this engine cannot say what is in its images",
        "not tried again after a failure",
    }


def test_the_three_applications_are_the_same_bytes_on_every_computer() -> None:
    assert application("notes", 1) == APPLICATIONS["whole"]
    programs = [
        next(data for path, data in files.items() if path.endswith("program"))
        for files in APPLICATIONS.values()
    ]
    assert len(set(programs)) == 3
    assert {len(program) for program in programs} == {PROGRAM_BYTES}
    assert set(APPLICATIONS["whole"]) == set(APPLICATIONS["update"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/boot/vmlinuz-virt", "kernel"),
        ("/boot/System.map-6.18", "kernel"),
        ("/boot/initramfs-virt", "initial RAM disk"),
        ("/lib/modules/6.18/kernel/fs/ext4/ext4.ko.gz", "modules"),
        ("/usr/lib/modules/6.18/modules.dep", "modules"),
        ("/lib/firmware/intel/x.bin", "firmware"),
        ("/etc/init.d/networking", "init and services"),
        ("/usr/libexec/rc/sh/functions.sh", "init and services"),
        ("/sbin/openrc-run", "init and services"),
        ("/usr/lib/librc.so.1", "init and services"),
        ("/init", "init and services"),
        ("/usr/lib/libcrypto.so.3", "libraries"),
        ("/lib/ld-musl-x86_64.so.1", "libraries"),
        ("/lib/apk/db/installed", "package manager"),
        ("/usr/lib/libapk.so.3.0.0", "package manager"),
        ("/bin/busybox", "programs"),
        ("/usr/local/bin/tool", "programs"),
        ("/opt/notes/program", "application"),
        ("/sbin/vmcompare-first-byte", "application"),
        ("/etc/passwd", "data and settings"),
        ("/initial-notes", "data and settings"),
    ],
)
def test_a_file_belongs_where_its_path_says(path: str, expected: str) -> None:
    assert category(path) == expected


def test_categories_add_up_to_the_whole() -> None:
    files = [FileFact("/bin/a", 1), FileFact("/boot/vmlinuz", 20), FileFact("/etc/b", 300)]
    assert sum(weigh(files).values()) == 321
