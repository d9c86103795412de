"""What lesson 06 draws, tabulates, models and finds, from chosen rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from explained import Asked
from planted import planted, row, wobble

from vmcompare.errors import Unavailable
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.recording import Measurement, Recording
from vmcompare.evidence.units import MIB
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.explanation import explanation
from vmcompare.experiments.portability import explain
from vmcompare.experiments.portability.explain import LINKS_MBIT, transfer_s
from vmcompare.sandbox import Machine

VM = {"machine": Machine.Q35, "accel": "tcg", "vmm": "qemu 9.2"}
DIRECT = VM | {"machine": Machine.PC}
EVERYONE = ("process", "container", "vm-direct", "vm")
NO_FORMAT = "exec format error"
ANOTHER_KERNEL = "saved_image_runs_on_another_kernel"


def moves(
    *,
    rounds: int = 3,
    only: tuple[str, ...] = EVERYONE,
    vm_mib: float = 60.0,
    load_s: float = 0.8,
    goes_on: bool = True,
    again: bool = True,
    foreign_ran: bool = False,
    foreign_vm: bool | None = None,
    criu: bool | None = None,
    emulated: bool = False,
    other_kernel: bool | None = None,
    there_is: str = "6.1.56-b",
    accel: str = "tcg",
) -> Iterator[Measurement]:
    """Rows as the experiment makes them; the container's file has 10 MiB."""
    of: dict[str, dict[str, Any]] = {
        "process": {}, "container": {}, "vm-direct": DIRECT | {"accel": accel},
        "vm": VM | {"accel": accel},
    }  # fmt: skip
    for block in range(rounds):

        def made(
            platform: str, metric: str, value: float | None, phase: str = "",
            *, block: int = block, **more: Any,
        ) -> Iterator[Measurement]:  # fmt: skip
            if platform in only:
                yield row(platform, metric, value, block=block, phase=phase, **of[platform], **more)

        sides = (("container", 10.0, (0.5, load_s, 0.4)), ("vm", vm_mib, (5.0, 0.5, 30.0)))
        for platform, mib, steps in sides:
            for phase, took_s in zip(("save", "load", "first-byte"), steps, strict=True):
                yield from made(platform, "duration_s", took_s * wobble(block), phase)
            yield from made(platform, "image_bytes", mib * MIB, "compressed")
        yield from made("container", "load_and_start_s", (load_s + 0.4) * wobble(block))
        yield from made("vm-direct", "observation", 1.0, "count", text="7 8 | 9 10")
        yield from made("vm-direct", "fact", float(goes_on), "vm_count_goes_on_elsewhere")
        yield from made("vm-direct", "duration_s", 0.1 * wobble(block), "pause")
        yield from made("container", "observation", 1.0, "count", text="7 8 | 1 2")
        yield from made("container", "fact", float(again), "container_count_starts_again")
        for platform, took_s, done in (("container", 1.5, "a; b; c"), ("vm-direct", 9.0, "a; b")):
            count = float(done.count(";") + 1)
            yield from made(platform, "talk_s", took_s * wobble(block))
            yield from made(platform, "step_count", count, text=done)
        for platform in ("process", "container", "vm-direct"):
            yield from made(platform, "observation", 0.0, "foreign-program", text=NO_FORMAT)
        yield from made("container", "fact", float(foreign_ran), "foreign_binary_runs_in_container")
        if emulated:
            by_hand = {"layer": "mechanism", "runtime": "unshare", "text": "it ran"}
            fact = "foreign_binary_runs_in_container_with_emulation"
            yield from made("container", "observation", 1.0, "foreign-program", **by_hand)
            yield from made("container", "fact", 1.0, fact)
        if other_kernel is not None and block == 0:
            image = "image e5c5, Linux {}, Alpine 3.23"
            text = f"it ran; here {image.format('6.1.44-a')}; there {image.format(there_is)}"
            there = {"text": text}
            yield from made(
                "container", "observation", float(other_kernel), "other-kernel", **there
            )
            yield from made("container", "fact", float(other_kernel), ANOTHER_KERNEL)
            yield from made("container", "fact", 1.0, "foreign_architecture_image_fails")
            yield from made("vm", "observation", 0.0, "ide-disk", text="it gives up: /dev/vda")
        if criu is not None:
            bare = {"layer": "mechanism", "text": "7 8 | 9 10 (CRIU 4.1)"}
            yield from made("container", "observation", 1.0, "count", **bare)
            bare["text"] = ""
            yield from made(
                "container", "fact", float(criu), "container_count_goes_on_by_criu", **bare
            )
        if foreign_vm is not None:
            yield from made("vm-direct", "fact", float(foreign_vm), "foreign_binary_runs_in_vm")


