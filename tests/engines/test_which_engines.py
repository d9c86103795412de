"""Which engine serves which platform, and what is said where one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmcompare import engines
from vmcompare.engines.images import alpine, cache
from vmcompare.engines.qemu import disks
from vmcompare.errors import Unavailable, UnknownName
from vmcompare.sandbox import Availability, Launcher, Platform, Spec

HERE = Availability(True, version="1")
GONE = Availability(False, what="Docker is not installed", next_step="install Docker")


def test_every_platform_has_exactly_one_engine() -> None:
    served = [p for platforms in engines.ENGINES.values() for p in platforms]
    assert sorted(served) == sorted(Platform)


def test_every_backend_launches_what_it_is_said_to_serve() -> None:
    found = dict.fromkeys(engines.ENGINES, HERE)
    able = engines.launchers(found, tuple(Platform))
    assert list(able) == list(Platform)
    assert all(isinstance(launcher, Launcher) for launcher in able.values())


def test_images_that_take_seconds_are_named_where_the_cache_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        alpine.sources()
    except Unavailable as error:
        pytest.skip(error.what)
    disk, tuned = (("the virtual disk", 2.4), ("the disk of vm-tuned", 21.0))
    assert engines.lacking_images([Platform.PROCESS, Platform.CONTAINER]) == ()
    assert engines.lacking_images([Platform.VM]) == (disk,)
    assert engines.lacking_images([Platform.VM_TUNED]) == (disk, tuned)
    cache.get("disk.qcow2", disks._key(), lambda out: out.write_bytes(b"made"))
    assert engines.lacking_images([Platform.VM_TUNED]) == (tuned,)


def test_every_bare_runtime_launches_containers_on_the_layer_of_mechanisms() -> None:
    able = engines.runtimes(dict.fromkeys(engines.RUNTIMES, HERE))
    assert list(able) == ["runc", "bubblewrap"]
    for name, launcher in able.items():
        assert isinstance(launcher, Launcher)
        traits = launcher.traits(Spec(runtime=name))
        assert (traits.layer, traits.runtime) == ("mechanism", name)


def test_a_bare_runtime_that_is_missing_is_left_out() -> None:
    assert list(engines.runtimes({"runc": GONE, "bubblewrap": HERE})) == ["bubblewrap"]


def test_what_is_missing_is_left_out_and_the_rest_goes_on() -> None:
    found = {"process": HERE, "docker": GONE, "qemu": HERE}
    able = engines.launchers(found, (Platform.PROCESS, Platform.CONTAINER))
    assert list(able) == [Platform.PROCESS]


def test_a_platform_that_was_asked_for_by_name_must_be_there() -> None:
    found = {"process": HERE, "docker": GONE, "qemu": HERE}
    with pytest.raises(Unavailable, match="Docker is not installed"):
        engines.launchers(found, (Platform.PROCESS, Platform.CONTAINER), strict=True)


def test_nothing_to_launch_is_said_with_the_next_step() -> None:
    found = {"process": HERE, "docker": GONE, "qemu": GONE}
    with pytest.raises(Unavailable, match="install Docker"):
        engines.launchers(found, (Platform.CONTAINER,))


def test_an_unknown_platform_is_told_with_those_that_exist() -> None:
    assert engines.platform_named("vm-direct") is Platform.VM_DIRECT
    with pytest.raises(UnknownName, match="vm-tuned"):
        engines.platform_named("vm-fast")
