"""Memory of instances, practised: four exercises on the rows shown, and four questions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Choice, Exercise, Kind, Question, chosen, near
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import MIB, size
from vmcompare.evidence.view import View, container
from vmcompare.experiments.guest_os import fits
from vmcompare.experiments.guest_os.fits import Fit
from vmcompare.experiments.guest_os.models import GIB, instances
from vmcompare.sandbox import EMULATION, Machine, Platform, Series

_NS = (2, 10)
"""The two points of the container's ramp that the slope is made of by hand."""

_SIZES_MIB = (128, 1024)
_ROOM_GIB = 6

_STUDY_RIGHT = "Sum the PSS of shim and workload with several containers, and take the slope."
_STUDY_STATS = "Read `docker stats` for the container, and `-m` for the virtual machine."
_STUDY_DIFFERENCE = "Read `used` once before and once after, and report the difference."
_STUDY_RSS = "Add up the resident size (RSS) of all processes of Docker."


def slope_by_hand(view: View) -> float:
    """MiB for each further container, from two points of the first ramp.

    Raises:
        Unavailable: the view lacks one of the two points.
    """
    few, many = _points(view)
    return (many - few) / (_NS[1] - _NS[0]) / MIB


def paid_for_more(view: View) -> float:
    """What a direct-boot VM given 1024 MiB costs ÷ what one given 128 MiB costs (medians).

    Raises:
        Unavailable: the view lacks one of the two sizes.
    """
    small, large = _sized(view)
    return large / small


def full_vms(view: View) -> float:
    """How many freshly booted full VMs fit into :data:`_ROOM_GIB` GiB.

    Raises:
        Unavailable: the view holds no ramp of full VMs.
    """
    fit = _of_platform(view, Platform.VM)
    return float(instances(_ROOM_GIB * GIB, 0.0, fit))


def _points(view: View) -> tuple[float, float]:
    ramp = container(view.columns("pss_bytes", phase="ramp", block=0))
    found = [ramp.where(rep=n).values for n in _NS] if ramp else []
    if not all(found) or not found:
        raise Unavailable(
            f"the first ramp of containers lacks N = {_NS[0]} or N = {_NS[1]}",
            "replay a recording, or measure where Docker is",
        )
    return found[0][0], found[1][0]


def _sized(view: View) -> tuple[float, float]:
    for column in view.columns("pss_bytes", phase="size"):
        if column.series == Series(Platform.VM_DIRECT, Machine.PC):
            medians = column.medians("mem_limit_mib")
            if all(wanted in medians for wanted in _SIZES_MIB):
                return medians[_SIZES_MIB[0]], medians[_SIZES_MIB[1]]
    raise Unavailable(
        "the data shown hold no virtual machine of both sizes",
        "replay a recording, or measure where QEMU is",
    )


def _of_platform(view: View, platform: Platform) -> Fit:
    for fit in fits.fits(view, "pss_bytes"):
        if fit.column.series.platform is platform and fit.each.estimate > 0:
            return fit
    raise Unavailable(
        f"the data shown hold no ramp of {platform}", "replay a recording, or measure one"
    )


def _solve_slope(view: View) -> str:
    few, many = _points(view)
    average = size(many / _NS[1])
    return (
        f"With {_NS[0]} containers {size(few)}, with {_NS[1]} {size(many)}: the difference, "
        f"{size(many - few)}, is what {_NS[1] - _NS[0]} further ones cost, so "
        f"**{slope_by_hand(view):.3g} MiB** each. The average, {size(many)} ÷ {_NS[1]} = "
        f"{average}, "
        "also spreads the fixed part a over the containers, so it depends on how many there are."
    )


def _solve_sizes(view: View) -> str:
    small, large = _sized(view)
    return (
        f"Given {_SIZES_MIB[0]} MiB the host pays {size(small)}, given {_SIZES_MIB[1]} MiB it pays "
        f"{size(large)}: **{paid_for_more(view):.3g} times** as much, for eight times the `-m`. "
        "What is paid is the emulator and what the guest has touched; `-m` is how far it may go."
    )


def _solve_room(view: View) -> str:
    lines = []
    for fit in fits.fits(view, "pss_bytes"):
        if fit.each.estimate > 0 and fit.column.series.platform.is_vm:
            under = f" ({EMULATION}, without the code cache)" if fit.column.emulated else ""
            count = instances(_ROOM_GIB * GIB, 0.0, fit)
            lines.append(
                f"- {literal(fit.column.series.label)}{under}: a = {size(fit.fixed)}, "
                f"b = {size(fit.each.estimate)}, so {count}"
            )
    return (
        f"n = ⌊(M − a) ÷ b⌋ with M = {_ROOM_GIB} GiB:\n\n" + "\n".join(lines) + "\n\nThat is for "
        "guests that have just booted. One that was used may cost what it was given and more, as "
        f"the aged guest shows: plan with that.{_solve_daemons(view)}"
    )


