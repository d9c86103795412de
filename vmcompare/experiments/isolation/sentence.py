"""The article's sentence on namespaces, what is true in it, and the better one, from the probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcompare.errors import Unavailable
from vmcompare.evidence.view import View
from vmcompare.experiments.isolation.rows import (
    BRIDGE,
    NEXT,
    NO_CONTAINER,
    OWN_NETWORKS,
    Arm,
    arm,
    default_container,
    flips,
    misconfigured,
    of_host,
    of_neighbour,
)
from vmcompare.sandbox import Platform

ARTICLE = (
    "Also, since docker resources are shared and not namespaced, an attacker can exploit all the "
    "containers in a cluster if he/she gets access to even one container."
)

KINDS = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "user", "time")
"""The kinds of namespace that Linux has (namespaces(7))."""

_WORDS = {
    "mnt": "mounts", "uts": "host name", "ipc": "shared memory", "pid": "processes",
    "net": "network", "cgroup": "control groups", "user": "users", "time": "clocks",
}  # fmt: skip
"""What a kind of namespace is about."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """What can be said of the sentence.

    Attributes:
        own, shared: kinds of namespace that a default container has for itself, or shares.
        true, untrue: what the rows say for the sentence and against it.
        better: one to put in its place.
    """

    own: tuple[str, ...]
    shared: tuple[str, ...]
    true: str
    untrue: str
    better: str


def sentences(view: View) -> Sentences:
    """Composed of the rows: other rows, other sentences.

    Raises:
        Unavailable: no default container's namespaces were read beside the host's, or no container
            tried its neighbour.
    """
    own, shared, kernel = _namespaces(view)
    tried = arm(view, Platform.CONTAINER, BRIDGE, aim="neighbour") or arm(
        view, Platform.CONTAINER, OWN_NETWORKS, aim="neighbour"
    )
    if tried is None:
        raise Unavailable("no container has tried its neighbour yet", NEXT)
    reached = [n for n in of_neighbour(tried.answers) if tried.answers[n].got_through]
    stopped = [n for n in of_neighbour(tried.answers) if tried.answers[n].got_through is False]
    true, untrue = [], []
    if kernel:
        true.append("the kernel is shared: both read the same boot id")
    if shared:
        true.append(f"the host’s own are the namespaces of {_of(shared)}")
    if reached:
        true.append(f"from one container its neighbour could be reached by: {_verbs(reached)}")
    if own:
        untrue.append(f"namespaced are {_of(own)}")
    if stopped:
        untrue.append(
            f"from one container its neighbour could not be reached by: {_verbs(stopped)}"
        )
    return Sentences(
        own, shared, _sentence(true), _sentence(untrue), _better(view, own, shared, reached, kernel)
    )


def _better(
    view: View, own: Sequence[str], shared: Sequence[str], reached: Sequence[str], kernel: bool
) -> str:
    words = [
        "Docker containers on one host share its kernel"
        if kernel
        else "Docker containers do not share this host’s kernel (a hidden VM has its own)"
    ]
    words.append(f"have {_of(own)} each for themselves" if own else "have nothing for themselves")
    if shared:
        words.append(f"and share the namespaces of {_of(shared)} with it")
    said = [", ".join(words) + "."]
    if any(verb in " ".join(reached) for verb in ("list", "read", "kill")):
        said.append(f"Whoever is in one container reaches its neighbour by {_verbs(reached)}.")
    elif reached:
        said.append(
            f"Whoever is in one container reaches its neighbour by {_verbs(reached)} only, unless "
            "a wall is taken away or the shared kernel has a hole."
        )
    else:
        said.append(
            "Whoever is in one container does not reach its neighbour, unless a wall is taken "
            "away or the shared kernel has a hole."
        )
    if widest := _widest(view):
        said.append(widest)
    said.append("This was tried on one host; a cluster was not.")
    return " ".join(said)


def _widest(view: View) -> str:
    """Which word of a command line takes away most."""
    try:
        base, *others = misconfigured(view)
    except Unavailable:
        return ""
    opened: Mapping[str, int] = {
        one.confinement: len([n for n in flips(base, one) & set(of_host(base.answers))
                              if one.answers[n].got_through])
        for one in others if one.confinement.startswith("-")
    }  # fmt: skip
    most = max(opened, key=lambda word: opened[word], default="")
    if not most or not opened[most]:
        return ""
    return (
        f"Of the words tried, {most} opens most: {opened[most]} of the "
        f"{len(base.denied())} probes at the host that a default container is refused."
    )


def _namespaces(view: View) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Kinds that a default container has of its own, kinds it shares, whether the kernel is one."""
    inside = default_container(view)
    outside = None
    if inside is not None and inside.nested:
        outside = arm(view, Platform.CONTAINER, NO_CONTAINER, nested=True, run_id=inside.run_id)
    elif inside is not None:
        outside = arm(view, Platform.PROCESS, "", run_id=inside.run_id)
    if inside is None or outside is None or not _kinds(inside) or not _kinds(outside):
        raise Unavailable("no container’s namespaces have been read beside its host’s", NEXT)
    both = [k for k in KINDS if k in _kinds(inside) and k in _kinds(outside)]
    same = tuple(k for k in both if _kinds(inside)[k] == _kinds(outside)[k])
    kernel = inside.read.get("boot id") == outside.read.get("boot id")
    own = tuple(k for k in both if k not in same)
    return (own, same, True) if kernel else ((*own, *same), (), False)


def _kinds(one: Arm) -> dict[str, str]:
    return {
        kind: one.read[f"{kind} namespace"] for kind in KINDS if f"{kind} namespace" in one.read
    }


def _of(kinds: Sequence[str]) -> str:
    return listed([_WORDS[kind] for kind in kinds])


def _verbs(names: Sequence[str]) -> str:
    return listed([name.partition(": ")[2] or name for name in names])


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else "Nothing that was tried."


def listed(words: Sequence[str]) -> str:
    """``"a, b and c"``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
