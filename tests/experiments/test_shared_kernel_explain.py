"""What lesson 02 draws, tabulates and concludes, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explained import Asked
from planted import planted
from planted_kernels import looked

from vmcompare.course import text
from vmcompare.errors import Unavailable
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Conclusion
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.shared_kernel.explain import explained
from vmcompare.plots.picture import Picture
from vmcompare.sandbox import Platform

FIGURES, TABLES, OUTCOMES = explained.figures, explained.tables, explained.outcomes
WORDS = text.of_lesson("02")
assert WORDS


def table(name: str, view: View) -> pd.DataFrame:
    return pd.DataFrame(TABLES[name](view))


def figure(name: str, view: View) -> Picture:
    """A figure with the words of the lesson's text."""
    return text.caption(FIGURES[name](view), WORDS.find("figure", name))


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, View]:
    """Every kind of view a lesson can meet."""
    place = tmp_path_factory.mktemp("views")

    def run(**more: Any) -> Any:
        return planted(place, looked(**more), experiment="shared_kernel")

    hidden = {f"container {letter}": "99999999" for letter in "ABC"}
    return {
        "empty": compose(None, None),
        "full": compose(run(), None),
        "hardware": compose(run(accel="kvm"), None),
        "qemu only": compose(
            run(only=["process", "vm-direct", "vm"], boot_ids={"host": "55555555"}),
            run(),
            (Platform.PROCESS,),
        ),
        "hidden": compose(
            run(boot_ids=hidden, facts={"container_boot_id_is_a_hidden_vms": True}), None
        ),
        "failures": compose(run(broken=["container C", "net", "all but net"]), None),
        "no vm": compose(run(only=["process", "container"]), None),
        "all broken": compose(run(only=["vm"], broken=["vm", "vm_boot_id_is_hosts"]), None),
    }


@pytest.mark.parametrize("name", ["empty", "full", "qemu only", "failures", "all broken"])
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], drawn=name == "failures", clause=False)
    replays = [asked.made(demo.replay) for demo in explained.demos.values()]
    drawn = list(asked.figures(FIGURES.values()))
    made = list(asked.tables(lambda view, n=n: table(n, view) for n in TABLES))
    asked.outcomes(OUTCOMES)
    if name == "empty":
        assert not drawn + made + [one for one in replays if one]
        assert [outcome(views[name]) for outcome in OUTCOMES.values()] == [None] * 3


def test_recorded_containers_keep_their_own_host_beside_this_computers(
    views: Mapping[str, View],
) -> None:
    picture = figure("identity", views["qemu only"])
    assert "boot id, 4 different: host: 55555555;" in picture.alt
    assert "host*, cont. A*, cont. B*, cont. C*: 11111111" in picture.alt
    assert "* of another run" in picture.words
    assert "of another run" not in figure("identity", views["full"]).words


def test_equal_namespace_numbers_of_two_kernels_are_not_taken_for_one(
    views: Mapping[str, View],
) -> None:
    alt = FIGURES["identity"](views["full"]).alt
    # The host, vm-direct and vm all say …836.
    assert "pid namespace, 6 different: host: …836;" in alt


def test_provenance_and_emulation_are_said_where_they_are_and_nowhere_else(
    views: Mapping[str, View],
) -> None:
    for name in FIGURES:
        assert "software emulation" in figure(name, views["full"]).words
        assert "emulation" not in figure(name, views["hardware"]).words
    shown = table("kernels", views["full"])["shown"]
    assert list(shown) == ["measured", *["measured, software emulation"] * 2]
    assert not table("kernels", views["hardware"])["shown"].str.contains("emulation").any()


def test_a_hidden_vm_is_named(views: Mapping[str, View]) -> None:
    assert "started for you (Docker Desktop" in figure("identity", views["hidden"]).words
    assert "started for you" not in figure("identity", views["full"]).words


def test_what_failed_is_left_out_and_said_with_its_reason(views: Mapping[str, View]) -> None:
    view = views["failures"]
    assert "No answer from container C: it did not start" in figure("identity", view).words
    picture = figure("by_hand", view)
    assert "Failed: net (it did not start)." in picture.brief
    assert "user changed loopback network" in picture.alt  # it is what net would have changed
    with pytest.raises(Unavailable, match="“net” has not been tried \\(it did not start\\)"):
        explained.demos["net"].replay(view)


