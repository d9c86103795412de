"""What answers in the lesson on memory are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.explain import PSS, explained
from vmcompare.experiments.guest_os.fits import Fit
from vmcompare.sandbox import EMULATION, Platform

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


@explained.values("flawed_study")
def _flawed_study(view: View) -> Values:
    found = fits.container(fits.fits(view, PSS))
    return {"container": size(found.each.estimate) if found else ""}
