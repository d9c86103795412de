"""A lesson shows no traceback: what is missing is a sentence, and recordings take its place."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import planted_isolation as planted_rows
import pytest
from bs4 import BeautifulSoup
from planted import STARTS_S, counted_starts, planted, row, starts

from vmcompare import engines, paths
from vmcompare.course import answers
from vmcompare.course.lesson import Lesson
from vmcompare.errors import Unavailable, UnknownName, VmcompareError
from vmcompare.evidence import claims
from vmcompare.evidence.claims import ARTICLE
from vmcompare.evidence.recording import Measurement, read
from vmcompare.experiments.explanation import explanation
from vmcompare.measuring.experiment import Demo
from vmcompare.paths import user_recordings_dir
from vmcompare.sandbox import Availability, Platform


class Page:
    """Collects what a notebook page would show."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def display(self, thing: Any, **_: Any) -> Any:
        self.shown.append(thing)
        page, place = self, len(self.shown) - 1

        class Handle:
            def update(self, thing: Any) -> None:
                page.shown[place] = thing

        return Handle()

    def html(self) -> str:
        return "\n".join(
            str(t._repr_html_()) if hasattr(t, "_repr_html_") else str(t) for t in self.shown
        )


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, private_places: Path) -> Page:
    page = Page()
    monkeypatch.setattr("IPython.display.display", page.display)
    for name in ("MODE", "HANDOUT", "ROUNDS", "PLATFORMS"):
        monkeypatch.delenv(f"VMCOMPARE_{name}", raising=False)
    return page


def data_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``folder`` be the project's ``data/``."""
    for module in ("course.lesson", "measuring.experiment"):
        monkeypatch.setattr(f"vmcompare.{module}.data_dir", lambda: folder)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's data with planted recordings of lesson 04 in place of its own."""
    data = tmp_path / "data"
    planted(data / "recordings", starts(rounds=3))
    planted(data / "recordings", counted_starts(), experiment="boot_instructions")
    data_in(data, monkeypatch)
    return data / "recordings"


def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {
        name: Availability(False, what=f"{name} is not installed", next_step=f"install {name}")
        for name in ("process", "docker", "qemu")
    }
    monkeypatch.setattr("vmcompare.engines.availability", lambda: gone)


