"""The layers of a computer, from its facts: what lies below a process, a container and a VM here.

Nothing is measured for this. What is not on the computer is drawn as a gap, never left out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vmcompare.evidence.units import size
from vmcompare.evidence.view import Computer, View
from vmcompare.plots import style
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import EMULATION, SOFTWARE, Platform

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HARDWARE_VIRTUALISATION = {"kvm": "KVM", "hvf": "Hypervisor.framework", "whpx": "WHPX"}
_FLAGS = {"vmx": "VT-x (vmx) visible", "svm": "AMD-V (svm) visible", "": "no vmx or svm visible"}
_WIDE, _NARROW = 90, 28
"""Characters that fit across the figure, and in a third of it."""

_GAP = "none"
"""The fill of a layer that is not there."""

Layer = tuple[str, str]
"""Its fill, and the words on it, which say what it is as well."""


def layers_of(computer: Computer, view: View) -> tuple[Sequence[Layer], Mapping[str, list[Layer]]]:
    """The layers that ``computer``'s facts tell of, from the bottom up; the guest's kernel from a
    run made on it. First those below everything, then those above them by platform.
    """
    facts = computer.facts
    details: Mapping[str, Mapping[str, str]] = facts.get("details", {})
    words = [f"hardware: {facts.get('cpu') or facts.get('arch', '?')}, {facts['cores']} cores"]
    if facts.get("memory_bytes"):
        words.append(f", {size(facts['memory_bytes'])}")
    if (flag := facts.get("virtualisation_flag")) is not None:
        words.append(f"; {_FLAGS[flag]}")
    shared = [(style.TINT_GREY, "".join(words))]
    if facts.get("virtualised"):
        beneath = "a hypervisor that cannot be seen from here: the computer is itself a VM"
        shared.append((style.TINT_GREEN, beneath))
    kernel = f"host kernel: {facts.get('kernel') or 'unknown'} ({facts.get('os', '?')})"
    shared.append((style.TINT_BLUE, kernel))
    versions: Mapping[str, str] = facts.get("versions", {})
    return shared, {
        "process": [(style.WHITE, "programs: this system's own")],
        "container": _container(versions.get("docker", ""), details.get("docker", {})),
        "virtual machine": _vm(
            versions.get("qemu", ""), details.get("qemu", {}), _guest(computer, view)
        ),
    }


def _container(version: str, found: Mapping[str, str]) -> list[Layer]:
    if not version:
        return [(_GAP, "no Docker here")]
    made = f"namespaces and cgroup, made by Docker {version}"
    if runtime := found.get("default_runtime"):
        made += f", {runtime}"
    above = [(style.TINT_AMBER, made), (style.WHITE, "programs: the image's (Alpine)")]
    if found.get("hidden_vm") == "yes":
        hidden = (style.TINT_GREEN, "hidden VM: its hypervisor")
        return [hidden, (style.TINT_BLUE, "hidden VM: its kernel"), *above]
    return above


def _vm(version: str, found: Mapping[str, str], guest_kernel: str) -> list[Layer]:
    if not version:
        return [(_GAP, "no QEMU here")]
    accel = found.get("accelerator", "")
    how = EMULATION if accel == SOFTWARE else _HARDWARE_VIRTUALISATION.get(accel, "accelerator ?")
    return [
        (style.TINT_GREEN, f"QEMU {version}, {how}"),
        (style.TINT_BLUE, f"guest kernel: {guest_kernel or 'its own'}"),
        (style.WHITE, "programs: the guest's (Alpine)"),
    ]


def _guest(computer: Computer, view: View) -> str:
    """Release of the guest kernel that a run on this very computer saw; empty if none did."""
    columns = view.columns("observation", host_id=computer.facts.get("host_id", ""))
    guests = (c.rows["guest_kernel"] for c in columns if c.series.platform is Platform.VM_DIRECT)
    return next((str(kernel) for kernels in guests for kernel in kernels if kernel), "")


@style.own()
def layers_figure(computer: Computer, view: View) -> Picture:
    """Layers of this computer; in the text alternative they stand from the bottom up."""
    shared, above = layers_of(computer, view)
    base = sum(_height_in(words, _WIDE) for _, words in shared)
    top = max(sum(_height_in(words, _NARROW) for _, words in column) for column in above.values())
    figure = style.figure(base + top + 0.3)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, base + top + 0.3)
    axes.axis("off")
    _stack(axes, shared, 0.03, 0, 1, _WIDE)
    width = 1 / len(above)
    for place, (name, column) in enumerate(above.items()):
        y = _stack(axes, column, base + 0.03, place * width, width, _NARROW)
        _say(axes, (place + 0.5) * width, y + 0.1, name, fontweight="bold")
    below = ", then ".join(words for _, words in shared)
    columns = ". ".join(
        f"Above it, {name}: " + ", then ".join(words for _, words in column)
        for name, column in above.items()
    )
    details: Mapping[str, Mapping[str, str]] = computer.facts.get("details", {})
    tried = (
        f"{key.removeprefix('rejected ')} was tried: {why}"
        for key, why in details.get("qemu", {}).items()
        if key.startswith("rejected ")
    )
    return Picture(
        figure,
        alt=f"Layers of {computer.name}, from the bottom up: {below}. {columns}.",
        caption=" ".join(f"{text}." for text in (*computer.missing.values(), *tried)),
        placeholders={"computer": computer.name},
    )


def _height_in(words: str, characters: int) -> float:
    """Height in inches of a layer with its words in lines of so many characters."""
    return 0.155 * len(textwrap.wrap(words, characters, break_on_hyphens=False)) + 0.13


def _stack(
    axes: Axes, layers: Sequence[Layer], y: float, x: float, width: float, characters: int
) -> float:
    """Draw layers upwards from ``y`` (inches); returns where they end."""
    from matplotlib.patches import Rectangle

    for fill, words in layers:
        gap, height = fill == _GAP, _height_in(words, characters)
        axes.add_patch(
            Rectangle(
                (x + 0.004, y), width - 0.008, height - 0.03,
                facecolor=fill, edgecolor=style.GREY if gap else "black",
                linestyle="--" if gap else "-", linewidth=1,
            )
        )  # fmt: skip
        lines = textwrap.fill(words, characters, break_on_hyphens=False)
        colour = style.GREY if gap else "black"
        _say(axes, x + width / 2, y + height / 2 - 0.015, lines, color=colour, linespacing=1.1)
        y += height
    return y


def _say(axes: Axes, x: float, y: float, words: str, **how: Any) -> None:
    axes.text(x, y, words, fontsize=style.SMALL_PT, ha="center", va="center", **how)
