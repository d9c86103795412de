"""Killed at any moment, or asked to stop: nothing is left, and a recording stays readable."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest
from scene import Scene, complaints, ended
from waiting import until

from vmcompare.evidence.recording import read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
ALL = (signal.SIGKILL, *POLITE)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.below(tmp_path)


def notebook(folder: Path, source: str) -> Path:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A toy"), nbformat.v4.new_code_cell(source)]
    )
    path = folder / "toy.ipynb"
    nbformat.write(made, path)
    return path


def assert_ended_in_order(code: int, said: str) -> None:
    assert code == 130, said
    [sentence] = complaints(said)
    assert "stopped" in sentence
    assert "Traceback" not in said


@pytest.mark.qemu
@pytest.mark.fault("check is killed or stopped while an accelerator is tried")
def test_no_virtual_machine_outlives_the_trial_of_an_accelerator(
    scene: Scene, attempt: int
) -> None:
    chance = random.Random(attempt)
    number = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)[attempt % 3]
    child = scene.start("check")
    assert until(lambda: scene.processes("qemu-system"), 60)
    time.sleep(chance.uniform(0, 0.4))
    code, said = ended(child, number)
    assert scene.left_at_last() == []
    if number is not signal.SIGKILL:
        assert_ended_in_order(code, said)


@pytest.mark.fault("handout is killed or stopped at any moment")
def test_no_kernel_and_no_folder_outlives_a_handout(scene: Scene, attempt: int) -> None:
    number = ALL[attempt % len(ALL)]
    path = notebook(scene.root, "import time\ntime.sleep(120)")
    child = scene.start("handout", str(path), "--out", str(scene.out), "--mode", "replay")
    if attempt < len(ALL):
        assert until(lambda: scene.processes("ipykernel_launcher"), 60)
    time.sleep(random.Random(attempt).uniform(0, 2))
    code, said = ended(child, number)
    assert scene.left_at_last() == []
    if number is not signal.SIGKILL:
        assert code in (130, -number)  # before Python has read our first line, it just ends
        assert "Traceback" not in said


@pytest.mark.fault("record is asked to stop at any moment, while it begins and many times over")
def test_a_burst_of_stop_requests_is_one(scene: Scene, attempt: int) -> None:
    chance = random.Random(attempt)
    child = scene.record()
    if attempt % 2:
        assert until(lambda: list(scene.out.rglob("*.jsonl")), 60)
    else:
        assert until(lambda: scene.processes("vmcompare.engines.cleanup"), 60)
    time.sleep(chance.uniform(0, 1))
    code, said = ended(child, *chance.choices(POLITE, k=6))
    assert_ended_in_order(code, said)
    assert scene.left_at_last() == []
    for path in scene.out.rglob("*.jsonl"):
        assert read(path).ended == "stopped"


@pytest.mark.fault("a command is asked to stop before it has begun")
@pytest.mark.parametrize("number", POLITE, ids=lambda number: number.name)
def test_a_stop_during_the_first_imports_is_no_traceback(
    number: signal.Signals, scene: Scene
) -> None:
    code = f"""
        import os, sys, threading
        class Late:
            def find_spec(self, name, path=None, target=None):
                if name == "vmcompare.engines":
                    os.kill(os.getpid(), {int(number)})
        sys.meta_path.insert(0, Late())
        from vmcompare.__main__ import main
        sys.exit(main(["check"]))
    """
    child = scene.start(command=[sys.executable, "-c", textwrap.dedent(code)])
    assert_ended_in_order(*ended(child))


@pytest.mark.fault("the terminal is closed on a run that was started with nohup")
def test_a_run_that_ignores_the_end_of_its_terminal_goes_on(scene: Scene) -> None:
    child = scene.record(rounds=2, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert until(lambda: list(scene.out.rglob("*.jsonl")), 60)
    code, said = ended(child, signal.SIGHUP, signal.SIGHUP)
    assert code == 0, said
    [path] = scene.out.rglob("*.jsonl")
    assert read(path).ended == "complete"


@pytest.mark.fault("record is killed at any moment, and its guardian too")
def test_after_kill_9_of_everybody_clean_finds_the_rest(scene: Scene, attempt: int) -> None:
    child = scene.record()
    assert until(lambda: list(scene.out.rglob("*.jsonl")), 60)
    time.sleep(random.Random(attempt).uniform(0, 1))
    for process in scene.processes("vmcompare.engines.cleanup"):
        process.kill()
    child.kill()
    child.communicate()
    scene.clean()
    assert scene.left_at_last() == []


LEAVES = """
import sys
from vmcompare.engines import cleanup
from vmcompare.engines.bare.process import ProcessLauncher
from vmcompare.sandbox import Spec
with cleanup.guard(), ProcessLauncher().open(Spec(), lambda event: None) as box:
    line = "sleep 301 & (sleep 302 & exec setsid sleep 303) & echo begun; wait"
    with box.follow(["sh", "-c", line], lambda piece, t: print("begun", flush=True)):
        sys.stdin.read()
