"""Ratios of starts, measured side by side in one run: `make bench`.

Not a test: it asserts nothing, because this computer's noise is not the code's fault. Every ratio
is paired within shuffled blocks and has a 95 % interval.

    container ÷ docker run      what the harness adds to a container's start (wanted: ≤ 1.05)
    vm-direct (…) ÷ plain QEMU  against QEMU as its manual starts it: same kernel, initramfs,
                                accelerator
    vm-tuned ÷ vm               the same distribution, its boot made short
    import vmcompare ÷ pandas   in fresh interpreters, the import statement alone (wanted: ≤ ⅓)
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

from vmcompare.engines import cleanup, docker, qemu
from vmcompare.engines.images import alpine
from vmcompare.engines.qemu import accel
from vmcompare.engines.qemu.binary import find_qemu
from vmcompare.evidence.statistics import paired_ratio
from vmcompare.evidence.units import NS_PER_S, ratio, seconds
from vmcompare.sandbox import (
    FIRST_BYTE,
    FIRST_BYTE_PROGRAM,
    Event,
    Launcher,
    Machine,
    Phase,
    Platform,
    Spec,
)

Start = Callable[[], float]
"""One start: seconds from the client's call to the first byte."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the pairs that can be had here and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--container-rounds", type=int, default=30)
    parser.add_argument("--vm-rounds", type=int, default=12)
    parser.add_argument("--distribution-rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    with cleanup.guard():
        _report(_measure(_imports(), 15), "import pandas", 0.33)
        if docker.probe().ok:
            found = _measure(_containers(), arguments.container_rounds)
            _report(found, "docker run", 1.05)
        if qemu.probe().ok:
            found = _measure(_direct(), arguments.vm_rounds)
            _report(found, "plain QEMU")
            found = _measure(_distribution(), arguments.distribution_rounds)
            _report(found, "vm")
    return 0


def _imports() -> Mapping[str, Start]:
    names = ("vmcompare", "pandas")
    return {f"import {name}": lambda n=name: _import_s(n) for name in names}  # type: ignore[misc]


def _import_s(name: str) -> float:
    code = f"from time import perf_counter as t; a = t(); import {name}; print(t() - a)"
    return float(subprocess.check_output([sys.executable, "-c", code]))


def _containers() -> Mapping[str, Start]:
    launcher = docker.launchers()[Platform.CONTAINER]
    spec = Spec()
    image = launcher.image(spec)
    return {
        "container": lambda: _open(launcher, spec),
        "docker run": lambda: _docker_run(image.digest),
    }


def _direct() -> Mapping[str, Start]:
    launcher, spec = qemu.QemuLauncher(Platform.VM_DIRECT), Spec(machine=Machine.PC)
    launcher.image(spec)  # builds what is missing, outside the clock
    return {"plain QEMU": _plain_qemu, "vm-direct (pc)": lambda: _open(launcher, spec)}


def _distribution() -> Mapping[str, Start]:
    tuned, made = qemu.QemuLauncher(Platform.VM_TUNED), qemu.QemuLauncher(Platform.VM)
    return {
        "vm-tuned": lambda: _open(tuned, Spec(machine=Machine.PC)),
        "vm": lambda: _open(made, Spec(machine=Machine.Q35)),
    }


def _open(launcher: Launcher, spec: Spec) -> float:
    stamps: dict[Phase, int] = {}

    def keep(event: Event) -> None:
        stamps.setdefault(event.phase, event.t_ns)

    with launcher.open(spec, keep):
        pass
    return (stamps[Phase.FIRST_BYTE] - stamps[Phase.OPEN]) / NS_PER_S


def _docker_run(image: str) -> float:
    """The command line client with the flags that our request carries."""
    spec = Spec()
    limit = f"{spec.memory_mib}m"
    command = ["docker", "run", "--rm", "-i", "--init", "--network", "none"]
    command += ["--memory", limit, "--memory-swap", limit, "--cpus", str(spec.vcpus)]
    return _first_byte_s([*command, image, FIRST_BYTE_PROGRAM])


def _plain_qemu() -> float:
    """QEMU as its manual ("Direct Linux Boot") starts a kernel: `-kernel bzImage -initrd …`."""
    found = find_qemu()
    command = [str(found.path), "-M", "pc", "-accel", accel.choose(found).accel]
    command += ["-m", str(Spec().memory_mib), "-nographic", "-no-reboot"]
    command += ["-kernel", str(alpine.sources().kernel), "-initrd", str(alpine.full_initramfs())]
    return _first_byte_s([*command, "-append", "console=ttyS0 panic=-1"])


def _first_byte_s(command: Sequence[str]) -> float:
    began_ns = time.perf_counter_ns()
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=cleanup.marked(),
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        while FIRST_BYTE not in (piece := child.stdout.read1(4096)):  # type: ignore[attr-defined]
            if not piece:
                raise RuntimeError(f"no first byte from: {' '.join(command)}")
        took_s = (time.perf_counter_ns() - began_ns) / NS_PER_S
        if shutil.which(command[0]) and command[0] != "docker":
            child.terminate()
        child.stdin.close()
        child.wait()
    return took_s


def _measure(starts: Mapping[str, Start], rounds: int) -> list[dict[str, float]]:
    """``rounds`` blocks of every start in shuffled order, after one warm-up of each."""
    chance = random.Random(1)
    for start in starts.values():
        start()
    blocks: list[dict[str, float]] = []
    for _ in tqdm(range(rounds), unit="block", file=sys.stderr, leave=False):
        names = list(starts)
        chance.shuffle(names)
        blocks.append({name: starts[name]() for name in names})
    return blocks


def _report(blocks: Sequence[Mapping[str, float]], base: str, wanted: float | None = None) -> None:
    values: dict[str, list[float]] = defaultdict(list)
    for block in blocks:
        for name, value in block.items():
            values[name].append(value)
    print(f"\n{len(blocks)} blocks; median of {base}: {seconds(_median(values[base]))}")
    for name in (n for n in values if n != base):
        found = paired_ratio([([block[name]], [block[base]]) for block in blocks])
        bound = f"   wanted: upper end ≤ {wanted}" if wanted else ""
        print(
            f"  {name + ' ÷ ' + base:48} {ratio(found.estimate):>7}  "
            f"[{found.low:.3f}, {found.high:.3f}]  median {seconds(_median(values[name]))}{bound}"
        )


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    sys.exit(main())
