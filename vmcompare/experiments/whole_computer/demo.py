"""The demonstration: 512 bytes that become a computer's only system, and no program of any kernel.

Everything is a computer's own answer: what the machine printed, and what each kernel said when it
was handed the same bytes as a program. Where no machine can be started, a recording answers.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.view import View
from vmcompare.experiments.whole_computer.probe import (
    Refusal,
    as_program,
    boot_sector_in,
    sector_spec,
)
from vmcompare.measuring.experiment import FAILURES, Demo
from vmcompare.sandbox import EMULATION, SOFTWARE, Launcher, Platform, Spec

_ROW_BYTES = 8

_LOOK: Mapping[str, str] = {
    "code": "background:#FBE3B5;color:#000;font-weight:bold",
    "message": "background:#CFE6F5;color:#000;text-decoration:underline",
    "end mark": "background:#CDE8DD;color:#000",
    "zeros": "",
    "signature": "outline:1px solid;font-weight:bold",
}
"""How the bytes of each part are marked, so that it also shows on paper, where backgrounds are not
printed; a column names the parts as well."""

_WHY = (
    "A kernel starts only what it knows as a program of its own kind, and a container has no "
    "kernel but the one that is already running. A virtual machine has nothing running yet: its "
    "firmware reads the first 512 bytes of the disk and jumps to them."
)


@dataclass(frozen=True, slots=True)
class Bytes:
    """The 512 bytes, part by part, as a table to look at."""

    parts: Sequence[tuple[str, bytes]]

    def sentence(self) -> str:
        """The parts in words."""
        counted = ", ".join(f"{name} {len(piece)}" for name, piece in self.parts)
        total = sum(len(piece) for _, piece in self.parts)
        return (
            f"{total} bytes in this order: {counted}. Of the end mark, 06 tells this course that "
            "the message is out, and 00 ends it."
        )

    def _repr_html_(self) -> str:
        marked = [(name, byte) for name, piece in self.parts for byte in piece]
        body = "".join(_rows(marked))
        legend = ", ".join(
            f'<span style="{look}">{name}</span>' for name, look in _LOOK.items() if look
        )
        cells = "".join(
            f'<th scope="col" style="text-align:left">{word}</th>'
            for word in ("place", "bytes", "as text", "part")
        )
        return (
            f'<table class="vmc-table"><caption style="text-align:left">{self.sentence()} '
            f"Marked: {legend}.</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody>"
            "</table>"
        )


def _rows(marked: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Rows of eight bytes; rows of nothing but zeros are told in one."""
    skipped = 0
    for at in range(0, len(marked), _ROW_BYTES):
        row = marked[at : at + _ROW_BYTES]
        if {name for name, _ in row} == {"zeros"}:
            skipped += 1
            continue
        if skipped:
            yield _cells("…", "00 …", "", f"{skipped} rows of zeros")
            skipped = 0
        yield _cells(
            f"{at:03X}",
            " ".join(_marked(name, f"{byte:02X}") for name, byte in row),
            "".join(
                _marked(name, html.escape(chr(byte)) if 0x20 <= byte < 0x7F else "·")
                for name, byte in row
            ),
            ", ".join(dict.fromkeys(name for name, _ in row)),
        )


def _marked(name: str, text: str) -> str:
    return f'<span style="{_LOOK[name]}">{text}</span>' if _LOOK[name] else text


def _cells(place: str, data: str, text: str, part: str) -> str:
    # A space at the end of a row, or two in a message, are bytes as well.
    fixed = 'style="text-align:left;white-space:pre;font-family:monospace"'
    return (
        f'<tr><th scope="row" {fixed}>{place}</th><td {fixed}>{data}</td><td {fixed}>{text}</td>'
        f'<td style="text-align:left">{part}</td></tr>'
    )


@dataclass(frozen=True, slots=True)
class Booted:
    """What came of the 512 bytes.

    Attributes:
        where: "measured, just now" or "recorded, run …".
        how: VMM and accelerator, in words.
        printed: by the machine that had nothing else; empty if it printed nothing.
        data: the bytes.
        tries: (whose kernel was asked, its answer).
    """

    where: str
    how: str
    printed: str
    data: Bytes
    tries: Sequence[tuple[str, str]]

    def _repr_html_(self) -> str:
        e = html.escape
        tried = "".join(
            f'<tr><th scope="row" style="text-align:left">{e(who)}</th>'
            f'<td style="text-align:left">{e(said)}</td></tr>'
            for who, said in self.tries
        )
        head = (
            f"<p><strong>A virtual machine with nothing but these 512 bytes printed</strong> "
            f"({e(self.where)}; {e(self.how)}):</p>"
            f'<pre style="border:1px solid;padding:.5em">{e(self.printed) or "(nothing)"}</pre>'
        )
        refused = (
            '<table class="vmc-table"><caption style="text-align:left">The same 512 bytes, handed '
            f"to a kernel as a program</caption><tbody>{tried}</tbody></table>"
            if tried
            else "<p>No kernel could be asked to run them as a program.</p>"
        )
        return f"{head}{self.data._repr_html_()}{refused}<p><strong>Why.</strong> {_WHY}</p>"


