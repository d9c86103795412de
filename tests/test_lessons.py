"""Every lesson, top to bottom, on every kind of computer: what is missing is said, never a trace.

The engines are real. Where a tier lacks one, it is hidden by PATH, and the user without rights is
another user. One round each; the slow platforms are replayed by choice in all cells but one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import unprivileged
from room import NOTEBOOKS, ROOT, Room, Run, handout, run_with

from vmcompare import engines
from vmcompare.evidence import claims
from vmcompare.measuring.experiment import Experiment, load
from vmcompare.paths import cache_dir
from vmcompare.sandbox import Platform

RECORDED_RUNS = {path.stem for path in (ROOT / "data" / "recordings").rglob("*.jsonl")}
REQUIRED = os.environ.get("VMCOMPARE_REQUIRE", "")

SLOW = (Platform.VM_TUNED, Platform.VM)
MEASURES_ALL = "04-boot-speed"
"""The one lesson whose cell with both engines measures the slow platforms too."""

NOT_WITH_BOTH, NOT_WITH_QEMU = "05a-boundaries", "05b-kernel-panics"
"""Two lessons on one experiment: in the cell that one leaves out, its run would be the other's."""

MOST_BYTES = 400_000
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
CLAUSE = re.compile(rf"(?:([\w ,()-]+): )?(measured|recorded)(?: ·|,) run ({RUN_ID.pattern})")
"""As a caption names a run: of platforms, or (in the last lesson) of another lesson."""

OF_A_VM = re.compile(r"vm-direct|vm-tuned|\bvm\b|microvm|virtual machine", re.IGNORECASE)


def lessons(*words: str, but: str = "", also: str = "") -> pytest.MarkDecorator:
    """Those in whose notebook each of ``words`` is, one left out or one more."""
    chosen = [
        path
        for path in NOTEBOOKS
        if path.stem == also
        or (path.stem != but and all(word in path.read_text(encoding="utf-8") for word in words))
    ]
    return pytest.mark.parametrize("notebook", chosen, ids=lambda path: path.stem)


ON_ONE_EXPERIMENT = "Lesson("
"""The lesson on all of them is made of recordings: its page is the same on every computer."""


@dataclass(frozen=True)
class Lesson:
    """What its notebook says.

    Attributes:
        number: of the lesson.
        source: all its code.
    """

    number: str
    source: str

    @property
    def experiment(self) -> Experiment | None:
        """What it is about; ``None`` for a lesson on all of them."""
        found = re.search(r'Lesson\("(\w+)"', self.source)
        return load(found[1]) if found else None

    @property
    def platforms(self) -> tuple[Platform, ...]:
        return self.experiment.platforms if self.experiment else ()

    def count(self, step: str) -> int:
        return len(re.findall(rf"\.{step}\(", self.source))

    @property
    def tasks(self) -> int:
        """How many exercises it has."""
        return self.count("check_answer")

    @property
    def measures(self) -> bool:
        return bool(self.count("measure"))


@dataclass(frozen=True)
class Source:
    """A clause of a caption: whose rows, of what kind, from which run."""

    platforms: frozenset[str]
    shown: str
    run_id: str


class Page:
    """A handout, taken apart."""

    def __init__(self, path: Path) -> None:
        from bs4 import BeautifulSoup

        self.html = path.read_text(encoding="utf-8")
        self.soup: Any = BeautifulSoup(self.html, features="html.parser")
        self.text = re.sub(r"\s+", " ", self.soup.get_text(" "))
        for summary in self.soup.select("figcaption summary"):
            summary.decompose()  # it would be read as the first words of what it folds
        self.figures = self.soup.select("main figure:not(.vmc-whatif):not(figure figure)")

    @property
    def captions(self) -> list[str]:
        return [
            re.sub(r"\s+", " ", c.get_text(" ", strip=True))
            for c in self.soup.select("main figure:not(.vmc-whatif) figcaption, main caption")
        ]

    @property
    def sources(self) -> list[Source]:
        return [
            Source(frozenset(filter(None, whose.strip().split(", "))), shown, run)
            for caption in self.captions
            for clause in caption.split(" — ")
            for whose, shown, run in CLAUSE.findall(clause)
        ]

    @property
    def own_runs(self) -> set[str]:
        return set(RUN_ID.findall(self.html)) - RECORDED_RUNS


def read_lesson(notebook: Path) -> Lesson:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return Lesson(notebook.stem.split("-")[0], "\n".join(code))


def quick(platforms: Sequence[Platform]) -> list[Platform]:
    """Without the slow ones, unless no other VM would be left."""
    kept = [platform for platform in platforms if platform not in SLOW]
    return kept if any(p.is_vm for p in kept) else list(platforms)


# ---- the tiers ---------------------------------------------------------------------------------


def with_tools(env: dict[str, str], *tools: str) -> dict[str, str]:
    """``env``, in which these tools are no longer hidden."""
    for tool in tools:
        found = shutil.which(tool)
        if found:
            (Path(env["PATH"]) / tool).symlink_to(found)
    return env


