"""What if a hole in the kernel has to be closed: how many kernels, and who stops."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import NEXT, View
from vmcompare.experiments.shared_kernel.rows import Instance, answered, fact
from vmcompare.plots.dots import Dot, Panels, sliding_dots
from vmcompare.plots.picture import WhatIf
from vmcompare.sandbox import Platform, Series

HOSTS = 10
"""Computers of the patch day."""


def patch_day(view: View) -> WhatIf:
    """Kernels to patch on ten hosts, from the number of kernels that instances brought along."""
    found = [one for one in answered(view) if one.kernel]
    shares = {
        "container": _kernels_each(found, Platform.CONTAINER),
        "vm": _kernels_each(found, Platform.VM_DIRECT, Platform.VM),
    }
    known = {name: share for name, share in shares.items() if share is not None}
    if not known:
        raise Unavailable("neither a container nor a machine was seen beside a host", NEXT)
    fixed = 2 if fact(view, "container_boot_id_is_a_hidden_vms") else 1
    looks = {"container": Series(Platform.CONTAINER), "vm": Series(Platform.VM)}
    values = (1, 2, 3, 4, 5, 7, 10, 13, 16, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90, 100)

    def panels(each: float) -> Panels:
        patched, stopped = [], []
        for name, share in known.items():
            kernels = HOSTS * (fixed + share * each)
            patched.append(Dot(looks[name], name, kernels, f"{kernels:,.0f}"))
            # An instance with a kernel of its own stops alone when that one restarts.
            alone = 1 if share >= 1 else each
            stopped.append(Dot(looks[name], name, alone, f"{alone:,.0f}"))
        return {
            f"Kernels to patch on {HOSTS} hosts": patched,
            "Instances that stop when one such kernel restarts": stopped,
        }

    hidden = " The hosts’ own kernel counts too, beside the hidden VM’s." if fixed > 1 else ""
    return sliding_dots(
        panels,
        values,
        label="instances on each host",
        unit="per host",
        start=20,
        said="{:g} instances a host.",
        caption=(
            "Counted, not timed. When a host’s own kernel restarts, every instance on it stops, of "
            f"whatever kind.{hidden}"
        ),
        formula=r"K = H \cdot (k_{\mathrm{host}} + \kappa \cdot N)",
        source=(
            f"K, kernels to patch; H, hosts: {HOSTS}; N, instances on each; "
            f"k_host, kernels that a host has anyway: {fixed}; "
            "κ, kernels that each instance brought along: "
            + ", ".join(f"{name} {share:g}" for name, share in known.items())
            + f"; {view.caption()}"
        ),
    )


def _kernels_each(found: list[Instance], *platforms: Platform) -> float | None:
    """Kernels an instance brings along: those that no host had, over the number of instances.

    Containers are held against the host, and against each other where that one cannot be asked or
    where a hidden VM is their host.
    """
    those = [one for one in found if one.platform in platforms]
    if not those:
        return None
    kernels = {(one.run_id, one.kernel) for one in those}
    if platforms == (Platform.CONTAINER,):
        return (len(kernels) - 1) / len(those)
    return len(kernels) / len(those)
