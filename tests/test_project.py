"""The project keeps its own rules: light imports, one list of needs, clean notebooks."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEAVY = ("pandas", "matplotlib", "docker", "IPython", "scipy", "numpy", "ipywidgets", "jinja2")


@pytest.mark.parametrize(
    "module",
    [
        "vmcompare",
        "vmcompare.measuring.run",
        "vmcompare.measuring.session",
        "vmcompare.engines.docker",
    ],
)
def test_importing_it_brings_in_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_environment_yml_lists_what_pyproject_lists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    assert sorted(pip) == sorted([*project["dependencies"], "-e ."])
    assert f"python{project['requires-python']}" in conda


def pinned(lock: str) -> dict[str, set[str]]:
    """Versions of each package in a lock file (several where they differ between Pythons)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), re.M):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_hashes_and_names_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert len(pinned(lock)) > 30
    assert text.count("--hash=sha256:") >= len(pinned(lock))


def test_learners_get_what_lessons_need_and_the_tools_of_developers_are_apart() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for lock, direct in (
        ("requirements.lock", project["project"]["dependencies"]),
        ("requirements-dev.lock", project["dependency-groups"]["dev"]),
    ):
        wanted = {re.split(r"[><=; ]", one)[0].lower() for one in direct}
        assert wanted <= pinned(lock).keys()
    runtime, tools = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: tools[name] for name in runtime.keys() & tools.keys()} == {
        name: runtime[name] for name in runtime.keys() & tools.keys()
    }
    assert not {"playwright", "mypy", "pytest", "ruff", "hypothesis", "uv"} & runtime.keys()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_first_make_lab_says_how_much_it_installs_and_leaves_the_tools_to_make_test(
    tmp_path: Path,
) -> None:
    def planned(target: str) -> str:
        command = ["make", "-n", "--no-print-directory", target, f"VENV={tmp_path}/venv"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout

    lab, test = planned("lab"), planned("test")
    assert lab.index("0.7 GB on disk, about two minutes") < lab.index("-m venv")
    assert "-r requirements.lock" in lab
    assert "requirements-dev.lock" not in lab
    assert lab.rstrip().endswith("vmcompare lab")
    assert test.index("-r requirements.lock") < test.index("-r requirements-dev.lock")


MINUTES = r"\*.+ · \d+ minutes · (in class|homework)\*"
"""Below the title of an exercise."""


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
class TestANotebook:
    def cells(self, notebook: Path, kind: str) -> list[str]:
        """Its cells of one kind, without those of exercises."""
        loaded = json.loads(notebook.read_text())
        cells = ["".join(c["source"]) for c in loaded["cells"] if c["cell_type"] == kind]
        return [c for c in cells if "check_answer(" not in c and not re.search(MINUTES, c)]

    def test_has_code_in_exercises_that_fits_a_page(self, notebook: Path) -> None:
        loaded = json.loads(notebook.read_text())
        for cell in loaded["cells"]:
            code = "".join(cell["source"])
            if cell["cell_type"] == "code" and "check_answer(" in code:
                assert len(code.splitlines()) <= 16
                assert all(len(line) <= 80 for line in code.splitlines())
                ast.parse(code)

    def test_carries_no_outputs(self, notebook: Path) -> None:
        for cell in json.loads(notebook.read_text())["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None

    def test_has_one_cell_of_parameters_before_the_lesson_is_made_of_them(
        self, notebook: Path
    ) -> None:
        code = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
        [at] = [i for i, c in enumerate(code) if "parameters" in c["metadata"].get("tags", ())]
        assert "hide-input" in code[at]["metadata"]["tags"]  # a handout has no use for it
        found = {}
        for line in ast.parse("".join(code[at]["source"])).body:
            assert isinstance(line, ast.Assign)
            found[ast.unparse(line.targets[0])] = ast.literal_eval(line.value)
        assert found.get("rounds", 3) in (1, 3)  # one where a round takes a class several minutes
        measures = (
            {"rounds": found.get("rounds")} if "Lesson(" in "".join(code[at + 1]["source"]) else {}
        )
        assert found == {**measures, "mode": "auto"}
        made = "".join(code[at + 1]["source"])
        assert all(re.search(rf"\([^)]*\b{name}\)|\b{name},", made) for name in found)

    def in_class(self, notebook: Path) -> Iterator[str]:
        """The code cells of a class: without parameters, exercises, and homework."""
        homework = False
        for cell in json.loads(notebook.read_text())["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and source.startswith(("# ", "## ")):
                homework = "homework" in source.splitlines()[0].lower()
            tags = cell["metadata"].get("tags", [])
            if cell["cell_type"] == "code" and not homework and "parameters" not in tags:
                yield from () if "check_answer(" in source else (source,)

    def test_has_at_most_twelve_short_code_cells_without_definitions(self, notebook: Path) -> None:
        assert len([*self.in_class(notebook)]) <= 12
        code = self.cells(notebook, "code")
        assert all(len(cell.splitlines()) <= 4 for cell in code)
        assert not any(re.search(r"^\s*(def|class|lambda)\b", c, re.MULTILINE) for c in code)
        assert sum("import" in cell for cell in code) == 1

    def test_has_at_most_a_thousand_words_besides_homework_and_folds(self, notebook: Path) -> None:
        class_cells = itertools.takewhile(
            lambda cell: not cell["metadata"].get("jp-MarkdownHeadingCollapsed"),
            json.loads(notebook.read_text(encoding="utf-8"))["cells"],
        )
        words = " ".join("".join(c["source"]) for c in class_cells if c["cell_type"] == "markdown")
        words = re.sub(r"<details>.*?</details>|```.*?```", "", words, flags=re.DOTALL)
        assert len(re.findall(r"\w+", words)) <= 1000

    def test_is_called_in_a_browser_what_its_first_heading_says(self, notebook: Path) -> None:
        shown = json.loads(notebook.read_text(encoding="utf-8"))
        first = "".join(shown["cells"][0]["source"]).splitlines()[0]
        assert first == f"# {shown['metadata']['title']}"

    def test_gives_every_picture_a_text_alternative(self, notebook: Path) -> None:
        for text in self.cells(notebook, "markdown"):
            for alt, _ in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
                assert len(alt) > 20


def test_the_table_of_the_readme_lists_the_lessons_there_are_with_their_questions() -> None:
    rows = re.findall(r"^\| \[(\d\d[a-z]?) (.+)\]\((.+\.ipynb)\) \| (.+) \|$",
                      (ROOT / "README.md").read_text(), re.MULTILINE)  # fmt: skip
    told = []
    for notebook in NOTEBOOKS:
        title = "".join(json.loads(notebook.read_text())["cells"][0]["source"]).splitlines()[0]
        number, name, question = re.fullmatch(r"# (\d\d[a-z]?) · (.+?): (.+)", title).groups()
        path = notebook.relative_to(ROOT).as_posix()
        told.append((number, name, path, question[0].upper() + question[1:]))
    assert rows == told


def test_no_path_of_a_machine_is_in_the_project() -> None:
    done = subprocess.run(
        ["git", "grep", "-nIE", r"/(home|root|Users)/[a-z]", "--", ".", ":!tests"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == ""
