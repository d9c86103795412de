"""The demonstration: a boot sector, which a VM starts and no kernel takes for a program.

Everything is a computer's own answer: what the VM printed, and what each kernel said when it was
handed the same bytes as a program. Where no VM can be started, a recording answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence.view import View
from vmcompare.experiments.whole_computer.measure import as_program, boot_sector_in, sector_spec
from vmcompare.measuring.experiment import FAILURES, Demo
from vmcompare.sandbox import EMULATION, SOFTWARE, Launcher, Platform, Spec

_ASKED = {
    Platform.PROCESS: "as a plain process",
    Platform.CONTAINER: "in a container",
    Platform.VM_DIRECT: "in a VM, by the Linux that runs there",
}


@dataclass(frozen=True, slots=True)
class Sector:
    """The 512 bytes as a page shows them, with what came of them if they were started.

    Attributes:
        image: the bytes.
        where: just now or in which run, with VMM and accelerator; empty if they were not started.
        printed: by the VM that had nothing else; empty if it printed nothing.
        tries: where they were run as a program → what came of it.
    """

    image: bytes
    where: str = ""
    printed: str = ""
    tries: Mapping[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        from jinja2 import Environment, PackageLoader

        loader = PackageLoader("vmcompare.experiments.whole_computer", ".")
        page = Environment(loader=loader, autoescape=True).get_template("demo.html.j2")
        parts = ", ".join(f"{part} {len(data)}" for part, data in boot_sector.parts(self.image))
        return page.render(sector=self, dump=dump(self.image), parts=parts)


def dump(data: bytes) -> str:
    """Bytes as ``hexdump -C`` prints them; a star stands for rows like the one above it."""
    lines: list[str] = []
    before = b""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if row != before:
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            lines.append(f"{at:08x}  {row[:8].hex(' ')}  {row[8:].hex(' ')}  |{text}|")
        elif lines[-1] != "*":
            lines.append("*")
        before = row
    return "\n".join([*lines, f"{len(data):08x}"])


def run(launchers: Mapping[Platform, Launcher], options: Mapping[str, Any]) -> Sector:
    """Start the learner's message in a VM, then hand the same bytes to every kernel here.

    Raises what :func:`image_of` and ``Launcher.open`` raise.
    """
    image = image_of(options)
    launcher = launchers[Platform.VM_DIRECT]
    message = options.get("message", boot_sector.MESSAGE)
    printed, _ = boot_sector_in(launcher, message)
    traits = launcher.traits(sector_spec(message))
    tries = {
        _ASKED[platform]: _tried(launchers[platform], image)
        for platform in (Platform.PROCESS, Platform.CONTAINER)
        if platform in launchers
    }
    where = f"Measured just now: {_how(traits.vmm, traits.accel)}."
    return Sector(image, where, printed, tries)


def image_of(options: Mapping[str, Any]) -> bytes:
    """The boot sector with the learner's message.

    Raises:
        UnknownName: an option that there is not.
        Unavailable: no boot sector can be made of the message, and why.
    """
    for name in options.keys() - {"message"}:
        raise UnknownName("option", name, ["message"])
    message = options.get("message", boot_sector.MESSAGE)
    if not isinstance(message, str):
        raise Unavailable("the message is not text", 'put it in quotes: message="Hello"')
    try:
        return boot_sector.image(message)
    except ValueError as error:
        raise Unavailable(str(error), "choose another message") from error


def _tried(launcher: Launcher, image: bytes) -> str:
    try:
        with launcher.open(Spec(), lambda _: None) as box:
            return _answered(*as_program(box, image))
    except FAILURES as problem:
        return f"could not be tried: {problem}"


def _answered(ran: bool, said: str) -> str:
    return f"{'ran' if ran else 'refused'}: {said}"


def replay(view: View) -> Sector:
    """The same from a recording.

    Raises ``Unavailable``: it has not been recorded, or cannot be read.
    """
    seen = view.columns("observation")
    started = next((c for c in seen if "boot_sector_printed" in c.texts()), None)
    if started is None:
        raise Unavailable(
            "no start of the 512 bytes is recorded", "install QEMU, and run this cell"
        )
    try:
        image = bytes.fromhex(started.texts()["boot_sector_bytes"])
        boot_sector.parts(image)
    except (KeyError, IndexError, ValueError):
        raise Unavailable(
            "the recorded boot sector cannot be read", "replay another recording"
        ) from None
    tries = {
        _ASKED[column.series.platform]: _answered(bool(row.value), str(row.text))
        for column in seen
        if column.series.platform in _ASKED
        for row in column.where(phase="boot_sector_as_program").rows.itertuples()
    }
    row = started.where(phase="boot_sector_printed").rows.iloc[0]
    how = _how(row["vmm"], str(row["accel"]))
    where = f"{started.shown.capitalize()} in run {started.run_id}: {how}."
    return Sector(image, where, str(row["text"]), tries)


def preview(options: Mapping[str, Any]) -> Sector | None:
    """The learner's bytes, started by nobody; ``None`` for the message that is not the learner's.

    Raises what :func:`image_of` raises.
    """
    image = image_of(options)
    return Sector(image) if image != boot_sector.image(boot_sector.MESSAGE) else None


def _how(vmm: str, accel: str) -> str:
    return f"{vmm}, " + (f"{EMULATION} ({accel})" if accel == SOFTWARE else f"accelerator {accel}")


BOOT_SECTOR_DEMO = Demo(
    platforms=(Platform.VM_DIRECT,),
    run=run,
    replay=replay,
    optional=(Platform.PROCESS, Platform.CONTAINER),
    preview=preview,
)
