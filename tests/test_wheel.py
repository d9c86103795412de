"""The wheel: what it carries, and that it works for another user on every Python we promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import unprivileged
from room import NOTEBOOKS, ROOT

PYTHONS = ("3.11", "3.13")
"""The oldest and the newest that are promised; CI runs the tests on each in between too."""
UV = Path(sys.executable).with_name("uv")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a checkout in which somebody has worked: a lesson was run, and more lies about."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("vmcompare", "data", "notebooks", "tools"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, place)
    ran = place / "notebooks" / "04-boot-speed.ipynb"
    told = json.loads(ran.read_text(encoding="utf-8"))
    code = next(cell for cell in told["cells"] if cell["cell_type"] == "code")
    code.update(execution_count=1, outputs=[stream("measured")])
    told["metadata"]["widgets"] = {"state": {}}
    ran.write_text(json.dumps(told), encoding="utf-8")
    checkpoints = place / "notebooks" / ".ipynb_checkpoints"
    checkpoints.mkdir()
    shutil.copy(ran, checkpoints / "04-boot-speed-checkpoint.ipynb")
    (place / "notebooks" / "Untitled.ipynb").write_text("{}", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(place / "dist"), str(place)], check=True)
    [made] = (place / "dist").glob("*.whl")
    return made


def stream(text: str) -> dict[str, str]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def test_it_carries_the_lessons_as_nobody_has_run_them_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        below = {n.removeprefix("vmcompare/_notebooks/") for n in names if "/_notebooks/" in n}
        for notebook in NOTEBOOKS:
            told = json.loads(archive.read(f"vmcompare/_notebooks/{notebook.name}"))
            kept = json.loads(notebook.read_text(encoding="utf-8"))
            assert told == kept
    source = ROOT / "notebooks"
    wanted = [*NOTEBOOKS, *source.glob("text/*.md"), *source.glob("figures/*.svg")]
    assert below == {path.relative_to(source).as_posix() for path in wanted}


def test_it_carries_all_data(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "data"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    wanted = {name.replace("data/", "vmcompare/_data/", 1) for name in listed.stdout.split()}
    if not wanted:
        pytest.skip("this is no git checkout")
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if "/_data/" in name} == wanted


def interpreter(version: str) -> Path | None:
    """An interpreter of that version that runs: this one, on PATH, or installed beside it."""
    base = Path(sys.base_prefix)
    candidates = [base / "bin" / f"python{version}"]
    candidates += [Path(found)] if (found := shutil.which(f"python{version}")) else []
    candidates += sorted(base.parent.glob(f"{version}*/bin/python{version}"))
    code = "import sys, venv; print(sys.base_prefix)"
    for path in candidates:
        if path.exists() and not subprocess.run([path, "-c", code], capture_output=True).returncode:
            return path
    return None


@pytest.fixture(scope="module", params=PYTHONS)
def installed(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The Python of a fresh environment with the wheel in it, and what the lock file pins."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"there is no Python {request.param} here")
    if not UV.exists():
        pytest.skip("uv is not installed (make test)")
    place = tmp_path_factory.mktemp(f"python-{request.param}") / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", place], check=True)
    made = place / "bin" / "python"
    install = [UV, "pip", "install", "-q", "--python", made]
    lock = ROOT / "requirements.lock"
    subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
    subprocess.run([*install, "--no-deps", wheel], check=True)
    yield made
    shutil.rmtree(place)  # almost a gigabyte


def test_installed_it_works_for_another_user_from_another_folder(installed: Path) -> None:
    if why := unprivileged.impossible():
        pytest.skip(why)
    with unprivileged.nobody(Path("/nonexistent")) as user:
        base = installed.resolve().parents[1]
        needs = (installed.parents[1], base)
        # Nobody compiled what is installed, and this user may not keep it there.
        program = [
            "env",
            f"PYTHONPYCACHEPREFIX={user.home / 'pyc'}",
            str(installed.with_name("vmcompare")),
        ]
        words = ["handout", "00", "--mode", "replay", "--out", str(user.home / "pages")]
        done = user.run([*program, *words], cwd=user.home, needs=needs)
        assert done.returncode == 0, done.stderr
        page = (user.home / "pages" / "00-start-here.html").read_text(encoding="utf-8")
        assert "Traceback" not in done.stderr + page
        assert page.count("data:image/svg") or "<svg" in page
        asks = [sys.executable, "-c", LAB, *program]
        asked = user.run(asks, cwd=user.home, needs=(*needs, *unprivileged.interpreter()))
        assert asked.returncode == 0, asked.stderr
        told = json.loads(asked.stdout.splitlines()[-1])
        assert told["writable"] is True
        own = user.home / "vmcompare-lessons" / "00-start-here.ipynb"
        assert own.stat().st_uid == unprivileged.NOBODY
        assert os.access(own.parent / "figures" / "ratio-rule.svg", os.R_OK)


LAB = r"""
import json, os, re, socket, subprocess, sys, time, urllib.error, urllib.request
environment = {**os.environ, "ENGINES": "skip"}
with socket.socket() as free:  # two that begin at once may both take Jupyter's usual port
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
words = [*sys.argv[1:], "lab", "--no-browser", "--port", str(port)]
lab = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
try:
    said = ""
    for line in lab.stderr:
        said += line
        if found := re.search(r"(http://127\.0\.0\.1:\d+)/\S+\?token=(\w+)", line):
            break
    else:
        sys.exit(said)
    ask = urllib.request.Request(found[1] + "/api/contents/00-start-here.ipynb?content=0")
    ask.add_header("Authorization", "token " + found[2])
    for _ in range(100):  # the address is told a moment before anybody listens there
        try:
            answer = urllib.request.urlopen(ask, timeout=60)
            break
        except ConnectionError:
            time.sleep(0.1)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
            time.sleep(0.1)
    print(json.dumps(json.load(answer)))
finally:
    lab.terminate()
    lab.communicate()
"""
"""Starts a lab and asks it for the first lesson."""


def test_the_pythons_tried_are_the_ones_promised() -> None:
    promised = re.search(r'requires-python = "(.+)"', (ROOT / "pyproject.toml").read_text())
    assert promised is not None
    assert promised[1] == ">=3.11,<3.14"
