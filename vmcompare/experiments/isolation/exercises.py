"""Isolation, practised and asked: two exercises for each half, and questions to leave it with.

Exercises are judged by the rows shown. The wrong choices of questions are beliefs that people hold.
"""

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
    Parts,
    Question,
    chosen,
    near,
)
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.view import NEXT, View
from vmcompare.experiments.isolation.boundaries import BRIDGE
from vmcompare.experiments.isolation.guest_containers import RUNTIME
from vmcompare.experiments.isolation.probes import (
    NEIGHBOUR,
    PROBES,
    decoded_capabilities,
    ordered_capabilities,
)
from vmcompare.experiments.isolation.rows import (
    arm,
    default_container,
    listed,
    misconfigured,
    opens,
)
from vmcompare.sandbox import Platform

TURNED = "process: signal"
"""The probe whose word is looked for."""

LINE = ("--uts=host", "--pid=host", "--cap-add=SYS_ADMIN", "--network=host")
"""Words of the line in which it is hidden."""


def own_capabilities(view: View) -> frozenset[str]:
    """The capabilities of the default container in the rows shown: Docker's, else the guest's.

    Raises:
        Unavailable: they were not read.
    """
    inside = default_container(view)
    if inside is None or not inside.read.get("capabilities"):
        raise Unavailable("no container’s capabilities have been read", NEXT)
    return decoded_capabilities(inside.read["capabilities"])


def opened_by(view: View) -> Mapping[str, frozenset[str]]:
    """Word of the line → probes at the host that it opens, as measured.

    Raises:
        Unavailable: not every word of the line was tried.
    """
    base, *others = misconfigured(view)
    tried = {one.confinement: one for one in others if one.made()}
    if not set(LINE) <= set(tried) or TURNED not in base.made():
        raise Unavailable("not every word of this line has been tried", NEXT)
    return {word: opens(base, tried[word]) for word in LINE}


def _check_word(view: View, answer: Answer) -> Feedback:
    opened = opened_by(view)
    if answer not in opened:
        return Feedback(False, "Please choose one of the words.")
    found = opened[str(answer)]
    if TURNED in found:
        return Feedback(
            True, f"With `{answer}` alone this probe gets through; without it, it is refused."
        )
    what = (
        f"It opens {literal(listed(sorted(found)))}." if found else "It opens none of the probes."
    )
    return Feedback(False, f"`{answer}` alone leaves this probe refused. {what}")


def _solve_capabilities(view: View) -> str:
    names = own_capabilities(view)
    shown = literal(listed(ordered_capabilities(names))) if names else "none at all"
    return (
        'Each bit that is 1 is one capability, so `bin(bits).count("1")` counts them. The data '
        f"shown give **{len(names)}**: {shown}. Root "
        "in a container is the host’s user 0 (unless a user namespace maps it), but these are "
        "all its rights."
    )


def _solve_word(view: View) -> str:
    opened = opened_by(view)
    lines = [
        f"- `{word}` opens {literal(listed(sorted(found))) if found else 'none of the probes'}"
        for word, found in opened.items()
    ]
    return (
        f'Put `"{TURNED}"` into the first line: the words in whose row the probe got through are '
        "left. One word at a time, the rows shown say:\n\n" + "\n".join(lines)
    )


_BUG_RIGHT = (
    "Make the attempt inside A (`docker exec A …`), and keep the host’s root as the control."
)
_BUG_USER = "Leave out `sudo`: an ordinary user of the host stands for a container."
_BUG_REPEAT = "Read the file a hundred times, and report how often it worked."
_BUG_VM = "Put B into a virtual machine, and see that the same line fails."


def _solve_bug(view: View) -> str:
    tried = [
        f"- {words}: {literal('; '.join(f'{n} {one.answers[n].text}' for n in one.answers))}"
        for words, one in (
            ("two processes", arm(view, Platform.PROCESS, "", aim=NEIGHBOUR)),
            ("from container A", arm(view, Platform.CONTAINER, BRIDGE, aim=NEIGHBOUR)),
        )
        if one is not None
    ]
    rows = "\n\nThe rows shown have both arms:\n\n" + "\n".join(tried) if tried else ""
    return (
        f"{_BUG_RIGHT} The host’s root may read everything on its computer, in containers too; "
        "that is its task. The question was what *A* may. The attempt by the host’s root is a "
        f"useful control all the same: it shows that the file is there and can be read.{rows}"
    )