def test_outcomes_are_counted_within_one_run(views: Mapping[str, View]) -> None:
    expected = {"kernels": 3, "seen_by_host": 3, "seen_by_first": 58}
    assert {name: found(views["full"]) for name, found in OUTCOMES.items()} == expected
    assert OUTCOMES["kernels"](views["failures"]) == 3
    assert OUTCOMES["kernels"](views["no vm"]) is None


def test_a_step_shows_a_line_that_people_can_type_and_what_it_alone_changed(
    views: Mapping[str, View],
) -> None:
    steps = {name: demo.replay(views["full"]) for name, demo in explained.demos.items()}
    assert steps["pid"].changed == {
        "own process number": "one of many → 1",
        "processes seen": "60 → 1",
    }
    assert steps["pid"].line == (
        "unshare -m -p -f sh -c 'mount -t proc proc /box/proc; exec chroot /box sh'"
    )
    assert steps["all but mount"].changed["processes seen"] == "1 → 58"
    assert steps["all but net"].changed == {"loopback network": "down → up"}
    for step in steps.values():
        assert "see" not in step.line
        assert "deny-mkdir" not in step.line
    assert "<b>net</b> changed loopback network: up → down" in steps["net"]._repr_html_()


# ---- the article's claims -----------------------------------------------------------------------


def found(tmp_path: Path, part: str, **more: Any) -> claims.Finding:
    [claim] = [c for c in claims.load() if f"{c.id} {c.part}" == part]
    return claims.judge(claim, planted(tmp_path, looked(**more)).frame())


FLIPS = [
    ("O2 shared kernel", {}, Conclusion.SUPPORTED),
    (
        "O2 shared kernel", {"facts": {"container_boot_id_is_a_hidden_vms": True}},
        Conclusion.WITH_CAVEATS,
    ),
    ("O2 shared kernel", {"facts": {"container_boot_id_is_hosts": False}}, Conclusion.REFUTED),
    ("O2 shared kernel", {"facts": {"vm_boot_id_is_hosts": True}}, Conclusion.REFUTED),
    ("O2 shared kernel", {"only": ["process", "container"]}, Conclusion.NOT_MEASURED),
    ("O5 one kernel", {}, Conclusion.SUPPORTED),
    ("O5 one kernel", {"facts": {"containers_report_one_boot_id": False}}, Conclusion.REFUTED),
    ("O5 one kernel", {"facts": {"ten_different_containers_ran": False}}, Conclusion.INCONCLUSIVE),
    ("O5 one kernel", {"only": ["vm"]}, Conclusion.NOT_MEASURED),
    ("O6a distributions", {}, Conclusion.REFUTED),
    (
        "O6a distributions", {"facts": {"second_distribution_runs_as_container": False}},
        Conclusion.SUPPORTED,
    ),
    (
        "O6a distributions", {"broken": ["second_distribution_runs_as_container"]},
        Conclusion.NOT_MEASURED,
    ),
    ("O6b kernels", {}, Conclusion.SUPPORTED),
    ("O6b kernels", {"facts": {"other_kernel_starts_in_container": True}}, Conclusion.REFUTED),
    ("O6b kernels", {"facts": {"other_kernel_starts_in_vm": False}}, Conclusion.REFUTED),
    ("O6b kernels", {"broken": ["other_kernel_starts_in_vm"]}, Conclusion.NOT_MEASURED),
]  # fmt: skip


@pytest.mark.parametrize(("part", "more", "verdict"), FLIPS)
def test_each_finding_is_the_datas(
    tmp_path: Path, part: str, more: Mapping[str, Any], verdict: Conclusion
) -> None:
    assert found(tmp_path, part, **more).verdict is verdict


def test_observations_of_two_vms_that_disagree_settle_nothing(tmp_path: Path) -> None:
    rows = looked()
    [one] = [r for r in rows if r.phase == "vm_boot_id_is_hosts"]
    rows.append(replace(one, value=1.0))
    [claim] = [c for c in claims.load() if (c.id, c.part) == ("O2", "shared kernel")]
    finding = claims.judge(claim, planted(tmp_path, rows).frame())
    assert finding.verdict is Conclusion.INCONCLUSIVE


def test_a_fact_is_spelt_as_it_is_said(tmp_path: Path) -> None:
    finding = found(tmp_path, "O2 shared kernel")
    text = " ".join((finding.reason, *finding.caveats, *finding.listed))
    assert "a container’s boot id is the host’s: yes" in text
    assert "the containers run in a VM apart from the host: no" in text