"""


@pytest.mark.fault("a run is killed while a command of a bare process has children")
def test_children_of_a_followed_command_end_with_the_run(scene: Scene, attempt: int) -> None:
    child = scene.start(command=[sys.executable, "-c", LEAVES], stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    assert until(lambda: len(scene.processes("30")) >= 3)
    time.sleep(random.Random(attempt).uniform(0, 0.3))
    child.kill()
    child.communicate()
    assert scene.left_at_last() == []


TIMES_OUT = """
import os
from vmcompare.engines import cleanup
from vmcompare.engines.bare.process import ProcessLauncher
from vmcompare.errors import WaitTimeout
from vmcompare.sandbox import Spec
with ProcessLauncher().open(Spec(), lambda event: None) as box:
    try:
        box.run(["sh", "-c", "sleep 301 & sleep 302 & wait"], timeout_s=1)
    except WaitTimeout:
        print("timed out", flush=True)
    box.run(["sh", "-c", "sleep 303 >/dev/null 2>&1 &"])
os.execvp("sleep", ["sleep", "60"])
"""


@pytest.mark.fault("a command takes too long, or leaves something running")
def test_what_a_command_has_started_ends_with_it_or_with_its_instance(scene: Scene) -> None:
    child = scene.start(command=[sys.executable, "-c", TIMES_OUT])
    assert child.stdout is not None
    assert child.stdout.readline() == "timed out\n"
    assert until(lambda: ["sleep", "60"] in scene.commands(), 60)
    assert scene.commands() == [["sleep", "60"]]
    child.kill()
    child.communicate()


BUILDS = """
import sys, time
from pathlib import Path
from vmcompare.engines.images import cache
def build(out):
    out.write_bytes(b"half of it")
    print("begun", flush=True)
    time.sleep(120)
cache.get("toy.bin", "key", build)
"""


@pytest.mark.fault("a run is killed while an image is built")
def test_half_an_image_is_cleared_away(scene: Scene) -> None:
    (scene.root / "cache" / "vmcompare" / "images").unlink()
    child = scene.start(command=[sys.executable, "-c", BUILDS])
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    child.kill()
    child.communicate()
    scene.clean()
    assert scene.left() == []
    images = scene.root / "cache" / "vmcompare" / "images"
    assert [path.suffix for path in images.iterdir()] == [".lock"]


@pytest.mark.fault("the guardian is started where its working folder is deleted")
def test_a_run_in_a_deleted_folder_is_guarded_all_the_same(scene: Scene) -> None:
    gone = scene.root / "gone"
    gone.mkdir()
    line = 'cd gone && rmdir ../gone && exec "$0" -c "$1"'
    child = scene.start(command=["bash", "-c", line, sys.executable, LEAVES], stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert scene.left_at_last() == []


@pytest.mark.slow
@pytest.mark.fault("the terminal of JupyterLab is closed, or it is asked to end")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda number: number.name)
def test_lab_ends_with_all_its_kernels(number: signal.Signals, scene: Scene) -> None:
    import json
    import urllib.request

    environment = {**scene.environment, "ENGINES": "skip", "HOME": str(scene.root)}
    scene = Scene(scene.root, {**environment, "JUPYTER_TOKEN": "toy"})
    child = scene.start("lab", "--no-browser")

    def told() -> list[Path]:
        with contextlib.suppress(FileNotFoundError):  # a folder that vanished meanwhile
            return list(scene.root.rglob("jpserver-*.json"))
        return []

    assert until(lambda: [path for path in told() if path.read_text().endswith("}")], 120)
    server = json.loads(told()[0].read_text())
    request = urllib.request.Request(
        f"{server['url']}api/kernels", data=b"{}", method="POST",
        headers={"Authorization": f"token {server['token']}"},
    )  # fmt: skip
    assert until(lambda: answers(request), 60)
    assert until(lambda: scene.processes("ipykernel_launcher"), 60)
    child.send_signal(number)
    assert until(lambda: not scene.processes(), 60)
    child.communicate()
    assert not told()


def answers(request: object) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(request) as answer:  # type: ignore[arg-type]
            return bool(answer.status == 201)
    except (urllib.error.URLError, ConnectionError):
        return False