def recorded(directory: Path, **planting: Any) -> Recording:
    return planted(directory, list(moves(**planting)), experiment="portability")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A view of a whole recording."""
    return compose(None, recorded(tmp_path_factory.mktemp("portability")))


@pytest.mark.parametrize("only", [(), ("container",), ("vm-direct",), ("process", "vm")])
def test_whatever_is_missing_all_there_is_is_whole(tmp_path: Path, only: tuple[str, ...]) -> None:
    asked = Asked(
        compose(None, recorded(tmp_path, rounds=1, only=only)), drawn=only == ("container",)
    )
    found = explanation("portability")
    list(asked.figures(found.figures.values()))
    list(asked.tables(found.tables.values()))
    list(asked.whatifs(found.whatifs.values()))
    asked.outcomes(found.outcomes)


def test_the_picture_leaves_starts_out_where_one_is_emulated(whole: View, tmp_path: Path) -> None:
    draw = explanation("portability").figures["steps"]
    emulated, real = draw(whole), draw(compose(None, recorded(tmp_path, accel="kvm")))
    assert "vm (q35), " in emulated.alt  # no guest runs while a file is saved or loaded
    assert "load" in emulated.alt
    assert "start" not in emulated.alt
    assert emulated.placeholders["emulated"]
    assert "start 30.0 s" in real.alt
    assert not real.placeholders["emulated"]


def test_a_faster_link_shortens_the_way_alone(whole: View) -> None:
    model = explanation("portability").whatifs["link"](whole)
    slow, fast = (model.draw(mbit).alt for mbit in (LINKS_MBIT[0], LINKS_MBIT[-1]))
    assert f"transfer {transfer_s(10 * MIB, 1):.1f} s" in slow
    assert "transfer 8.39 ms" in fast
    assert "can be started elsewhere" in slow
    assert "start (" not in slow
    assert all(alt.endswith("Modelled, not measured.") for alt in (slow, fast))
    assert "container 10.0 MiB" in str(model.placeholders["sizes"])
    longest = [8 * mib * MIB / 1e6 / took_s for mib, took_s in ((10, 0.8), (60, 5.0))]
    until = f"{longest[0]:.0f} Mbit/s (container), {longest[1]:.0f} Mbit/s (vm)"
    assert model.placeholders["until"] == until
    assert model.placeholders["starts"] == "400 ms (container)"


def test_without_emulation_both_timelines_end_at_the_first_byte(tmp_path: Path) -> None:
    real = compose(None, recorded(tmp_path, accel="kvm"))
    alt = explanation("portability").whatifs["link"](real).draw(100).alt
    assert "until it runs elsewhere" in alt
    assert "start 30.0 s" in alt


def test_the_answers_are_worked_out_from_the_rows(whole: View, tmp_path: Path) -> None:
    assert explain.transfer(whole) == pytest.approx(8 * 60 * MIB / 30e6)
    assert explain.ASKED_MBIT not in LINKS_MBIT  # the slider would show the answer
    outcomes = explanation("portability").outcomes
    assert outcomes["vm_over_container"](whole) == pytest.approx(6.0)
    assert outcomes["pause_s"](whole) == pytest.approx(0.1, rel=0.05)
    with pytest.raises(Unavailable, match="no move of a VM"):
        explain.transfer(compose(None, recorded(tmp_path, only=("container",))))


def test_the_demonstration_is_replayed_from_the_recording(whole: View, tmp_path: Path) -> None:
    rows = explain.replay(whole)
    assert [row["first numbers after"] for row in rows] == ["9 10 …", "1 2 …"]
    assert [row["provenance"] for row in rows] == ["recorded, software emulation", "recorded"]
    with_criu = explain.replay(compose(None, recorded(tmp_path, criu=True)))
    assert with_criu[2]["first numbers after"] == "9 10 …"
    assert with_criu[2]["what counts"].endswith("by CRIU 4.1")
    with pytest.raises(Unavailable, match="no move is recorded"):
        explain.replay(compose(None, None))


def places(directory: Path, **planting: Any) -> dict[str, str]:
    """The table of places: place → what came of it."""
    rows = explanation("portability").tables["elsewhere"](
        compose(None, recorded(directory, **planting))
    )
    return {row["put into"]: row["what came of it"] for row in rows}


def test_every_place_unlike_this_computer_has_a_row_that_says_what_came_of_it(
    tmp_path: Path,
) -> None:
    told = places(tmp_path, other_kernel=True, emulated=True)
    kernels = "kernel here 6.1.44-a, in the VM 6.1.56-b"
    assert told["Docker under a VM’s kernel"] == f"it ran: same image, same Alpine 3.23; {kernels}"
    assert told["the same, as an IDE disk"] == "it gives up: /dev/vda"
    assert told["container"] == NO_FORMAT
    assert told["container with an emulator"] == "it ran"


@pytest.mark.parametrize(("there", "close"), [("6.1.9", "6.1"), ("6.12.1", ""), ("5.1.44", "")])
def test_kernels_of_one_version_are_told_to_be_close(
    tmp_path: Path, there: str, close: str
) -> None:
    found = compose(None, recorded(tmp_path, other_kernel=True, there_is=there))
    assert explanation("portability").placeholders["table", "elsewhere"](found)["close"] == close


def test_a_place_that_a_recording_lacks_is_left_out(tmp_path: Path) -> None:
    assert [*places(tmp_path)] == ["process", "container", "vm-direct (pc)"]
    with pytest.raises(Unavailable, match="no place unlike this computer"):
        list(explanation("portability").tables["elsewhere"](compose(None, None)))


def test_the_steps_until_two_talk_stand_beside_the_time_and_beside_the_claim(
    whole: View, tmp_path: Path
) -> None:
    table = explanation("portability").tables["network"]
    rows = [(row["two of"], row["steps"], row["which"]) for row in table(whole)]
    assert rows == [("container", "3", "a; b; c"), ("vm-direct (pc)", "2", "a; b")]
    assert [row["provenance"] for row in table(whole)][1] == "recorded, software emulation"
    [claim] = [c for c in claims.load() if c.id == "V2"]
    found = claims.judge(claim, recorded(tmp_path).frame())
    assert found.verdict is Conclusion.JUDGEMENT
    assert "0.667×" in found.reason
    assert "software emulation" in found.listed[0]
    with pytest.raises(Unavailable, match="no step of two that talk"):
        list(table(compose(None, None)))


CASES: list[tuple[tuple[str, str], dict[str, Any], Conclusion]] = [
    (("P1", "size, whole image"), {"accel": "kvm"}, Conclusion.SUPPORTED),
    (("P1", "size, whole image"), {}, Conclusion.SUPPORTED),
    (("P1", "size, whole image"), {"vm_mib": 9.0}, Conclusion.REFUTED),
    (("P3", "bytes"), {"accel": "kvm"}, Conclusion.SUPPORTED),
    (("P3", "bytes"), {"vm_mib": 30.0, "accel": "kvm"}, Conclusion.WITH_CAVEATS),
    (("P3", "bytes"), {"vm_mib": 9.0}, Conclusion.REFUTED),
    (("P3", "boot"), {}, Conclusion.NOT_MEASURED),
    (("P2", "immediately"), {}, Conclusion.WITH_CAVEATS),
    (("P2", "immediately"), {"load_s": 9.0}, Conclusion.REFUTED),
    (("P2", "immediately"), {"only": ("vm",)}, Conclusion.NOT_MEASURED),
    (("P2", "runs elsewhere"), {}, Conclusion.NOT_MEASURED),
    (("P2", "runs elsewhere"), {"other_kernel": True}, Conclusion.WITH_CAVEATS),
    (("P2", "runs elsewhere"), {"other_kernel": False}, Conclusion.REFUTED),
    (("T1f", "moving"), {}, Conclusion.SUPPORTED),
    (("T1f", "moving"), {"criu": True}, Conclusion.WITH_CAVEATS),
    (("T1f", "moving"), {"criu": False}, Conclusion.SUPPORTED),
    (("T1f", "moving"), {"goes_on": False}, Conclusion.REFUTED),
    (("T1f", "moving"), {"again": False}, Conclusion.REFUTED),
    (("T1f", "moving"), {"only": ("container",)}, Conclusion.NOT_MEASURED),
    (("O6c", "architectures"), {}, Conclusion.NOT_MEASURED),
    (("O6c", "architectures"), {"foreign_vm": True}, Conclusion.SUPPORTED),
    (("O6c", "architectures"), {"foreign_vm": True, "emulated": True}, Conclusion.WITH_CAVEATS),
    (("O6c", "architectures"), {"foreign_vm": True, "foreign_ran": True}, Conclusion.REFUTED),
]


@pytest.mark.parametrize(("which", "planting", "conclusion"), CASES)
def test_data_decide_each_finding(
    tmp_path: Path, which: tuple[str, str], planting: dict[str, Any], conclusion: Conclusion
) -> None:
    [claim] = [c for c in claims.load() if (c.id, c.part) == which]
    found = claims.judge(claim, recorded(tmp_path, **planting).frame())
    assert found.verdict is conclusion, found
