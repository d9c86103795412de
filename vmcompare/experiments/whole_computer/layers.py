"""The layers of a computer, from its facts: what lies below a process, a container and a VM here.

Nothing is measured for this. What is not on the computer is drawn as a gap, never left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.units import size
from vmcompare.evidence.view import RECORDED, Computer, View
from vmcompare.experiments.explanation import Row
from vmcompare.plots import style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import EMULATION, SOFTWARE, Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HARDWARE_VIRTUALISATION = {"kvm": "KVM", "hvf": "Hypervisor.framework", "whpx": "WHPX"}
_FLAGS = {"vmx": "VT-x (vmx) visible", "svm": "AMD-V (svm) visible", "": "no vmx or svm visible"}


class Sort(StrEnum):
    """What a layer is; decides its fill, and its words say it too."""

    HARDWARE = style.TINT_GREY
    HYPERVISOR = style.TINT_GREEN
    KERNEL = style.TINT_BLUE
    ENGINE = style.TINT_AMBER
    USERLAND = style.WHITE
    MISSING = "none"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it is, and the words on it."""

    sort: Sort
    words: str

    def wrapped(self, width: int) -> str:
        """Its words in lines of ``width`` characters."""
        return textwrap.fill(self.words, width, break_on_hyphens=False)

    def height_in(self, width: int) -> float:
        """Its height in inches, with its words in lines of ``width`` characters."""
        return 0.155 * (self.wrapped(width).count("\n") + 1) + 0.13


_WIDE, _NARROW = 62, 18
"""Characters that fit across the figure, and in a third of it."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of a computer, from the bottom up.

    Attributes:
        name: of the computer.
        shared: below everything.
        columns: platform → what lies above that.
    """

    name: str
    shared: Sequence[Layer]
    columns: Mapping[str, Sequence[Layer]]

    def sentence(self) -> str:
        """The same in words."""
        below = ", then ".join(layer.words for layer in self.shared)
        above = ". ".join(
            f"Above it, {name}: " + ", then ".join(layer.words for layer in column)
            for name, column in self.columns.items()
        )
        return f"Layers of {self.name}, from the bottom up: {below}. {above}."

    def height_in(self) -> float:
        """Height of its picture in inches."""
        shared = sum(layer.height_in(_WIDE) for layer in self.shared)
        heights = (
            sum(one.height_in(_NARROW) for one in column) for column in self.columns.values()
        )
        return shared + max(heights) + 0.52

    def draw(self, axes: Axes) -> None:
        """Draw it, in inches of height, on axes of their own."""
        words: dict[str, Any] = {"fontsize": style.SMALL_PT, "va": "center"}
        axes.set_xlim(0, 1)
        axes.set_ylim(0, self.height_in())
        axes.axis("off")
        base = 0.03
        for layer in self.shared:
            _box(axes, 0, base, 1, layer, _WIDE)
            base += layer.height_in(_WIDE)
        width = 1 / len(self.columns)
        for place, (name, column) in enumerate(self.columns.items()):
            y = base
            for layer in column:
                _box(axes, place * width, y, width, layer, _NARROW)
                y += layer.height_in(_NARROW)
            axes.text((place + 0.5) * width, y + 0.1, name, ha="center", fontweight="bold", **words)
        axes.text(0, self.height_in() - 0.06, self.name, fontstyle="italic", **words)


def _box(axes: Axes, x: float, y: float, width: float, layer: Layer, characters: int) -> None:
    from matplotlib.patches import Rectangle

    missing, height = layer.sort is Sort.MISSING, layer.height_in(characters) - 0.03
    axes.add_patch(
        Rectangle(
            (x + 0.004, y), width - 0.008, height,
            facecolor=layer.sort.value, edgecolor=style.GREY if missing else "black",
            linestyle="--" if missing else "-", linewidth=1,
        )
    )  # fmt: skip
    axes.text(
        x + width / 2, y + height / 2, layer.wrapped(characters), ha="center", va="center",
        fontsize=style.SMALL_PT, linespacing=1.1, color=style.GREY if missing else "black",
    )  # fmt: skip


def layers_of(computer: Computer, view: View) -> Stack:
    """The layers that ``computer``'s facts tell of; the guest's kernel from a run made on it."""
    facts = computer.facts
    details: Mapping[str, Mapping[str, str]] = facts.get("details", {})
    hardware = f"hardware: {facts.get('cpu') or facts.get('arch', '?')}, {facts['cores']} cores"
    if facts.get("memory_bytes"):
        hardware += f", {size(facts['memory_bytes'])}"
    flag = _FLAGS.get(facts.get("virtualisation_flag"))  # type: ignore[arg-type]  # may be None
    shared = [Layer(Sort.HARDWARE, f"{hardware}; {flag}" if flag else hardware)]
    if facts.get("virtualised"):
        words = "a hypervisor that cannot be seen from here: this computer is itself a VM"
        shared.append(Layer(Sort.HYPERVISOR, words))
    kernel = f"host kernel: {facts.get('kernel') or 'unknown'} ({facts.get('os', '?')})"
    shared.append(Layer(Sort.KERNEL, kernel))
    return Stack(
        computer.name,
        shared,
        {
            "process": (Layer(Sort.USERLAND, "userland: this system's own"),),
            "container": _container(facts, details.get("docker", {})),
            "virtual machine": _vm(facts, details.get("qemu", {}), _guest(computer, view)),
        },
    )


