"""What lies beside a notebook is never run in the place of a module that we need."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from scene import Scene

from vmcompare.engines import child_python
from vmcompare.evidence.recording import read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures bare processes")

NAMES = ("secrets", "queue", "random", "json", "docker", "numpy", "vmcompare", "runpy", "pathlib")
PATHS = (None, "", ":/nowhere", ".")
"""Values of PYTHONPATH: unset, empty, with an empty part, and the folder itself."""
RUNS = f"""
import os, sys
sys.path[:] = filter(None, sys.path)
from pathlib import Path
from vmcompare.measuring import session
from vmcompare.sandbox import Platform
for path in {PATHS}:
    if path is not None:
        os.environ["PYTHONPATH"] = path
    with session.start(
        "boot_speed", rounds=1, platforms=[Platform.PROCESS], out=Path(sys.argv[1])
    ) as run:
        list(run.messages())
        print(run.recording().ended)
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.below(tmp_path)


def scripts(folder: Path, *names: str) -> Path:
    """The learner's scripts; each tells that it was run."""
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('{name} ')\n")
    return folder / "ran"


@pytest.mark.fault("scripts with the names of modules lie beside the notebook")
def test_a_run_and_its_guardian_import_nothing_from_there(scene: Scene) -> None:
    ran = scripts(scene.root, *NAMES)
    environment = {k: v for k, v in scene.environment.items() if k != "PYTHONPATH"}
    # The learner's kernel has imported what it needs; only what it starts is looked at here.
    child = Scene(scene.root, environment).start(
        command=[sys.executable, "-c", RUNS, str(scene.out)]
    )
    told, said = child.communicate(timeout=240)
    assert told.split() == ["complete"] * len(PATHS), said
    assert not ran.exists()


@pytest.mark.fault("a program is started where scripts with the names of modules lie")
def test_python_m_imports_nothing_from_there(scene: Scene) -> None:
    ran = scripts(scene.root, "queue", "docker", "numpy", "psutil", "secrets", "pathlib")
    words = ("-m", "vmcompare", "record", "boot_speed", "--platform", "process", "--rounds", "1")
    child = scene.start(*words, "--out", str(scene.out), command=[sys.executable])
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    [path] = scene.out.rglob("*.jsonl")
    assert read(path).ended == "complete"
    assert not ran.exists()


def handout(scene: Scene, source: str) -> tuple[int, str]:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A toy"), nbformat.v4.new_code_cell(source)]
    )
    path = scene.root / "toy.ipynb"
    nbformat.write(made, path)
    child = scene.start("handout", str(path), "--out", str(scene.out), "--mode", "replay")
    _, said = child.communicate(timeout=120)
    return child.returncode, said


@pytest.mark.fault("a handout is made where a script hides a module that is installed")
@pytest.mark.parametrize("name", ["docker", "numpy", "vmcompare"])
def test_a_handout_names_the_file_and_does_not_run_it(name: str, scene: Scene) -> None:
    ran = scripts(scene.root, name)
    code, said = handout(scene, "import vmcompare")
    assert code == 1
    [sentence] = said.strip().splitlines()
    assert f"the file {name}.py beside this notebook" in sentence
    assert "rename it" in sentence
    assert not ran.exists()


@pytest.mark.fault("a handout is made where a script has the name of one of Python's own modules")
def test_a_handout_is_made_beside_a_script_that_hides_nothing(scene: Scene) -> None:
    ran = scripts(scene.root, "secrets", "queue", "random", "json", "pathlib", "runpy")
    (scene.root / "helper.py").write_text("answer = 42")
    code, said = handout(scene, "from vmcompare.course.lesson import Lesson\nimport helper")
    assert code == 0, said
    assert not ran.exists()


def test_a_package_and_a_compiled_module_hide_as_well_and_a_plain_folder_does_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "numpy").mkdir()
    child_python.refuse(tmp_path)
    (tmp_path / "numpy" / "__init__.py").touch()
    with pytest.raises(child_python.HiddenModule, match="numpy"):
        child_python.refuse(tmp_path)
    (tmp_path / "numpy").rename(tmp_path / "mine")
    (tmp_path / "zmq.cpython-311-x86_64-linux-gnu.so").touch()
    with pytest.raises(child_python.HiddenModule, match=r"zmq\.cpython"):
        child_python.refuse(tmp_path)


def test_a_kernel_shows_the_sentence_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with pytest.raises(child_python.HiddenModule) as caught:
        child_python.refuse_hidden_modules()
    assert caught.value._render_traceback_() == [str(caught.value)]
