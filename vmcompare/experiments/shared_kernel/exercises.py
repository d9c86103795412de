"""Exercises and questions of lesson 02, checked on the rows that the lesson shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Answer, Choice, Exercise, Feedback, Kind, Question
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.view import NEXT, View
from vmcompare.experiments.shared_kernel import ladder
from vmcompare.experiments.shared_kernel.rows import answered, instances, left_out, moved, top

_LEFT_OUT = "net"
"""The rung that the exercise leaves out."""

_OBSERVATIONS = ("files of", "processes seen", "loopback network", "make a device", "boot id")


def _came_back(view: View) -> list[str]:
    return moved(top(view).seen, left_out(view, _LEFT_OUT).seen)


def _check_tweak(view: View, answer: Answer) -> Feedback:
    changed = _came_back(view)
    name = str(answer)
    if name not in _OBSERVATIONS:
        return Feedback(False, "Please choose one of the observations.")
    if name in changed:
        was, now = top(view).seen[name], left_out(view, _LEFT_OUT).seen[name]
        return Feedback(
            True, f"Yes: with all rungs it was “{literal(was)}”, without this one “{literal(now)}”."
        )
    if name == "boot id":
        return Feedback(
            False, "No rung changes the boot id: look at the top rows of the ladder figure."
        )
    return Feedback(
        False, f"“{name}” belongs to another rung: find the column in which it is filled."
    )


def _solve_tweak(view: View) -> str:
    changed = _came_back(view)
    before, after = top(view).seen, left_out(view, _LEFT_OUT).seen
    said = "; ".join(f"*{literal(n)}*: {literal(before[n])} → {literal(after[n])}" for n in changed)
    return f"Without `{_LEFT_OUT}` this differs from the full ladder: {said or 'nothing'}."


def _kernels(view: View) -> float:
    """Different boot ids among the instances that answered."""
    return float(len({one.kernel for one in answered(view)}))


def _check_fill(view: View, answer: Answer) -> Feedback:
    wanted, among = _kernels(view), len(answered(view))
    if not isinstance(answer, int | float):
        return Feedback(False, "Please give a number.")
    if answer == wanted:
        return Feedback(True, f"Yes: {wanted:.0f} kernels answered {among} instances.")
    if answer == among:
        return Feedback(False, "That is the number of instances. How many boot ids differ?")
    releases = {one.values.get("kernel release") for one in answered(view)}
    if answer == len(releases):
        return Feedback(
            False,
            "That is the number of different releases. Two kernels may have the same release: "
            "compare what is drawn at random at every start.",
        )
    return Feedback(False, "Not yet: keep one row an instance, and drop what comes twice.")


def _solve_fill(view: View) -> str:
    return (
        'Fill in `"boot id"` and `nunique()`. '
        f"The data shown give {_kernels(view):.0f} different boot ids among "
        f"{len(answered(view))} instances."
    )


_BUG_CHOICES = (
    "Read the boot id in the container and on the host",
    "Run the study again with ten containers and take the median",
    "Read /etc/alpine-release instead of /etc/os-release",
    "Compare the processes that the container sees with those of the host",
)

_BUG_FEEDBACK: Mapping[str, str] = MappingProxyType(
    {
        _BUG_CHOICES[1]: "A file says the same ten times. More runs cannot mend a reading of the "
        "wrong thing.",
        _BUG_CHOICES[2]: "That is a file of the userland too: it came in the image.",
        _BUG_CHOICES[3]: "That tells that a process namespace is there. Two process lists can "
        "differ under one kernel: look at rows “processes seen” and “boot id”.",
    }
)


def _check_bug(view: View, answer: Answer) -> Feedback:
    if answer in _BUG_FEEDBACK:
        return Feedback(False, _BUG_FEEDBACK[str(answer)])
    if answer != _BUG_CHOICES[0]:
        return Feedback(False, "Please choose one of the answers.")
    return Feedback(True, f"Yes: the kernel tells its own start, no file does. {_bug_data(view)}")


def _bug_data(view: View) -> str:
    there = [one for one in instances(view) if one.values]
    box = next((one for one in there if one.name == "container A"), None)
    if box is None:
        raise Unavailable("no container has answered", NEXT)
    beside = (one for one in there if one.name == "host" and one.run_id == box.run_id)
    host = next(beside, None)
    text = f"Here container A calls itself {literal(box.values['userland'])}"
    if host is None:
        return f"{text}, and its kernel is {literal(box.values['kernel release'])}."
    same = "the host’s too" if box.kernel == host.kernel else "not the host’s"
    return f"{text}, and its boot id {literal(box.kernel)} is {same}."


_TRANSFER = {
    "Four services in four distributions’ userlands, all programs for Linux": (
        "Different userlands run above one kernel: see the columns of containers and the row "
        "“userland”.",
        False,
    ),
    "A tool that must set vm.swappiness for itself alone": (
        "This setting exists once per kernel, so the engine refuses it by name. Root in a "
        "machine sets that of its own kernel.",
        True,
    ),
    "A service that must not see the processes of its neighbours": (
        "A pid namespace and a /proc of its own are enough for that: rungs “mount” and “pid”.",
        False,
    ),
    "A batch job that may start no more than a dozen processes": (
        "A control group limits that on a shared kernel: rung “cgroup”, row “nested processes”.",
        False,
    ),
}


def _check_transfer(view: View, answer: Answer) -> Feedback:  # noqa: ARG001 - a matter of reasons
    if answer not in _TRANSFER:
        return Feedback(False, "Please choose one of the answers.")
    text, right = _TRANSFER[str(answer)]
    return Feedback(right, f"Yes. {text}" if right else text)


EXERCISES: Mapping[str, Exercise] = MappingProxyType(
    {
        "leave_one_out": Exercise(
            name="leave_one_out",
            kind=Kind.TWEAK,
            title="Leave out one rung",
            task=(
                f"Climb all rungs but `{_LEFT_OUT}`. Decide first: which observation does the full "
                "ladder change, and will this one leave as it was at the start? Then run the "
                "line, and try another rung."
            ),
            code=f'lesson.demo("ladder", without="{_LEFT_OUT}")',
            choices=_OBSERVATIONS,
            check=_check_tweak,
            hints=(
                "In the ladder figure each rung has its own column. What is filled in this one?",
                "Read the row of the table “ladder” that begins with the rung’s name.",
            ),
            solution=_solve_tweak,
            in_class=True,
            minutes=8,
        ),
        "count_kernels": Exercise(
            name="count_kernels",
            kind=Kind.FILL_IN,
            title="Count the kernels",
            task=(
                "How many kernels answered all the instances of the table? Complete the two "
                "gaps, and count what differs."
            ),
            code=(
                'rows = lesson.view.values(metric="observation", phase="___")\n'
                'print(rows[["platform", "rep", "text"]])\n'
                'rows["text"].___()'
            ),
            unit="kernels",
            check=_check_fill,
            hints=(
                "Which reading is drawn anew whenever a kernel starts?",
                "pandas counts the different values of a column: look for a method that begins "
                "with “n”.",
            ),
            solution=_solve_fill,
        ),
        "wrong_reading": Exercise(
            name="wrong_reading",
            kind=Kind.BUG,
            title="A study that read the wrong thing",
            task=(
                "A student writes: “I ran `cat /etc/os-release` on the host and in a container. "
                "The host said one distribution, the container said Alpine. So the container runs "
                "Alpine’s kernel, and a container is a small virtual machine.” The readings are "
                "right. Which further reading would have shown the mistake?"
            ),
            choices=_BUG_CHOICES,
            check=_check_bug,
            hints=(
                "Who wrote the file /etc/os-release, and when?",
                "Look for something that only the kernel can answer, and that no two starts of a "
                "kernel share.",
            ),
            solution=lambda view: f"{_BUG_CHOICES[0]}. {_bug_data(view)}",
        ),
        "own_kernel": Exercise(
            name="own_kernel",
            kind=Kind.TRANSFER,
            title="Who needs a kernel of its own?",
            task="One of these four cannot be had in a default container. Which one, and why?",
            choices=tuple(_TRANSFER),
            check=_check_transfer,
            hints=(
                "For each, ask: is it a matter of files, of what a process sees, of how much it "
                "may use, or of the kernel as a whole?",
                "The table of things tried names a setting that was refused.",
            ),
            solution=lambda view: next(  # noqa: ARG005 - a matter of reasons
                f"{name}. {text}" for name, (text, right) in _TRANSFER.items() if right
            ),
        ),
    }
)
"""Name → exercise: one of each kind."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        "files_or_kernel",
        "A container made of Alpine’s files runs on a Debian host. Which kernel answers it?",
        (
            Choice(
                "Alpine’s: /etc/os-release says so",
                "That file came with the image. Release and boot id are in rows of their own.",
            ),
            Choice(
                "The one its engine runs on",
                "Yes: an image carries files and no kernel.",
                right=True,
            ),
            Choice(
                "A small one that Docker brings along",
                "Count the kernels in the table: which of them came with a container?",
            ),
        ),
    ),
    Question(
        "visible",
        "On a Linux host, what does root see of the processes in a container and in a machine?",
        (
            Choice(
                "Of neither: both are walled off",
                "Look at the sleepers: a container’s processes are in its host kernel’s list.",
            ),
            Choice(
                "Of both: they run on this computer",
                "The machine’s sleepers are in its own kernel’s list; the host sees one process.",
            ),
            Choice(
                "The container’s as processes, of the machine only the emulator",
                "Yes: one kernel keeps one list, and another kernel keeps its own.",
                right=True,
            ),
        ),
    ),
    Question(
        "desktop",
        "Docker Desktop on a Mac or on Windows: with whom do your containers share a kernel?",
        (
            Choice(
                "With the Mac’s or the Windows’ own programs",
                "Those kernels are not Linux. Compare boot ids: the engine’s host is a machine.",
            ),
            Choice(
                "With each other, in a virtual machine that was started for you",
                "Yes: the engine’s host is that machine, and its kernel is what they share.",
                right=True,
            ),
            Choice(
                "With nobody: each has its own",
                "Compare the boot ids of containers A and B.",
            ),
        ),
    ),
    Question(
        "ladder",
        "Which facility of the kernel is “the container”?",
        (
            Choice(
                "The pid namespace",
                "It alone leaves files, network and rights as they were: see its column.",
            ),
            Choice(
                "chroot, with new paint",
                "After chroot alone, compare the row “processes seen” with the start.",
            ),
            Choice(
                "None: it is several, and each can be left out",
                f"Yes: {len(ladder.RUNGS)} rungs; leaving one out gives back what it alone took.",
                right=True,
            ),
        ),
    ),
)
"""Self-check questions; the wrong choices are what people believe first."""