_TENANTS_RIGHT = (
    "Tests: a default container. Shop: a container with every right dropped that it does not "
    "need, on a network of its own. Strangers: a virtual machine each."
)
_TENANTS_VMS = "All three: a virtual machine each."
_TENANTS_DEFAULT = "All three: default containers on one host."
_TENANTS_PRIVILEGED = (
    "Tests: a privileged container, they are ours. Shop: a default container. Strangers: a "
    "container with every right dropped."
)


def _solve_tenants(view: View) -> str:
    lines = []
    for words, one in (
        ("a default container", arm(view, Platform.CONTAINER, "")),
        ("without capabilities", arm(view, Platform.CONTAINER, "no-capabilities")),
        ("a privileged one, in a disposable VM",
         arm(view, Platform.CONTAINER, "--privileged", nested=True)),
        ("a virtual machine", arm(view, Platform.VM_DIRECT, "")),
    ):  # fmt: skip
        if one is not None and one.made():
            made = len(one.through()) + len(one.denied())
            lines.append(f"- {words}: {len(one.through())} of {made} probes get through")
    rows = "\n\nFrom the data shown:\n\n" + "\n".join(lines) if lines else ""
    return (
        f"{_TENANTS_RIGHT} Ask of each tenant: whose program is it, and what stops with it if the "
        "kernel under it stops? Ours may share a kernel. The shop is ours as well, but strangers "
        "talk to it: take away what it does not need. Programs of strangers share no kernel with "
        f"anybody; on a machine with hardware virtualisation, since QEMU promises nothing under "
        f"emulation.{rows}"
    )


_ALL = (
    Exercise(
        name="cap_eff",
        kind=Kind.FILL_IN,
        title="Your container’s rights, bit by bit",
        task=(
            "`CapEff` in `/proc/self/status` is a number; each bit that is 1 is one capability. "
            "How many capabilities does the **default container** in the data shown have? "
            "Complete the last line."
        ),
        code=(
            "rows = lesson.view.values(\n"
            '    metric="observation", phase="capabilities",\n'
            '    platform="container", confinement="",\n'
            ")\n"
            'bits = int(rows["text"].iloc[0], 16)\n'
            "bin(bits).count(...)"
        ),
        unit="capabilities",
        check=near(
            lambda view: float(len(own_capabilities(view))),
            "capabilities",
            within=1e-9,
            why="The table of capabilities names them.",
        ),
        hints=(
            'Print `bin(bits)`: the `0b` in front is not a bit. Which digit is "may"?',
            "Count the ones, not the digits: leading zeros are capabilities that are missing.",
        ),
        solution=_solve_capabilities,
        in_class=True,
    ),
    Exercise(
        name="one_word",
        kind=Kind.TWEAK,
        title="The one word",
        task=(
            f"A container was started with `docker run {' '.join(LINE)} alpine`. The probe "
            f"*{TURNED}* ({PROBES[TURNED].says}) got through, which it "
            "does not by default. Which of the words did it? The code asks for another probe: "
            "change its first line."
        ),
        code=(
            'wanted = "namespace: uts"\n'
            "rows = lesson.view.values(\n"
            f'    metric="probe", phase=wanted, runtime="{RUNTIME}",\n'
            ")\n"
            'rows.loc[rows["value"] == 1, "confinement"].tolist()'
        ),
        choices=LINE,
        check=_check_word,
        hints=(
            "The list shows every word with which the probe got through, one word at a time. The "
            "empty one is the default.",
            "Compare the list with the words of the line.",
        ),
        solution=_solve_word,
    ),
    Exercise(
        name="root_study",
        kind=Kind.BUG,
        title="A proof that proved something else",
        task=(
            "“Containers do not isolate: I can read B’s file.” A colleague’s program, run in a "
            "terminal of the host, prints B’s secret. Which change makes it a test of whether "
            "container **A** reaches container **B**?"
        ),
        code=(
            "import subprocess\n"
            'ask = "docker inspect -f {{.State.Pid}} B"\n'
            "pid = subprocess.check_output(ask.split(), text=True)\n"
            'path = f"/proc/{pid.strip()}/cwd/secret"\n'
            'subprocess.run(["sudo", "cat", path], check=True)'
        ),
        choices=(_BUG_USER, _BUG_REPEAT, _BUG_RIGHT, _BUG_VM),
        check=chosen(
            _BUG_RIGHT,
            {
                _BUG_USER: (
                    "A container’s walls are namespaces, a filter and dropped rights; being an "
                    "ordinary user is none of them. Who should be making the attempt?"
                ),
                _BUG_REPEAT: (
                    "It will work a hundred times: the host’s root may read every file. Repeating "
                    "makes no other question of it. See the column of two processes in lesson 05a."
                ),
                _BUG_RIGHT: (
                    "Now A’s walls stand between the attempt and the file, and the control shows "
                    "that the file is there. The table of neighbours in lesson 05a has both."
                ),
                _BUG_VM: (
                    "That asks whether the host’s root reaches into a machine, through this path. "
                    "A, whose walls are in question, still has no part in it."
                ),
            },
        ),
        hints=(
            "Which program reads the file, and what stands between it and B?",
            "In lesson 05a’s table of neighbours, what is the first column good for?",
        ),
        solution=_solve_bug,
        in_class=True,
    ),
    Exercise(
        name="three_tenants",
        kind=Kind.TRANSFER,
        title="Walls for three tenants",
        task=(
            "One computer with hardware virtualisation, three tenants: the **tests** of your own "
            "project; a **shop**, your own program, that strangers talk to; and **strangers** who "
            "upload programs that you run. Walls cost memory and time. Which do you choose?"
        ),
        choices=(_TENANTS_VMS, _TENANTS_DEFAULT, _TENANTS_RIGHT, _TENANTS_PRIVILEGED),
        check=chosen(
            _TENANTS_RIGHT,
            {
                _TENANTS_VMS: (
                    "Strong, and dear: lesson 01 weighs a guest’s system. Whom do you protect from "
                    "your own tests with it?"
                ),
                _TENANTS_DEFAULT: (
                    "Look at the falls: all on a kernel go when it goes, and the strangers may "
                    "call it hundreds of ways. Would the shop survive them?"
                ),
                _TENANTS_RIGHT: (
                    "The walls grow with how little you know the program: the grid shows what a "
                    "dropped right takes away, the falls what only a kernel of one’s own holds."
                ),
                _TENANTS_PRIVILEGED: (
                    "Look at the column of `--privileged`, and at the last event on the time axis. "
                    "A test that goes wrong is enough; it need not be malicious."
                ),
            },
        ),
        hints=(
            "For each tenant: whose program is it, and who else falls if its kernel does?",
            "A wall that costs a flag is cheap. Which tenant is worth a kernel of its own?",
        ),
        solution=_solve_tenants,
    ),
)