def _container(facts: Mapping[str, Any], found: Mapping[str, str]) -> Sequence[Layer]:
    version = facts.get("versions", {}).get("docker")
    if not version:
        return (Layer(Sort.MISSING, "no Docker here"),)
    runtime = found.get("default_runtime", "")
    engine = Layer(
        Sort.ENGINE,
        f"walls, set up by Docker {version}" + (f", {runtime}" if runtime else ""),
    )
    userland = Layer(Sort.USERLAND, "userland: the image's (Alpine)")
    if found.get("hidden_vm") == "yes":
        hidden = (
            Layer(Sort.HYPERVISOR, "hidden VM: its hypervisor"),
            Layer(Sort.KERNEL, "hidden VM: its kernel"),
        )
        return (*hidden, engine, userland)
    return (engine, userland)


def _vm(facts: Mapping[str, Any], found: Mapping[str, str], guest: str) -> Sequence[Layer]:
    version = facts.get("versions", {}).get("qemu")
    if not version:
        return (Layer(Sort.MISSING, "no QEMU here"),)
    accel = found.get("accelerator", "")
    how = EMULATION if accel == SOFTWARE else _HARDWARE_VIRTUALISATION.get(accel, "accelerator ?")
    return (
        Layer(Sort.HYPERVISOR, f"QEMU {version}, {how}"),
        Layer(Sort.KERNEL, f"guest kernel: {guest or 'its own'}"),
        Layer(Sort.USERLAND, "userland: the guest's (Alpine)"),
    )


def _guest(computer: Computer, view: View) -> str:
    """Release of the guest kernel that a run on this very computer saw; empty if none did."""
    columns = view.columns("observation", host_id=computer.facts.get("host_id", ""))
    guests = (c.rows["guest_kernel"] for c in columns if c.series.platform is Platform.VM_DIRECT)
    return next((str(kernel) for kernels in guests for kernel in kernels if kernel), "")


def recorded_elsewhere(computer: Computer, view: View) -> Sequence[Computer]:
    """The computer of the view's recording, where it is another than ``computer``; at most one."""
    return [
        Computer(f"the recorded computer (run {source.run_id})", source.host, {})
        for source in view.sources
        if source.shown == RECORDED and source.host.get("host_id") != computer.facts.get("host_id")
    ][:1]


@style.own()
def layers_figure(computer: Computer, view: View) -> Picture:
    """Layers of this computer and, below them, those of a recorded computer where it is another."""
    shown = [computer, *recorded_elsewhere(computer, view)]
    stacks = [layers_of(one, view) for one in shown]
    heights = [stack.height_in() for stack in stacks]
    figure = style.figure(sum(heights))
    grid = figure.subplots(len(stacks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, stack in zip(grid, stacks, strict=True):
        stack.draw(axes)
    return Picture(
        figure,
        alt=" ".join(stack.sentence() for stack in stacks),
        caption=" ".join(f"{text}." for text in computer.missing.values()),
        placeholders={
            "computer": computer.name,
            "docker": any("docker" in one.facts.get("versions", {}) for one in shown),
            "other": ", ".join(one.name for one in shown[1:]),
        },
    )


def facts_table(computer: Computer, view: View) -> Sequence[Row]:
    """What is on this computer, fact by fact, beside the recorded computer where it is another."""
    told = {one.name: _facts(one) for one in (computer, *recorded_elsewhere(computer, view))}
    return [
        {"what": what, **{whose: facts.get(what, "–") for whose, facts in told.items()}}
        for what in dict.fromkeys(what for facts in told.values() for what in facts)
    ]


def _facts(computer: Computer) -> dict[str, str]:
    facts, missing = computer.facts, computer.missing
    details: Mapping[str, Mapping[str, str]] = facts.get("details", {})
    docker, qemu = details.get("docker", {}), details.get("qemu", {})
    versions: Mapping[str, str] = facts.get("versions", {})
    virtual = {True: "yes: a hypervisor lies beneath", False: "no sign of it", None: "not told"}
    flag = facts.get("virtualisation_flag")
    accel = qemu.get("accelerator", "")
    rows = {
        "processor": f"{facts.get('cpu') or '?'} ({facts.get('arch', '?')})",
        "offers to run VMs": "not told" if flag is None else _FLAGS[flag],
        "is itself virtual": virtual[facts.get("virtualised")],
        "system": str(facts.get("os", "?")),
        "kernel": str(facts.get("kernel", "?")),
        "control groups": f"version {version}"
        if (version := facts.get("cgroup_version"))
        else "none",
        "Docker": versions.get("docker") or missing.get("docker", "not there"),
    }
    if docker:
        rows["container runtime"] = docker.get("default_runtime") or "not told"
        rows["hidden VM"] = (
            "yes: containers share its kernel, not this system's"
            if docker.get("hidden_vm") == "yes"
            else "no: containers share this kernel"
        )
    rows["QEMU"] = versions.get("qemu") or missing.get("qemu", "not there")
    if accel:
        how = f"{_HARDWARE_VIRTUALISATION.get(accel, 'hardware')}, proved by a timed guest"
        rows["accelerator"] = f"{accel}: {EMULATION if accel == SOFTWARE else how}"
    for key, why in qemu.items():
        if key.startswith("rejected "):
            rows[key] = f"tried, and it {why}" if why.startswith("stalls") else f"tried: {why}"
    return rows
