"""The accelerator is proved, not inferred: with stand-ins that misbehave, and for real."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vmcompare.engines import qemu as backend
from vmcompare.engines.qemu import accel, binary
from vmcompare.engines.qemu.binary import Qemu, find_qemu
from vmcompare.errors import Unavailable

posix = pytest.mark.skipif(sys.platform == "win32", reason="stand-ins are shell scripts")
pytestmark = posix

GOOD = "printf 123"
"""What the firmware says on an accelerator that works."""

Stand = Callable[[str], Qemu]


@pytest.fixture
def stand_in(tmp_path: Path) -> Stand:
    """A program that behaves like a QEMU in one respect: the shell script it is given.

    ``$accel`` is the accelerator it was asked for.
    """

    def make(script: str) -> Qemu:
        path = tmp_path / "qemu-system-x86_64"
        path.write_text(
            "#!/bin/sh\n"
            'while [ $# -gt 0 ]; do [ "$1" = -accel ] && accel=$2; last=$1; shift; done\n'
            f"{script}\n"
        )
        path.chmod(0o755)
        return Qemu(path, "7.2.0")

    return make


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("vmcompare.paths.cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)


def _prove(qemu: Qemu) -> accel.Accelerator:
    return accel.prove(qemu, ("kvm", "tcg"))


def test_the_first_candidate_that_finishes_is_taken(stand_in: Stand) -> None:
    assert _prove(stand_in(GOOD)) == accel.Accelerator("kvm")


@pytest.mark.parametrize(
    ("kvm", "why"),
    [
        ("printf 12; exec sleep 60", "stalls in 64-bit mode"),
        ("printf 1; exec sleep 60", "stalls in 64-bit mode"),
        ("exec sleep 60", "no sign of life"),
        ("printf 12", "ends in the middle of the test"),
        ("exit 1", "QEMU ended at once"),
        (
            'echo "qemu-system-x86_64: invalid accelerator kvm" >&2; exit 1',
            "invalid accelerator kvm",
        ),
        (
            'echo "Could not access KVM kernel module: Permission denied" >&2; exit 1',
            "Permission denied",
        ),
    ],
)
def test_an_accelerator_that_fails_is_rejected_with_its_reason(
    stand_in: Stand, monkeypatch: pytest.MonkeyPatch, kvm: str, why: str
) -> None:
    if "sleep" in kvm:
        monkeypatch.setattr(accel, "LOOP_S" if "printf" in kvm else "FIRST_BYTE_S", 0.5)
    choice = _prove(stand_in(f'[ "$accel" = tcg ] && {{ {GOOD}; exit 33; }}\n{kvm}'))
    assert choice == accel.Accelerator("tcg", (("kvm", why),))


def test_a_stalling_accelerator_leaves_no_process(
    stand_in: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "LOOP_S", 0.5)
    _prove(
        stand_in(
            f'[ "$accel" = tcg ] && {{ {GOOD}; exit 33; }}\n'
            f"echo $$ > {tmp_path}/pid; printf 12; exec sleep 60"
        )
    )
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path("/proc", pid).exists()


def test_where_nothing_works_every_reason_is_told(stand_in: Stand) -> None:
    with pytest.raises(Unavailable) as caught:
        _prove(stand_in('echo "qemu: no $accel today" >&2; exit 1'))
    assert "kvm: no kvm today; tcg: no tcg today" in caught.value.what
    assert caught.value.next_step


def test_the_answer_is_kept_until_the_next_boot(
    stand_in: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu = stand_in(f"echo x >> {tmp_path}/runs; {GOOD}")
    first = accel.choose(qemu)
    assert accel.choose(qemu) == first
    assert (tmp_path / "runs").read_text() == "x\n"
    monkeypatch.setattr(accel.cleanup, "boot", lambda: "another boot")
    assert accel.choose(qemu) == first
    assert (tmp_path / "runs").read_text() == "x\nx\n"


def test_only_hardware_gets_the_hosts_processor() -> None:
    found = Qemu(Path("qemu"), "1", accel="kvm")
    assert found.accelerator() == ("-accel", "kvm", "-cpu", "host")
    assert replace(found, accel="tcg").accelerator() == ("-accel", "tcg")


def test_the_firmware_starts_at_the_reset_vector() -> None:
    rom = accel.firmware()
    assert len(rom) == accel.FIRMWARE_BYTES
    assert rom[0xFFF0:0xFFF5] == bytes.fromhex("ea000000f0")  # jmp F000:0000


@pytest.mark.usefixtures("no_wheel")
def test_a_qemu_that_does_not_start_is_unavailable_and_says_why(
    stand_in: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "qemu: /lib/libc.so.6: version `GLIBC_2.38' not found (required by qemu)"
    qemu = stand_in(f'echo "{words.replace("`", chr(92) + "`")}" >&2; exit 1')
    monkeypatch.setenv("PATH", str(qemu.path.parent))
    with pytest.raises(Unavailable, match=r"GLIBC_2\.38' not found"):
        find_qemu()


@pytest.mark.usefixtures("no_wheel")
def test_without_qemu_the_next_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = backend.probe()
    assert (found.ok, found.what) == (False, "QEMU is not installed")
    assert "install" in found.next_step


def test_on_windows_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary.sys, "platform", "win32")
    with pytest.raises(Unavailable, match="Windows"):
        find_qemu()


def test_importing_the_backend_imports_nothing_heavy() -> None:
    script = (
        "import sys, vmcompare.engines.qemu\n"
        "print(sorted({'pandas', 'matplotlib', 'docker', 'pyfsext', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.qemu
def test_the_real_qemu_finds_an_accelerator_and_says_why_not_a_better_one() -> None:
    qemu = find_qemu()
    assert shutil.which(qemu.path.name)
    choice = accel.choose(qemu)
    candidates = accel.CANDIDATES[sys.platform]
    tried = [name for name, _ in choice.rejected]
    assert [*tried, choice.accel] == list(candidates[: len(tried) + 1])
    assert all(why for _, why in choice.rejected)


@pytest.mark.qemu
def test_software_emulation_always_passes_its_test(tmp_path: Path) -> None:
    rom = tmp_path / "probe.bin"
    rom.write_bytes(accel.firmware())
    assert accel.attempt(find_qemu(), "tcg", rom) == ""
    assert "not-an-accelerator" in accel.attempt(find_qemu(), "not-an-accelerator", rom)
