"""The toy lesson, exported once for all tests of its structure."""

from __future__ import annotations

from pathlib import Path

import lesson_fixture
import pytest

from vmcompare import handout


@pytest.fixture(scope="session")
def toy_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("toy")
    notebook = lesson_fixture.write(directory / "lesson")
    return handout.export(notebook, directory / "out")
