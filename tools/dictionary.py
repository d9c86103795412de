"""``python -m tools.dictionary``: what a recording may hold, for people and for programs.

Both ``docs/data-dictionary.md`` and ``docs/recording.schema.json`` are made from the schema and the
metrics. Nothing in them is typed by hand; tests compare them with what this writes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from vmcompare.evidence import schema
from vmcompare.evidence.units import DEFINITIONS, METRICS

_DOCS = Path(__file__).parent.parent / "docs"
TARGET = _DOCS / "data-dictionary.md"
SCHEMA_TARGET = _DOCS / "recording.schema.json"

HEAD = """\
# Data dictionary

Made by `make dictionary` from [schema.py](../vmcompare/evidence/schema.py) and
[units.py](../vmcompare/evidence/units.py), which decide what a recording may hold. A recording is a
text file, one JSON object a line: one run, its rows, one end. Every line has a field `kind` that
tells which it is. A field that is not listed here is refused. *Optional* fields may be left out.
For programs the same is in [recording.schema.json](recording.schema.json), a JSON Schema of a line.
"""

_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
_FORMS = {regex: words for words, regex in schema.FORMS.items()}


def document() -> str:
    """The whole dictionary, in Markdown."""
    made = msgspec.json.schema_components(schema.kinds())[1]
    titles = {
        "run": "The run (first line)",
        "host": "Facts of the host (field `host` of the run)",
        "row": "A row",
        "end": "The end (last line)",
    }
    columns = ("field", "type", "unit", "vocabulary", "meaning")
    parts = [HEAD]
    for name, title in titles.items():
        parts.append(f"## {title}\n\n{_table(columns, _fields(made[name]))}")
    metrics = ([f"`{name}`", unit, DEFINITIONS[name]] for name, unit in METRICS.items())
    parts.append(f"## Metrics\n\n{_table(('metric', 'unit', 'definition'), metrics)}")
    rule = (inspect.getdoc(schema.rename_old_metrics) or "").partition("\n\nArgs:")[0]
    parts.append(f"## Older recordings\n\n{rule.replace('``', '`')}\n")
    return "\n".join(parts)


def _fields(struct: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, field in struct["properties"].items():
        if name != "kind":
            optional = "" if name in struct["required"] else ", optional"
            yield [
                f"`{name}`",
                _type(field) + optional,
                field.get("unit", ""),
                _vocabulary(field),
                field["description"],
            ]


def _type(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        # A whole number is a number: msgspec tells the two apart, a reader need not.
        kinds = dict.fromkeys(
            _type(one).replace("whole number", "number") for one in field["anyOf"]
        )
        return " or ".join(kinds)
    if "enum" in field:
        return "whole number" if isinstance(field["enum"][0], int) else "text"
    form = _FORMS.get(field.get("pattern", ""), "printable")
    most = f", at most {field['maxLength']:,} characters" if "maxLength" in field else ""
    least = ", from 0" if field.get("minimum") == 0 else ""
    if form != "printable":
        return form
    return _TYPES[field.get("type", "object")] + most + least


def _vocabulary(field: Mapping[str, Any]) -> str:
    found = [word for one in (field, *field.get("anyOf", ())) for word in one.get("enum", ())]
    words = [_word(word) for word in found]
    return ", ".join([*words, *map(_word, field.get("words", ())), *field.get("or_else", ())])


def _word(word: object) -> str:
    return "empty" if word == "" else f"`{word}`"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def json_schema() -> str:
    """The JSON Schema of a line, as a text."""
    return json.dumps(line_schema(), indent=2) + "\n"


def line_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one line, made of the declarations that reading uses.

    Whatever is read is valid by it. It cannot say that a date exists, which runtimes the
    facts of the host name, how long a line may be, which values a metric may have, that the whole
    number ``1.0`` is written ``1``, and what stands on which line of a file.
    """
    lines, made = msgspec.json.schema_components(schema.kinds())
    row = made["row"]
    row["properties"]["metric"]["enum"] = [*METRICS]
    row["allOf"] = [
        {
            "if": {"properties": {"status": {"const": "ok"}}},
            "then": {"properties": {"value": {"type": "number"}}},
            "else": {"properties": {"value": {"type": "null"}}},
        },
        *(
            {
                "if": {"properties": {"metric": {"enum": [m for m in METRICS if METRICS[m] == u]}}},
                "then": {"properties": {"unit": {"const": u}}},
            }
            for u in dict.fromkeys(METRICS.values())
        ),
    ]
    whole: dict[str, Any] = _in_every_dialect(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "A line of a recording of vmcompare",
            "description": (
                "A recording is a text file with one JSON object a line: "
                "one run, its rows, and at most one end."
            ),
            "oneOf": [*lines],
            "$defs": made,
        }
    )
    return whole


def _in_every_dialect(said: Any) -> Any:
    """``said`` with its regular expressions as Python and ECMAScript (with its flag u) read them.

    ECMAScript has no ``\\A`` and ``\\Z``; ``$`` alone would let Python pass a last line break. A
    character that takes eight digits stands for itself.
    """
    if isinstance(said, dict):
        return {
            name: _portable(inner) if name == "pattern" else _in_every_dialect(inner)
            for name, inner in said.items()
        }
    return [_in_every_dialect(inner) for inner in said] if isinstance(said, list) else said


def _portable(pattern: str) -> str:
    begun = pattern.replace(r"\A", "^").replace(r"\Z", r"(?![\s\S])")
    return re.sub(r"\\U([0-9a-f]{8})", lambda found: chr(int(found[1], 16)), begun)


def main() -> None:
    """Write the files."""
    for target, text in ((TARGET, document()), (SCHEMA_TARGET, json_schema())):
        target.write_text(text, encoding="utf-8")
        print(f"wrote docs/{target.name}")


if __name__ == "__main__":
    main()
