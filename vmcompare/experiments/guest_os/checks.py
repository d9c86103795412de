"""What answers in the lesson on memory are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence import view as columns
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.explain import PSS, explained
from vmcompare.experiments.guest_os.fits import Fit
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

ROOM_MIB = 6 * 1024
"""What the laptop of the exercise in class has left for instances."""

APPLICATION_MIB = 100
"""What the application needs that each of them runs."""


@explained.check("laptop", unit="VMs", within=0.06)
def full_vms(view: View) -> float:
    """How many freshly booted full VMs fit into :data:`ROOM_MIB`, each with its application."""
    return float(_fits_in(_laptop(view)[0]))


@explained.values("laptop")
def _laptops(view: View) -> Values:
    vm, container = _laptop(view)
    vms, containers = _fits_in(vm), _fits_in(container) if container else 0
    return {
        "fixed": size(vm.fixed),
        "one": size(vm.each.estimate),
        "vms": vms,
        "containers": containers,
        "times": f"{containers / max(1, vms):.2g}",
        "emulated": EMULATION if vm.column.emulated else "",
    }


def _laptop(view: View) -> tuple[Fit, Fit | None]:
    found = fits.fits(view, PSS)
    for fit in found:
        if fit.series.platform is Platform.VM and fit.each.estimate > 0:
            return fit, fits.container(found)
    raise Unavailable("the data shown hold no ramp of vm", "replay a recording, or measure one")


def _fits_in(fit: Fit) -> int:
    """The largest n with fixed part + n · (one more + application) within the room."""
    each_mib = fit.each.estimate / MIB + APPLICATION_MIB
    return int((ROOM_MIB - fit.fixed / MIB) // each_mib)


@explained.check("given_and_paid", unit="ratio", within=0.03)
def paid_for_more(view: View) -> float:
    """What a direct-boot VM given 1024 MiB costs ÷ what one given 128 MiB costs (medians)."""
    small, large = _small_and_large(view)
    return large / small


@explained.values("given_and_paid")
def _given_and_paid(view: View) -> Values:
    small, large = _small_and_large(view)
    return {"small": size(small), "large": size(large), "times": f"{large / small:.3g}"}


def _small_and_large(view: View) -> tuple[float, float]:
    """Bytes that a direct-boot VM given 128 MiB costs, and one given 1024 MiB."""
    found = view.columns(PSS, phase="size")
    column = columns.of_series(found, Series(Platform.VM_DIRECT, Machine.PC))
    paid = column.medians("mem_limit_mib") if column else {}
    if not {128, 1024} <= paid.keys():
        raise Unavailable(
            "the data shown hold no virtual machine of both sizes",
            "replay a recording, or measure where QEMU is",
        )
    return paid[128], paid[1024]


@explained.values("flawed_study")
def _flawed_study(view: View) -> Values:
    found = fits.container(fits.fits(view, PSS))
    return {"container": size(found.each.estimate) if found else ""}