@dataclass(frozen=True, slots=True)
class Unstarted:
    """The learner's own 512 bytes where no machine can be started."""

    data: Bytes

    def _repr_html_(self) -> str:
        return (
            "<p><strong>Your 512 bytes</strong>, made on this page and started by nobody yet:</p>"
            f"{self.data._repr_html_()}"
        )


def message_of(options: Mapping[str, Any]) -> str:
    """The learner's message.

    Raises:
        UnknownName: an option that there is not.
        Unavailable: no message can be made of it, and why.
    """
    for name in options:
        if name != "message":
            raise UnknownName("option", name, ["message"])
    message = options.get("message", boot_sector.MESSAGE)
    if not isinstance(message, str):
        raise Unavailable("the message is not text", 'put it in quotes: message="Hello"')
    try:
        boot_sector.image(message)
    except ValueError as error:  # UnicodeEncodeError (half a character) is one, too
        said = "it holds half a character" if isinstance(error, UnicodeError) else str(error)
        raise Unavailable(said, "choose another message") from error
    return message


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> Booted:
    """Start the learner's message in a machine, then hand the same bytes to every kernel here.

    Raises what :func:`message_of` and ``Launcher.open`` raise.
    """
    message = message_of(options)
    image = boot_sector.image(message)
    launcher = launchers[Platform.VM_DIRECT]
    sector = boot_sector_in(launcher, message)
    traits = launcher.traits(sector_spec(message))
    tries = []
    for platform in (Platform.PROCESS, Platform.CONTAINER):
        if platform in launchers:
            tries.append((_WHOSE[str(platform)], _tried(launchers[platform], image)))
    return Booted(
        "measured, just now",
        f"{traits.vmm}, {_accelerator(traits.accel)}",
        sector.printed,
        Bytes(boot_sector.parts(image)),
        tries,
    )


def _tried(launcher: Launcher, image: bytes) -> str:
    try:
        with launcher.open(Spec(), lambda event: None) as box:  # noqa: ARG005
            return _told(as_program(box, image))
    except FAILURES as problem:
        return f"could not be tried: {problem}"


def _told(refusal: Refusal) -> str:
    return f"{'ran' if refusal.ran else 'refused'}: {refusal}"


_WHOSE = {
    "process": "the kernel under a process",
    "container": "the kernel under a container",
    "vm-direct": "a guest’s Linux in a virtual machine",
}


def replay(view: View) -> Booted:
    """The same from a recording.

    Raises:
        Unavailable: it has not been recorded.
    """
    seen = view.values(metric="observation") if len(view.frame) else view.frame
    printed = seen[seen["phase"] == "boot_sector_printed"] if len(seen) else seen
    if not len(printed):
        raise Unavailable(
            "no start of the 512 bytes is recorded", "install QEMU, and run this cell"
        )
    row = printed.iloc[0]
    image = _image(seen.loc[seen["phase"] == "boot_sector_bytes", "text"].tolist())
    tried = seen[seen["phase"] == "boot_sector_as_program"].to_dict("records")
    return Booted(
        f"{row['shown']}, run {row['run_id']}",
        f"{row['vmm']}, {_accelerator(str(row['accel']))}",
        str(row["text"]),
        Bytes(boot_sector.parts(image)),
        [
            (
                _WHOSE.get(str(one["platform"]), str(one["platform"])),
                f"{'ran' if one['value'] else 'refused'}: {one['text']}",
            )
            for one in tried
        ],
    )


def _image(texts: Sequence[object]) -> bytes:
    """The boot sector that was recorded, as hexadecimal text."""
    try:
        sector = bytes.fromhex(str(texts[0]))
        boot_sector.parts(sector)
    except (IndexError, ValueError):
        raise Unavailable(
            "the recorded boot sector cannot be read", "replay another recording"
        ) from None
    return sector


def preview(options: Mapping[str, Any]) -> Unstarted | None:
    """The learner's bytes, started by nobody; ``None`` for the message that the recording shows.

    Raises what :func:`message_of` raises.
    """
    if message_of(options) == boot_sector.MESSAGE:
        return None
    return Unstarted(Bytes(boot_sector.parts(boot_sector.image(message_of(options)))))


def _accelerator(accel: str) -> str:
    return f"{EMULATION} ({accel})" if accel == SOFTWARE else f"accelerator {accel}"


BOOT_SECTOR_DEMO = Demo(
    platforms=(Platform.VM_DIRECT,),
    run=run,
    replay=replay,
    optional=(Platform.PROCESS, Platform.CONTAINER),
    preview=preview,
)
