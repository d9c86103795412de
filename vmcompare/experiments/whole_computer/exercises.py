"""The first lesson, practised: four exercises on the rows shown, and four questions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import (
    Answer,
    Choice,
    Exercise,
    Feedback,
    Kind,
    Question,
    chosen,
    near,
)
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import ratio, seconds
from vmcompare.evidence.view import View
from vmcompare.experiments.whole_computer.noise import START
from vmcompare.sandbox import EMULATION, SOFTWARE

FIXED = ("code", "end mark", "signature")
"""Parts of the boot sector that no message can do without."""

_BUG_RIGHT = "Let a guest run a timed loop under the accelerator, and report the one that passed."
_BUG_OPEN = "Check that `/dev/kvm` can be opened for reading and writing, not only that it exists."
_BUG_FLAG = "Look for `vmx` or `svm` among the processor’s flags."
_BUG_MANY = "Start each of the two ten times and report medians with intervals."

_FAIR = "`runc` against plain QEMU booting a guest; both images are there, neither has a network."
_CLONE = "`docker run` of an image that is there, against a VM resumed from a snapshot."
_RUNNING = "`docker exec` in a running container, against booting a VM from its disk."
_PULLED = (
    "`docker run` of an image that is there, against a new cloud VM, its disk downloaded first."
)


def room_bytes(view: View) -> float:
    """Bytes that are left for a message beside what every boot sector of ours carries.

    Raises:
        Unavailable: the view does not tell how long the parts are.
    """
    parts = _parts(view)
    return sum(parts.values()) - sum(parts[name] for name in FIXED)


def extremes(view: View) -> tuple[float, float, int]:
    """Slowest and fastest start of a container in seconds, and how many starts there are.

    Raises:
        Unavailable: there are fewer than two.
    """
    rows = view.values(metric=START, platform="container", layer="product")
    if len(rows) < 2:
        raise Unavailable(
            "the data shown hold no two starts of a container",
            "measure one round, or replay a recording",
        )
    return float(rows["value"].max()), float(rows["value"].min()), len(rows)


def accelerators(view: View) -> tuple[str, ...]:
    """The accelerators that the VM rows shown carry; empty where no VM ran."""
    frame = view.frame
    return tuple(sorted({str(name) for name in frame["accel"] if name})) if len(frame) else ()


def _parts(view: View) -> dict[str, float]:
    rows = view.values(metric="part_bytes") if len(view.frame) else view.frame
    parts = {str(row["phase"]): float(row["value"]) for row in rows.to_dict("records")}
    if not set(FIXED) < set(parts):
        raise Unavailable(
            "the data shown do not hold the parts of the boot sector",
            "measure with QEMU, or replay a recording",
        )
    return parts


def _solve_room(view: View) -> str:
    parts = _parts(view)
    fixed = " − ".join(f"{parts[name]:.0f} ({name})" for name in FIXED)
    return (
        f"{sum(parts.values()):.0f} − {fixed} = **{room_bytes(view):.0f} bytes**. One more, and "
        "the page says so in a sentence. In UTF-8 an *ü* is two bytes, so fewer letters may fit "
        "than bytes. Only the message and the zeros change: the code finds the message by its "
        "place, which stays where it was."
    )


def _solve_extremes(view: View) -> str:
    slow, fast, n = extremes(view)
    return (
        f"`times.max() / times.min()`: {seconds(slow)} ÷ {seconds(fast)} = "
        f"**{ratio(slow / fast)}** among {n} starts of one and the same container. Whoever starts "
        "it once gets any of these."
    )


def _accelerators_said(view: View) -> str:
    found = accelerators(view)
    if not found:
        return "The data shown hold no VM, so they name no accelerator."
    words = ", ".join(f"{name} ({EMULATION})" if name == SOFTWARE else name for name in found)
    return f"The VMs of the data shown ran on: {literal(words)}. Each row says so."


def _solve_study(view: View) -> str:
    return (
        f"{_BUG_RIGHT} {_accelerators_said(view)} The course’s probe boots a tiny firmware under "
        "one named accelerator, brings it to 64-bit mode and times a loop. A name, a device or a "
        "flag is a promise; a loop that ends in time is a fact."
    )


def _study(view: View, answer: Answer) -> Feedback:
    judged = chosen(
        _BUG_RIGHT,
        {
            _BUG_RIGHT: "Yes: only a guest that ran in time proves it.",
            _BUG_OPEN: "Not yet: a device can be opened and its guests may still stall. Look at "
            "the rows *accelerator* and *rejected* in the table of what is on this computer: what "
            "did the probe do beyond opening it?",
            _BUG_FLAG: "Not yet: the flag says what the processor offers, not what anybody "
            "used. Where a computer is itself virtual, the flag may be there and slow, or hidden.",
            _BUG_MANY: "A good habit, and it repairs another flaw. Ten emulated starts are "
            "still emulated: the report would be precise about the wrong thing.",
        },
    )(view, answer)
    return Feedback(judged.right, f"{judged.text} {_accelerators_said(view)}".strip())


def _solve_pair(view: View) -> str:  # noqa: ARG001 - not a matter of data
    return (
        f"{_FAIR} Both are mechanisms, both start cold. The others cross the grid: a product cold "
        "against a clone; running against cold; and the last one has a download on one side only."
    )


_ALL = (
    Exercise(
        name="slowest_over_fastest",
        kind=Kind.FILL_IN,
        title="How far apart is the same thing?",
        task=(
            "Every container start of the data shown is the same start. How many times as long as "
            "the fastest did the slowest take? Complete the last line."
        ),
        code=(
            "rows = lesson.view.values(\n"
            f'    metric="{START}",\n'
            '    platform="container", layer="product",\n'
            ")\n"
            'times = rows["value"]\n'
            "times.max() / ..."
        ),
        unit="ratio",
        check=near(
            lambda view: extremes(view)[0] / extremes(view)[1],
            "ratio",
            within=0.01,
            why="A study of one run each might have met these two.",
        ),
        hints=(
            "Both ends are among `times`; A or B makes no difference here.",
            "The fastest start is the smallest of the times.",
        ),
        solution=_solve_extremes,
        in_class=True,
    ),
    Exercise(
        name="longest_message",
        kind=Kind.TWEAK,
        title="Fill the sector",
        task=(
            "Change the message, and see which of the 512 bytes change and which do not. Then make "
            "it as long as it can be. How many **bytes** may a message have?"
        ),
        code='lesson.demo("boot_sector", message="x" * 100)',
        unit="bytes",
        check=near(room_bytes, "bytes", within=0.0, why="The rest is code, end mark, signature."),
        hints=(
            "Which parts does the line above the bytes name, and how long is each?",
            "Make the message far too long, and read the sentence that you get.",
        ),
        solution=_solve_room,
    ),
    Exercise(
        name="kvm_exists",
        kind=Kind.BUG,
        title="The device was there",
        task=(
            "A report says: *`/dev/kvm` exists, so this is hardware virtualisation; a VM took two "
            "hundred times as long as a container.* Which change makes the part about **hardware "
            "virtualisation** true or false, instead of hoped for?"
        ),
        code=(
            "import os, time\n"
            'accelerated = os.path.exists("/dev/kvm")\n'
            "begin = time.perf_counter()\n"
            "start_vm()  # QEMU takes whichever accelerator it can get\n"
            "vm_s = time.perf_counter() - begin\n"
            'print("hardware virtualisation:", accelerated, vm_s)'
        ),
        choices=(_BUG_OPEN, _BUG_RIGHT, _BUG_FLAG, _BUG_MANY),
        check=_study,
        hints=(
            "Which line of the study looks at what the guest did?",
            "Look at the table of what is on this computer: how was an accelerator chosen, and "
            "why were others rejected?",
        ),
        solution=_solve_study,
    ),
    Exercise(
        name="fair_pair",
        kind=Kind.TRANSFER,
        title="Place four comparisons",
        task=(
            "Four comparisons of the kind that gets published. Place both sides of each in the "
            "grid. Which pair lies in **one** row, with the same work timed on both sides?"
        ),
        choices=(_CLONE, _FAIR, _RUNNING, _PULLED),
        check=chosen(
            _FAIR,
            {
                _FAIR: "Yes: mechanism against mechanism, cold against cold. What it says holds "
                "for mechanisms; `docker run` adds its own work.",
                _CLONE: "Not yet: a snapshot has already booted. In the grid this is a clone "
                "beside a cold start; the article’s claim about start is about booting.",
                _RUNNING: "Not yet: one side is running, the other does not exist yet. Which "
                "row is each in?",
                _PULLED: "Nearly: both are products and both are cold. But a download is timed on "
                "one side only; it happens once per computer, not once per start.",
            },
        ),
        hints=(
            "Ask of each side: is there an instance already? And is there a manager around it?",
            "Two of the pairs start from different states, one differs in what is timed.",
        ),
        solution=_solve_pair,
    ),
)

EXERCISES: Mapping[str, Exercise] = MappingProxyType({exercise.name: exercise for exercise in _ALL})
"""Name → exercise; *fill in* is the one done in class."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        "a_small_vm",
        "A machine starts the 512 bytes, a container does not. Why?",
        (
            Choice(
                "A container is a small virtual machine without a BIOS.",
                "It would need devices and a boot id of its own. Set its column in the table of "
                "hardware beside that of whatever runs the kernel under it.",
            ),
            Choice(
                "A container can only ask the running kernel, and that kernel does not know them "
                "as a program.",
                "So the answers say: every kernel that was asked refused them. In the machine, "
                "none was asked.",
                right=True,
            ),
            Choice(
                "The container lacked the rights; a privileged one could do it.",
                "Read the refusal: does it speak of a format or of a right? And look at the plain "
                "process, which has no walls around it.",
            ),
        ),
    ),
    Question(
        "one_run",
        "You start A once and B once, and B takes longer. What do you know?",
        (
            Choice(
                "B is slower.",
                "In the figure A and B are the same thing, and single starts of them still "
                "differ: the table says by how much as a rule.",
            ),
            Choice(
                "Nothing yet: the same thing twice may differ as much.",
                "What A and B differ by is what any other difference has to exceed. Repeat, take "
                "the median, and give its interval.",
                right=True,
            ),
            Choice(
                "Nothing, and measuring more often does not help.",
                "Move the slider: the difference that can be seen shrinks with the square root of "
                "the number of runs, as long as the computer does not drift.",
            ),
        ),
    ),
    Question(
        "emulation",
        "What sets hardware virtualisation (VT-x, AMD-V) apart from software emulation (TCG)?",
        (
            Choice(
                "With emulation a guest cannot run an operating system of its own.",
                "It can: the facts of this lesson hold with either. The same guest kernel boots, "
                "only slower.",
            ),
            Choice(
                "Guest instructions run on the processor itself; only a few trap to the "
                "hypervisor. An emulator translates all of them.",
                "That is why figures about time carry their accelerator, and why emulated ones "
                "decide no claim about time.",
                right=True,
            ),
            Choice(
                "Nothing but a setting: where `/dev/kvm` exists, QEMU is accelerated.",
                "The probe tries it with a timed guest. The table of what is on this computer "
                "says which accelerator passed, and what became of the others.",
            ),
        ),
    ),
    Question(
        "provenance",
        "A caption says *recorded · run …*. What are you looking at?",
        (
            Choice(
                "A measurement of this computer.",
                "Only *measured* is that. The caption names the machine it was recorded on; "
                "compare it with the picture of this computer’s layers.",
            ),
            Choice(
                "A calculation from measured figures.",
                "That would be *modelled*, with its formula beside it, as under the slider.",
            ),
            Choice(
                "A measurement that this project made earlier, on the machine that is named.",
                "And *literature* is somebody else’s, with its source. The four are never mixed "
                "into one figure.",
                right=True,
            ),
        ),
    ),
)
