"""Boot speed, practised: four exercises on the rows shown, and four questions to leave with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Choice, Exercise, Kind, Question, chosen, near
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.statistics import median_interval
from vmcompare.evidence.units import seconds
from vmcompare.evidence.view import Column, View, container
from vmcompare.plots.times import ending, medians, phase_name
from vmcompare.sandbox import EMULATION, Phase, Platform

START = "start_to_first_byte_s"

FEW = 3
"""Starts of one round: what a hurried study would stop at."""

BUDGET = 0.1
"""Share of a job that its start may take, in the planning exercise."""

_STUDY_RIGHT = "Have the image ready beforehand, and stop the clock at the program’s first byte."
_STUDY_CLOCK = "Read `time.time()` instead of `time.perf_counter()`."
_STUDY_REPEAT = "Run it ten times and report the median with its interval."
_STUDY_LIKE = "Let the VM download its disk within the measured time, too: then both sides do it."


def services_share(view: View) -> float:
    """Per cent of the full VM's time to its first byte that its services take.

    Raises:
        Unavailable: the view holds no phases of a full VM up to its first byte.
    """
    parts = _vm_phases(view)[1]
    return 100 * parts[Phase.FIRST_BYTE] / sum(parts.values())


def widths_s(view: View) -> tuple[float, float, int]:
    """Widths (s) of the interval of the first :data:`FEW` container starts and of all, and how many
    all are.

    Raises:
        Unavailable: there are no further starts, or all of them took the same time.
    """
    starts = _container(view).values
    if len(starts) <= FEW:
        raise Unavailable(
            f"the data shown hold only {len(starts)} starts of a container",
            "measure three rounds or more, or replay a recording",
        )
    few, every = median_interval(starts[:FEW]), median_interval(starts)
    if every.high == every.low:
        raise Unavailable("all starts of a container took the same time", "measure more rounds")
    return few.high - few.low, every.high - every.low, len(starts)


def shortest_job_s(start_s: float) -> float:
    """How long a job must work (s) for its start to be :data:`BUDGET` of both together."""
    return start_s * (1 - BUDGET) / BUDGET


def _container(view: View) -> Column:
    found = container(view.need(START, "start"))
    if found is None:
        raise Unavailable("there is no container start to look at", "replay a recording")
    return found


def _vm_phases(view: View) -> tuple[Column, Mapping[Phase, float]]:
    """The full VM, and the median seconds of each phase of its start, up to the first byte."""
    for column in view.columns("phase_s"):
        if column.series.platform is Platform.VM:
            parts: dict[Phase, float] = {
                phase: value
                for phase, value in medians(column).items()
                if phase is not Phase.READY and not ending(phase)
            }
            if Phase.FIRST_BYTE in parts:
                return column, parts
    raise Unavailable("there are no phases of a full VM to look at", "replay a recording")


def _solve_share(view: View) -> str:
    column, parts = _vm_phases(view)
    services = parts[Phase.FIRST_BYTE]
    listed = " + ".join(
        f"{phase_name(column, phase)} {seconds(value)}" for phase, value in parts.items()
    )
    under = (
        f" The VM ran under {EMULATION}: so did all of these phases, but not all of them slow down "
        "alike, and with hardware the share would be another."
        if column.emulated
        else ""
    )
    return (
        f"{listed} = {seconds(sum(parts.values()))}. The services are {seconds(services)} of it, "
        f"which is **{services_share(view):.1f} %**. *Ready* and *shutdown* come after the first "
        f"byte and belong to no start.{under}"
    )


def _solve_widths(view: View) -> str:
    few, every, n = widths_s(view)
    return (
        f"The interval of the first {FEW} starts is {seconds(few)} wide, that of all {n} is "
        f"{seconds(every)}: **{few / every:.2g} times**. From more starts of the same kind the "
        "median is known better, roughly with the square root of their number. A ratio below 1 "
        f"means that the first {FEW} agreed by chance: a narrow interval of {FEW} starts is no "
        "proof of precision."
    )


def _solve_jobs(view: View) -> str:
    lines = []
    for column in view.need(START, "start"):
        median_s = column.median.estimate
        under = f" ({EMULATION})" if column.emulated else ""
        lines.append(
            f"- {literal(column.series.label)}{under}: starts in {seconds(median_s)}, so a job "
            f"works for at least {seconds(shortest_job_s(median_s))}"
        )
    return (
        "With start $t$ and work $w$, $t \\le 0.1\\,(t + w)$ gives $w \\ge 9\\,t$, nine times the "
        "start and not ten. From the data shown:\n\n" + "\n".join(lines)
    )


def _solve_study(view: View) -> str:
    found = container(view.columns("phase_s"))
    named = ""
    if found is not None:
        shown = literal(", ".join(dict.fromkeys(found.rows["phase"])))
        named = f" The phases shown are {shown}: no build."
    return (
        f"{_STUDY_RIGHT} `up --build` makes the image, creates a network and then starts; the "
        "first two happen once per machine or per change of the code. `--wait` ends when the "
        f"engine reports the service as running, which need not be the first byte.{named}"
    )


_ALL = (
    Exercise(
        name="services_share",
        kind=Kind.FILL_IN,
        title="The services’ share of a boot",
        task=(
            "A full VM shows its first byte when the last service of its distribution runs. How "
            "many per cent of its time **to the first byte** do these services take? In the rows "
            'they are the phase `"first-byte"`. Complete the last line.'
        ),
        code=(
            'rows = lesson.view.values(metric="phase_s", platform="vm")\n'
            'parts = rows.groupby("phase")["value"].median()\n'
            'services = parts["first-byte"]\n'
            "100 * services / ..."
        ),
        unit="per cent",
        # Tight: who counts what comes after the first byte, too, is only a few per cent off.
        check=near(
            services_share,
            "per cent",
            within=0.01,
            why="This part is the guest’s choice: the direct-boot VM does without it.",
        ),
        hints=(
            "Print `parts`. Which of these phases come after the first byte?",
            "In the figure of the phases a triangle marks where a start ends. Divide by what is to "
            "the left of it.",
            "Add up *spawn*, *firmware*, *kernel* and the services; *ready* and *shutdown* do not "
            "count.",
        ),
        solution=_solve_share,
        in_class=True,
    ),
    Exercise(
        name="fewer_starts",
        kind=Kind.TWEAK,
        title="What three starts are worth",
        task=(
            "This prints how wide the 95 % interval of the container’s median is, in seconds, from "
            "**all** starts shown. Change it to look at the first three only (`.head(3)`), then "
            "at other numbers. How many times as wide is the interval of the first three as that "
            "of all?"
        ),
        code=(
            "from vmcompare.evidence.statistics import median_interval\n"
            "rows = lesson.view.values(\n"
            '    metric="start_to_first_byte_s",\n'
            '    platform="container", layer="product",\n'
            ")\n"
            'found = median_interval(rows["value"])\n'
            "found.high - found.low"
        ),
        unit="ratio",
        check=near(
            lambda view: widths_s(view)[0] / widths_s(view)[1],
            "ratio",
            within=0.05,
            why="Three starts are one round; a verdict in this course takes ten.",
        ),
        hints=(
            'Use `rows["value"].head(3)` in the call of `median_interval`.',
            "Divide the width for three starts by the width for all of them, in this order.",
        ),
        solution=_solve_widths,
    ),
    Exercise(
        name="flawed_study",
        kind=Kind.BUG,
        title="A boot that was none",
        task=(
            "A colleague timed a container with this program, found it slower than a virtual "
            "machine that was powered on, and calls the difference *boot time*. Which change makes "
            "the figure a start as this lesson defines it?"
        ),
        code=(
            "import subprocess, time\n"
            "began = time.perf_counter()\n"
            'command = "docker compose up --build --wait"\n'
            "subprocess.run(command.split(), check=True)\n"
            'print("boot:", time.perf_counter() - began, "s")'
        ),
        choices=(_STUDY_CLOCK, _STUDY_RIGHT, _STUDY_REPEAT, _STUDY_LIKE),
        check=chosen(
            _STUDY_RIGHT,
            {
                _STUDY_CLOCK: (
                    "The clock is sound: it runs on the host and never jumps. This lesson reads "
                    "the same one. What happens between its two readings?"
                ),
                _STUDY_RIGHT: (
                    "Both ends are named now: from the request, with the image on the machine, to "
                    "the first byte. The phases in this lesson contain no build."
                ),
                _STUDY_REPEAT: (
                    "Repeating makes a figure precise, not right. From the second run on, the "
                    "builder finds its cache, so the ten would not even measure the same thing."
                ),
                _STUDY_LIKE: (
                    "Like with like is a good rule. But then both figures are about the network "
                    "and the builder. A download happens once per machine, a start every time."
                ),
            },
        ),
        hints=(
            "List what `up --build --wait` does, step by step. Which steps happen once per "
            "machine, and which at every start?",
            "Look for those steps in the figure of the phases.",
        ),
        solution=_solve_study,
    ),
    Exercise(
        name="job_length",
        kind=Kind.TRANSFER,
        title="How short may a job be?",
        task=(
            "A build service gives every job a fresh **container**. Starting it may take at most a "
            "tenth of the job’s whole time, that is of start plus work. Take the median of the "
            "container’s time to the first byte from the data shown. For how many seconds must a "
            "job work at least?"
        ),
        code=(
            "rows = lesson.view.values(\n"
            '    metric="start_to_first_byte_s",\n'
            '    platform="container", layer="product",\n'
            ")\n"
            'start = rows["value"].median()'
        ),
        unit="s",
        check=near(
            lambda view: shortest_job_s(_container(view).median.estimate),
            "s",
            within=0.05,
            why="For shorter jobs, several would have to share one instance.",
        ),
        hints=(
            "Write the condition down: start ≤ 0.1 × (start + work).",
            "The tenth is of the whole, not of the work: solve for the work, and look again "
            "whether it is ten times the start.",
        ),
        solution=_solve_jobs,
    ),
)

EXERCISES: Mapping[str, Exercise] = MappingProxyType({exercise.name: exercise for exercise in _ALL})
"""Name → exercise; *fill in* is the one done in class."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        "what_a_vm_does",
        "A full VM and a direct-boot VM run on the same QEMU. What does the full one do in "
        "addition before its first byte?",
        (
            Choice(
                "It reads its whole disk image, which is larger.",
                "A boot reads the blocks it needs, not the image. Look at the phases: no piece of "
                "a start is the reading of a whole disk.",
            ),
            Choice(
                "It starts the services of its distribution.",
                "So the figure of the phases shows: what comes after the kernel is the guest’s own "
                "choice. The direct-boot VM has none of it, on the same hypervisor.",
                right=True,
            ),
            Choice(
                "The hypervisor does more work: it is what makes machines slow.",
                "It is the same hypervisor. Compare the phases: firmware, kernel and services run "
                "inside the guest.",
            ),
        ),
    ),
    Question(
        "docker_and_the_mechanism",
        "Set beside the bare process, what does most of a `docker run` consist of?",
        (
            Choice(
                "Copying the image into the container.",
                "Nothing is copied: the layers are mounted. Look for it among the phases: the "
                "pieces are *create*, *attach* and *start*.",
            ),
            Choice(
                "The program, which runs slower behind namespaces.",
                "It is an ordinary process of this kernel. Set the row of the bare process in the "
                "table beside the container’s phases: which of them is the program?",
            ),
            Choice(
                "The engine’s work: requests, bookkeeping, mounts, namespaces, a shim.",
                "These are the phases *create*, *attach* and *start*. A bare process has none of "
                "them, and its whole start is in the table’s first row.",
                right=True,
            ),
        ),
    ),
    Question(
        "what_emulation_tells",
        "A figure is marked *software emulation*. What may you conclude from it about time?",
        (
            Choice(
                "How slow virtual machines are.",
                "Every guest instruction was translated by a program. The what-if shows by how "
                "much the same work slowed down: that is a property of the emulator.",
            ),
            Choice(
                "How slow this emulator is here; the order of the phases holds, their time does "
                "not carry over.",
                "That is why no claim about time is decided by it, whichever way it points. What "
                "happens in a start, and in which order, is the same as with hardware.",
                right=True,
            ),
            Choice(
                "Nothing at all: emulated runs should be thrown away.",
                "Too hard: facts hold under emulation. The guest’s own kernel, the phases it goes "
                "through and the memory it touches are there to be measured.",
            ),
        ),
    ),
    Question(
        "what_belongs_to_a_start",
        "The first `docker run` of an image on a new computer also pulls it. Where does the "
        "pull belong?",
        (
            Choice(
                "Into the start: the user waited for it.",
                "Once. The second start on the same computer has no pull, and every start measured "
                "here had its image ready. Report it, under its own name.",
            ),
            Choice(
                "Nowhere: it is the network’s fault and can be ignored.",
                "A class of thirty notices it. It is a cost of moving an application to a new "
                "machine; lesson 06 measures that.",
            ),
            Choice(
                "Beside the start, as a cost per machine.",
                "A start is repeated, a pull happens once per machine. Two quantities, two "
                "figures: the definition of this lesson’s metric leaves it out.",
                right=True,
            ),
        ),
    ),
)
