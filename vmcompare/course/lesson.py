"""What a notebook imports: one :class:`Lesson`, whose methods are the steps of a lesson.

What is missing is said in one sentence with the next step, and the lesson goes on with recordings.
Figures follow the newest run: when one ends, those already on the page are redrawn.

A wrong call raises: ``UnknownName`` for a name that does not exist, ``VmcompareError`` for
``rounds`` that are no whole number above zero. So does a live handout where nothing can be
measured (``Unavailable``). A notebook shows the sentence of such an error, and no traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from numbers import Integral
from typing import Any

from markupsafe import Markup

from vmcompare import engines
from vmcompare.course import page, slider, text
from vmcompare.course.exercises import Tasks, asked
from vmcompare.course.steps import Prediction, Steps, choose
from vmcompare.course.templates import render
from vmcompare.errors import StorageError, Unavailable, UnknownName, VmcompareError
from vmcompare.evidence import claims
from vmcompare.evidence.claims import Claim, concerned
from vmcompare.evidence.claims.runs import Evidence, Part, gather, part
from vmcompare.evidence.markdown import to_html
from vmcompare.evidence.recording import Recording, contributed, readable, recordings
from vmcompare.evidence.view import MEASURED, RECORDED, View, compose, emulated
from vmcompare.experiments.explanation import explanation, of_table
from vmcompare.measuring.experiment import Demo, load, recordings_dir
from vmcompare.measuring.forecast import BAR, forecast, to_go
from vmcompare.measuring.mode import Mode, chosen, handout_rounds, is_handout, mode, tell_progress
from vmcompare.paths import data_dir, user_recordings_dir
from vmcompare.plots.findings import SIGNS
from vmcompare.sandbox import EMULATION, SOFTWARE, Availability, Platform


@dataclass(slots=True)
class Lesson(Steps):
    """One lesson on one experiment.

    Attributes:
        number: as in the ``lesson`` column of ``data/claims.csv``.
        rounds: how many *Run* proposes, at most the experiment's own number.
        mode: ``"auto"`` measures when *Run* is pressed, ``"live"`` at once, ``"replay"`` never.
        live: this session's own run, once there is one.
    """

    rounds: int = 3
    mode: str = Mode.AUTO
    live: Recording | None = None
    _recorded: Recording | None = None
    _problems: list[str] = field(default_factory=list)
    _found: dict[str, Availability] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _bare: Sequence[str] | None = None

    def __post_init__(self) -> None:
        load(self.experiment)  # a misspelt name is said at once
        mode(self.mode)
        if not isinstance(self.rounds, Integral) or self.rounds < 1:
            said = f"rounds is a whole number of at least 1, not {self.rounds!r:.60}"
            raise VmcompareError(said)
        self._recorded = self._newest_recorded()

    # ---- what is here -------------------------------------------------------------------------

    def check(self) -> None:
        """Show what can be measured on this computer, what is replayed, and the next step."""
        platforms = load(self.experiment).platforms
        rows = availability_rows(platforms, self._availability(), chosen(platforms, self.mode))

        def here() -> page.Html:
            table = page.table(rows)
            return page.Html(_FOLD.format(table.markup)) if is_handout() else table

        self._put(here)
        for problem in self._problems:
            self._say(problem)

    # ---- predict ------------------------------------------------------------------------------

    def predict(
        self,
        name: str,
        question: str,
        *,
        unit: str = "",
        whole: bool = False,
        guess: float | None = None,
    ) -> None:
        """Ask for a prediction and keep it; ``guess=…`` answers in plain Python, without a widget.

        ``name`` is one of the experiment's outcomes; ``unit`` is ``"s"``, ``"ratio"`` or any.
        ``whole`` asks for a count, which may be zero.
        """
        choose("outcome", name, explanation(self.experiment).outcomes)
        self._ask(Prediction(self.number, name, question, unit, whole=whole), guess)

    # ---- measure ------------------------------------------------------------------------------

    def measure(self, chart: str = "") -> None:
        """A panel with Run and Stop; while a handout is rendered or in live mode, the run itself.

        Shown again while its run is on, it is the same panel. ``chart`` is the figure that grows
        meanwhile; the first one unless named.
        """
        figures = explanation(self.experiment).figures
        draw = choose("figure", chart or next(iter(figures)), figures)
        if is_handout():
            self._measure_for_handout()
            return
        reason = self._cannot_run()
        left = self._left_to_run() if reason else ()
        if left:
            self._say(f"{reason} Run measures {' and '.join(left)}; the rest stays recorded.")
        elif reason:
            self._say(f"{reason} The figures below show a recording.")
            return
        # Facts and byte counts do not become truer by being asked again.
        rounds = min(self.rounds, load(self.experiment).rounds)
        if mode(self.mode) is Mode.LIVE:
            self.record(rounds)
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._say("There is no kernel to follow a run: use .record(rounds=3).")
            return
        from vmcompare.course import panel as panels

        if at_work := panels.running(self.experiment):
            at_work.attach(self._finished)
            at_work.show()
            return

        def grown(recording: Recording) -> str:
            view = compose(recording, None)
            try:
                return str(draw(view)._repr_html_())
            except Unavailable:  # the rows of this figure come later
                later = "rows so far; the figure follows as soon as it has rows of its own."
                return page.Note(f"{len(recording.rows)} {later}")._repr_html_()

        panel = panels.Panel(self.experiment, grown, self._finished, self._named(), self._foretold)
        panel.rounds.value = rounds
        panel.show()

    def record(self, rounds: int = 3, platforms: Sequence[str] = ()) -> Recording | None:
        """The same as *Run*, as one call that waits; interrupt the kernel to stop it.

        ``platforms`` names what to measure; all that can be had when empty. Returns the recording,
        or ``None`` (with a sentence on the page) when nothing was measured.
        """
        from tqdm.auto import tqdm

        from vmcompare.measuring import session

        wanted = [engines.platform_named(name) for name in platforms] or self._named()
        try:
            with (
                session.start(self.experiment, rounds=rounds, platforms=wanted) as running,
                tqdm(desc=self.experiment, bar_format=BAR, disable=is_handout()) as bar,
            ):
                try:
                    for message in running.messages():
                        if message.get("planned") and message["event"] == "trial":
                            bar.total, bar.n = message["planned"], message["done"]
                            bar.set_postfix_str(f"{message['what']}{to_go(message['left_s'])}")
                            tell_progress("{done} of {planned} steps: {what}".format(**message))
                except KeyboardInterrupt:
                    running.stop()
            recording = running.recording()
        except VmcompareError as error:
            self._say(f"Nothing was measured: {error}.")
            return None
        self._finished(recording)
        return recording

    def replay(self, run_id: str = "") -> None:
        """Show a recording of the project instead of an own run: the newest, or the one named.

        Contributed ones and the learner's own are shown only when named. Raises ``UnknownName``.
        """
        recorded = self._named_recording(run_id) if run_id else self._newest_recorded()
        if run_id and recorded is None:
            return  # a sentence says why, and the page goes on showing what it showed
        self.live, self._recorded = None, recorded
        self._refresh()

    # ---- explain ------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The rows that figures show: this session's where there are any, else recorded ones."""
        return compose(self.live, self._recorded, load(self.experiment).anchors)

    def figure(self, name: str) -> None:
        """Show one of the experiment's figures; redrawn when a run ends."""
        draw = choose("figure", name, explanation(self.experiment).figures)

        def drawn() -> Any:
            view = self.view
            return text.caption(draw(view), self._section("figure", name), view.brief())

        self._put(drawn)

    def table(self, name: str) -> None:
        """Show one of the experiment's tables; redrawn when a run ends."""
        explained = explanation(self.experiment)
        draw = choose("table", name, explained.tables)

        def drawn() -> Any:
            view = self.view
            section = self._section("table", name)
            return page.table(
                *text.table(draw(view), section, lambda: of_table(explained, name, view))
            )

        self._put(drawn)

    def scene(self, name: str) -> None:
        """Show one of the experiment's scenes, which play by themselves."""
        draw = choose("scene", name, explanation(self.experiment).scenes)
        self._put(lambda: page.Html(draw(self.view)))

    def whatif(self, name: str) -> None:
        """Show one of the experiment's what-ifs: a modelled figure with a slider."""
        model = choose("what-if", name, explanation(self.experiment).whatifs)
        slider.show(
            lambda: text.whatif(model(self.view), self._section("what-if", name)),
            self._redraws.append,
        )

    def demo(self, name: str, **options: Any) -> None:
        """Do one of the experiment's demos on the spot, or show a recording of it."""
        demo = choose("demo", name, explanation(self.experiment).demos)
        try:
            made, source = self._demo(demo, options)
            page.display(page.table(made, source) if isinstance(made, list) else made)
            if section := self._section("demo", name):
                self._html(to_html(section.prose))
        except VmcompareError as error:
            self._say(str(error))

    # ---- conclude -----------------------------------------------------------------------------

    def findings(self) -> None:
        """Show the article's claims of this lesson, each with the finding its rule gives."""
        self._put(self._findings)

    def clean(self) -> None:
        """End and remove whatever earlier runs, of this or another session, left behind."""
        from vmcompare.engines import cleanup

        swept = cleanup.sweep()
        said = "; ".join(f"{item.kind} {item.name}" for item in swept)
        words = f"Removed: {said}." if said else "Nothing was left."
        self._html(Markup("<p>{}</p>").format(words))

    # ---- inside -------------------------------------------------------------------------------

    def _availability(self) -> Mapping[str, Availability]:
        """What may be measured with. Replay asks no engine, and so starts and keeps nothing."""
        if mode(self.mode) is Mode.REPLAY:
            return dict.fromkeys(engines.ENGINES, Availability(False, what=_REPLAY))
        if not self._found:
            self._found = engines.availability()
        return self._found

    def _cannot_run(self) -> str:
        """Why no run can be started here, as a sentence; empty when one can."""
        if mode(self.mode) is Mode.REPLAY:
            return "This session replays recordings (its mode is replay)."
        platforms = load(self.experiment).platforms
        # The bare process is the baseline: alone it compares nothing.
        compared = [p for p in platforms if p is not Platform.PROCESS] or platforms
        wanted = chosen(compared, self.mode)
        if not wanted:
            return "This session replays the platforms of this lesson (VMCOMPARE_PLATFORMS)."
        if self._usable(wanted):
            return ""
        lacking = engines.missing(self._availability(), wanted).values()
        return " ".join(f"{a.what}; next step: {a.next_step}." for a in lacking)

    def _foretold(self, rounds: int) -> str:
        experiment = load(self.experiment)
        wanted = self._named() or experiment.platforms
        bare = self._bare_runtimes() if Platform.CONTAINER in wanted else ()
        return forecast(experiment, rounds, self._usable(wanted), bare).sentence()

    def _bare_runtimes(self) -> Sequence[str]:
        """The experiment's bare container mechanisms that work here; looked for once."""
        if self._bare is None:
            probed = engines.runtime_availability(load(self.experiment).runtimes)
            self._bare = [name for name, found in probed.items() if found.ok]
        return self._bare

    def _left_to_run(self) -> tuple[str, ...]:
        """What can be compared without any engine: the bare process and containers' mechanisms."""
        experiment = load(self.experiment)
        # A run takes mechanisms of its own accord only where no platform is left out by name.
        whole = mode(self.mode) is not Mode.REPLAY and not self._named()
        both = {Platform.PROCESS, Platform.CONTAINER} <= set(experiment.platforms)
        if not (whole and both and self._availability()["process"].ok):
            return ()
        able = [f"{Platform.CONTAINER} ({name})" for name in self._bare_runtimes()]
        return (str(Platform.PROCESS), *able) if able else ()

    def _named(self) -> list[Platform]:
        """Whom to name to a run: nobody (it takes all it can have) unless some are left out."""
        platforms = load(self.experiment).platforms
        wanted = chosen(platforms, self.mode)
        return [] if len(wanted) == len(platforms) else self._usable(wanted)

    def _usable(self, platforms: Sequence[Platform]) -> list[Platform]:
        """Those whose engine is here."""
        found = self._availability()
        return [p for p in platforms if found[engines.engine_of(p)].ok]

    def _demo(self, demo: Demo, options: Mapping[str, Any]) -> tuple[Any, str]:
        """What it shows, and of a recording where that comes from."""
        found = self._availability()
        replaying = mode(self.mode) is Mode.REPLAY
        missing = {} if replaying else engines.missing(found, demo.platforms)
        if replaying or missing or len(chosen(demo.platforms, self.mode)) < len(demo.platforms):
            for lacking in missing.values():
                if lacking.what not in self._told:  # once, however many demos there are
                    self._told.add(lacking.what)
                    said = f"{lacking.what}; next step: {lacking.next_step}"
                    self._say(f"{said}. A recording follows.")
            if demo.preview and (made := demo.preview(options)) is not None:
                page.display(made)
            return demo.replay(self.view), self._source()
        from vmcompare.engines import cleanup

        wanted = [*demo.platforms, *self._usable(chosen(demo.optional, self.mode))]
        with cleanup.guard():
            return demo.run(engines.launchers(found, wanted, strict=True), options), ""

    def _measure_for_handout(self) -> None:
        experiment, live = load(self.experiment), mode(self.mode) is Mode.LIVE
        reason = self._cannot_run()
        if not reason and (live or experiment.measured_in_handouts):
            recording = self.record(min(handout_rounds(), experiment.rounds))
            if recording is not None:
                words = Markup("<p>Measured while this page was made: run {}, {} rows.</p>")
                self._html(words.format(recording.run_id, len(recording.rows)))
                return
            reason = "its run failed"
        if live:
            what = f"a live handout was asked for, but {reason.rstrip('.')}"
            raise Unavailable(what, "use --mode auto")
        self._say("The figures on this page are recorded.")

    def _newest_recorded(self) -> Recording | None:
        paths = recordings(recordings_dir(self.experiment), self.experiment)
        return next(readable(paths, self.experiment, self._problems), None)

    def _named_recording(self, run_id: str) -> Recording | None:
        place = (recordings_dir(self.experiment), self.experiment)
        paths = {p.stem: p for p in (*recordings(*place), *contributed(*place))}
        with contextlib.suppress(StorageError):  # no home: no recordings of one's own
            own = recordings(user_recordings_dir(), self.experiment)
            paths |= {p.stem: p for p in own}
        if run_id not in paths:
            raise UnknownName("recording", run_id, sorted(paths))
        problems: list[str] = []
        found = next(readable([paths[run_id]], self.experiment, problems), None)
        for problem in problems:
            self._say(problem)
        return found

    def _finished(self, recording: Recording) -> str:
        """Show ``recording`` from now on; returns a sentence on what the page shows."""
        self.live = recording
        self._refresh()
        own = [s for s in self.view.sources if s.shown == MEASURED]
        if not own:
            return "It has no finished start but warm-ups, so the figures below stay as they were."
        return f"The figures below now show it for: {', '.join(own[0].platforms)}."

    def _beside(self, asked: Prediction) -> Mapping[str, str]:
        return asked.beside(explanation(self.experiment).outcomes[asked.name], self.view)

    def _source(self) -> str:
        view = self.view
        return "\n\n".join(filter(None, [view.brief(), view.caption()]))

    def _findings(self) -> Any:
        runs = ((MEASURED, self.live), (RECORDED, self._recorded))
        rows = list(findings_rows(self.number, runs, self._evidence))
        if rows:
            parts = groupby(rows, lambda row: (row["claim"].split()[0], row["quote"]))
            groups = [(name, list(found)) for (name, _), found in parts]
            return page.Html(render("findings", groups=groups, article=claims.ARTICLE))
        return page.Note("No run has been recorded yet: press Run above.")

    def _evidence(self) -> Evidence:
        return gather(
            [self.live] if self.live else [],
            own=mode(self.mode) is not Mode.REPLAY,
            project_dir=data_dir() / "recordings",
        )

    def _asked(self) -> Tasks[View]:
        tasked = asked(self.experiment, self.number)
        return Tasks(self.number, *tasked, lambda: self.view, page.name_of(self))