def _solve_daemons(view: View) -> str:
    """From how many instances on daemons are paid back, where one run has both sides."""
    found = fits.fits(view, "overhead_bytes")
    base = fits.product(found)
    held = fits.daemons_bytes(view, base.column.run_id) if base else None
    if base is None or held is None:
        return ""
    lines = [
        f"\n- {literal(vm.column.series.label)}: {fits.star_words(fits.crossover(held, base, vm))}"
        for vm in fits.vms(found, base.column.run_id)
    ]
    return f"\n\nDaemons of {size(held)} are paid back against\n" + "".join(lines) if lines else ""


def _solve_study(view: View) -> str:
    found = fits.product(fits.fits(view, "pss_bytes"))
    named = f" In the data shown that is {size(found.each.estimate)}." if found else ""
    return (
        f"{_STUDY_RIGHT}{named} `used` is the whole host: its kernel, its desktop, every other "
        "program. Read inside the guest, the same word means another thing again."
    )


_ALL = (
    Exercise(
        name="slope_by_hand",
        kind=Kind.FILL_IN,
        title="The price of one more",
        task=(
            f"Take two points of the containers’ first ramp, N = {_NS[0]} and N = {_NS[1]}. How "
            "many MiB does **each further** container cost? Complete the last line."
        ),
        code=(
            "rows = lesson.view.values(\n"
            '    metric="pss_bytes", phase="ramp",\n'
            '    platform="container", layer="product",\n'
            ")\n"
            'ramp = rows[rows["block"] == 0].set_index("rep")["value"] / 2**20\n'
            f"(ramp[{_NS[1]}] - ramp[{_NS[0]}]) / ..."
        ),
        unit="MiB",
        check=near(
            slope_by_hand,
            "MiB",
            within=0.03,
            why="That is b, the marginal cost: what a fixed part costs has dropped out.",
        ),
        hints=(
            "Print `ramp`. How many containers were added between the two points?",
            f"Not the total divided by {_NS[1]}: that average also holds the fixed part.",
        ),
        solution=_solve_slope,
        in_class=True,
    ),
    Exercise(
        name="given_and_paid",
        kind=Kind.TWEAK,
        title="Eight times the memory",
        task=(
            "This prints what the host pays for a direct-boot VM that was given 128 MiB, in MiB. "
            "Change it to 1024. How many times as much is paid as for 128?"
        ),
        code=(
            "rows = lesson.view.values(\n"
            '    metric="pss_bytes", phase="size", platform="vm-direct"\n'
            ")\n"
            'rows[rows["mem_limit_mib"] == 128]["value"].median() / 2**20'
        ),
        unit="ratio",
        check=near(
            paid_for_more,
            "ratio",
            within=0.03,
            why="`-m` sets how far a guest may go, not what it costs.",
        ),
        hints=(
            "Run it for 128 and for 1024, and note both figures.",
            "Divide the figure for 1024 by the one for 128, in this order.",
        ),
        solution=_solve_sizes,
    ),
    Exercise(
        name="flawed_study",
        kind=Kind.BUG,
        title="Ten gigabytes for a container",
        task=(
            "A student ran this, and `free` inside a virtual machine. The report says that Docker "
            "uses 9.98 GB and the VM 1.57 GB. Which change makes the first figure the cost of one "
            "container?"
        ),
        code=(
            "import docker, psutil\n"
            'docker.from_env().containers.run("alpine", "sleep 600", detach=True)\n'
            'print("Docker uses", psutil.virtual_memory().used / 1e9, "GB")'
        ),
        choices=(_STUDY_DIFFERENCE, _STUDY_STATS, _STUDY_RIGHT, _STUDY_RSS),
        check=chosen(
            _STUDY_RIGHT,
            {
                _STUDY_DIFFERENCE: (
                    "Nearer, but everything else that the host did in between is in that one "
                    "difference. The column *less left on the host* took whole ramps; look how "
                    "wide its interval is even so."
                ),
                _STUDY_STATS: (
                    "`docker stats` reads the control group, which leaves out the shim; and `-m` "
                    "is a limit, not a cost. See *its control group* in the table of three ways "
                    "of counting, and the figure of what is given and what is paid."
                ),
                _STUDY_RIGHT: (
                    "PSS counts shared pages once, whoever maps them; the slope leaves the fixed "
                    "part out. The VM needs the same: its emulator on the host, by slope."
                ),
                _STUDY_RSS: (
                    "RSS counts a page that ten shims share ten times, and the daemons are there "
                    "once, not once for each container. The falling figure of shared pages shows "
                    "how much that matters."
                ),
            },
        ),
        hints=(
            "What else does `psutil.virtual_memory().used` count on a computer that has been on "
            "all day?",
            "Which of the answers counts only processes that serve containers, and every page "
            "once?",
        ),
        solution=_solve_study,
    ),
    Exercise(
        name="laptop",
        kind=Kind.TRANSFER,
        title="How many fit on a laptop?",
        task=(
            f"A laptop of 8 GiB has {_ROOM_GIB} GiB left for instances. How many freshly booted "
            "**full VMs** (`vm`) fit, going by the fitted a and b, without the code cache? Before "
            "you look at the solution, read from the figure of what manages instances: from how "
            "many on are Docker’s daemons paid back?"
        ),
        code='lesson.table("ramps")',
        unit="VMs",
        check=near(
            full_vms,
            "VMs",
            within=0.06,
            why="Fresh ones: compare with what an aged guest costs before you promise it.",
        ),
        hints=(
            "One GiB is 1,024 MiB. Write down a + b·n ≤ M and solve for n.",
            "Take the columns *fixed, a* and *each, b* of the row `vm`, and round down.",
        ),
        solution=_solve_room,
    ),
)

