"""The boot sector: its form here, its behaviour on a real (virtual) machine."""

from __future__ import annotations

import pytest

from vmcompare.engines.programs import boot_sector
from vmcompare.errors import Unavailable
from vmcompare.sandbox import BOOT_SECTOR, Event, Machine, Phase, Platform, Spec


def test_it_is_one_sector_with_the_signature_of_a_boot_sector() -> None:
    image = boot_sector.image("Hello")
    assert len(image) == 512
    assert image[-2:] == b"\x55\xaa"
    assert b"Hello\x06\0" in image


def test_the_code_names_the_place_of_the_message() -> None:
    image = boot_sector.image("Hello")
    at = int.from_bytes(image[image.index(b"\xbe") + 1 :][:2], "little") - boot_sector.LOADED_AT
    assert image[at : at + 5] == b"Hello"


def test_a_message_of_the_greatest_length_fits_and_one_more_byte_does_not() -> None:
    most = boot_sector.MESSAGE_MAX_BYTES
    assert len(boot_sector.image("x" * most)) == 512
    with pytest.raises(ValueError, match=f"{most} fit"):
        boot_sector.image("x" * (most + 1))


def test_its_parts_are_the_image_in_order() -> None:
    message = "Grüße"
    image = boot_sector.image(message)
    parts = dict(boot_sector.parts(image))
    assert b"".join(parts.values()) == image
    assert parts["message"].decode() == message
    assert not any(parts["zeros"])
    assert len(parts["code"]) == boot_sector.CODE_BYTES


@pytest.mark.parametrize("message", ["a\0b", "a\x06b"])
def test_a_message_that_would_end_itself_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match="00 and 06"):
        boot_sector.image(message)


@pytest.mark.qemu
def test_a_machine_starts_it_and_prints_the_message_without_any_other_system() -> None:
    from vmcompare.engines.qemu import launchers

    events: list[Event] = []
    spec = Spec(image=BOOT_SECTOR, command=("Grüße, world!",), machine=Machine.PC)
    with launchers()[Platform.VM_DIRECT].open(spec, events.append) as box:
        assert "Grüße, world!" in box.console()
        with pytest.raises(Unavailable, match="runs no commands"):
            box.run(["true"])
    assert [e.phase for e in events] == [
        Phase.OPEN, Phase.SPAWN, Phase.FIRMWARE, Phase.FIRST_BYTE, Phase.SHUTDOWN,
    ]  # fmt: skip
