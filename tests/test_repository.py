"""The repository says how to cite it, run it elsewhere, report a fault, and names its article."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmcompare.evidence.claims import ARTICLE

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TITLE = "Docker vs Virtual Machine (VM): Understanding the Differences"


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def loaded(path: str) -> Any:
    return yaml.safe_load(read(path))


def supported() -> set[str]:
    """The Python versions that ``requires-python`` allows."""
    least, below = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    return {f"3.{minor}" for minor in range(int(least), int(below))}


def test_the_citation_is_of_this_version_under_its_licence_and_names_the_article() -> None:
    citation = loaded("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["message"]
    assert citation["authors"]
    assert PROJECT["name"] in citation["title"]
    assert [work["title"] for work in citation["references"]] == [TITLE]


def test_nothing_names_an_address_or_a_person_that_there_is_not() -> None:
    assert not {"url", "repository", "repository-code", "doi", "contact"} & set(
        loaded("CITATION.cff")
    )
    assert not {"urls", "authors", "maintainers"} & set(PROJECT)
    for path in ("CITATION.cff", "SECURITY.md", "CODE_OF_CONDUCT.md"):
        assert not re.search(r"\w@\w|https?://", read(path)), path


def test_the_workflow_does_what_ci_does_on_every_supported_python() -> None:
    [job] = loaded(".github/workflows/ci.yml")["jobs"].values()
    assert job["runs-on"].startswith("ubuntu-")
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert set(job["strategy"]["matrix"]["python"]) == supported()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_issue_template_asks_for_something() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert templates
    for template in templates:
        form = loaded(str(template.relative_to(ROOT)))
        assert form["name"]
        assert form["description"]
        assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_binder_gets_a_python_that_is_supported_and_fills_the_cache() -> None:
    pinned = [d for d in loaded("binder/environment.yml")["dependencies"] if "python" in d]
    assert [d.removeprefix("python=") in supported() for d in pinned] == [True]
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK)
    script = read("binder/postBuild")
    assert "--require-hashes -r requirements.lock" in script
    assert "full_initramfs" in script


def test_the_devcontainer_calls_what_the_makefile_has() -> None:
    lines = read(".devcontainer/devcontainer.json").splitlines()
    made = json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))
    [target] = re.findall(r"\bmake (\w+)$", made["postCreateCommand"])
    assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE)


@pytest.mark.parametrize("path", ["README.md", "data/README.md", "LICENSE"])
def test_the_article_is_named_where_it_is_quoted(path: str) -> None:
    words = " ".join(read(path).replace('"', "").split())
    assert TITLE in words.replace("“", "").replace("”", "")
    assert "author and date not known to us" in words


def test_the_last_lesson_names_the_article() -> None:
    assert ARTICLE in "".join(json.loads(read("notebooks/09-verdict.ipynb"))["cells"][0]["source"])
