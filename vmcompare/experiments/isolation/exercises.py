"""Isolation, practised: two exercises for each half, on the rows shown, and what to leave with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmcompare.errors import Unavailable
from vmcompare.evidence.exercise import Answer, Exercise, Feedback, Kind, Parts, chosen, near
from vmcompare.evidence.prose import literal
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.capabilities import decoded, ordered
from vmcompare.experiments.isolation.probes import PROBES
from vmcompare.experiments.isolation.questions import QUESTIONS
from vmcompare.experiments.isolation.rows import (
    NESTED,
    NEXT,
    Arm,
    arm,
    default_container,
    flips,
    misconfigured,
    of_host,
)
from vmcompare.experiments.isolation.sentence import listed
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
    return decoded(inside.read["capabilities"])


def opened_by(view: View) -> Mapping[str, frozenset[str]]:
    """Word of the line → probes at the host that it opens, as measured.

    Raises:
        Unavailable: not every word of the line was tried.
    """
    base, *others = misconfigured(view)
    tried = {one.confinement: one for one in others if one.made()}
    if not set(LINE) <= set(tried) or TURNED not in base.made():
        raise Unavailable("not every word of this line has been tried", NEXT)
    return {word: _opens(base, tried[word]) for word in LINE}


def _opens(base: Arm, one: Arm) -> frozenset[str]:
    turned = flips(base, one) & frozenset(of_host(base.answers))
    return frozenset(name for name in turned if one.answers[name].got_through)


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
    shown = literal(listed(ordered(names))) if names else "none at all"
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
            ("two processes", arm(view, Platform.PROCESS, "", aim="neighbour")),
            ("from container A", arm(view, Platform.CONTAINER, "default bridge", aim="neighbour")),
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
            f'    metric="probe", phase=wanted, runtime="{NESTED}",\n'
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

__all__ = ["EXERCISES", "PARTS", "QUESTIONS"]

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
