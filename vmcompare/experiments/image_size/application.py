"""The applications that are put into a box: made up, but as heavy as a small real one."""

from __future__ import annotations

import random
from collections.abc import Mapping

from vmcompare.evidence.units import MIB

PROGRAM_BYTES = MIB
"""One mebibyte, a small program of a compiled language. The lesson's text names this size."""

_SIXTEEN = bytes(random.Random(16).sample(range(256), 16)[b % 16] for b in range(256))
"""Maps all bytes to sixteen of them, so that half of every byte is redundant."""


def application(name: str, version: int) -> Mapping[str, bytes]:
    """Absolute path → content of ``/opt/<name>``: a program and the script that starts it.

    For shipping, only bytes count: how many, how well they compress, whether they are the same as
    before. The program is seeded noise of sixteen values, which gzip halves, as it does machine
    code. Another version shares no stretch of bytes with the one before, as after a rebuild. The
    same name and version are the same bytes on every computer.
    """
    noise = random.Random(f"{name} {version}").randbytes(PROGRAM_BYTES)
    return {
        f"/opt/{name}/program": noise.translate(_SIXTEEN),
        f"/opt/{name}/run": f"#!/bin/sh\necho {name} version {version}\n".encode(),
    }


WHOLE = application("notes", 1)
"""What is in the box when it is shipped for the first time."""

SECOND = application("meter", 1)
"""Another application on the same base."""

UPDATE = application("notes", 2)
"""The first one, rebuilt."""
