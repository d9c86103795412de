"""The table of system calls, made for real on this host and in a container."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from vmcompare.engines.docker import DockerLauncher
from vmcompare.engines.programs import EM_AARCH64, EM_X86_64, calls
from vmcompare.engines.programs.calls import BUFFER, Call, Result
from vmcompare.errors import Unavailable
from vmcompare.experiments.isolation.probes import PROBES
from vmcompare.sandbox import Confinement, Spec

linux = pytest.mark.skipif(sys.platform != "linux", reason="the program is one for Linux")

HERE = -100
"""AT_FDCWD: paths count from the working directory."""


def asked(tmp_path: Path, *sequences: Sequence[Call]) -> tuple[int, ...]:
    program = tmp_path / "calls"
    program.write_bytes(calls.elf(platform.machine(), sequences))
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, check=True, timeout=60)
    return calls.decode(done.stdout, len(sequences))


@linux
def test_it_tells_what_the_kernel_returned(tmp_path: Path) -> None:
    (tmp_path / "three").write_bytes(b"abc")
    path = str(tmp_path / "three").encode()
    found = asked(
        tmp_path,
        [Call("openat", (HERE, path, os.O_RDONLY)), Call("read", (Result(0), BUFFER, 100))],
        [Call("openat", (HERE, b"/nowhere/at/all", os.O_RDONLY))],
        [Call("kill", (0, 0))],
    )
    assert found == (3, -2, 0)
    assert [calls.written(answer) for answer in found] == ["ok", "ENOENT", "ok"]


@linux
def test_the_first_failure_is_the_answer_and_only_clearing_up_goes_on(tmp_path: Path) -> None:
    one, two = (str(tmp_path / name).encode() for name in ("one", "two"))
    found = asked(
        tmp_path,
        [
            Call("openat", (HERE, b"/nowhere/at/all", os.O_RDONLY)),
            Call("mkdirat", (HERE, one, 0o700)),
            Call("mkdirat", (HERE, two, 0o700), always=True),
        ],
    )
    assert [calls.written(answer) for answer in found] == ["ENOENT"]
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()


@linux
def test_a_sequence_that_hangs_or_dies_disturbs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LIMIT_S", 1)
    an_hour = (3600).to_bytes(16, "little")
    found = asked(
        tmp_path,
        [Call("getppid"), Call("kill", (Result(1), 0))],
        [Call("nanosleep", (an_hour, 0))],
        [Call("getpid"), Call("kill", (Result(0), 9))],
        [Call("exit_group", (7,))],
        [Call("getpid")],
    )
    told = [calls.written(answer) for answer in found]
    assert told == ["ok", "it took too long", "killed by signal 9", "no answer", "ok"]


@linux
def test_a_call_can_be_named_by_its_number(tmp_path: Path) -> None:
    nobodys = 9999
    answer, same = asked(tmp_path, [Call(nobodys)], [Call("getppid")])
    assert calls.written(answer) == "ENOSYS"
    assert same > 1


@pytest.mark.docker
def test_a_container_answers_otherwise_where_its_filter_is_off() -> None:
    keyring = [Call("keyctl", (0, -3, 0))]  # KEYCTL_GET_KEYRING_ID of the session, made for nobody
    machine = platform.machine()
    told = {}
    for confinement in (Confinement.DEFAULT, Confinement.NO_SECCOMP):
        with DockerLauncher().open(Spec(confinement=confinement), lambda _event: None) as box:
            box.put("/calls", calls.elf(machine, [keyring, [Call("getpid")]]))
            answers = calls.decode(box.run(["/calls"]).output, 2)
        told[confinement] = [calls.written(answer) for answer in answers]
    assert told[Confinement.DEFAULT] == ["EPERM", "ok"]
    assert told[Confinement.NO_SECCOMP][0] != "EPERM"


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "aarch64", "arm64"])
def test_strings_lie_where_the_program_is_told(machine: str) -> None:
    program = calls.elf(machine, [[Call("openat", (HERE, b"/a", 0))], [Call("getpid")]])
    assert program.endswith(b"/a\0")
    address = 0x400000 + len(program) - 3
    assert address.to_bytes(8, "little") in program
    assert len(program) < 4096


def test_every_call_has_the_number_that_its_processor_gives_it() -> None:
    x86_64, arm64 = calls.NUMBERS[EM_X86_64], calls.NUMBERS[EM_AARCH64]
    assert (x86_64["openat"], x86_64["userfaultfd"], arm64["openat"]) == (257, 323, 56)
    assert len(set(x86_64.values())) == len(x86_64)
    assert set(arm64) < set(x86_64)


def test_x86_64_has_every_call_of_the_registered_probes() -> None:
    lines = [probe.calls for probe in PROBES.values() if probe.calls]
    named = {call.removeprefix("always ").split()[0] for line in lines for call in line.split("; ")}
    assert named <= set(calls.NUMBERS[EM_X86_64])


@pytest.mark.parametrize("sequences", [[], [[]], [[Call("getpid")]] * 3001])
def test_nothing_to_call_is_refused_and_so_is_too_much(sequences: list[list[Call]]) -> None:
    with pytest.raises(ValueError, match="sequence"):
        calls.elf("x86_64", sequences)


def test_other_processors_and_their_calls_are_told_what_to_do() -> None:
    with pytest.raises(Unavailable, match="riscv64"):
        calls.elf("riscv64", [[Call("getpid")]])
    assert not calls.has("arm64", [Call("ioperm", (0x80, 1, 1))])
    assert calls.has("x86_64", [Call("ioperm", (0x80, 1, 1))])
    with pytest.raises(Unavailable, match="ioperm"):
        calls.elf("arm64", [[Call("ioperm", (0x80, 1, 1))]])


@pytest.mark.parametrize("output", [b"", b"1234567", b"sh: /calls: not found\n"])
def test_what_it_did_not_print_is_no_answer(output: bytes) -> None:
    with pytest.raises(Unavailable, match="did not finish"):
        calls.decode(output, 1)
