"""Isolation, asked: what to leave each half with. Wrong choices are beliefs that people hold."""

from __future__ import annotations

from vmcompare.evidence.exercise import Choice, Question

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
