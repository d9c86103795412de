"""Puts the floors together: which engines answer here, and who launches which platform."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType

from .errors import Unavailable, UnknownName
from .sandbox import Availability, Launcher, Platform

ENGINES: Mapping[str, tuple[Platform, ...]] = {
    "process": (Platform.PROCESS,),
    "docker": (Platform.CONTAINER,),
    "qemu": (Platform.VM_DIRECT, Platform.VM_TUNED, Platform.VM),
}
"""Backend module → the platforms it serves."""


def availability() -> dict[str, Availability]:
    """What each engine's probe found on this machine, by engine."""
    return {name: _module(name).probe() for name in ENGINES}


def engine_of(platform: Platform) -> str:
    """The engine that serves ``platform``."""
    return next(name for name, served in ENGINES.items() if platform in served)


def launchers(
    found: Mapping[str, Availability], wanted: Sequence[Platform]
) -> dict[Platform, Launcher]:
    """Launchers of those ``wanted`` platforms whose engine was found.

    Raises:
        Unavailable: none of them can be launched here; names what is missing.
    """
    able: dict[Platform, Launcher] = {}
    for name, served in ENGINES.items():
        if found[name].ok and set(served) & set(wanted):
            able |= {
                p: launcher for p, launcher in _module(name).launchers().items() if p in wanted
            }
    if not able:
        lacking = [found[name] for name in dict.fromkeys(engine_of(p) for p in wanted)]
        raise Unavailable("; ".join(a.what for a in lacking), lacking[0].next_step)
    return {p: able[p] for p in Platform if p in able}


def platform_named(name: str) -> Platform:
    """The platform called ``name``.

    Raises:
        UnknownName: there is none of that name.
    """
    try:
        return Platform(name)
    except ValueError:
        raise UnknownName("platform", name, [p.value for p in Platform]) from None


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"vmcompare.backends.{name}")
