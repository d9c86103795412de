"""The HTML that pages show: a template for each thing, and values escaped as they are put in."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from vmcompare.evidence.markdown import inline

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, /, **values: Any) -> Markup:
    """The template of that name (``"table"`` is ``table.html.j2``), filled in and escaped.

    Raises ``jinja2.UndefinedError`` where a value was not given.
    """
    templates = environment("vmcompare.course", "templates")
    return Markup(templates.get_template(f"{template}.html.j2").render(values))


def css(name: str) -> str:
    """The style sheet of that name."""
    return (Path(__file__).parent / "styles" / f"{name}.css").read_text(encoding="utf-8")


@cache
def environment(package: str, folder: str) -> Environment:
    """The templates in a package's folder, each compiled once; their filter ``inline`` is ours."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["inline"] = inline
    return made
