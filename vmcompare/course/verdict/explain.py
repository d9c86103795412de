"""The verdict, explained: pictures and figures, all made from the judged claims.

The shape is that of an experiment's ``explain.py``; an :class:`Evidence` takes the place of a
view, for here many recordings stand side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from vmcompare.errors import Unavailable
from vmcompare.evidence.claims import Conclusion, Rule, Undecided, observed
from vmcompare.evidence.claims.judging import NO_CODE_CACHE, Estimate, estimate
from vmcompare.evidence.claims.rules import Quantity
from vmcompare.evidence.claims.rules import quantity as quantity_of
from vmcompare.evidence.claims.runs import Evidence, Part
from vmcompare.evidence.published import cited
from vmcompare.evidence.units import ratio, written
from vmcompare.experiments.explanation import Explanation, Row, Values
from vmcompare.experiments.isolation.probes import DEVICES
from vmcompare.plots.findings import SIGNS, Against, against, findings
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import EMULATION, Platform

explained = Explanation[Evidence]()

ABSENT = "not measured here"


@explained.figure("findings")
def findings_figure(evidence: Evidence) -> Picture:
    found = {claim.id: claim.finding.verdict for claim in evidence.claims}
    return findings(found, caption=evidence.caption())


@explained.figure("ratios")
def ratios_figure(evidence: Evidence) -> Picture:
    """Every ratio with its interval and bound, by finding; open where emulation decides nothing."""
    ratios = [part for part in evidence.parts if part.claim.rule in (Rule.RATIO, Rule.SLOPE)]
    drawn = [part for part in ratios if part.finding.interval is not None]
    same: dict[object, list[Part]] = {}
    for part in drawn:
        same.setdefault((part.claim.quantity, part.claim.bound, part.run), []).append(part)
    found = [one for parts in same.values() if (one := _against(*parts))]
    if not found:
        raise Unavailable("no recording holds a ratio of a claim", "do lesson 04 first")
    found.sort(key=lambda one: list(Conclusion).index(one.verdict))
    lacking = dict.fromkeys(p.claim.id for p in ratios if p.finding.interval is None)
    said = f" Not drawn, for want of rows: parts of {', '.join(lacking)}." if lacking else ""
    return against(found, caption=f"{evidence.caption(drawn)}{said}")


def _against(part: Part, *others: Part) -> Against | None:
    """The ratio of a part, and of others that rest on the same one."""
    claim, finding = part.claim, part.finding
    assert claim.quantity
    assert claim.bound is not None
    if finding.interval is None or finding.interval.estimate <= 0:
        return None
    above = claim.quantity.above.platform
    name = claim.name if above is Platform.VM else f"{claim.name}, {above}"
    if others:
        name = f"{name} (also {', '.join(other.claim.id for other in others)})"
    return Against(name, finding.interval, claim.bound, finding.verdict, part.emulated)


COUNTED: Mapping[str, Sequence[Conclusion]] = {
    "supported": (Conclusion.SUPPORTED, Conclusion.WITH_CAVEATS),
    "refuted": (Conclusion.REFUTED,),
    "not_measured": (Conclusion.NOT_MEASURED,),
}
"""Name of a number of claims → findings that count."""


def count(evidence: Evidence, name: str) -> int:
    return sum(claim.finding.verdict in COUNTED[name] for claim in evidence.claims)


# ---- what to choose by ---------------------------------------------------------------------------


class Headline(NamedTuple):
    """A figure of one lesson that a choice can rest on.

    ``claim`` is id and part of the claim that it decides. ``container`` and ``vm`` name the fact
    that holds or not (``"!name"``: its contrary), after words for its condition (``"given:name"``),
    or several between semicolons; of a claim that compares two costs they are its two sides, and
    stay empty. ``also`` is another way of the VM's, and a quantity whose ratio is told with it.
    """

    lesson: str
    what: str
    claim: tuple[str, str]
    container: str = ""
    vm: str = ""
    also: tuple[str, str] | None = None


DEFAULT_OPENS = "default_container_opens_host_devices"
"""A fact that no row has: it is made of the probes of devices."""

HEADLINES: Sequence[Headline] = (
    Headline("01", "memory of one more idle instance", ("O1", "memory")),
    Headline(
        "02", "has a kernel of its own", ("O2", "shared kernel"),
        "!container_kernel_release_is_hosts", "!vm_kernel_release_is_hosts",
    ),
    Headline(
        "02", "starts a kernel that is not Linux", ("O6b", "kernels"),
        "other_kernel_starts_in_container", "other_kernel_starts_in_vm",
    ),
    Headline("03", "bytes to send: a whole image, compressed", ("P1", "size, whole image")),
    Headline(
        "03", "bytes to send: a second application", ("P1", "size, second application"),
        also=(
            "on a backing file",
            "image_bytes: vm(second-application-on-backing-file) / container(second-application)",
        ),
    ),
    Headline("04", "time from request to first byte", ("F2", "start")),
    Headline(
        "05a", "opens a host device", ("S5", "direct access"),
        f"default:{DEFAULT_OPENS};privileged:privileged_container_opens_host_devices",
        "given none:vm_opens_host_devices",
    ),
    Headline(
        "05b", "a kernel panic stops its neighbour", ("S1a", "faults"),
        "default:default_container_sysrq_takes_sibling_down;"
        "privileged:container_kernel_panic_stops_both_containers",
        "!sibling_vm_misses_no_heartbeat",
    ),
)  # fmt: skip


@explained.table("headlines")
def headlines(evidence: Evidence) -> Iterator[Row]:
    """One row a headline: the container, the VM and how many times as much, and the finding."""
    for one in HEADLINES:
        part = evidence.part(*one.claim)
        if part is None:
            continue
        verdict, interval = part.finding.verdict, part.finding.interval
        if part.claim.quantity:
            below, above = _sides(part)
            container, vm = _words(below), _words(above)
            other = _cost(part, quantity_of(one.also[1])) if one.also else None
            more = f"; {one.also[0]} {ratio(other.interval.estimate)}" if one.also and other else ""
            vm += f" ({ratio(interval.estimate)}{more})" if interval else ""
            vm += f", {EMULATION}" if above and above.emulated else ""
        else:
            container, vm = _fact(one.container, part), _fact(one.vm, part)
        name = part.claim.id
        if sum(other.claim.id == name for other in evidence.parts) > 1:
            name += f", {part.claim.part}:"
        yield {
            "lesson": one.lesson,
            "what": one.what,
            "container": container,
            "VM (÷ container)": vm,
            "claim": f"{name} {SIGNS[verdict]} {verdict}",
        }


def parts_of_headlines(evidence: Evidence) -> list[Part]:
    return [part for one in HEADLINES if (part := evidence.part(*one.claim))]


def _sides(part: Part | None) -> list[Estimate | None]:
    """What container and VM cost, in the run that decides which of them costs more."""
    quantity = part.claim.quantity if part else None
    if part is None or quantity is None:
        return [None, None]
    return [_cost(part, replace(quantity, above=side, below=None)) for side in quantity.sides[::-1]]


def _cost(part: Part, wanted: Quantity) -> Estimate | None:
    try:
        slope = part.claim.rule is Rule.SLOPE
        return estimate(wanted, part.run.frame, slope=slope) if part.run else None
    except Undecided:
        return None


def _words(found: Estimate | None) -> str:
    return written(found.interval.estimate, found.wanted.unit) if found else ABSENT


def _fact(name: str, part: Part) -> str:
    """``"yes"`` or ``"no"``, after its condition, or that nobody observed it; of each fact."""
    said = []
    for one in name.split(";"):
        condition, colon, fact = one.rpartition(":")
        held = _held(fact.removeprefix("!"), part)
        if held is not None:
            answer = "yes" if held is not fact.startswith("!") else "no"
            said.append(f"{condition}: {answer}" if colon else answer)
    return "; ".join(said) or ABSENT


def _held(name: str, part: Part) -> bool | None:
    if part.run is None:
        return None
    if name == DEFAULT_OPENS:
        probes = part.run.frame.query("metric == 'probe' and status == 'ok'")
        # In the disposable VM, as the privileged one beside it.
        there = probes[probes["layer"] == "mechanism"].query("platform == 'container'")
        tried = there[there["phase"].isin(DEVICES) & ~there["confinement"].astype(bool)]
        return bool(tried["value"].any()) if len(tried) else None
    try:
        return observed(name, part.run.frame)
    except Undecided:
        return None


class Comparison(NamedTuple):
    """Figures of a paper, and a part of a claim that asks nearly the same here.

    ``figures`` are lines of ``data/literature.csv``, as ``"metric: system"``; ``part`` is id and
    part of the claim; ``differs`` says what is done here instead; ``vm_alone``: what the VM costs
    is shown, not how many times as much as the container.
    """

    what: str
    figures: Sequence[str]
    part: tuple[str, str]
    differs: str
    vm_alone: bool = False


COMPARISONS: Sequence[Comparison] = (
    Comparison(
        "computing",
        (
            "cpu_linpack: bare metal",
            "cpu_linpack: Docker",
            "cpu_linpack: KVM untuned (raw data only)",
            "cpu_linpack: KVM tuned (topology+pinning)",
        ),
        ("F1", "processor, against a process"), "processor time of a loop in one thread; no VM",
    ),
    Comparison(
        "random writes of 4 KiB",
        ("io_randwrite_4k_qd128: bare metal / Docker (volume) / KVM virtio",),
        ("F1", "disk, against a process"), "each with fsync, in a writable layer",
    ),
    Comparison(
        "bytes through a network",
        ("net_throughput_tcp: bare metal / Docker NAT / KVM",),
        ("F1", "network, against a process"), "no link and no NAT: a loopback network",
    ),
    Comparison(
        "memory of the emulator itself (others: resident; mapped)",
        (
            "mem_overhead_rss: Firecracker / Cloud Hypervisor / QEMU",
            "mem_overhead_mapped: Firecracker / Cloud Hypervisor / QEMU",
        ),
        ("O4", "memory"), "PSS; of one VM more", vm_alone=True,
    ),
    Comparison(
        "start",
        (
            "boot_time_end_to_end: a VM in Firecracker, configuration file / API socket",
            "boot_time_end_to_end: a VM in QEMU pc, firmware SeaBIOS / qboot",
        ),
        ("F2", "start"), "a distribution in QEMU, beside docker run",
    ),
)  # fmt: skip
"""Felter et al. (2014) and the paper on Firecracker (2020): what can be set beside them here."""


@explained.table("papers")
def papers(evidence: Evidence) -> Iterator[Row]:
    """One row a comparison. What emulation leaves undecided has no figure of this computer."""
    for one in COMPARISONS:
        part = evidence.part(*one.part)
        emulated = f", {EMULATION}" if part is not None and part.emulated else ""
        measured = part is not None and part.finding.verdict is not Conclusion.NOT_MEASURED
        alone = _sides(part)[1] if one.vm_alone else None
        yield {
            "what": one.what,
            "measured by others": "; ".join(str(cited(name)) for name in one.figures),
            "here": str(alone or part.finding.value) + emulated if part and measured else ABSENT,
            "done otherwise here": one.differs if measured else "–",
        }


@explained.values("papers", "table")
def _papers_values(evidence: Evidence) -> Values:
    """``within``: whether the computer of any of these runs was itself a VM."""
    parts = [evidence.part(*one.part) for one in COMPARISONS]
    hosts = [part.run.recording.host for part in parts if part and part.run]
    return {"within": any(host.get("virtualised") for host in hosts)}


CUSTOMERS, SERVICES = 10, 20
"""Of the work that is "both": so many customers, and so many services of each."""


def choices(evidence: Evidence) -> Mapping[str, str]:
    """What the words about six pieces of work name: figures, each with its unit, and findings."""
    memory, image, start = (
        evidence.part(*key)
        for key in (("O1", "memory"), ("P1", "size, whole image"), ("F2", "start"))
    )
    container, vm = _sides(memory)
    said = {"customers": str(CUSTOMERS), "services": str(SERVICES)}
    said |= {"container_memory": _words(container), "vm_memory": _words(vm)}
    said["container_bytes"], said["vm_bytes"] = map(_words, _sides(image))
    said["container_start"] = _words(_sides(start)[0])
    said["all_vms"] = said["both"] = ABSENT
    said["all_services"] = str(CUSTOMERS * SERVICES)
    if container and vm:
        many, each = CUSTOMERS * SERVICES, vm.interval.estimate
        said["all_vms"] = written(many * each, "bytes")
        together = CUSTOMERS * each + many * container.interval.estimate
        said["both"] = written(together, "bytes")
    for name, part in (("memory_ratio", memory), ("bytes_ratio", image)):
        interval = part.finding.interval if part else None
        said[name] = ratio(interval.estimate) if interval else ABSENT
    for claim_id, name in (("O6a", "distributions"), ("O6b", "kernels"), ("S1a", "faults")):
        part = evidence.part(claim_id, name)
        said[name] = str(part.finding.verdict) if part else ABSENT
    return said


@explained.values("sentence")
def _sentence(evidence: Evidence) -> Values:
    """What one more VM and one more container cost, and on how many ramps that rests."""
    part = evidence.part("O1", "memory")
    if part is None or part.run is None or part.finding.interval is None:
        raise Unavailable("no recording here holds the memory of instances", "do lesson 01 first")
    known = choices(evidence)
    return {
        **{name: known[name] for name in ("container_memory", "vm_memory", "memory_ratio")},
        "ramps": part.finding.interval.n,
        "under": f"{EMULATION}, {NO_CODE_CACHE}" if part.emulated else "no emulation",
    }