_REPLAY = "only recordings are shown here"
_FOLD = Markup(
    '<details class="vmc-more"><summary>What could be measured where this page was made</summary>'
    "{}</details>"
)


# ---- rows of its two own tables ------------------------------------------------------------------


def availability_rows(
    platforms: Sequence[Platform],
    found: Mapping[str, Availability],
    measured: Collection[Platform],
) -> list[dict[str, str]]:
    """One row a platform: whether it is measured here or replayed, why, and any next step.

    ``found`` is what each engine's probe said; what is not ``measured`` is replayed by choice.
    """
    rows = []
    for platform in platforms:
        engine = found[engines.engine_of(platform)]
        here = engine.ok and platform in measured
        because = engine.what or _REPLAY
        if here and dict(engine.details).get("accelerator") == SOFTWARE:
            because = f"QEMU {engine.version}, software emulation"
        elif here:
            because = f"ready ({engine.version})" if engine.version else "ready"
        rows.append(
            {
                "platform": platform.value,
                "here": "can be measured" if here else "recorded",
                "because": because,
                "next step": "" if engine.ok else engine.next_step,
            }
        )
    if not any(row["next step"] for row in rows):
        rows = [{name: row[name] for name in row if name != "next step"} for row in rows]
    return rows


def findings_rows(
    lesson: str,
    runs: Sequence[tuple[str, Recording | None]],
    evidence: Callable[[], Evidence],
) -> Iterator[Mapping[str, Any]]:
    """For each of the lesson's claims and each run, the finding that its rule gives, to be shown.

    Where none of the ``runs`` (each with how it is shown) holds the rows that a claim takes, or the
    claim names another lesson first, the finding is the verdict's, and a link leads to its lesson.
    ``evidence`` gathers all recordings, and is asked only where needed. A lesson judges what it
    shows, however short that run was; the verdict prefers a longer one
    (``evidence.claims.runs.ENOUGH``).
    """
    everything = claims.load()
    parts = Counter(claim.id for claim in everything)
    judged = [(shown, run, run.frame()) for shown, run in runs if run is not None]
    gathered: Evidence | None = None
    for claim in (c for c in everything if lesson in c.lessons and judged):
        name = f"{claim.id} {claim.part}" if parts[claim.id] > 1 else claim.id
        found = [(shown, run, frame, claims.judge(claim, frame)) for shown, run, frame in judged]
        lacking = all(finding.lacking for *_, finding in found)
        if lacking or claim.lessons[0] != lesson:
            gathered = gathered or evidence()
            elsewhere = part(claim, gathered)
            here = elsewhere.lesson is not None and elsewhere.lesson.number == lesson
            if elsewhere.run and not elsewhere.finding.lacking and (lacking or not here):
                yield _judged(name, claim, elsewhere.finding, _borrowed(elsewhere, lesson))
                continue
        for shown, run, frame, finding in found:
            source = ""  # a judgement has none
            if claim.estimand is not None:
                under = f", {EMULATION}" if emulated(concerned(claim.estimand, frame)) else ""
                source = f"{shown}, run {run.run_id}{under}"
            yield _judged(name, claim, finding, source)


def _judged(name: str, claim: Claim, finding: claims.Finding, source: str) -> Mapping[str, Any]:
    """What a template shows of it; ``further``: a claim against a plain process."""
    return {
        "claim": name,
        "sign": SIGNS[finding.verdict],
        "finding": str(finding.verdict),
        "says": claim.says,
        "quote": claim.quote,
        "told": list(claims.told(claim, finding)),
        "source": source,
        **({"others": finding.others} if finding.others else {}),
        **({"further": True} if claim.against_a_process else {}),
    }


def _borrowed(elsewhere: Part, here: str) -> str:
    """Where the finding of another experiment comes from, with a link to a lesson not ``here``."""
    assert elsewhere.run is not None
    recording = elsewhere.run.recording
    words = f"{elsewhere.run.whose}, run {recording.run_id}"
    words += f", {EMULATION}" if elsewhere.emulated else ""
    if elsewhere.lesson is None or elsewhere.lesson.number == here:
        return f"{recording.experiment.replace('_', ' ')}: {words}"
    link = page.lesson_link(elsewhere.lesson.notebook, f"from lesson {elsewhere.lesson.number}")
    return Markup("{}: {}").format(link, words)
