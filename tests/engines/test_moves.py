"""What is moved runs elsewhere as it was, and nothing of either place is left."""

from __future__ import annotations

import os
import shutil

import psutil
import pytest
from waiting import until

from vmcompare.engines import cleanup
from vmcompare.engines.bare import runc
from vmcompare.engines.docker import DockerLauncher, second
from vmcompare.engines.qemu import QemuLauncher
from vmcompare.errors import AbnormalShutdown, Unavailable
from vmcompare.sandbox import FIRST_BYTE_PROGRAM, Machine, Migrates, Platform, Spec

SPEC = Spec(machine=Machine.PC, memory_mib=256)


@pytest.mark.qemu
def test_a_vm_that_moves_keeps_what_it_had_in_memory_and_the_first_place_ends() -> None:
    before = set(psutil.Process().children())
    with QemuLauncher(Platform.VM_DIRECT).open(SPEC, lambda _: None) as box:
        assert isinstance(box, Migrates)
        box.put("/tmp/kept", b"kept")
        boot_id = box.run(["cat", "/proc/sys/kernel/random/boot_id"]).output
        with box.migrate() as there:
            assert there.box.run(["cat", "/tmp/kept"]).output == b"kept"
            assert there.box.run(["cat", "/proc/sys/kernel/random/boot_id"]).output == boot_id
            assert there.box.host_pids() != box.host_pids()
            assert there.pause_s > 0
        with pytest.raises(AbnormalShutdown):
            there.box.run(["true"])
    assert set(psutil.Process().children()) <= before


@pytest.mark.mechanism
def test_a_container_that_criu_continues_keeps_its_memory_and_nothing_of_it_is_left() -> None:
    if os.geteuid() != 0 or shutil.which("criu") is None:
        pytest.skip("takes root and CRIU")
    command = ("sh", "-c", f"exec {FIRST_BYTE_PROGRAM} 2>/dev/null")
    with runc.RuncLauncher().open(Spec(command=command), lambda _: None) as box:
        assert isinstance(box, Migrates)
        box.put("/tmp/kept", b"kept")
        with box.migrate() as there:
            assert there.by.startswith("CRIU ")
            assert there.box.run(["cat", "/tmp/kept"]).output == b"kept"
            with pytest.raises(AbnormalShutdown):
                box.run(["true"])
            served = [psutil.Process(pid) for pid in there.box.host_pids()]
        assert there.box.host_pids() == ()
    assert psutil.wait_procs(served, timeout=10)[1] == []
    assert not list(cleanup.CGROUP_ROOT.glob(f"*/vmcompare-{cleanup.session_id()}-*"))


@pytest.mark.mechanism
def test_without_criu_a_container_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (found := runc.probe()).ok:
        pytest.skip(found.what)
    with runc.RuncLauncher().open(Spec(), lambda _: None) as box:
        monkeypatch.setenv("PATH", "")
        assert isinstance(box, Migrates)
        with pytest.raises(Unavailable, match="no criu"), box.migrate():
            pass


def test_a_second_engine_that_cannot_be_had_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(Unavailable, match="no dockerd and no unshare") as said,
        second.second_engine(),
    ):
        pass
    assert "root" in said.value.next_step


@pytest.mark.docker
def test_an_image_is_moved_to_an_empty_engine_and_the_first_one_is_left_alone() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    launcher = DockerLauncher()
    before = launcher.image(Spec())
    with second.second_engine() as elsewhere:
        assert elsewhere.images.list() == []
        assert elsewhere.containers.list(all=True) == []
    moved = launcher.move(Spec())
    assert moved.shipped_bytes > 1 << 20
    assert min(moved.save_s, moved.load_s, moved.start_s) > 0
    assert DockerLauncher().image(Spec()) == before
    ours = f"*/vmcompare-{cleanup.session_id()}-*"
    assert until(lambda: not list(cleanup.CGROUP_ROOT.glob(ours)))


def test_only_a_whole_vm_is_moved_as_a_file() -> None:
    with pytest.raises(Unavailable, match="only a whole VM"):
        QemuLauncher(Platform.VM_DIRECT).move(Spec())
