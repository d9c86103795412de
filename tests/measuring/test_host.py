"""Facts of the computer: what judges a figure, and nothing that names a person."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest

from vmcompare.measuring import host

FACTS = host.facts({"docker": "28"}, {"docker": {"cgroup_version": "2"}})


def test_the_facts_are_plain_json_with_sizes_and_versions() -> None:
    again = json.loads(json.dumps(FACTS))
    assert again == FACTS
    assert again["memory_bytes"] > 100 * 1024 * 1024
    assert again["cores"] >= 1
    assert again["versions"]["docker"] == "28"
    assert again["details"]["docker"]["cgroup_version"] == "2"
    assert again["cgroup_version"] in (0, 1, 2)


@pytest.mark.parametrize(
    ("system", "arch", "flags", "shown"),
    [
        ("Linux", "x86_64", "fpu vmx", "vmx"),
        ("Linux", "x86_64", "fpu svm", "svm"),
        ("Linux", "x86_64", "fpu hypervisor", ""),
        ("Linux", "aarch64", "", None),
        ("Darwin", "x86_64", "", None),
    ],
)
def test_the_processor_s_offer_to_run_machines_is_told_where_it_can_be_read(
    monkeypatch: pytest.MonkeyPatch, system: str, arch: str, flags: str, shown: str | None
) -> None:
    monkeypatch.setattr(host.platform, "system", lambda: system)
    monkeypatch.setattr(host.platform, "machine", lambda: arch)
    monkeypatch.setattr(host, "_cpu_flags", lambda: frozenset(flags.split()))
    assert host.facts({}, {})["virtualisation_flag"] == shown


def test_flags_at_the_end_of_a_long_line_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.platform, "system", lambda: "Linux")
    monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(host, "_read", lambda _: f"flags : {'fpu ' * 100}svm hypervisor")
    found = host.facts({}, {})
    assert (found["virtualised"], found["virtualisation_flag"]) == (True, "svm")


def test_no_name_of_the_user_or_the_machine_and_no_path_is_among_them() -> None:
    text = json.dumps(FACTS)
    words = {getpass.getuser(), socket.gethostname(), str(Path.home())} - {"root", "vm"}
    assert not [word for word in words if len(word) > 3 and word in text]
    assert "/home" not in text


def test_the_machine_has_the_same_name_every_time() -> None:
    assert host.host_id() == FACTS["host_id"]
    assert len(host.host_id()) == 12
