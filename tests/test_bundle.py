"""The defaults of a container without an engine."""

from __future__ import annotations

import json

from vmcompare import bundle


def made(**more: bool) -> dict[str, object]:
    return bundle.configuration(
        "/root", ["/bin/sh"], "one", {}, **{"own_cgroups": True, "read_only": True, **more}
    )


def test_what_is_changed_in_one_configuration_is_not_in_the_next() -> None:
    before = json.dumps(made())
    one = made()
    one["linux"]["maskedPaths"].clear()  # type: ignore[index]
    one["process"]["capabilities"]["effective"].clear()  # type: ignore[index]
    one["mounts"][0]["options"].append("rw")  # type: ignore[index]
    assert json.dumps(made()) == before


def test_docker_leaves_fourteen_capabilities_and_their_bits_are_the_known_ones() -> None:
    bits = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6,
            "SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18,
            "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}  # fmt: skip
    held = sum(1 << bits[name.removeprefix("CAP_")] for name in bundle.CAPABILITIES)
    assert f"{held:08x}" == "a80425fb"  # what /proc/self/status says in a container


def test_a_cgroup_namespace_is_made_where_it_is_wanted() -> None:
    kinds = [
        {space["type"] for space in made(own_cgroups=own)["linux"]["namespaces"]}  # type: ignore[index]
        for own in (False, True)
    ]
    assert kinds[1] - kinds[0] == {"cgroup"}
