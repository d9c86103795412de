"""How wide the interface to a shared kernel is: how many system calls it answers, and to whom.

Every number of the table is called once with nothing but −1 as arguments, in containers only: one
without a call filter, one with the engine's own. Where the first gets an answer of the kernel and
the second ``EPERM`` or ``ENOSYS``, the filter has refused. A call that is refused for want of a
capability in both is not counted as filtered, so the filter's own list is at least this long, and
what it lets through is an upper bound ("at most").
``ENOSYS`` without a filter counts as not answered: the kernel was built without that call, or (as
``futex``) says so of the command −1; such calls are in neither count.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence

from vmcompare.engines.programs.calls import Call, written
from vmcompare.engines.programs.system_calls import X86_64
from vmcompare.errors import Unavailable
from vmcompare.evidence.recording import Measurement
from vmcompare.experiments.isolation.asking import Arm, make
from vmcompare.measuring.experiment import FAILURES, Context, failed, filled
from vmcompare.sandbox import Confinement, Platform, Spec

LEFT_OUT: Sequence[str] = (
    "clone", "clone3", "exit", "exit_group", "fork", "pause", "reboot", "restart_syscall",
    "rt_sigreturn", "sync", "uprobe", "uretprobe", "vfork", "vhangup",
)  # fmt: skip
"""Not tried: they end, split or suspend the caller, or concern the whole computer."""

FREE = Arm(
    "container, no call filter", Platform.CONTAINER, Spec(confinement=Confinement.NO_SECCOMP),
    "no-seccomp",
)  # fmt: skip
HELD = Arm("container", Platform.CONTAINER, Spec())

ANSWERED, LET_THROUGH = "system calls answered", "system calls let through"
REFUSED, NOT_TRIED = "system calls refused by the filter", "system calls not tried"

_NO_SUCH_CALL = "ENOSYS"
_BY_FILTER = ("EPERM", _NO_SUCH_CALL)


def measured(context: Context) -> Iterator[Measurement]:
    """Two counts, the calls that the filter refuses, and those that were not tried."""
    launcher = context.launchers[Platform.CONTAINER]
    answered, through = (
        arm.row(launcher, "item_count", phase)
        for arm, phase in ((FREE, ANSWERED), (HELD, LET_THROUGH))
    )
    refused, not_tried = (HELD.row(launcher, "observation", p) for p in (REFUSED, NOT_TRIED))
    try:
        free, held = (_all(context, arm) for arm in (FREE, HELD))
    except FAILURES as error:
        yield from (failed(row, str(error)) for row in (answered, through, refused, not_tried))
        return
    known = [name for name, said in free.items() if said != _NO_SUCH_CALL]
    filtered = [name for name in known if held[name] in _BY_FILTER and free[name] != held[name]]
    yield filled(answered, len(known))
    yield filled(through, len(known) - len(filtered))
    yield filled(refused, 1.0, text=", ".join(sorted(filtered)))
    yield filled(not_tried, 1.0, text=", ".join(LEFT_OUT))


def _all(context: Context, arm: Arm) -> Mapping[str, str]:
    """Name of a call → what was answered."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Unavailable(
            "the table of all system calls is that of x86-64", "look at a recording of one"
        )
    names = [name for name in X86_64 if name not in LEFT_OUT]
    launcher = context.launchers[arm.platform]
    with launcher.open(arm.spec, context.on_event) as box:
        answers = make(box, [[Call(name, (-1,) * 6)] for name in names])
    return {name: written(answer) for name, answer in zip(names, answers, strict=True)}
