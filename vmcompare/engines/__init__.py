"""Which engines work on this computer, and the launcher of each platform."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType

from vmcompare.errors import StorageError, Unavailable, UnknownName
from vmcompare.sandbox import Availability, Launcher, Platform

ENGINES: Mapping[str, tuple[Platform, ...]] = {
    "process": (Platform.PROCESS,),
    "docker": (Platform.CONTAINER,),
    "qemu": (Platform.VM_DIRECT, Platform.VM_TUNED, Platform.VM),
}
"""Backend module → the platforms it serves."""

RUNTIMES: tuple[str, ...] = ("runc", "bubblewrap")
"""Modules in ``bare`` that start containers as a bare mechanism: further series, never Docker's."""


def availability() -> dict[str, Availability]:
    """What each engine's probe found on this computer, by engine."""
    return {name: _module(name).probe() for name in ENGINES}


def runtime_availability(names: Sequence[str] = RUNTIMES) -> dict[str, Availability]:
    """What the probe of each bare container mechanism found on this computer, by name."""
    return {name: _module(name).probe() for name in names}


def engine_of(platform: Platform) -> str:
    return next(name for name, served in ENGINES.items() if platform in served)


def launchers(
    found: Mapping[str, Availability],
    wanted: Sequence[Platform],
    *,
    strict: bool = False,
) -> dict[Platform, Launcher]:
    """Launchers of those ``wanted`` platforms whose engine was found.

    Raises ``Unavailable`` if none of them (or, if ``strict``, not all) can be launched here.
    """
    able: dict[Platform, Launcher] = {}
    for name, served in ENGINES.items():
        if found[name].ok and set(served) & set(wanted):
            able |= _module(name).launchers()
    lacking = missing(found, wanted)
    if lacking and (strict or len(lacking) == len({engine_of(p) for p in wanted})):
        what = "; ".join(availability.what for availability in lacking.values())
        raise Unavailable(what, next(iter(lacking.values())).next_step)
    return {p: able[p] for p in Platform if p in able and p in wanted}


def runtimes(found: Mapping[str, Availability]) -> dict[str, Launcher]:
    """Launchers of those bare container mechanisms that were ``found`` to work, by name."""
    return {
        name: _module(name).launchers()[Platform.CONTAINER]
        for name, availability in found.items()
        if availability.ok
    }


def lacking_images(platforms: Collection[Platform]) -> tuple[tuple[str, float], ...]:
    """What takes more than a second to be made for ``platforms`` and is not in the cache, in order.

    Each in words, with the seconds it took on the computer of the project's recordings.
    """
    from vmcompare.engines.images.cache import TAKES_S
    from vmcompare.engines.qemu import disks

    try:
        lacking = disks.lacking(platforms)
    except (Unavailable, StorageError):  # whoever starts a VM will be told
        return ()
    return tuple((words, TAKES_S[words]) for words in lacking)


def missing(
    found: Mapping[str, Availability], wanted: Sequence[Platform]
) -> dict[str, Availability]:
    """What was found of those engines that ``wanted`` platforms need and this computer lacks."""
    return {
        name: found[name]
        for name, served in ENGINES.items()
        if not found[name].ok and set(served) & set(wanted)
    }


def platform_named(name: str) -> Platform:
    """The platform called ``name``. Raises ``UnknownName``."""
    try:
        return Platform(name)
    except ValueError:
        raise UnknownName("platform", name, [p.value for p in Platform]) from None


def _module(name: str) -> ModuleType:
    folder = "vmcompare.engines.bare" if name in ("process", *RUNTIMES) else "vmcompare.engines"
    return importlib.import_module(f"{folder}.{name}")
