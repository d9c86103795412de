"""The live panel of a lesson: Run, Stop, progress, and a chart that grows with the measurement.

It only starts, follows and stops a child process (`vmcompare.measuring.session`), from an asyncio
task of the kernel: no cell blocks, and no widget is touched from another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets
from markupsafe import escape

from vmcompare.course import page
from vmcompare.errors import VmcompareError
from vmcompare.evidence.recording import Recording, read
from vmcompare.measuring import session
from vmcompare.measuring.forecast import about, to_go
from vmcompare.measuring.run import NEXT_STEP, holder
from vmcompare.sandbox import Platform

POLL_S = 0.25
LOOK_S = 1.0  # how often (s) a panel looks whether another run is on

CHART_EVERY_S = 3.0
"""The chart is redrawn at most this often: drawing takes processor time that is being measured."""

READY = "Ready. Nothing has been measured yet."
GONE = (
    "Run and Stop need the kernel that made this panel, and it is gone. A run that was on has been "
    "stopped, and its rows are kept. To measure, run the cells again from the top."
)
"""What stands for a panel without its kernel: in the browser, and as plain output in the file."""

_NO_EFFECT = "No effect? The kernel may be another one by now: run the cells again from the top."
"""JupyterLab does not show when a kernel was shut down and another one was started."""


class Panel:
    """Widgets, the session behind them, and the task that starts and follows a run."""

    def __init__(
        self,
        experiment: str,
        chart: Callable[[Recording], str],
        finished: Callable[[Recording], str],
        platforms: Sequence[Platform] = (),
        foretell: Callable[[int], str] = lambda _: "",
    ) -> None:
        """Make the widgets; nothing is started.

        ``chart`` draws a recording in progress as HTML, or raises ``VmcompareError``. ``finished``
        is told of the recording when the run has ended, in order or not, and says in one sentence
        what the page shows now. ``foretell`` says how long a number of rounds will take.
        """
        self._experiment, self._platforms = experiment, platforms
        self._chart, self._finished = chart, [finished]
        self._session: session.Session | None = None
        self._foretell = foretell
        self._preparing: _Preparing | None = None
        self._drawn: Recording | None = None
        self._left = ""  # the time to go, in words, when the present step began
        self._said = ""
        self._waiting = False
        self._looking: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.rounds = widgets.BoundedIntText(
            value=3, min=1, max=50, description="Rounds", layout={"width": "10em"}
        )
        self.run = widgets.Button(
            description="Run", icon="play", button_style="primary", tooltip=_NO_EFFECT
        )
        self.stop = widgets.Button(
            description="Stop", icon="stop", disabled=True, tooltip=_NO_EFFECT
        )
        self.bar = widgets.IntProgress(value=0, max=1, layout={"width": "16em"})
        self.foretold = widgets.HTML()
        self.status = widgets.HTML()
        self.live = widgets.HTML()
        for name in page.LIVE:
            self.live.add_class(name)
        self.run.on_click(lambda _: self._press())
        self.stop.on_click(lambda _: self._ask_to_stop())
        self.rounds.observe(lambda _: self._show_foretold(), "value")
        self._show_foretold()
        self._say(READY)
        self._give_way()

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()

    def attach(self, finished: Callable[[Recording], str]) -> None:
        if finished not in self._finished:
            self._finished.append(finished)

    def show(self) -> None:
        """Display the panel, and have it look from now on whether another run is on."""
        row = widgets.HBox(
            [self.rounds, self.run, self.stop, self.bar], layout={"flex_flow": "row wrap"}
        )
        for part in (row, self.foretold, self.status):
            part.add_class("vmc-controls")

        def around(gone: Any) -> Any:
            box = widgets.VBox([row, self.foretold, self.status, self.live, gone])
            box.add_class("vmc-panel")
            return box

        page.Place(page.Note(GONE), around)
        _SHOWN[self._experiment] = self
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_out())

    async def _look_out(self) -> None:
        while _SHOWN.get(self._experiment) is self:
            if not self.busy:
                self._give_way()
            await asyncio.sleep(LOOK_S)

    def _give_way(self) -> bool:
        """Close *Run* while another run is on, open it when that has ended; whether one is on."""
        try:
            other = holder()
        except VmcompareError:
            other = None  # whatever is wrong there, Run will say it
        if other is not None:
            self.run.disabled = True
            said = f"Run has to wait: {other}. Next step: {NEXT_STEP}."
            self.status.value = str(escape(f"{said} Run opens here when it has ended."))
        elif self._waiting:
            self.run.disabled = False
            self._say(self._said)
        self._waiting = other is not None
        return self._waiting

    def _press(self) -> None:
        if self.busy:
            return  # a second click that was on its way before the button closed
        self.run.disabled = True
        self.bar.value, self.bar.bar_style = 0, "info"
        self._show_foretold()
        self.status.value = "Starting: looking at this computer and preparing the images …"
        self.task = asyncio.ensure_future(self._start())
        if running(self._experiment) is None:
            _RUNNING[self._experiment] = self

    async def _start(self) -> None:
        # The number of rounds may arrive after the click that means it, and a run cannot be undone.
        await asyncio.sleep(page.LATE_S)
        if self._give_way():
            return
        try:
            running = session.start(
                self._experiment, rounds=self.rounds.value, platforms=self._platforms
            )
        except VmcompareError as error:
            self.run.disabled = False
            self._show_foretold()
            self._say(str(error))
            return
        self._session = running
        self.stop.disabled = False
        await self._follow(running)

    def _ask_to_stop(self) -> None:
        if self._session and self._session.child.stdin:
            self.stop.disabled = True
            self.status.value = "Stopping: taking down what is running …"
            self._session.child.stdin.close()

    async def _follow(self, running: session.Session) -> None:
        drawn_at = 0.0
        while running.running:
            for message in running.messages(0):
                if not self.status.value.startswith("Stopping"):
                    self._show(message)
            if self._preparing and not self.status.value.startswith("Stopping"):
                self._show_preparing(self._preparing)
            due = running.path and time.monotonic() - drawn_at > CHART_EVERY_S
            if due and self._draw(running):
                drawn_at = time.monotonic()
            await asyncio.sleep(POLL_S)
        await asyncio.get_running_loop().run_in_executor(None, running.stop)
        self._close(running)
        self._show_foretold()
        parts = (self.run, self.stop, self.bar, self.foretold, self.status, self.live)
        self._sending = asyncio.ensure_future(page.send_again(*parts))

    def _show(self, message: Mapping[str, Any]) -> None:
        planned = int(message.get("planned") or 0)
        if message.get("event") == "image":
            begins = not message["done"]
            self._preparing = _Preparing(message["what"], message.get("left_s")) if begins else None
        elif planned:
            self.bar.max, self.bar.value = planned, int(message["done"])
            phase = f", {message['phase']} done" if message.get("phase") else ""
            if message["event"] == "trial":
                self._left = to_go(message["left_s"])
            said = f"{message['done']} of {planned} steps. {message['what']}{phase}"
            self._say(f"{said}{self._left}")

    def _show_preparing(self, at_work: _Preparing) -> None:
        """What is being made and for how long; the bar moves with the time where that is known."""
        spent_s = time.monotonic() - at_work.began_s
        said = f"Preparing {at_work.what}, once: {spent_s:.0f} s so far"
        if at_work.takes_s:
            self.bar.max = int(at_work.takes_s)
            self.bar.value = min(int(spent_s), self.bar.max)
            self._say(f"{said}, {about(at_work.takes_s)} on the computer that recorded.")
        else:
            self._say(f"{said}. The bar cannot show how far this is.")

    def _draw(self, running: session.Session) -> bool:
        try:
            assert running.path is not None
            recording = read(running.path)
            if recording is self._drawn:  # the same object as long as the file is the same
                return False
            self.live.value = self._chart(recording)
        except VmcompareError:
            return False
        self._drawn = recording
        return True

    def _show_foretold(self) -> None:
        said = "" if self.run.disabled else self._foretell(self.rounds.value)
        self.foretold.value = str(escape(said))

    def _close(self, running: session.Session) -> None:
        self.run.disabled, self.stop.disabled = False, True
        self._preparing = None
        try:
            recording = running.recording()
        except VmcompareError as error:
            self.bar.bar_style = "danger"
            if not self._give_way():  # another run may have been a moment quicker
                self._say(f"Nothing was measured: {error}")
            return
        self.live.value = ""
        self.bar.bar_style = "success" if recording.ended == "complete" else "warning"
        self.bar.value = self.bar.max if recording.ended == "complete" else self.bar.value
        words = {"complete": "Done", "stopped": "Stopped; what was measured is kept"}
        said = words.get(
            recording.ended, f"Ended early: {running.complaint()}; rows so far are kept"
        )
        shows = [finished(recording) for finished in self._finished][-1]
        self._say(f"{said}. Run {recording.run_id}: {len(recording.rows)} rows. {shows}")

    def _say(self, sentence: str) -> None:
        """Show a sentence; what an engine or a child process said is no HTML."""
        self._said = sentence
        self.status.value = str(escape(sentence))


_SHOWN: dict[str, Panel] = {}
"""Of each experiment the panel that was displayed last: it looks whether another run is on."""


@dataclass(frozen=True, slots=True)
class _Preparing:
    """An image that is being made, the seconds that it takes, and when it was begun."""

    what: str
    takes_s: float | None
    began_s: float = field(default_factory=lambda: time.monotonic())


_RUNNING: dict[str, Panel] = {}
"""Of each experiment the panel on which *Run* was pressed last, unless another's run was on."""


def running(experiment: str) -> Panel | None:
    """The panel whose run of ``experiment`` is on in this kernel, if there is one."""
    found = _RUNNING.get(experiment)
    return found if found is not None and found.busy else None
