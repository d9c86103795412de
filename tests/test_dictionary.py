"""The data dictionary is what the schema and the metrics say: see ``tools/dictionary.py``."""

from __future__ import annotations

import json

from tools import dictionary
from vmcompare.evidence.recording import COLUMNS, read, recordings
from vmcompare.evidence.units import METRICS
from vmcompare.measuring import host
from vmcompare.paths import data_dir


def test_the_dictionary_is_what_the_code_says() -> None:
    written = dictionary.TARGET.read_text(encoding="utf-8")
    assert written == dictionary.document(), "run `make dictionary`"


def test_it_explains_every_field_and_every_metric() -> None:
    explained = {}
    for line in dictionary.document().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            explained[cells[0].strip("`")] = cells[-1]
    assert set(COLUMNS) | set(METRICS) | set(host.facts({}, {})) <= set(explained)
    assert all(explained.values())


def test_it_has_every_name_that_a_recording_of_the_project_holds() -> None:
    text = dictionary.document()
    path = next(recordings(data_dir() / "recordings", "guest_os"))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = {name for line in lines for name in line} | set(lines[0]["host"])
    names |= {str(row["metric"]) for row in read(path).rows}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