EXERCISES: Mapping[str, Exercise] = MappingProxyType({exercise.name: exercise for exercise in _ALL})
"""Name → exercise; *fill in* is the one done in class."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        "what_is_paid",
        "A virtual machine is started with `-m 512`. What does the host pay?",
        (
            Choice(
                "512 MiB, from the start.",
                "`-m` is a promise. Look at the figure of what is given and paid: how far do the "
                "points lie from the dashed line?",
            ),
            Choice(
                "Nothing, until the application in it asks for memory.",
                "A kernel and its services have touched memory before that, and an emulator runs "
                "beside them: the stacked bars show all of it on an instance without any load.",
            ),
            Choice(
                "The emulator, and what the guest has touched so far.",
                "So what is paid grows with use, and a guest that has read much keeps it: compare "
                "the fresh guest with the aged one.",
                right=True,
            ),
        ),
    ),
    Question(
        "docker_stats",
        "`docker stats` shows one figure for a container. Why is it not the container’s cost?",
        (
            Choice(
                "It counts the control group, and the shim is not in it.",
                "Compare *its control group* with *its processes* in the table. Neither is wrong; "
                "they answer different questions.",
                right=True,
            ),
            Choice(
                "It is the cost: a container is nothing but its process.",
                "Every container has a shim of its own beside its process. The stacked bar shows "
                "how the two compare.",
            ),
            Choice(
                "It shows virtual memory, which is far too large.",
                "It shows what the control group has been charged, less inactive file cache. The "
                "table has that figure: compare it with the others.",
            ),
        ),
    ),
    Question(
        "daemons",
        "An engine’s daemons run once, whatever the number of containers. When do they matter?",
        (
            Choice(
                "Never: overhead is what every container adds.",
                "What every container adds is the slope b. The dashed line starts higher up, at a, "
                "before there is any container.",
            ),
            Choice(
                "With few instances: below N* they outweigh what is saved.",
                "With many they are spread thin. The slider shows how N* moves with their size.",
                right=True,
            ),
            Choice(
                "With many instances: they grow with each.",
                "Under the figure of the ramps it says what they held before the first container "
                "and beside the last. Growth belongs to b; what was there before, to a.",
            ),
        ),
    ),
    Question(
        "shared_pages",
        "On a computer with no other containers, the proportional memory of one falls as others "
        "join it. Why?",
        (
            Choice(
                "The engine takes memory from the earlier ones.",
                "No limit is reached here and nothing is taken back: the total still rises with N. "
                "Look at the ramp.",
            ),
            Choice(
                "They map the same files; such a page is in memory once and is shared out.",
                "One kernel, one page cache. Guests with kernels of their own keep one cache each, "
                "which the host cannot see into.",
                right=True,
            ),
            Choice(
                "Idle containers are compressed after a while.",
                "Nothing is compressed. The falling curve follows N, not time.",
            ),
        ),
    ),
)
