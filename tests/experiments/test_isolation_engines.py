"""The probes on real engines: what a boundary does, never how long it takes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vmcompare.engines.bare.process import ProcessLauncher
from vmcompare.engines.docker import DockerLauncher
from vmcompare.engines.images.container_host import program_files
from vmcompare.engines.programs import calls
from vmcompare.engines.qemu import QemuLauncher
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation import boundaries, guest_containers, probes
from vmcompare.measuring.experiment import Context
from vmcompare.sandbox import Confinement, Launcher, Platform, Spec


def told(launcher: Launcher, spec: Spec, aimed: probes.Words | None = None) -> Mapping[str, str]:
    """Probe → the answer's word."""
    with launcher.open(spec, lambda _event: None) as box:
        answers = probes.ask(box, aimed).answers
    return {name: calls.written(answer) for name, answer in answers.items()}


@pytest.fixture
def aimed() -> Iterator[Callable[..., probes.Words]]:
    """What there is to aim at on this computer; ``root`` is where its root would be seen."""
    with contextlib.ExitStack() as stack:
        with ProcessLauncher().open(Spec(), lambda _event: None) as box:
            host = probes.read(box)
        port = boundaries.listener(stack).getsockname()[1]
        yield partial(probes.targets, host, box.child.pid, port, str(Path(__file__).resolve()))


@pytest.mark.skipif(sys.platform != "linux", reason="a host process is asked on Linux only")
def test_the_hosts_process_is_answered_and_nothing_is_left_in_dev(
    aimed: Callable[..., probes.Words],
) -> None:
    found = told(ProcessLauncher(), Spec(), aimed(root=""))
    assert found["network: connect"] == "ok"
    assert found["host file: read"] == "ok"
    assert not list(Path("/dev").glob("vmcompare-*"))


@pytest.mark.docker
def test_each_wall_of_a_container_stands_for_itself() -> None:
    default = told(DockerLauncher(), Spec())
    without = told(DockerLauncher(), Spec(confinement=Confinement.NO_SECCOMP))
    nobody = told(DockerLauncher(), Spec(confinement=Confinement.NO_CAPABILITIES))
    assert default["keyring"] == "EPERM"  # the filter …
    assert without["keyring"] != "EPERM"  # … and only that
    assert default["swappiness: write"] == without["swappiness: write"] == "EROFS"
    assert default["mount"] == without["mount"] == "EPERM"  # a capability stands behind it
    assert (default["chroot"], nobody["chroot"]) == ("ok", "EPERM")
    assert default["root files: write"] == "ok"


@pytest.mark.docker
def test_a_container_reaches_nothing_of_the_host_that_it_can_name(
    aimed: Callable[..., probes.Words],
) -> None:
    found = told(DockerLauncher(), Spec(), aimed())
    assert found["process: signal"] == "ESRCH"
    assert found["network: connect"] != "ok"
    assert found["host file: read"] == "ENOENT"
    assert found.get("disk: read", "EPERM") == "EPERM"


@pytest.mark.docker
def test_neighbours_meet_on_one_network_and_not_on_two() -> None:
    survey = boundaries.Survey(Context({Platform.CONTAINER: DockerLauncher()}))
    found = {}
    for arm in boundaries.PAIRS[1:3]:
        rows = list(boundaries.pair_rows(survey, arm))
        found[arm.confinement] = {row.phase: row.value for row in rows}
        assert [row.value for row in rows if row.phase != boundaries.CONNECT] == [0, 0, 0]
    assert found["default bridge"][boundaries.CONNECT] == 1
    assert found["own networks"][boundaries.CONNECT] == 0


@pytest.mark.qemu
def test_a_vm_answers_by_its_own_kernel_and_never_reads_the_hosts_disk() -> None:
    launchers: dict[Platform, Launcher] = {
        Platform.PROCESS: ProcessLauncher(),
        Platform.VM_DIRECT: QemuLauncher(Platform.VM_DIRECT),
    }
    rows: list[Measurement] = []
    with contextlib.ExitStack() as stack:
        for words, step in boundaries.steps(Context(launchers), stack):
            if not words.startswith("neighbours"):
                rows += step()
    found = {r.phase: r for r in rows if (r.platform, r.metric) == ("vm-direct", "probe")}
    assert {r.value for name, r in found.items() if probes.PROBES[name].aim == "host"} <= {0, None}
    assert found["clock: set"].text == found["restart"].text == "ok, by its own kernel"
    assert found["kernel: the host's"].text == "no"
    assert found["chroot"].value == 1
    facts = {row.phase: row.value for row in rows if row.metric == "fact"}
    assert facts == {"vm_opens_host_devices": 0, "vm_sees_host_devices": 0}


@pytest.fixture(scope="module")
def grid() -> tuple[guest_containers.Misconfigurations, list[Measurement]]:
    """A guest with a few of the words tried in it."""
    try:
        program_files("runc")
        QemuLauncher(Platform.VM_DIRECT).traits(guest_containers.GUEST)
    except Unavailable as missing:
        pytest.skip(str(missing))
    launchers: Mapping[Platform, Any] = {Platform.VM_DIRECT: QemuLauncher(Platform.VM_DIRECT)}
    words = ("", "--pid=host", "--security-opt=systempaths=unconfined", "--privileged")
    with contextlib.ExitStack() as stack:
        first, *steps, last = guest_containers.steps(Context(launchers), stack)
        state: guest_containers.Misconfigurations = first[1].args[0]  # type: ignore[attr-defined]
        rows = list(first[1]())
        for word, (_, step) in zip(guest_containers.FLAGS, steps, strict=True):
            if word in words:
                rows += step()
        rows += last[1]()
    return state, rows


@pytest.mark.qemu
def test_one_word_flips_what_was_registered(
    grid: tuple[guest_containers.Misconfigurations, list[Measurement]],
) -> None:
    state, rows = grid
    assert not [row for row in rows if row.status == "error" and row.phase != "kcore: read"]
    for word in ("--pid=host", "--security-opt=systempaths=unconfined", "--privileged"):
        assert probes.changed(state.through[""], state.through[word]) == probes.FLIPS[word]


@pytest.mark.qemu
def test_a_privileged_container_opens_the_guests_devices_and_a_default_one_none(
    grid: tuple[guest_containers.Misconfigurations, list[Measurement]],
) -> None:
    state, rows = grid
    assert not any(state.through[""][name] for name in probes.DEVICES)
    assert state.through["--privileged"]["disk: read"]
    facts = {row.phase: row.value for row in rows if row.metric == "fact"}
    assert facts["privileged_container_opens_host_devices"] == 1
    assert facts["one_misconfiguration_flips_a_probe"] == 1