def engines_of(run: Run, *there: str) -> dict[str, Any]:
    """What the tier's computer offers, by engine: those ``there``, and no other."""
    told = run(["check", "--json"])
    assert told.returncode == 0, told.stderr
    return only(json.loads(told.stdout)["engines"], *there)


def only(found: dict[str, Any], *there: str) -> dict[str, Any]:
    """``found`` as they are, once it is sure that those ``there`` can be used and no other."""
    for name in {"docker", "qemu"} - set(there):
        if found[name]["available"]:
            why = f"{name} is still there with this PATH: it cannot be hidden on this machine"
            pytest.fail(why) if REQUIRED else pytest.skip(why)
    for name in there:
        assert found[name]["available"], found[name]
    return found


def make(run: Run, notebook: Path, out: Path, *words: str) -> Page:
    return Page(handout(run, notebook, out, *words))


def make_live(run: Run, notebook: Path, out: Path, *, slow: bool = False) -> tuple[Page, set[str]]:
    """The page, measured as far as may be, and the platforms that were to be measured."""
    lesson = read_lesson(notebook)
    if not lesson.measures:
        return make(run, notebook, out), set()
    wanted = list(lesson.platforms) if slow else quick(lesson.platforms)
    named = [word for p in wanted for word in ("--platform", p.value)] if not slow else []
    return make(run, notebook, out, "--mode", "live", *named), {p.value for p in wanted}


# ---- what every page must hold -----------------------------------------------------------------


def check_page(page: Page, lesson: Lesson) -> None:
    """Whatever the tier: whole, small, self-contained, and honest about what it shows."""
    assert len(page.html.encode()) <= MOST_BYTES
    assert "Traceback" not in page.html
    # A link is followed by a reader; nothing is fetched by the page itself.
    fetched = re.sub(r"<a\s[^>]*>", "", page.html)
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", fetched)
    for image in page.soup.select("img, svg"):
        assert len(alternative(image)) >= 20, image
    for figure in page.figures:
        said = figure.get_text(" ", strip=True)
        assert re.search(r"measured|recorded|literature|modelled", said, re.IGNORECASE), said
    asked = page.soup.select(".vmc-predict, fieldset")
    assert len(asked) >= lesson.count("predict") + lesson.count("tick") > 0
    assert len(page.soup.select("section.vmc-task")) == lesson.tasks
    if lesson.count("quiz"):
        assert 3 <= len(page.soup.select(".vmc-quiz fieldset")) <= 5
    check_findings(page, lesson)


def alternative(image: Any) -> str:
    """The alternative text of a picture, or of a drawing that stands in the page."""
    return str(image.get("alt") or image.get("aria-label") or "")


def check_findings(page: Page, lesson: Lesson) -> None:
    parts = [claim for claim in claims.load() if lesson.number in claim.lessons]
    verdicts = {str(verdict) for verdict in claims.Conclusion}
    if not lesson.count("findings"):
        return
    told = [found.get_text(" ", strip=True) for found in page.soup.select(".vmc-findings summary")]
    assert len(told) >= len(parts)
    for said in told:
        assert any(said.endswith(verdict) for verdict in verdicts), said


def check_emulation(page: Page) -> None:
    """Beside every figure of a run that shows a VM: that it ran under software emulation.

    What is only counted (how many kernels there are) does not depend on it and says that.
    """
    for figure in page.soup.select("main figure:not(figure figure)"):
        alts = " ".join(map(alternative, figure.select("img, svg")))
        words = figure.get_text(" ")
        if OF_A_VM.search(alts) and RUN_ID.search(words) and "Counted, not timed" not in words:
            assert "emulat" in f"{alts} {words}", alts


def check_missing_is_said(page: Page, lesson: Lesson, found: Mapping[str, Any]) -> None:
    """Each engine the lesson wants and this computer lacks: what, and the next step."""
    for name in {engines.engine_of(platform) for platform in lesson.platforms}:
        if not found[name]["available"]:
            assert found[name]["what"] in page.text
            assert found[name]["next_step"] in page.text


def check_all_recorded(page: Page) -> None:
    assert page.own_runs == set()
    assert page.sources
    assert {source.shown for source in page.sources} == {"recorded"}


def check_measured(page: Page, lesson: Lesson, expected: set[str]) -> None:
    """``expected`` platforms come from one run of this page's own, all others from a recording.

    An anchor is in both: a recorded row means nothing without the anchor of its own run.
    """
    anchors = {p.value for p in lesson.experiment.anchors} if lesson.experiment else set()
    [own] = page.own_runs
    assert own in {source.run_id for source in page.sources}
    for source in page.sources:
        if source.shown == "measured":
            assert source.run_id == own
            assert {name.split(" ")[0] for name in source.platforms} <= expected
        else:
            assert source.run_id in RECORDED_RUNS
            twice = source.platforms & expected - anchors
            assert not twice, f"what was measured is shown recorded: {twice}"


