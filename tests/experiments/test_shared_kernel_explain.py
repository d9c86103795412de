"""What lesson 02 draws, tabulates, models and concludes, whatever the view holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from explained import Asked
from planted import planted
from planted_kernels import looked

from vmcompare.errors import Unavailable, UnknownName
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Verdict
from vmcompare.evidence.exercise import check_complete
from vmcompare.evidence.view import View, compose
from vmcompare.experiments.shared_kernel import ladder, rows
from vmcompare.experiments.shared_kernel.exercises import EXERCISES, QUESTIONS
from vmcompare.experiments.shared_kernel.explain import DEMOS, FIGURES, OUTCOMES, TABLES, WHATIFS
from vmcompare.sandbox import Platform


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
        "docker only": compose(run(only=["process", "container"]), run(), (Platform.PROCESS,)),
        "qemu only": compose(
            run(only=["process", "vm-direct", "vm"], boot_ids={"host": "55555555"}),
            run(),
            (Platform.PROCESS,),
        ),
        "containers": compose(run(only=["container"]), None),
        "machines": compose(run(only=["vm-direct", "vm"]), None),
        "hidden": compose(
            run(boot_ids=hidden, facts={"container_boot_id_is_a_hidden_vms": True}), None
        ),
        "no Debian": compose(run(broken=["container C"]), None),
        "broken rung": compose(run(broken=["net", "all but net"]), None),
        "ordinary user": compose(run(only=["process", "container"], on_host=True), None),
        "two ladders": compose(run(only=["process", "container"], on_host=True), run()),
        "no ladder": compose(run(broken=[c.name for c in ladder.GUEST.climbs()]), None),
        "all broken": compose(run(only=["vm"], broken=["vm", "vm_boot_id_is_hosts"]), None),
    }


VIEWS = (
    "empty", "full", "hardware", "docker only", "qemu only", "containers", "machines", "hidden",
    "no Debian", "broken rung", "ordinary user", "two ladders", "no ladder", "all broken",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_everything_either_works_or_says_in_one_sentence_what_is_missing(
    views: Mapping[str, View], name: str
) -> None:
    asked = Asked(views[name], clause=False)
    drawn = asked.figures((*FIGURES.values(), *(demo.replay for demo in DEMOS.values())))
    assert all(picture.alt for picture in drawn)
    assert all(len(table) for table in asked.tables(TABLES.values()))
    asked.outcomes(OUTCOMES)
    assert all(len(model.values) == 20 for model, _ in asked.whatifs(WHATIFS.values()))
    for exercise in EXERCISES.values():
        asked.made(exercise.solution)
        for answer in exercise.choices or (1.0, 3.0):
            asked.made(exercise.check, answer)


def test_the_empty_view_makes_everything_unavailable(views: Mapping[str, View]) -> None:
    for make in (*FIGURES.values(), *TABLES.values(), *WHATIFS.values()):
        with pytest.raises(Unavailable):
            make(views["empty"])
    assert [outcome(views["empty"]) for outcome in OUTCOMES.values()] == [None] * 3


def test_containers_have_the_hosts_letter_and_machines_have_not(views: Mapping[str, View]) -> None:
    alt = FIGURES["identity"](views["full"]).alt
    assert (
        "boot id, 3 different: host, cont. A, cont. B, cont. C: 11111111; vm-direct: 22222222; "
        "vm: 33333333" in alt
    )


def test_recorded_containers_keep_their_own_host_beside_this_computers(
    views: Mapping[str, View],
) -> None:
    picture = FIGURES["identity"](views["qemu only"])
    assert "boot id, 4 different: host: 55555555;" in picture.alt
    assert "host*, cont. A*, cont. B*, cont. C*: 11111111" in picture.alt
    assert "* Recorded in another run" in picture.caption
    assert "Recorded in another" not in FIGURES["identity"](views["full"]).caption
    table = TABLES["identity"](views["qemu only"])
    assert {"host", "host *", "container A *", "vm"} <= set(table.columns)


def test_equal_namespace_numbers_of_two_kernels_are_not_taken_for_one(
    views: Mapping[str, View],
) -> None:
    alt = FIGURES["identity"](views["full"]).alt
    # The host, vm-direct and vm all say …836.
    assert "pid namespace, 6 different: host: …836;" in alt


def test_emulation_is_said_where_a_machine_is_shown_and_nowhere_else(
    views: Mapping[str, View],
) -> None:
    for figure in FIGURES.values():
        assert "software emulation" in figure(views["full"]).caption
        assert "emulation" not in figure(views["hardware"]).caption
    table = TABLES["kernels"](views["full"])
    assert table["shown"].str.contains("software emulation").sum() == 2


def test_a_hidden_vm_is_named_under_the_figure(views: Mapping[str, View]) -> None:
    assert "started for you (Docker Desktop" in FIGURES["identity"](views["hidden"]).caption
    assert "started for you" not in FIGURES["identity"](views["full"]).caption


def test_an_instance_that_did_not_answer_is_said_with_its_reason(views: Mapping[str, View]) -> None:
    picture = FIGURES["identity"](views["no Debian"])
    assert "No answer from container C: it did not start" in picture.caption
    table = TABLES["identity"](views["no Debian"]).set_index("observation")
    assert table.loc["shown", "container C"] == "failed; see above"


def test_every_rung_changes_what_belongs_to_it_and_none_the_kernel(
    views: Mapping[str, View],
) -> None:
    alt = FIGURES["ladder"](views["full"]).alt
    assert "pid changed own process number from one of many to 1; processes seen from" in alt
    assert "net changed loopback network from up to down." in alt
    assert "Never changed: kernel release, boot id." in alt


def test_a_rung_that_failed_is_left_out_of_the_grid_and_named(views: Mapping[str, View]) -> None:
    picture = FIGURES["ladder"](views["broken rung"])
    assert "Rungs that failed: net (it did not start)." in picture.caption
    assert "user changed loopback network" in picture.alt  # it is what net would have changed
    assert OUTCOMES["rungs"](views["broken rung"]) is None


@pytest.mark.parametrize("name", ["ordinary user", "two ladders"])
def test_an_ordinary_users_own_ladder_comes_before_a_recorded_one_and_in_its_order(
    views: Mapping[str, View], name: str
) -> None:
    picture = FIGURES["ladder"](views[name])
    assert "by an ordinary user, beginning with “user”" in picture.caption
    assert "Rungs that failed: cgroup" in picture.caption
    table = TABLES["ladder"](views[name])
    assert list(table["rung"])[:3] == [ladder.START, "user", "chroot"]
    assert table["line"][1] == "unshare -U -r $BOX/bin/see"
    assert list(TABLES["left_out"](views[name])["left out"]) == [
        "user", "chroot", "mount", "pid", "net", "seccomp",
    ]  # fmt: skip


def test_the_table_of_rungs_has_the_line_that_was_typed(views: Mapping[str, View]) -> None:
    table = TABLES["ladder"](views["full"]).set_index("rung")
    assert list(table.index) == [ladder.START, *ladder.RUNGS]
    assert table.loc["pid", "line"] == "unshare -m -p -f chroot /box with-proc /bin/see"
    assert table.loc["start", "what changed"] == "–"


def test_leaving_a_rung_out_gives_back_what_it_alone_took(views: Mapping[str, View]) -> None:
    table = TABLES["left_out"](views["full"]).set_index("left out")
    assert table.loc["net", "what differs"] == "loopback network: down → up"


def test_outcomes_are_counted_within_one_run(views: Mapping[str, View]) -> None:
    found = {name: outcome(views["full"]) for name, outcome in OUTCOMES.items()}
    assert found == {"kernels": 3, "seen_by_host": 3, "rungs": 7}
    assert OUTCOMES["kernels"](views["docker only"]) is None


@pytest.mark.parametrize(("each", "containers", "machines"), [(20, 10, 210), (100, 10, 1010)])
def test_patch_day_follows_its_formula(
    views: Mapping[str, View], each: float, containers: int, machines: int
) -> None:
    model = WHATIFS["patch_day"](views["full"])
    alt = model.draw(each).alt
    # K = H (k_host + κ N), H = 10, k_host = 1, κ = 0 for containers and 1 for machines.
    assert f"container {containers}; vm {machines:,}." in alt
    assert f"restarts: container {each:g}; vm 1." in alt
    assert "container 0, vm 1" in model.source


def test_a_hidden_vms_kernel_is_patched_too(views: Mapping[str, View]) -> None:
    assert "container 20; vm" in WHATIFS["patch_day"](views["hidden"]).draw(20).alt


def test_the_demo_replays_every_rung_that_can_be_left_out(views: Mapping[str, View]) -> None:
    alt = DEMOS["ladder"].replay(views["full"]).alt
    assert "all but net changed loopback network from down to up." in alt
    assert "all but seccomp changed call filter from on to off" in alt


def test_a_rung_that_does_not_exist_is_named_before_anything_starts() -> None:
    with pytest.raises(UnknownName, match="cgroups"):
        DEMOS["ladder"].run({}, {"without": "cgroups"})


# ---- exercises ------------------------------------------------------------------------------


def test_the_lesson_has_its_exercises_and_questions() -> None:
    check_complete(EXERCISES, QUESTIONS)


def test_choices_have_one_right_answer_by_the_data(views: Mapping[str, View]) -> None:
    for name, right in (
        ("leave_one_out", "loopback network"),
        ("wrong_reading", "Read the boot id in the container and on the host"),
        ("own_kernel", "A tool that must set vm.swappiness for itself alone"),
    ):
        exercise = EXERCISES[name]
        said = {c: exercise.check(views["full"], c) for c in exercise.choices}
        assert [choice for choice, feedback in said.items() if feedback.right] == [right]
        assert all(feedback.text for feedback in said.values())
        assert not exercise.check(views["full"], "something else").right


def test_kernels_are_counted_from_the_rows_shown(views: Mapping[str, View]) -> None:
    exercise = EXERCISES["count_kernels"]
    assert exercise.check(views["full"], 3.0).right
    assert "number of instances" in exercise.check(views["full"], 6.0).text
    assert exercise.check(views["machines"], 2.0).right
    assert "3 different boot ids among 6" in exercise.solution(views["full"])


def test_the_code_of_the_gap_exercise_works_once_completed(views: Mapping[str, View]) -> None:
    code = EXERCISES["count_kernels"].code.replace("___", "boot id", 1).replace("___", "nunique")
    *lines, last = code.splitlines()
    names: dict[str, Any] = {"lesson": type("Lesson", (), {"view": views["full"]})}
    exec("\n".join(lines), names)
    assert eval(last, names) == 3


# ---- the article's claims -----------------------------------------------------------------------


def found(tmp_path: Path, part: str, **more: Any) -> claims.Finding:
    [claim] = [c for c in claims.load() if f"{c.id} {c.part}" == part]
    return claims.judge(claim, planted(tmp_path, looked(**more)).frame())


FLIPS = [
    ("O2 shared kernel", {}, Verdict.SUPPORTED),
    (
        "O2 shared kernel", {"facts": {"container_boot_id_is_a_hidden_vms": True}},
        Verdict.WITH_CAVEATS,
    ),
    ("O2 shared kernel", {"facts": {"container_boot_id_is_hosts": False}}, Verdict.REFUTED),
    ("O2 shared kernel", {"facts": {"vm_boot_id_is_hosts": True}}, Verdict.REFUTED),
    ("O2 shared kernel", {"only": ["process", "container"]}, Verdict.NOT_MEASURED),
    ("O5 one kernel", {}, Verdict.SUPPORTED),
    ("O5 one kernel", {"facts": {"containers_report_one_boot_id": False}}, Verdict.REFUTED),
    ("O5 one kernel", {"facts": {"ten_different_containers_ran": False}}, Verdict.INCONCLUSIVE),
    ("O5 one kernel", {"only": ["vm"]}, Verdict.NOT_MEASURED),
    ("O6a distributions", {}, Verdict.REFUTED),
    (
        "O6a distributions", {"facts": {"second_distribution_runs_as_container": False}},
        Verdict.SUPPORTED,
    ),
    (
        "O6a distributions", {"broken": ["second_distribution_runs_as_container"]},
        Verdict.NOT_MEASURED,
    ),
    ("O6b kernels", {}, Verdict.SUPPORTED),
    ("O6b kernels", {"facts": {"non_linux_program_boots_in_container": True}}, Verdict.REFUTED),
    ("O6b kernels", {"facts": {"non_linux_program_boots_in_vm": False}}, Verdict.REFUTED),
    ("O6b kernels", {"broken": ["non_linux_program_boots_in_vm"]}, Verdict.NOT_MEASURED),
]  # fmt: skip


@pytest.mark.parametrize(("part", "more", "verdict"), FLIPS)
def test_each_finding_is_the_datas(
    tmp_path: Path, part: str, more: Mapping[str, Any], verdict: Verdict
) -> None:
    assert found(tmp_path, part, **more).verdict is verdict


def test_observations_of_two_machines_that_disagree_settle_nothing(tmp_path: Path) -> None:
    from dataclasses import replace

    rows = looked()
    [one] = [r for r in rows if r.phase == "vm_boot_id_is_hosts"]
    rows.append(replace(one, value=1.0))
    [claim] = [c for c in claims.load() if (c.id, c.part) == ("O2", "shared kernel")]
    finding = claims.judge(claim, planted(tmp_path, rows).frame())
    assert finding.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("name", ["ladder", "left_out"])
def test_what_was_climbed_in_an_emulated_guest_says_so(
    views: Mapping[str, View], name: str
) -> None:
    assert TABLES[name](views["full"])["shown"].str.contains("software emulation").all()


@pytest.mark.parametrize("name", ["probes", "ladder", "left_out"])
def test_every_table_says_how_its_rows_are_shown(views: Mapping[str, View], name: str) -> None:
    shown = TABLES[name](views["full"])["shown"]
    assert shown.str.startswith("measured").all()
    assert not TABLES[name](views["hardware"])["shown"].str.contains("emulation").any()


def test_one_observation_alone_is_what_the_class_exercise_asks_for(
    views: Mapping[str, View],
) -> None:
    exercise = EXERCISES["leave_one_out"]
    begun, climbed, less = (
        one.seen for one in (
            rows.climbed(views["full"]).rungs[0], rows.top(views["full"]),
            rows.left_out(views["full"], "net"),
        )
    )  # fmt: skip
    asked_for = [
        name for name in exercise.choices
        if climbed[name] != begun[name] == less[name]
    ]  # fmt: skip
    assert [name for name in exercise.choices if exercise.check(views["full"], name).right] == (
        asked_for
    )
    assert len(asked_for) == 1


def test_a_fact_is_spelt_as_it_is_said(tmp_path: Path) -> None:
    finding = found(tmp_path, "O2 shared kernel")
    text = " ".join((finding.reason, *finding.caveats, *finding.listed))
    assert "container boot id is the host’s: yes" in text
    assert "container boot id is a hidden VM’s: no" in text
