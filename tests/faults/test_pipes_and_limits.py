"""Nobody reads, nothing can be written, too little is allowed: a quiet end, or one sentence."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from scene import Scene, complaints
from waiting import until

from vmcompare.evidence.recording import read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses /dev/full and ulimit")

RECORD = '$V record boot_speed --platform process --rounds 1 --out "$OUT"'


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.below(tmp_path)


def whole(scene: Scene) -> bool:
    [path] = scene.out.rglob("*.jsonl")
    return until(lambda: read(path).ended == "complete", 60)


@pytest.mark.fault("whoever reads a command's output has gone")
@pytest.mark.parametrize(
    "line",
    ["$V check | head -1", "$V clean | true", "$V --help | true", "$V check data/x 2>&1 | true"],
)
def test_a_closed_pipe_is_a_quiet_end(line: str, scene: Scene) -> None:
    done = scene.shell(f"{line}; exit ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.returncode in (0, 1, 141)


@pytest.mark.fault("a recording's progress cannot be shown any more")
@pytest.mark.parametrize(
    "line",
    [f"{RECORD} 2>&1 | true", f"{RECORD} >/dev/full 2>/dev/full", f"{RECORD} <&- >&- 2>&-"],
)
def test_a_recording_outlives_its_progress_bar(line: str, scene: Scene) -> None:
    done = scene.shell(f"{line}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0, done.stderr
    assert whole(scene)
    assert scene.left_at_last() == []


@pytest.mark.fault("whoever follows a recording's events has gone")
def test_a_recording_nobody_follows_stops(scene: Scene) -> None:
    line = RECORD.replace("--rounds 1", "--rounds 500")
    done = scene.shell(f"{line} --events | head -3; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    [path] = scene.out.rglob("*.jsonl")
    assert read(path).ended == "stopped"
    assert scene.left_at_last() == []


@pytest.mark.fault("standard output is a full disk")
@pytest.mark.parametrize("words", ["check", "clean", "--version"])
def test_a_full_output_is_one_sentence(words: str, scene: Scene) -> None:
    done = scene.shell(f"$V {words} >/dev/full")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 1


@pytest.mark.fault("the shell allows too few files, too small ones, or too little memory")
@pytest.mark.parametrize("limit", ["-n 20", "-n 12", "-f 8", "-v 400000"])
@pytest.mark.parametrize(
    "words", ["check", "record boot_speed --platform process --rounds 1", "handout"]
)
def test_a_tight_limit_is_one_sentence_and_leaves_nothing(
    limit: str, words: str, scene: Scene
) -> None:
    lesson = scene.root / "toy.ipynb"
    cells = [nbformat.v4.new_markdown_cell("# A toy"), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), lesson)
    line = f"handout {lesson} --mode replay" if words == "handout" else words
    out = "" if words == "check" else '--out "$OUT"'
    done = scene.shell(f"ulimit {limit} && exec $V {line} {out}")
    assert "Traceback" not in done.stderr
    if done.returncode:
        assert len([*complaints(done.stderr)]) == 1, done.stderr
        assert not list(scene.out.rglob("*.html"))
    assert scene.left_at_last() == []


@pytest.mark.fault("no further process may be started")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_may_start_no_process_is_told_so(scene: Scene) -> None:
    for place in (scene.root, *scene.root.iterdir()):
        os.chown(place, 65534, 65534)
    code = (
        "import os, resource, sys; os.setgroups([]); os.setresgid(*[65534] * 3); "
        "import platform, vmcompare.engines.cleanup, vmcompare.errors as e; "
        # What these import, that user may not be able to read.
        "vmcompare.engines.cleanup.started(1); vmcompare.engines.cleanup.boot(); platform.node(); "
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)); os.setresuid(*[65534] * 3)\n"
        "try:\n    vmcompare.engines.cleanup.guard().__enter__()\n"
        "except e.VmcompareError as error: print(error)\n"
    )
    child = scene.start(command=[sys.executable, "-c", code])
    told, said = child.communicate(timeout=60)
    assert "Next step" in told, said
    assert scene.left_at_last() == []
