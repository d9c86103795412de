"""What answers in the lesson on memory are checked against, and values of model answers."""

from __future__ import annotations

from vmcompare.errors import Unavailable
from vmcompare.evidence import view as columns
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import View
from vmcompare.experiments.explanation import Values
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.explain import OVERHEAD, PSS, explained
from vmcompare.experiments.guest_os.fits import GIB
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

ROOM_BYTES = 6 * GIB
"""What the laptop of the last exercise has left for instances."""


@explained.check("slope_by_hand", unit="MiB", within=0.03)
def slope_by_hand(view: View) -> float:
    """MiB for each further container, from two points of the first ramp."""
    two, ten = _two_and_ten(view)
    return (ten - two) / 8 / MIB


@explained.values("slope_by_hand")
def _slope_by_hand(view: View) -> Values:
    two, ten = _two_and_ten(view)
    return {
        "two": size(two),
        "ten": size(ten),
        "difference": size(ten - two),
        "slope": f"{slope_by_hand(view):.3g}",
        "average": size(ten / 10),
    }


def _two_and_ten(view: View) -> tuple[float, float]:
    """Bytes of 2 and of 10 containers together, in the first ramp."""
    ramp = columns.container(view.columns(PSS, phase="ramp", block=0))
    points = ramp.medians("rep") if ramp else {}
    if not {2, 10} <= points.keys():
        raise Unavailable(
            "the first ramp of containers lacks N = 2 or N = 10",
            "replay a recording, or measure where Docker is",
        )
    return points[2], points[10]


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


@explained.check("laptop", unit="VMs", within=0.06)
def full_vms(view: View) -> float:
    """How many freshly booted full VMs fit into :data:`ROOM_BYTES`."""
    for fit in fits.fits(view, PSS):
        if fit.series.platform is Platform.VM and fit.each.estimate > 0:
            return float(fit.most(ROOM_BYTES))
    raise Unavailable("the data shown hold no ramp of vm", "replay a recording, or measure one")


@explained.values("laptop")
def _laptop(view: View) -> Values:
    lines = []
    for fit in fits.fits(view, PSS):
        if fit.each.estimate > 0 and fit.series.platform.is_vm:
            under = f" ({EMULATION}, without the code cache)" if fit.column.emulated else ""
            lines.append(
                f"- {literal(fit.series.label)}{under}: a = {size(fit.fixed)}, "
                f"b = {size(fit.each.estimate)}, so {fit.most(ROOM_BYTES)}"
            )
    found = fits.fits(view, OVERHEAD)
    base = fits.container(found)
    run_id = base.column.run_id if base else ""
    daemons = fits.daemons_bytes(view, run_id).get(0)
    paid_back = [
        f"- {literal(vm.series.label)}: {fits.crossover_words(daemons, base, vm)}"
        for vm in fits.vms(found, run_id)
        if base and daemons is not None
    ]
    return {
        "vms": "\n".join(lines),
        "daemons": size(daemons or 0.0),
        "paid_back": "\n".join(paid_back),
    }
