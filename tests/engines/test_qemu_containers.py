"""A guest that hosts containers, for real: this computer's runc runs in it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from vmcompare.engines.images.container_host import LOOP_MODULE, RUNC, program_files
from vmcompare.engines.qemu import QemuLauncher
from vmcompare.errors import Unavailable
from vmcompare.sandbox import CONTAINER_HOST, Follower, Machine, Platform, Sandbox, Spec

pytestmark = pytest.mark.qemu

HOST = Spec(image=CONTAINER_HOST, machine=Machine.PC, memory_mib=512)
PREPARE = """
set -e
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir /c && mount -t tmpfs tmpfs /c && mkdir -p /c/rootfs
cp -a /bin /sbin /lib /etc /usr /c/rootfs/
mkdir /c/rootfs/proc /c/rootfs/dev /c/rootfs/sys
"""
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["sh", "-c", "echo $$; hostname; cat /proc/self/cgroup"],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
    },
    "root": {"path": "rootfs"},
    "hostname": "inside",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {
        "namespaces": [{"type": t} for t in ("pid", "uts", "mount", "network", "ipc", "cgroup")],
        "resources": {"memory": {"limit": 64 << 20}},
    },
}


@pytest.fixture(scope="module")
def guest() -> Iterator[Sandbox]:
    try:
        program_files("runc")
    except Unavailable as missing:
        pytest.skip(str(missing))
    with QemuLauncher(Platform.VM_DIRECT).open(HOST, lambda _event: None) as sandbox:
        prepared = sandbox.run(["sh", "-c", PREPARE])
        assert prepared.exit_code == 0, prepared.output
        yield sandbox


def test_runc_runs_in_the_guest(guest: Sandbox) -> None:
    done = guest.run([RUNC, "--version"])
    assert done.exit_code == 0
    assert done.output.startswith(b"runc version")


def test_a_container_runs_in_the_guest_with_namespaces_and_a_limit(guest: Sandbox) -> None:
    guest.put("/c/config.json", json.dumps(CONFIG).encode())
    done = guest.run(["runc", "run", "--no-pivot", "--bundle", "/c", "trial"], timeout_s=120)
    assert done.exit_code == 0, done.output
    assert done.output.split() == [b"1", b"inside", b"0::/"]
    assert guest.run(["hostname"]).output != b"inside\n"


def test_leaving_a_followed_container_ends_what_runs_in_it(guest: Sandbox) -> None:
    assert isinstance(guest, Follower)
    program = "setsid sleep 4741 & while :; do echo beat; sleep 0.2; done"
    process = {**CONFIG["process"], "args": ["sh", "-c", program]}
    guest.put("/c/config.json", json.dumps({**CONFIG, "process": process}).encode())
    said: list[bytes] = []
    argv = ["runc", "run", "--no-pivot", "--bundle", "/c", "beating"]
    with guest.follow(argv, lambda piece, _t_ns: said.append(piece)) as followed:
        deadline = time.monotonic() + 120
        while not said and time.monotonic() < deadline:
            time.sleep(0.05)
        assert b"sleep 4741" in guest.run(["ps"]).output
        assert followed.ended_ns() is None
    assert said[0].startswith(b"beat")
    assert b"sleep 4741" not in guest.run(["ps"]).output
    assert guest.run(["runc", "delete", "--force", "beating"]).exit_code == 0


def test_root_of_the_guest_can_make_a_block_device(guest: Sandbox) -> None:
    line = f"insmod {LOOP_MODULE} && truncate -s 1M /tmp/disk && losetup /dev/loop0 /tmp/disk"
    done = guest.run(["sh", "-c", f"{line} && blockdev --getsize64 /dev/loop0"])
    assert done.output == b"1048576\n"


def test_it_is_described_as_any_other_image(guest: Sandbox) -> None:
    assert guest.host_pids()
    launcher = QemuLauncher(Platform.VM_DIRECT)
    plain, hosting = launcher.image(Spec(machine=Machine.PC)), launcher.image(HOST)
    assert hosting.digest != plain.digest
    assert hosting.size_bytes > plain.size_bytes + len(program_files("runc")[RUNC])


@pytest.mark.parametrize("platform", [Platform.VM, Platform.VM_TUNED])
def test_only_a_vm_that_boots_from_its_ram_disk_hosts_containers(platform: Platform) -> None:
    with (
        pytest.raises(Unavailable, match="vm-direct"),
        QemuLauncher(platform).open(HOST, lambda _event: None),
    ):
        pass