def test_without_engines_every_step_shows_something_and_says_recorded(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_here(monkeypatch)
    boot = Lesson("boot_speed", "04")
    boot.check()
    boot.measure()
    for name in ("starts", "phases"):
        boot.figure(name)
    boot.table("adds")
    boot.compare()
    boot.findings()
    html = page.html()
    assert "install docker" in html
    assert "recorded" in html
    assert "software emulation" in html
    assert "measured ·" not in html
    run = re.findall(r"<small>recorded, run [^<]*</small>", html)
    assert any(source.endswith(", software emulation</small>") for source in run)


def bare_only(monkeypatch: pytest.MonkeyPatch, **runtimes: bool) -> None:
    """Neither engine, and these bare mechanisms."""
    nothing_here(monkeypatch)
    found = {**engines.availability(), "process": Availability(True)}
    monkeypatch.setattr("vmcompare.engines.availability", lambda: found)
    bare = {
        name: Availability(ok, what="" if ok else f"{name} is not installed", next_step="")
        for name, ok in runtimes.items()
    }
    monkeypatch.setattr(
        "vmcompare.engines.runtime_availability",
        lambda names: {name: bare[name] for name in names},
    )


async def measured(boot: Lesson) -> None:
    boot.measure()


def panels(page: Page) -> list[widgets.VBox]:
    """What is displayed with the buttons Run and Stop."""
    boxes = (getattr(shown, "widget", None) for shown in page.shown)
    return [box for box in boxes if isinstance(box, widgets.VBox)]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcompare.course.page.has_kernel", lambda: True)


@pytest.mark.usefixtures("kernel")
def test_without_engines_run_is_open_where_a_bare_mechanism_works_and_says_for_what(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_only(monkeypatch, runc=False, bubblewrap=True)
    asyncio.run(measured(Lesson("boot_speed", "04")))
    assert "docker is not installed; next step: install docker" in page.html()
    assert "Run measures process and container (bubblewrap); the rest stays recorded." in (
        page.html()
    )
    assert "The figures below show a recording." not in page.html()
    assert len(panels(page)) == 1


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("experiment", "number", "environment", "bubblewrap"),
    [
        ("boot_speed", "04", {}, False),
        ("boot_speed", "04", {"VMCOMPARE_MODE": "replay"}, True),
        # To a run whose platforms are named, a container is Docker's.
        ("boot_speed", "04", {"VMCOMPARE_PLATFORMS": "process,container"}, True),
        # The bare process has no part in it: a mechanism alone compares nothing.
        ("guest_os", "01", {}, True),
    ],
)
def test_without_engines_run_stays_closed_where_nothing_can_be_compared(
    page: Page,
    recorded: Path,
    monkeypatch: pytest.MonkeyPatch,
    experiment: str,
    number: str,
    environment: dict[str, str],
    bubblewrap: bool,
) -> None:
    bare_only(monkeypatch, runc=False, bubblewrap=bubblewrap)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asyncio.run(measured(Lesson(experiment, number)))
    assert "The figures below show a recording." in page.html()
    assert panels(page) == []


def test_without_any_recording_it_says_what_to_do_next(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_here(monkeypatch)
    data_in(tmp_path / "empty", monkeypatch)
    boot = Lesson("boot_speed", "04")
    boot.figure("starts")
    Lesson("boot_instructions", "04").whatif("own_computer")
    boot.findings()
    assert page.html().count("Note.") == 3


def test_a_damaged_recording_is_left_out_and_said(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_here(monkeypatch)
    good = Lesson("boot_speed", "04").view.sources[0].run_id
    (recorded / "boot_speed" / "99991231T000000Z-ffffff.jsonl").write_text("{broken\n")
    boot = Lesson("boot_speed", "04")
    boot.check()
    assert "99991231T000000Z-ffffff.jsonl, line 1" in page.html()
    assert boot.view.sources[0].run_id == good


def test_a_prediction_is_kept_and_set_beside_the_result(page: Page, recorded: Path) -> None:
    boot = Lesson("boot_speed", "04")
    boot.predict("container_s", "A container takes", unit="s", guess=0.5)
    boot.compare()
    assert answers.kept("04") == {"container_s": 0.5}
    assert "500 ms" in page.html()
    again = Lesson("boot_speed", "04")
    again.predict("container_s", "A container takes", unit="s")
    again.compare()
    assert "500 ms" in str(page.shown[-1]._repr_html_())


def test_what_was_found_under_emulation_says_so_beside_a_prediction(
    page: Page, recorded: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    boot.predict("container_s", "A container takes", unit="s", guess=0.5)
    boot.predict("vm_over_container", "A machine takes", unit="ratio", guess=5)
    boot.compare()
    container, machine = str(page.shown[-1]._repr_html_()).split("<tr>")[2:]
    assert "software emulation" not in container
    assert "× (software emulation)" in machine


def test_a_prediction_below_zero_is_not_kept(page: Page, recorded: Path) -> None:
    Lesson("boot_speed", "04").predict("container_s", "?", guess=-1)
    assert answers.kept("04") == {}


def test_none_is_an_answer_to_how_many(page: Page, private_places: Path) -> None:
    kernel = Lesson("shared_kernel", "02")
    kernel.predict("seen_by_host", "How many?", unit="programs", whole=True, guess=0)
    assert answers.kept("02") == {"seen_by_host": 0}
    kernel.compare()
    assert "0 programs" in page.html()


def test_a_damaged_file_of_answers_is_put_aside_and_not_lost(private_places: Path) -> None:
    from vmcompare.paths import answers_path

    answers_path().parent.mkdir(parents=True)
    answers_path().write_text("{half")
    answers.keep("04", "x", 1.0)
    assert answers.kept("04") == {"x": 1.0}
    assert answers_path().with_suffix(".damaged.json").read_text() == "{half"
    json.loads(answers_path().read_text())


def test_figures_on_the_page_follow_the_newest_run(
    page: Page, recorded: Path, tmp_path: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    boot.table("adds")
    assert "recorded" in page.html()
    live = planted(tmp_path / "own", starts(rounds=3))
    assert "process, container" in boot._finished(live)
    assert "recorded" not in page.html()
    boot.replay()
    assert "recorded" in page.html()


def test_what_ifs_follow_the_newest_run_too(page: Page, recorded: Path, tmp_path: Path) -> None:
    work = Lesson("boot_instructions", "04")
    work.whatif("own_computer")
    assert "recorded ·" in page.html()
    own = planted(tmp_path / "own", counted_starts(), experiment="boot_instructions")
    work._finished(own)
    assert "recorded ·" not in page.html()
    assert "measured ·" in page.html()


def test_a_run_that_was_stopped_before_its_first_start_leaves_the_page_as_it_was(
    page: Page, recorded: Path, tmp_path: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    boot.table("adds")
    before = page.html()
    assert "stay as they were" in boot._finished(planted(tmp_path / "own", []))
    assert page.html() == before


def test_replay_takes_a_run_by_name_and_refuses_an_unknown_one(page: Page, recorded: Path) -> None:
    other = planted(recorded, starts(rounds=4))
    boot = Lesson("boot_speed", "04")
    boot.replay(other.run_id)
    assert boot.view.sources[0].run_id == other.run_id
    with pytest.raises(UnknownName, match=other.run_id):
        boot.replay("nope")


def test_findings_come_from_the_rows_and_other_rows_give_others(
    page: Page, recorded: Path, tmp_path: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    boot.findings()
    assert "not measured here" in page.html()  # planted under software emulation
    assert ARTICLE in page.html()
    hardware = planted(tmp_path / "own", starts(rounds=10, accel="kvm"))
    boot._finished(hardware)
    assert "supported" in page.html()


@pytest.mark.parametrize("step", ["figure", "table", "whatif", "predict"])
def test_a_misspelt_name_is_told_with_those_that_exist(
    page: Page, recorded: Path, step: str
) -> None:
    boot = Lesson("boot_speed", "04")
    with pytest.raises(UnknownName, match="there is no"):
        getattr(boot, step)("strats", *(["?"] if step == "predict" else []))


def test_an_answer_in_plain_python_gets_its_reason_and_is_kept(page: Page, recorded: Path) -> None:
    boot = Lesson("boot_speed", "04")
    boot.check_answer("job_length", 1)
    assert "more than the data shown give" in page.html()
    assert "Hint 1." in page.html()
    assert "recorded, run" in page.html()
    assert "solution(" not in page.html()
    boot.check_answer("job_length", 0.9)
    assert "the data shown give 900 ms" in page.html()
    assert repr(page.shown[1]).endswith('lesson.solution("job_length")  # shows the solution')
    boot.check_answer("what_a_vm_does", "It starts the services of its own distribution.")
    assert "the guest’s own choice" in page.html()
    boot.solution("job_length")
    assert "works for at least 900 ms" in page.html()
    assert "solution(" not in repr(page.shown[2])
    assert repr(page.shown[0]).startswith("Not right. Not yet:")
    assert answers.kept("04", answers.Kind.EXERCISE)["job_length"] == {"answer": 0.9, "wrong": 1}
    with pytest.raises(UnknownName, match="job_length"):
        boot.check_answer("job_lenght", 1)


def test_an_answer_is_judged_by_the_own_run_once_there_is_one(
    page: Page, recorded: Path, tmp_path: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    own = {**STARTS_S, ("container", ""): 0.3}
    boot._finished(planted(tmp_path / "own", starts(rounds=3, times=own)))
    boot.check_answer("job_length", 2.7)
    assert "the data shown give 2.70 s" in page.html()
    assert "measured, run" in page.html()


def test_answers_on_the_page_follow_the_newest_run(
    page: Page, recorded: Path, tmp_path: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    boot.check_answer("job_length", 0.9)
    assert "✓" in page.html()
    own = {**STARTS_S, ("container", ""): 0.3}
    boot._finished(planted(tmp_path / "own", starts(rounds=3, times=own)))
    assert "✗" in page.html()
    assert "measured, run" in page.html()
    assert "Hint" not in page.html()


def test_an_unanswered_cell_says_how_to_answer_and_shows_what_was_kept(
    page: Page, recorded: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    boot.check_answer("job_length", ...)
    assert "Not answered yet. Put a number, in seconds," in page.html()
    boot.check_answer("job_length", 0.9)
    Lesson("boot_speed", "04").check_answer("job_length")
    assert "Your kept answer: 900 ms." in page.html()


def test_choices_need_no_code_and_on_paper_all_is_there(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lesson("boot_speed", "04").check_answer("flawed_study")
    assert page.shown[-1].children[1].options[1][0].startswith("Have the image ready")
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    paper = Lesson("boot_speed", "04")
    paper.check_answer("flawed_study")
    paper.check_answer("job_length", 0.9)
    assert page.html().count("Model answer") == 2
    assert "Your answer:</label>" in page.html()


def test_a_text_that_cannot_be_read_is_one_sentence_wherever_its_words_are_asked_for(
    page: Page, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "04-boot-speed.md").write_text("## exercise: job_length\n\nWhat?\n")
    monkeypatch.setattr(paths, "lessons_dir", lambda: tmp_path)
    boot = Lesson("boot_speed", "04")
    for step in (boot.quiz, lambda: boot.check_answer("job_length", 1)):
        step()
    boot.figure("starts")
    boot.table("adds")
    Lesson("boot_instructions", "04").whatif("own_computer")
    said = "04-boot-speed.md, line 1, “exercise: job_length” cannot be read"
    assert page.html().count(said) + sum(said in str(w) for w in page.shown) >= 4


@pytest.mark.parametrize("rounds", [0, -5, "many", None, 2.5, float("nan")])
def test_rounds_that_are_no_count_are_said_at_once(recorded: Path, rounds: Any) -> None:
    with pytest.raises(VmcompareError, match="a whole number of at least 1"):
        Lesson("boot_speed", "04", rounds)


def test_a_handout_asked_to_be_live_without_engines_is_refused(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_here(monkeypatch)
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")
    monkeypatch.setenv("VMCOMPARE_MODE", "live")
    with pytest.raises(Unavailable, match="live"):
        Lesson("boot_speed", "04").measure()
    monkeypatch.setenv("VMCOMPARE_MODE", "sometimes")
    with pytest.raises(UnknownName, match="replay"):
        Lesson("boot_speed", "04")


@pytest.mark.slow
def test_one_call_records_for_real_and_its_rows_are_the_ones_shown(
    page: Page, recorded: Path, tmp_path: Path
) -> None:
    boot = Lesson("boot_speed", "04")
    run = boot.record(rounds=1, platforms=["process"])
    assert run is not None
    assert read(run.path).ended == "complete"
    [measured] = [s for s in boot.view.sources if s.shown == "measured"]
    assert measured.run_id == run.run_id
    assert measured.platforms == ("process",)


def docker_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "process": Availability(True),
        "docker": Availability(True, version="28"),
        "qemu": Availability(False, what="QEMU is not installed", next_step="install QEMU"),
    }
    monkeypatch.setattr("vmcompare.engines.availability", lambda: found)


def test_platforms_that_were_not_chosen_are_replayed_and_said_so(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    monkeypatch.setenv("VMCOMPARE_PLATFORMS", "process,vm-direct")
    boot = Lesson("boot_speed", "04")
    boot.check()
    rows = page.html().split("<tr>")
    [container] = [row for row in rows if ">container<" in row]
    assert ">recorded<" in container
    assert "only recordings are shown here" in container
    [machine] = [row for row in rows if ">vm-direct<" in row]
    assert "install QEMU" in machine


def test_a_run_is_told_only_the_chosen_platforms_that_are_here(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    boot = Lesson("boot_speed", "04")
    assert boot._named() == []  # nothing was left out: the run takes all it can have
    monkeypatch.setenv("VMCOMPARE_PLATFORMS", "process,container,vm-direct")
    assert boot._named() == ["process", "container"]
    assert boot._cannot_run() == ""
    monkeypatch.setenv("VMCOMPARE_PLATFORMS", "process,vm-direct")
    assert "QEMU is not installed" in boot._cannot_run()
    assert "Docker" not in boot._cannot_run()
    monkeypatch.setenv("VMCOMPARE_PLATFORMS", "process")
    assert "VMCOMPARE_PLATFORMS" in boot._cannot_run()
    monkeypatch.setenv("VMCOMPARE_PLATFORMS", "moon")
    with pytest.raises(UnknownName, match="moon"):
        boot._cannot_run()


@pytest.mark.usefixtures("recorded")
class TestFindingsOfAnotherLesson:
    """A claim that this lesson's recording holds no rows of is settled by the lesson that does."""

    def facts(self, *, prints: bool = True) -> list[Measurement]:
        names = ("guest_hardware_differs_from_host", "two_vms_have_two_boot_ids")
        rows = [row("vm", "fact", 1.0, phase=name) for name in names]
        return [*rows, row("vm", "fact", float(prints), phase="boot_sector_prints_in_vm")]

    def a1(self, page: Page) -> str:
        """The lines on claim A1 of lesson 02, which the boot speed recording holds nothing of."""
        Lesson("boot_speed", "02").findings()
        lines = str(page.shown[-1]._repr_html_()).split("<tr>")
        return "\n".join(line for line in lines if ">A1<" in line)

    def test_it_is_shown_with_a_link_to_that_lesson(self, page: Page, recorded: Path) -> None:
        run = planted(recorded, self.facts(), experiment="whole_computer")
        shown = self.a1(page)
        assert "supported" in shown
        assert f"from lesson 00</a>: recorded, run {run.run_id}" in shown
        assert 'href="00-' in shown

    def test_other_rows_there_give_another_finding(self, page: Page, recorded: Path) -> None:
        planted(recorded, self.facts(prints=False), experiment="whole_computer")
        assert "refuted" in self.a1(page)

    def test_without_that_recording_it_stays_open(self, page: Page) -> None:
        shown = self.a1(page)
        assert "not measured here" in shown
        assert "from lesson" not in shown

    def test_what_this_lesson_holds_is_never_borrowed(self, page: Page, recorded: Path) -> None:
        planted(recorded, starts(accel="kvm", times={("container", ""): 9.0}, whole=False),
                experiment="another")  # fmt: skip
        Lesson("boot_speed", "04").findings()
        assert "another" not in page.html()
        assert "from lesson" not in page.html()


def test_more_than_four_parts_of_a_claim_are_one_line_that_unfolds(page: Page) -> None:
    Lesson("elasticity", "07", mode="replay").findings()
    parts = [c for c in claims.load() if c.id == "F1" and "07" in c.lessons]
    own = [part for part in parts if not part.against_a_process]
    outer = BeautifulSoup(page.html(), "html.parser").select("details:has(details)")
    said, further = (" ".join(one.summary.text.split()) for one in outer)
    assert f"F1 “{parts[0].quote}” {len(own)} parts:" in said
    assert "the article does not speak of" in further
    assert f"{len(parts) - len(own)} parts:" in further
    inner = [" ".join(i.summary.text.split()) for one in outer for i in one.select("details")]
    for part in ("F1 network, against a process", "F1 network, against a VM"):
        assert sum(one.startswith(part) for one in inner) == 1
    assert len(inner) == len(parts)


def demo_of(monkeypatch: pytest.MonkeyPatch, **more: Any) -> list[Any]:
    """A demonstration in place of lesson 04's (which has none); returns what ran, with whom."""
    ran: list[Any] = []
    demo = Demo(
        (Platform.PROCESS,),
        lambda launchers, options: ran.append((set(launchers), options)) or page_note("ran"),
        lambda _: page_note("replayed"),
        **more,
    )
    monkeypatch.setitem(explanation("boot_speed").demos, "it", demo)
    return ran


def test_a_named_recording_that_cannot_be_read_is_told_and_the_page_goes_on(
    page: Page, recorded: Path
) -> None:
    [ours] = (recorded / "boot_speed").glob("*.jsonl")
    place = ours.parent / "contributed"
    place.mkdir()
    (place / "99991231T000000Z-ffffff.jsonl").write_text("[" * 99)
    boot = Lesson("boot_speed", "04")
    boot.replay("99991231T000000Z-ffffff")
    assert {source.run_id for source in boot.view.sources} == {ours.stem}
    assert "99991231T000000Z-ffffff.jsonl, line 1 cannot be read" in page.html()


def page_note(text: str) -> Any:
    from vmcompare.course.page import Note

    return Note(text)


def only(monkeypatch: pytest.MonkeyPatch, *there: str) -> None:
    found = {
        name: Availability(name in there, what=f"no {name}", next_step=f"install {name}")
        for name in ("process", "docker", "qemu")
    }
    monkeypatch.setattr("vmcompare.engines.availability", lambda: found)


def test_a_demonstration_uses_further_platforms_where_they_can_be_had(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = demo_of(monkeypatch, optional=(Platform.CONTAINER, Platform.VM_DIRECT))
    for there, with_whom in (
        (("process",), {Platform.PROCESS}),
        (("process", "docker"), {Platform.PROCESS, Platform.CONTAINER}),
    ):
        only(monkeypatch, *there)
        Lesson("boot_speed", "04").demo("it", a=1)
        assert ran[-1] == (with_whom, {"a": 1})


def test_a_demonstration_that_is_replayed_shows_first_what_the_options_make(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_here(monkeypatch)
    ran = demo_of(
        monkeypatch, preview=lambda options: page_note(options["a"]) if options["a"] else None
    )
    Lesson("boot_speed", "04").demo("it", a="mine")
    html = page.html()
    assert html.index("install process") < html.index("mine") < html.index("replayed")
    before = len(page.shown)
    Lesson("boot_speed", "04").demo("it", a="")
    assert len(page.shown) == before + 2  # what is missing, and the recording
    assert not ran


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("name", "rounds"), [("boot_speed", 3), ("image_size", 1)])
def test_the_panel_offers_no_more_rounds_than_the_experiment_has(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch, name: str, rounds: int
) -> None:
    here = dict.fromkeys(("process", "docker", "qemu"), Availability(True))
    monkeypatch.setattr("vmcompare.engines.availability", lambda: here)

    async def shown() -> None:
        Lesson(name, "04").measure()

    asyncio.run(shown())
    [panel] = panels(page)
    assert panel.children[0].children[0].value == rounds


@pytest.mark.usefixtures("kernel")
def test_a_notebook_names_the_rounds_that_run_proposes(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    asyncio.run(measured(Lesson("boot_speed", "04", rounds=2)))
    [panel] = panels(page)
    assert panel.children[0].children[0].value == 2


def test_a_notebook_names_its_mode_and_auto_leaves_it_to_the_environment(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    asyncio.run(measured(Lesson("boot_speed", "04", mode="replay")))
    assert "This session replays recordings" in page.html()
    with pytest.raises(UnknownName, match="replay"):
        Lesson("boot_speed", "04", mode="sometimes")
    asked: list[int] = []
    monkeypatch.setattr(Lesson, "record", lambda _, rounds: asked.append(rounds))
    asyncio.run(measured(Lesson("boot_speed", "04", rounds=2, mode="live")))
    monkeypatch.setenv("VMCOMPARE_MODE", "live")
    asyncio.run(measured(Lesson("boot_speed", "04", rounds=1)))
    assert asked == [2, 1]  # without a panel
    assert panels(page) == []


@pytest.mark.usefixtures("kernel")
def test_the_panel_foretells_the_time_of_what_can_be_measured_here(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    monkeypatch.setattr("vmcompare.engines.runtime_availability", lambda *_: {})
    monkeypatch.setattr("vmcompare.engines.lacking_images", lambda _: ())

    async def shown() -> None:
        Lesson("guest_os", "01").measure()

    asyncio.run(shown())
    [panel] = panels(page)
    said = panel.children[1].value
    assert said == "About 20 s for 3 rounds on the computer that recorded."


def test_a_cell_that_runs_again_during_a_run_shows_the_same_panel_and_follows_that_run(
    page: Page, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    followers: list[Any] = []
    at_work = SimpleNamespace(
        attach=followers.append, show=lambda: page.display("the panel of the run")
    )
    monkeypatch.setattr("vmcompare.course.panel.running", {"boot_speed": at_work}.get)
    again = Lesson("boot_speed", "04")
    asyncio.run(measured(again))
    assert page.shown == ["the panel of the run"]
    assert followers == [again._finished]


# ---- two lessons on one experiment, a grid, a chart of one's own --------------------------------


@pytest.fixture
def isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = tmp_path / "data"
    planted(data / "recordings", planted_rows.whole(), experiment="isolation")
    data_in(data, monkeypatch)
    return data / "recordings"


def test_each_of_two_lessons_shows_its_own_exercises_and_questions(
    page: Page, isolation: Path
) -> None:
    for number, own, other in (("05a", "cap_eff", "bad_days"), ("05b", "bad_days", "cap_eff")):
        half = Lesson("isolation", number)
        half.solution(own)
        with pytest.raises(UnknownName):
            half.check_answer(other, 1)


def test_none_at_all_can_be_predicted_where_a_count_is_asked_for(
    page: Page, isolation: Path
) -> None:
    half = Lesson("isolation", "05a")
    half.predict("through", "How many?", unit="probes", whole=True, guess=0)
    half.compare()
    assert "0 probes" in page.html()
    half.predict("through_privileged", "How many?", unit="probes", whole=True, guess=1.5)
    assert "through_privileged" not in answers.kept("05a")


def test_a_run_of_ones_own_is_shown_when_it_is_named(
    page: Page, isolation: Path, private_places: Path
) -> None:
    own = planted(user_recordings_dir(), planted_rows.falls(), experiment="isolation")
    half = Lesson("isolation", "05b")
    assert half.view.sources[0].run_id != own.run_id
    half.replay(own.run_id)
    assert {s.run_id for s in half.view.sources} == {own.run_id}
    assert {s.shown for s in half.view.sources} == {"recorded"}


def test_the_chart_that_grows_is_the_one_that_was_named(
    page: Page, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_only(monkeypatch)
    figures = {name: lambda _, name=name: page_note(name) for name in ("the first", "another")}
    monkeypatch.setattr(
        "vmcompare.course.lesson.explanation", lambda _: SimpleNamespace(figures=figures)
    )

    async def shown(chart: str) -> str:
        charts: list[Any] = []

        def panel(experiment: str, draw: Any, *_: Any) -> Any:
            charts.append(draw)
            return SimpleNamespace(show=lambda: None, rounds=SimpleNamespace(value=3))

        monkeypatch.setattr("vmcompare.course.panel.Panel", panel)
        Lesson("boot_speed", "04").measure(chart=chart)
        return str(charts[0](planted(tmp_path / "own", [])))

    assert "another" in asyncio.run(shown("another"))
    assert "the first" in asyncio.run(shown(""))
    with pytest.raises(UnknownName, match="figure") as caught:
        Lesson("boot_speed", "04").measure(chart="yet another")
    assert caught.value._render_traceback_() == [str(caught.value)]  # what a notebook shows