def check_worth_its_hour(page: Page, lesson: Lesson) -> None:
    """Without anything measured: figures of recordings, what-ifs, exercises and quiz are there."""
    assert page.figures
    assert page.html.count('type="range"') >= lesson.count("whatif")


def after_process(*names: str) -> set[str]:
    return {"process", *names}


# ---- the cells ---------------------------------------------------------------------------------


@lessons(ON_ONE_EXPERIMENT, but=NOT_WITH_BOTH)
@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_with_docker_and_qemu_its_figures_are_measured(notebook: Path, tmp_path: Path) -> None:
    lesson, run = read_lesson(notebook), run_with(os.environ, tmp_path)
    engines_of(run, "docker", "qemu")
    page, expected = make_live(run, notebook, tmp_path, slow=notebook.stem == MEASURES_ALL)
    check_page(page, lesson)
    check_emulation(page)
    if lesson.measures:
        check_measured(page, lesson, expected)
    if (
        lesson.measures
        and notebook.stem != MEASURES_ALL
        and set(SLOW) & {p for p in lesson.platforms if p.value not in expected}
    ):
        assert "only recordings are shown here" in page.text


@lessons(ON_ONE_EXPERIMENT)
@pytest.mark.docker
@pytest.mark.timeout(900)
def test_with_docker_only_machines_are_replayed_and_qemu_is_said_to_be_missing(
    notebook: Path, tmp_path: Path, without_engines: dict[str, str]
) -> None:
    lesson, run = read_lesson(notebook), run_with(with_tools(without_engines, "docker"), tmp_path)
    found = engines_of(run, "docker")
    page, _ = make_live(run, notebook, tmp_path)
    check_page(page, lesson)
    check_emulation(page)
    check_missing_is_said(page, lesson, found)
    if lesson.measures:
        check_measured(page, lesson, after_process("container"))


@lessons(ON_ONE_EXPERIMENT, but=NOT_WITH_QEMU)
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_with_qemu_only_containers_are_replayed_and_docker_is_said_to_be_missing(
    notebook: Path, tmp_path: Path, without_engines: dict[str, str]
) -> None:
    lesson = read_lesson(notebook)
    tools = ("qemu-system-x86_64", "qemu-system-aarch64", "qemu-img")
    run = run_with(with_tools(without_engines, *tools), tmp_path)
    found = engines_of(run, "qemu")
    page, expected = make_live(run, notebook, tmp_path)
    check_page(page, lesson)
    check_emulation(page)
    check_missing_is_said(page, lesson, found)
    if expected:
        check_measured(page, lesson, expected - {"container"})
    else:
        check_all_recorded(page)


@lessons()
@pytest.mark.slow
def test_with_neither_all_is_recorded_and_the_lesson_is_still_worth_its_hour(
    notebook: Path, room: Room
) -> None:
    lesson, found = read_lesson(notebook), only(room.engines())
    page = Page(room.page(notebook))
    check_page(page, lesson)
    check_emulation(page)
    check_missing_is_said(page, lesson, found)
    check_all_recorded(page)
    check_worth_its_hour(page, lesson)


@pytest.mark.slow
def test_live_with_neither_is_refused_in_one_sentence(tmp_path: Path, room: Room) -> None:
    [notebook] = [path for path in NOTEBOOKS if path.stem == MEASURES_ALL]
    only(room.engines())
    done = room.run(["handout", str(notebook), "--out", str(tmp_path), "--mode", "live"])
    assert done.returncode == 1
    [said] = [line for line in done.stderr.splitlines() if line.startswith("vmcompare:")]
    assert "a live handout was asked for" in said
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.html"))


@pytest.fixture(scope="module")
def somebody_else() -> Iterator[unprivileged.Nobody]:
    why = unprivileged.impossible()
    if why:
        # Whoever requires the engines and is root wants this tier too.
        pytest.fail(why) if REQUIRED and os.geteuid() == 0 else pytest.skip(why)
    with unprivileged.nobody(cache_dir() / "images") as user:
        yield user


@lessons(".demo(", also=MEASURES_ALL)
@pytest.mark.docker
@pytest.mark.qemu
@pytest.mark.timeout(900)
def test_as_a_user_without_rights_docker_is_refused_with_the_next_step(
    notebook: Path, somebody_else: unprivileged.Nobody
) -> None:
    """In the lessons that try something unasked: the others show recordings, as without engines."""
    lesson = read_lesson(notebook)

    def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return somebody_else.run(
            [sys.executable, "-m", "vmcompare", *words],
            cwd=ROOT, needs=(ROOT, *unprivileged.interpreter()),
        )  # fmt: skip

    found = engines_of(run, "qemu")
    named = [word for p in quick(tuple(Platform)) for word in ("--platform", p.value)]
    page = make(run, notebook, somebody_else.home / "out", *named)
    check_page(page, lesson)
    check_emulation(page)
    check_missing_is_said(page, lesson, found)
    check_worth_its_hour(page, lesson)
    if lesson.measures and lesson.experiment and lesson.experiment.measured_in_handouts:
        check_measured(page, lesson, {"process", "vm-direct"})
    else:
        check_all_recorded(page)
