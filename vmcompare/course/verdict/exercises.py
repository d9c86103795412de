"""The verdict's exercises and questions: reading findings, and telling sound ones from others.

Checks look at the table as it stands, not at a view: :func:`exercises` is handed a way to get it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import Rule, Verdict, by_rule
from vmcompare.evidence.claims.choose import Evidence, Part
from vmcompare.evidence.exercise import (
    Answer,
    Check,
    Choice,
    Exercise,
    Feedback,
    Kind,
    Question,
    chosen,
)
from vmcompare.evidence.markdown import literal
from vmcompare.evidence.units import written
from vmcompare.evidence.view import View
from vmcompare.sandbox import EMULATION

HIDDEN = "guest_os"
"""The recording that the first exercise hides."""

_RULED = (Verdict.SUPPORTED, Verdict.WITH_CAVEATS, Verdict.REFUTED, Verdict.INCONCLUSIVE)


def exercises(now: Callable[[], Evidence]) -> Mapping[str, Exercise]:
    """The four exercises, checked on the table that ``now`` gives."""
    made = (_tweak(now), _fill_in(now), _bug(), _transfer(now))
    return {exercise.name: exercise for exercise in made}


def changed(evidence: Evidence, experiment: str) -> list[tuple[Part, Part]]:
    """Parts that say something else without the recordings of ``experiment``: (with, without)."""
    pairs = zip(evidence.parts, evidence.without(experiment).parts, strict=True)
    return [
        (before, after)
        for before, after in pairs
        if (before.finding, before.run) != (after.finding, after.run)
    ]


def _flipped(evidence: Evidence) -> int:
    if not evidence.of(HIDDEN):
        raise Unavailable("there is no recording of guest os to hide", "do lesson 01 first")
    return sum(a.finding.verdict != b.finding.verdict for a, b in changed(evidence, HIDDEN))


def _tweak(now: Callable[[], Evidence]) -> Exercise:
    def check(view: View, answer: Answer) -> Feedback:  # noqa: ARG001 - the table is asked
        wanted = _flipped(now())
        if not isinstance(answer, int | float) or not math.isfinite(answer):
            return Feedback(False, "Please give a number.")
        if answer == wanted:
            return Feedback(
                True,
                f"Yes: {wanted}. A line that loses its evidence is open, not false; where another "
                "run speaks to it, or emulation kept it open anyway, its finding stays.",
            )
        if answer == len(changed(now(), HIDDEN)):
            return Feedback(
                False,
                "Not yet: that counts every line that changed, also where only its reason did.",
            )
        return Feedback(False, "Not yet: compare the two findings line by line.")

    def solution(view: View) -> str:  # noqa: ARG001
        lines = [
            f"- {a.claim.name}: "
            + (
                f"{a.finding.verdict} → {b.finding.verdict}"
                if a.finding.verdict != b.finding.verdict
                else f"only the reason; the finding stays {a.finding.verdict}"
            )
            for a, b in changed(now(), HIDDEN)
        ]
        return f"{_flipped(now())} findings change.\n\n" + "\n".join(lines)

    return Exercise(
        name="hide",
        kind=Kind.TWEAK,
        title="Take a recording away",
        task="Run the line below: it shows what the table would say if nobody had measured the "
        "memory of instances. In how many lines does the **finding** change, and not only the "
        "reason for it?",
        code=f'lesson.without("{HIDDEN}")',
        unit="lines",
        check=check,
        hints=(
            "Each line shows two findings, with and without. Compare them, not their reasons. (On "
            "paper: look for the lines of the table that come from that run.)",
            "“Not measured here” for want of a recording and “not measured here” because of "
            "emulation are the same finding.",
        ),
        solution=solution,
        minutes=6,
    )


def _fast(evidence: Evidence) -> Part:
    """F2, which the second exercise judges by hand."""
    for part in evidence.parts:
        if part.claim.id == "F2" and part.finding.interval is not None:
            return part
    raise Unavailable("no recording here holds the ratio of claim F2", "do lesson 04 first")


def _by_hand(evidence: Evidence) -> Verdict:
    part = _fast(evidence)
    interval, bound = part.finding.interval, part.claim.bound
    assert interval is not None
    assert bound is not None
    return by_rule(Rule.RATIO, interval, bound)[0]


def _fill_in(now: Callable[[], Evidence]) -> Exercise:
    def check(view: View, answer: Answer) -> Feedback:  # noqa: ARG001
        part, wanted = _fast(now()), _by_hand(now())
        if answer != str(wanted):
            return Feedback(False, "Not yet: compare lo with θ first, then with 1, then hi with 1.")
        if part.finding.verdict is wanted:
            return Feedback(True, "Yes, and the table says the same.")
        why = (
            f"its machines ran under {EMULATION}, and that decides no claim about time"
            if part.emulated and part.finding.verdict is Verdict.NOT_MEASURED
            else "few runs or a caveat hold it back"
        )
        return Feedback(
            True, f"Yes, by its numbers alone. The table says “{part.finding.verdict}”: {why}."
        )

    def solution(view: View) -> str:  # noqa: ARG001
        part, wanted = _fast(now()), _by_hand(now())
        interval, bound = part.finding.interval, part.claim.bound
        assert interval is not None
        assert bound is not None
        low, high, theta = (written(v, "ratio") for v in (interval.low, interval.high, bound))
        return (
            f"The blanks are θ, 1 and 1. Here lo = {low}, hi = {high}, θ = {theta}: by the numbers "
            f"alone the finding is **{wanted}**. The table says **{part.finding.verdict}**."
        )

    return Exercise(
        name="rule",
        kind=Kind.FILL_IN,
        title="Apply the ratio rule by hand",
        task="A ratio R has the interval [lo, hi] and the bound θ. Fill in the three blanks, run "
        "the cell, and say which finding the rule gives for claim F2 **by its numbers alone**, "
        "before emulation, few runs and caveats are looked at. (On paper: its line in the table "
        "names all three numbers.)",
        code='low, high, theta = lesson.numbers("F2")\n'
        "if low >= ___:\n"
        '    print("supported")\n'
        "elif low > ___:\n"
        '    print("supported with caveats")\n'
        "elif high <= ___:\n"
        '    print("refuted")\n'
        "else:\n"
        '    print("inconclusive")',
        choices=tuple(str(verdict) for verdict in _RULED),
        check=check,
        hints=(
            "“Supported” needs the whole interval at or above the bound.",
            "A ratio of 1 means that both sides take the same. “Refuted” needs the whole interval "
            "at or below that.",
        ),
        solution=solution,
        in_class=True,
    )


_LINES = (
    "Memory of one more: supported with caveats",
    "Bytes to ship: supported with caveats",
    "Time to start: supported",
    "Time of gzip: inconclusive",
)


def _bug_solution(view: View) -> str:  # noqa: ARG001 - the flaw is in the blog's table
    return (
        "The line on **time to start**. Under `-accel tcg` a program translates every guest "
        "instruction; lesson 04 measures by how much that slows known work. A time of such a "
        "machine is “not measured here”, however clear it looks."
    )


def _bug() -> Exercise:
    return Exercise(
        name="blog",
        kind=Kind.BUG,
        title="A table that says more than it knows",
        task="A blog copied our rules and published this table (its figures are invented). R is "
        "VM ÷ container, and there were enough runs. One finding does not follow from its line. "
        "Which?\n\n"
        "| claim | `-accel` | R | 95 % interval | θ | finding |\n"
        "|---|---|---|---|---|---|\n"
        "| memory of one more | tcg | 14× | 11× to 19× | 2× | supported with caveats |\n"
        "| bytes to ship | – | 1.4× | 1.2× to 1.7× | 2× | supported with caveats |\n"
        "| time to start | tcg | 240× | 210× to 280× | 5× | supported |\n"
        "| time of gzip | kvm | 1.02× | 0.97× to 1.08× | 1.1× | inconclusive |",
        choices=_LINES,
        check=chosen(
            _LINES[2],
            {
                _LINES[0]: "No: memory may be judged under emulation, at best with caveats.",
                _LINES[1]: "No: the interval lies above 1 and below θ: yes, but not by that much.",
                _LINES[2]: f"Yes. `-accel tcg` is {EMULATION}: the 240× measure the emulator. The "
                "interval is narrow, and it is a narrow interval of the wrong thing.",
                _LINES[3]: "No: that interval contains 1, so the rule cannot tell. Saying so is "
                "the honest finding.",
            },
        ),
        hints=(
            "The arithmetic of every line is right. Look at what was measured, and on what.",
            "Which quantity does the accelerator change many times over?",
        ),
        solution=_bug_solution,
        minutes=6,
    )


_SENTENCES = (
    "A virtual machine needs no operating system.",
    "A virtual machine is given hardware; what runs on it may be an operating system, and in daily "
    "use it is.",
    "A virtual machine needs an operating system, but a small one.",
    "Each virtual machine requires its operating system, since nobody runs one without.",
)


def _transfer(now: Callable[[], Evidence]) -> Exercise:
    def solution(view: View) -> str:  # noqa: ARG001
        row = now().claim("A2")
        said = (
            f" In the table A2 is: **{row.finding.verdict}**. {literal(row.finding.reason)}"
            if row
            else ""
        )
        return f"“{_SENTENCES[1]}”{said}"

    check: Check = chosen(
        _SENTENCES[1],
        {
            _SENTENCES[0]: "That goes as far wrong the other way: that it *can* run without one "
            "says nothing about what it usually carries. Lesson 01 counts what a distribution "
            "brings.",
            _SENTENCES[1]: "Yes. It says what is given (hardware), keeps what is usual apart from "
            "what is required, and every half of it can be measured.",
            _SENTENCES[2]: "The boot sector of lesson 00 holds no kernel, no files, no process: "
            "not a small operating system, but none.",
            _SENTENCES[3]: "“Requires” and “is usually found with” are two claims. One boot sector "
            "that prints its message settles the first; it leaves the second alone.",
        },
    )
    return Exercise(
        name="sentence",
        kind=Kind.TRANSFER,
        title="Write the better sentence",
        task="The article says: “Each virtual machine requires its underlying operating system, "
        "and then the hardware is virtualized.” Suppose that 512 bytes of machine code, with no "
        "operating system at all, print their message in a virtual machine. Which sentence would "
        "you put in place of the article's?",
        choices=_SENTENCES,
        check=check,
        hints=(
            "Separate what a machine must have from what it usually has.",
            "A refuted sentence does not make its opposite true.",
        ),
        solution=solution,
        minutes=6,
    )


QUESTIONS: tuple[Question, ...] = (
    Question(
        "better",
        "A colleague asks which is better, containers or virtual machines. The table answers:",
        (
            Choice(
                "Containers: most lines speak for them.",
                "Lines are not votes. One line on isolation may outweigh ten on memory, or the "
                "other way round: that depends on the work, which no line measures. V5 stays a "
                "value judgement whatever is recorded.",
            ),
            Choice(
                "Virtual machines: they are the safer ones.",
                "S1b compares registered probes, and emulation gives no promise of security. The "
                "emulator is software with faults of its own: lesson 05 lists them.",
            ),
            Choice(
                "It depends on the work; often both, containers inside virtual machines.",
                "Yes. The table gives the price of each property. Whether you need the property, "
                "and can pay, is yours to say.",
                right=True,
            ),
        ),
    ),
    Question(
        "open",
        "A line says “not measured here”. That means:",
        (
            Choice(
                "The claim is false.",
                "That would be “refuted”, which needs a measurement that speaks against it.",
            ),
            Choice(
                "The claim is open; the line says what is missing.",
                "Yes: a recording, rows, or hardware virtualisation. Another computer may settle "
                "it with the same rule.",
                right=True,
            ),
            Choice(
                "The claim is probably true, since everybody says so.",
                "What everybody says is what is under test here. Until it is measured it is open.",
            ),
        ),
    ),
    Question(
        "emulation",
        "The interval of a start ratio lies far above its bound, and the machine ran under "
        "software emulation. The finding is:",
        (
            Choice(
                "Supported: the interval is clear.",
                "It is a clear interval of how slow the emulator is. The slow-downs timed in "
                "lesson 04 say how much of it that may be.",
            ),
            Choice(
                "Supported with caveats, and the caveat is named.",
                "That is the rule for memory and disk, which emulation changes little. A time it "
                "changes many times over: see the work timed in lesson 04.",
            ),
            Choice(
                "Not measured here.",
                "Yes. A computer that proves hardware virtualisation decides it, with the same "
                "code and the same bound.",
                right=True,
            ),
        ),
    ),
    Question(
        "pool",
        "Three learners recorded the same experiment on three computers. To judge a claim you:",
        (
            Choice(
                "Put all their rows together: more runs, a narrower interval.",
                "The computers differ more than the runs do. A/A in lesson 04 shows the noise of "
                "one computer; a pool would add the differences between three and hide them.",
            ),
            Choice(
                "Judge each recording on its own, and show them side by side.",
                "Yes. Ratios are paired within a block of one run. If the three findings agree, "
                "that is worth more than one narrow interval.",
                right=True,
            ),
            Choice(
                "Take the recording that supports the claim best.",
                "Then the choice makes the finding. Here a recording is chosen before anybody "
                "looks at what it says.",
            ),
        ),
    ),
)
"""Self-check questions; their wrong choices are beliefs that the measurements speak against."""