EXERCISES: Mapping[str, Exercise] = MappingProxyType({exercise.name: exercise for exercise in _ALL})
"""Name → exercise."""

# ---- questions -----------------------------------------------------------------------------------

QUESTIONS: tuple[Question, ...] = (
    Question(
        "root_inside",
        "A program in a default container runs as user 0. What may it do to the host?",
        (
            Choice(
                "Everything: it is the host’s root.",
                "Which bits does its `CapEff` lack (table of capabilities), and what is refused in "
                "its column of the grid?",
            ),
            Choice(
                "What filter, capabilities, namespaces and mounts leave over.",
                "Neither all nor nothing. That is why the table counts bits and the grid tries "
                "every wall.",
                right=True,
            ),
            Choice(
                "Nothing: the root of a container is a harmless name.",
                "See which probes at the host get through in its column, and which turn in the one "
                "without capabilities: what turns was worth something.",
            ),
        ),
    ),
    Question(
        "how_to_tell",
        "“Docker’s resources are not namespaced.” What settles that?",
        (
            Choice(
                "Look whether a container lists other processes than the host does.",
                "One view is one namespace. There are eight kinds, and a container may have some "
                "of its own and share others: see the table of what was read.",
            ),
            Choice(
                "Compare the inode numbers under `/proc/self/ns`, inside and outside.",
                "Under one kernel, equal number is shared namespace. The table has all eight "
                "kinds, and the boot id, which tells whether it is one kernel.",
                right=True,
            ),
            Choice(
                "Read the engine’s documentation: it is the same everywhere.",
                "Engines, versions and hosts differ: control groups get a namespace on some, users "
                "where the engine was set up for it. The table of what was read shows the one in "
                "front of you.",
            ),
        ),
    ),
    Question(
        "one_wall_less",
        "The call filter is switched off. What happens to the calls that it refused?",
        (
            Choice(
                "They all get through: the filter was the wall.",
                "Follow the rows from *container* to *no filter*. What still says no there, and "
                "with which error?",
            ),
            Choice(
                "Nothing changes: the filter only guards against mistakes.",
                "Compare the two columns row by row before you say so, and the number of calls "
                "let through.",
            ),
            Choice(
                "Those get through that no other wall stops.",
                "Walls stand one behind the other. A call may be refused by the filter, by a "
                "missing capability or by a mount, and only one of them gives the error.",
                right=True,
            ),
        ),
    ),
    Question(
        "width",
        "One technique lets a quarter of the calls through to the host’s kernel that another lets "
        "through. What follows?",
        (
            Choice(
                "It is four times as secure.",
                "Calls are not alike: one with a flaw is worth more to an attacker than a hundred "
                "without. The axis counts doors, not locks.",
            ),
            Choice(
                "There is less of the shared kernel to attack; how much that helps is not said.",
                "That is what the axis shows, with sources of different years and kernels.",
                right=True,
            ),
            Choice(
                "It is slower, since every call is checked.",
                "This axis holds no times. A filter is checked for every call, whether it lets "
                "many through or few.",
            ),
        ),
    ),
    Question(
        "who_falls",
        "A privileged container makes its kernel panic. Who falls silent?",
        (
            Choice(
                "Only that container: its namespaces keep the fault inside.",
                "Namespaces decide what is seen, not who answers. Look at containers A and B "
                "after the last event.",
            ),
            Choice(
                "Everybody on this computer.",
                "Look at the host and the sibling VM after the last event: which kernel was it?",
            ),
            Choice(
                "Everybody on that kernel, and nobody else.",
                "The kernel was a virtual machine’s, thrown away afterwards. On a real host it "
                "would have been the host’s.",
                right=True,
            ),
        ),
    ),
    Question(
        "perfect",
        "“A virtual machine is perfectly isolated.” What speaks against it?",
        (
            Choice(
                "Nothing: in the grid the host refused all that it tried.",
                "The probes are not all attacks. Nobody here tried the emulator’s devices, and "
                "the time line has a list of those who did.",
            ),
            Choice(
                "The emulator is a program of the host, with weaknesses of its own.",
                "The time line names them. And under software emulation QEMU’s makers promise no "
                "isolation at all.",
                right=True,
            ),
            Choice(
                "A panic in it reaches the host after some seconds.",
                "The host’s heart was listened to all the time. Look at its strip after the first "
                "event.",
            ),
        ),
    ),
    Question(
        "docker_sock",
        "A container is given `/var/run/docker.sock`, mounted read-only. What may it do?",
        (
            Choice(
                "Look at the list of containers, but change nothing.",
                "Read-only is the file’s name and attributes. A socket is spoken to, not written "
                "to: see the diagram.",
            ),
            Choice(
                "Ask the engine for a privileged container, and so be the host’s root.",
                "No kernel flaw is needed: the engine does as it is asked (a rootless one as far "
                "as its user may). The column of `--privileged` in 05a shows what that opens.",
                right=True,
            ),
            Choice(
                "Manage itself only: the engine knows who is asking.",
                "The engine knows that somebody may use its socket, and no more: in the diagram, "
                "follow what it does for whom.",
            ),
        ),
    ),
    Question(
        "counting",
        "The time line shows more weaknesses on one side than on the other. What does that say "
        "about risk?",
        (
            Choice(
                "That side is the riskier one.",
                "The lines are examples, and what many people use is looked at by many. Nothing "
                "in this lesson measures risk.",
            ),
            Choice(
                "Little: it depends on who can reach which weakness on your computer.",
                "Exposure, versions and patches decide, and no two lines are alike in that.",
                right=True,
            ),
            Choice(
                "It has to be weighed with the scores: add them up.",
                "The scores are of different CVSS versions and rate one weakness at its worst. "
                "Their sum has no meaning.",
            ),
        ),
    ),
    Question(
        "no_limit",
        "`docker run alpine` names no limit. How much memory may it take?",
        (
            Choice(
                "The engine’s default share.",
                "There is none. Look at the arm *without limits*: what did the greedy one get?",
            ),
            Choice(
                "All there is; a limit must be asked for.",
                "`--memory` and `--pids-limit` bound it: compare the two arms. A VM has its `-m` "
                "whether one thinks of it or not.",
                right=True,
            ),
            Choice(
                "As much as a virtual machine gets by default.",
                "A VM’s memory is part of its definition. Compare VM and container without limits "
                "in the table of what the greedy ones got.",
            ),
        ),
    ),
)

PARTS: Parts = MappingProxyType(
    {
        "05a": (
            "cap_eff", "one_word", "root_inside", "how_to_tell", "one_wall_less", "width",
        ),
        "05b": (
            "root_study", "three_tenants", "who_falls", "perfect", "docker_sock", "counting",
            "no_limit",
        ),
    }
)  # fmt: skip
"""Which lesson asks what."""
