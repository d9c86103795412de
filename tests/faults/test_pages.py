"""Pages made from what strangers wrote: it is shown as it was written, and nothing of it runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import textwrap
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from tools import golden
from vmcompare.__main__ import main
from vmcompare.course import page, slider
from vmcompare.course.exercises import Tasks, asked, exercise_html, questions_html
from vmcompare.errors import VmcompareError
from vmcompare.evidence import markdown, view
from vmcompare.evidence.recording import read, recordings
from vmcompare.handout import HandoutError, safe
from vmcompare.measuring.experiment import discover
from vmcompare.paths import data_dir
from vmcompare.paths.lessons import lesson_files
from vmcompare.plots import svg
from vmcompare.plots.picture import WhatIf

sys.path.insert(0, str(Path(__file__).parents[1] / "handout"))

from lesson_fixture import code, new_markdown_cell, new_notebook

HOSTILE = (
    "\x1b[31m\x00\ud800"
    r" $\text{<svg/onload=alert(1)>}$ $\frac{1}{$ $\href{javascript:alert(1)}{x}$ <script>alert(1)"
    r"</script><img src=x onerror=alert(1)> ![p](http://127.0.0.1:9/p.png) "
    r"[l](javascript:alert(1)) **b** `c` a|b </td></pre>"
)

DRAWN = {"defs", "clippath", "g", "path", "pattern", "rect", "text", "use"}
"""Elements of our own drawings."""

FREE = ("text", "error", "runtime", "guest_kernel", "image_digest", "vmm", "confinement")


def hostile_view(experiment: str) -> view.View:
    """The newest recording, with :data:`HOSTILE` behind every text that a stranger can choose."""
    [path, *_] = recordings(data_dir() / "recordings", experiment)
    shown = view.compose(None, read(path))
    frame = shown.frame.copy()
    for column in set(FREE) & set(frame.columns):
        told = frame[column].notna() & (frame[column].astype(str) != "")
        # No recording holds half a character, and strings of pyarrow, where it is there, cannot.
        whole = HOSTILE.replace("\ud800", "")
        frame.loc[told, column] = frame.loc[told, column].astype(str) + whole
    sources = tuple(
        dataclasses.replace(
            source,
            run_id=source.run_id + HOSTILE,
            host={**source.host, "cpu": HOSTILE, "os": HOSTILE, "versions": {HOSTILE: HOSTILE}},
        )
        for source in shown.sources
    )
    return view.View(frame, sources)


def _at_its_start(model: WhatIf) -> WhatIf:
    """One frame of all: every frame has the same words."""
    return dataclasses.replace(model, values=[model.values[model.start]], start=0)


def replayed(made: Any) -> str:
    """What a demo shows, as a lesson shows it."""
    shown: str = (page.table(made) if isinstance(made, list) else made)._repr_html_()
    return shown


def shown_of(experiment: str) -> Iterator[str]:
    """HTML of everything that the experiment's lessons show of a view."""
    hostile = hostile_view(experiment)
    forms: dict[str, Callable[[Any], str]] = {
        "figures": lambda picture: picture._repr_html_(),
        "tables": lambda table: page.table(*table)._repr_html_(),
        "whatifs": lambda model: slider.handout_html(_at_its_start(model)),
        "replays": replayed,
    }
    made = golden.shown(experiment, hostile)
    for kind, make in ((kind, make) for kind, makes in made.items() for make in makes.values()):
        try:
            yield forms[kind](make())
        except VmcompareError as error:
            yield page.Note(str(error))._repr_html_()
    for number in (n for n, on in lesson_files().items() if experiment in on.experiments):
        tasks = Tasks("00", *asked(experiment, number), lambda: hostile)
        yield questions_html(tasks)
        for exercise in tasks.exercises.values():
            yield exercise_html(tasks, exercise)
            for answer in (1.0, *exercise.choices):
                yield tasks.check(exercise.name, answer)._repr_html_()


@pytest.mark.fault("a recording whose texts are markup, formulas and links")
@pytest.mark.parametrize("experiment", discover())
def test_what_a_recording_says_is_words_wherever_a_lesson_shows_it(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCOMPARE_HANDOUT", "1")  # no answer is kept
    for markup in shown_of(experiment):
        soup = BeautifulSoup(markup, "html.parser")
        for picture in BeautifulSoup(svg.as_images(markup), "html.parser").select("img"):
            ElementTree.fromstring(b64decode(picture["src"].partition(",")[2]))
        for drawing in soup.select("svg"):
            assert {tag.name for tag in drawing.find_all(True)} <= DRAWN
            assert "vmc-svg" in drawing["class"]
        assert not soup.select("script:not([type='application/gzip+base64']), iframe, b b")
        assert not [a for a in soup.select("a") if "javascript" in str(a.get("href"))]
        assert not [i for i in soup.select("img") if not i["src"].startswith("data:image/svg+xml")]
        attributes = {name for tag in soup.find_all(True) for name in tag.attrs}
        assert not [name for name in attributes if name.startswith("on")]
        for formula in soup.select("math"):
            assert "alert" not in formula.get_text()


@pytest.mark.fault("markup in a value that is put into Markdown")
@pytest.mark.parametrize(
    "value",
    [
        "*a*", "_b_", "a|b", "`c`", "``d`", "$x$", r"$\frac{1}{$", "[t](http://e.org)", "<b>x</b>",
        "![t](http://e.org/i.png)", "# heading", "- item", "+ item", "1. one", "2) two", "> quote",
        "~~s~~", "a\\*b", "&lt;b&gt;", "a\\", "`", "$$x$$", "---", "<https://e.org>", "=====",
        "<!-- c -->", "[a]: http://e.org", r"\begin{a}x\end{a}", "&amp;amp;", "12.5 s", "-5", "!",
    ],
)  # fmt: skip
def test_a_value_in_markdown_is_shown_as_it_was_written(value: str) -> None:
    for words in ("{}", "before {} after", "- {}", "**{}**", "$x$ {} $y$", "{}\n\nmore"):
        markup = markdown.to_html(words.format(markdown.literal(value)))
        assert value in markdown.plain(words.format(markdown.literal(value)))
        assert not BeautifulSoup(markup, "html.parser").select("a, img, h1, blockquote, del, code")
        assert value in markdown.plain(words.format(markdown.code(value)))
    table = markdown.to_html(f"| a |\n|---|\n| {markdown.literal(value)} |")
    cells = BeautifulSoup(table, "html.parser").select("td")
    assert [cell.get_text() for cell in cells] == [value]
    assert markdown.unescaped(markdown.literal(value)) == value or "\\" in value


@pytest.mark.fault("a formula that is none, or carries something")
@pytest.mark.parametrize(
    "tex",
    [
        r"\frac{1}{", r"\text{<svg/onload=alert(1)>}", r"\href{javascript:alert(1)}{x}",
        r"\style{background:url(http://e.org)}{x}", r"\class{a}{x}", "{" * 900 + "}" * 900,
        "x" * 50_000, r"\def\a{xx}\def\b{\a\a}\b", "^", "&", r"\mathchoice", r"\text{&lt;img&gt;}",
        r"\color{red\"onclick=alert(1)}{x}", r"\unknown", "a < b > c & d", "",
    ],
)  # fmt: skip
def test_a_formula_is_drawn_of_known_elements_or_shown_as_latex(tex: str) -> None:
    soup = BeautifulSoup(markdown.shown_math(tex, block=True), "html.parser")
    drawn = soup.select("math")
    for tag in soup.find_all(True):
        assert tag.name in markdown.MATHML_ELEMENTS if drawn else tag.name == "code"
        assert not drawn or set(tag.attrs) <= markdown.MATHML_ATTRIBUTES
    if not drawn:
        assert soup.get_text() == f"$${tex}$$"


def made(directory: Path, *cells: Any, name: str = "toy-lesson.ipynb") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(json.dumps(new_notebook([new_markdown_cell("# Toy"), *cells])))
    return path


def shown(outputs: list[Any], source: str = "show()") -> Any:
    return code(source) | {"outputs": outputs}


def output(mime: str, content: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {mime: content}, "metadata": {}}


def rendered(path: Path) -> str:
    """What the renderer makes of a notebook as it is, without running it."""
    from vmcompare.handout import files
    from vmcompare.handout import page as renderer

    content = files.read(path)
    renderer.leave_out(content)
    return renderer.render(content, path)


RUNS = [
    "<script>alert(1)</script>", "<svg/onload=alert(1)>", "<img src=x onerror=alert(1)>",
    '<a href="java\nscript:alert(1)">x</a>', '<a href="&#1;javascript:alert(1)">x</a>',
    '<iframe src="http://e.org"></iframe>', '<object data="http://e.org"></object>',
    '<embed src="http://e.org">', '<meta http-equiv="refresh" content="0;url=http://e.org">',
    '<base href="http://e.org">', '<form action="http://e.org"><button>x</button></form>',
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></table></math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "</section></main></body></html><script>alert(1)</script>",
    '<script type="application/gzip+base64"></b>alert(1)</script>',
    "<svg><style><img src=x onerror=alert(1)></style></svg>", "<!--><script>alert(1)</script>-->",
    '<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>',
    '<input autofocus onfocus="alert(1)">', '<img name="querySelectorAll" src="data:image/png,">',
    '<div style="x" onpointerenter=alert(1)>x</div>', "<template><script>alert(1)</script>",
    '<link rel="stylesheet" href="http://e.org/s.css">', '<p id=a onclick="alert(1)"/>',
]  # fmt: skip


@pytest.mark.fault("HTML in a cell's output, or in a lesson's text, that runs or loads something")
@pytest.mark.parametrize("markup", RUNS)
@pytest.mark.parametrize("where", ["text", "html", "markdown"])
def test_nothing_that_runs_comes_into_a_page(tmp_path: Path, markup: str, where: str) -> None:
    cell = {
        "text": new_markdown_cell(f"before\n\n{markup}\n\nafter"),
        "html": shown([output("text/html", markup)]),
        "markdown": shown([output("text/markdown", f"before\n\n{markup}\n\nafter")]),
    }[where]
    try:
        text = rendered(made(tmp_path, cell, new_markdown_cell("## The end")))
    except HandoutError as error:
        # A picture from elsewhere is a mistake of the author's, and is named.
        if "<img src=x" not in markup or not re.search("would load|no picture “x”", str(error)):
            raise
        return
    soup = BeautifulSoup(text, "html.parser")
    policy = soup.select_one("head > :first-child")
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert "unsafe-eval" not in policy["content"]
    assert "script-src 'sha256-" in policy["content"]
    assert len(soup.select("script")) == 1
    assert soup.select_one("main h2").get_text() == "The end"
    for tag in soup.main.find_all(True):
        assert tag.name not in ("iframe", "object", "embed", "meta", "base", "form", "link")
        assert not [name for name in tag.attrs if name.startswith("on")]
        assert "javascript" not in str(tag.get("href"))


@pytest.mark.fault("HTML in a cell's output, or in a lesson's text, that runs or loads something")
@pytest.mark.parametrize("end", ["</style/>", "</style x>", "</style\n/>"])
def test_a_style_that_a_browser_ends_before_python_does_goes_whole(end: str) -> None:
    hidden = '<meta http-equiv="refresh" content="0;url=https://e.org">'
    assert "e.org" not in safe.clean(f"<style>a{{}}{end}{hidden}</style>")


@pytest.mark.fault("a picture that is missing, elsewhere, or no picture")
@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("gone.png", "there is no picture “gone.png”"),
        ("../outside.png", "outside the notebook's folder"),
        ("passwd.png", "outside the notebook's folder"),
        ("pipe.png", "is not an ordinary file"),
        ("text.png", "is not a picture"),
        ("huge.png", "more than 5242880 bytes"),
        ("folder.png", "(Is a directory)"),
        ("attachment:none.png", "is not attached"),
        ("x" * 5000, "there is no picture"),
        ("/dev/zero", "outside the notebook's folder"),
        ("%00.png", "there is no picture"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_named_with_its_cell(
    tmp_path: Path, written: str, sentence: str
) -> None:
    folder = tmp_path / "lesson"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "passwd.png").symlink_to("/etc/passwd")
    (folder / "text.png").write_text("no picture")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with (folder / "huge.png").open("wb") as huge:
        huge.truncate(6 * 2**20)
    path = made(folder, new_markdown_cell(f"## Look\n\n![words]({written})"))
    with pytest.raises(VmcompareError, match=r"no handout of .* in the cell") as error:
        rendered(path)
    assert sentence in str(error.value)
    assert "## Look" in str(error.value)
    assert "\n" not in str(error.value)


PNG = b"\x89PNG\r\n\x1a\n rest"
SVG = b"<?xml version='1.0'?>\n<!-- c -->\n<svg xmlns='http://www.w3.org/2000/svg'></svg>"


@pytest.mark.fault("a picture with an awkward name")
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("grün.png", "grün.png"),
        ("gru\u0308n.png", "gr%C3%BCn.png"),
        ("my%20picture.png", "my%20picture.png"),
        ("my picture.png", "my%20picture.png"),
        ("a#1.png", "a#1.png"),
        ("a?b.png", "a?b.png"),
        ("a.png", "a.png?v=2#top"),
        ("LOUD.PNG", "LOUD.PNG"),
        ("drawn.svg", "drawn.svg"),
        ("none", "none"),
    ],
)
def test_a_picture_is_found_whatever_it_is_called(tmp_path: Path, name: str, written: str) -> None:
    (tmp_path / name).write_bytes(SVG if name.endswith("svg") else PNG)
    html = f'<p><img src="{written}" alt="again"></p>'
    text = rendered(made(tmp_path, new_markdown_cell(f"![words](<{written}>)\n\n{html}")))
    pictures = BeautifulSoup(text, "html.parser").select("main img, main svg")  # one of ours
    assert [p.get("alt") or p["aria-label"] for p in pictures] == ["words", "again"]
    assert all(p["src"].startswith("data:image/") for p in pictures if p.name == "img")


@pytest.mark.fault("pages that would take each other's place")
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("mon/l.ipynb", "tue/l.ipynb"), "would become l.html too"),
        (("mon/l.ipynb", "tue/L.ipynb"), "would become L.html too"),
        (("index.ipynb", "l.ipynb"), "rename the notebook"),
        (("INDEX.ipynb",), "rename the notebook"),
    ],
)
def test_clashing_names_are_refused_before_anything_is_run(
    tmp_path: Path, names: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "ran"
    cell = code(f"open({str(ran)!r}, 'w')")
    paths = [made((tmp_path / n).parent, cell, name=Path(n).name) for n in names]
    assert main(["handout", *map(str, paths), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not ran.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("a stranger's page where a handout would go")
@pytest.mark.parametrize(
    ("file", "notebooks"),
    [("index.html", ("a.ipynb", "b.ipynb")), ("a.html", ("a.ipynb",)), ("A.html", ())],
)
def test_a_page_that_we_did_not_make_is_left_alone(
    tmp_path: Path, file: str, notebooks: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / file).write_text("<h1>A teacher's own</h1>")
    os.mkfifo(out / "pipe.html")
    if not notebooks:
        from vmcompare.handout import index

        assert "teacher" not in index.index(out)
        return
    paths = [made(tmp_path, name=name) for name in notebooks]
    assert main(["handout", *map(str, paths), "--out", str(out), "--mode", "replay"]) == 1
    said = capsys.readouterr().err
    assert f"{file} in {out} was not made by vmcompare and is left as it is" in said
    assert (out / file).read_text() == "<h1>A teacher's own</h1>"
    assert sorted(p.name for p in out.iterdir()) == sorted([file, "pipe.html"])


@pytest.mark.fault("handouts with awkward names")
@pytest.mark.parametrize("stem", ["week #3", "a?b", "50 %", "it's", 'say "x"', "x:y", "<b>&amp;"])
def test_the_index_and_the_pages_beside_it_lead_to_every_page(tmp_path: Path, stem: str) -> None:
    from urllib.parse import unquote

    from vmcompare.handout import files, index
    from vmcompare.handout import page as renderer

    course = [made(tmp_path, name=name) for name in (f"{stem}.ipynb", "next.ipynb")]
    pages = [renderer.render(files.read(one), one, course=course) for one in course]
    files.write(pages[0], files.target(course[0], tmp_path, "student"), course[0])
    contents = index.index(tmp_path)
    assert "script-src 'none'" in contents
    for text, place in ((contents, "main h3 a"), (pages[1], ".vmc-lessons span:first-child a")):
        [link] = BeautifulSoup(text, "html.parser").select(place)
        assert not re.search(r"[#?:]", link["href"])
        assert unquote(link["href"]) == f"{stem}.html"


STYLED = """
import matplotlib as mpl, matplotlib.pyplot as plt
plt.style.use("dark_background")
mpl.rcParams.update({"text.usetex": True, "font.size": 30, "svg.hashsalt": "x", "savefig.dpi": 7,
    "lines.linewidth": 9, "axes.prop_cycle": mpl.cycler(color=["r"]), "svg.fonttype": "path",
    "figure.dpi": 9, "savefig.bbox": "tight", "figure.constrained_layout.use": True})
"""


@pytest.mark.slow
@pytest.mark.fault("a learner's own matplotlib style")
def test_our_figures_have_our_style_and_the_learner_keeps_theirs(tmp_path: Path) -> None:
    program = f"""
import hashlib
from dataclasses import replace
from vmcompare.paths import data_dir
from vmcompare.experiments.image_size.explain import explained
from vmcompare.course import slider as whatif
from vmcompare.evidence.recording import read, recordings
from vmcompare.evidence.view import compose
import matplotlib as mpl
shown = compose(None, read(next(iter(recordings(data_dir() / "recordings", "image_size")))))
model = next(iter(explained.whatifs.values()))(shown)
def draw():
    before = dict(mpl.rcParams)
    drawn = [f(shown).svg() for f in explained.figures.values()]
    drawn += [whatif.handout_html(replace(model, values=model.values[:1], start=0))]
    assert dict(mpl.rcParams) == before
    print(hashlib.sha256("".join(drawn).encode()).hexdigest())
draw()
if "MATPLOTLIBRC" not in __import__("os").environ:
{textwrap.indent(STYLED, "    ")}
    draw()
"""
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.size: 40\naxes.facecolor: black\nbackend: pdf\nno.such: 1\n"
    )
    drawn = []
    for more in ({}, {"MATPLOTLIBRC": str(tmp_path)}):
        run = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | more, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        drawn += run.stdout.split()
    assert len(drawn) == 3  # as it is, with rcParams of the learner's, with a file of theirs
    assert len(set(drawn)) == 1


@pytest.mark.slow
@pytest.mark.fault("a home that cannot be written while figures are drawn")
def test_no_library_warns_on_a_page_and_no_home_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home of anna"
    home.mkdir()
    (home / ".config").write_text("a file, so nothing can be made in it")
    (home / ".cache").write_text("the same")
    path = made(
        tmp_path,
        code("import matplotlib, os, sys"),
        code("print(os.path.expanduser('~/notes')); os.path.expanduser('~')"),
        code("print('a library says', matplotlib.get_cachedir(), file=sys.stderr)", "hide-input"),
    )
    done = vmcompare(
        "handout", path, "--out", tmp_path / "out", HOME=str(home), MPLCONFIGDIR=None,
        XDG_CACHE_HOME=None, XDG_CONFIG_HOME=None, TMPDIR=str(tmp_path),
        XDG_RUNTIME_DIR=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "toy-lesson.html").read_text()
    assert "anna" not in text
    assert "~/notes" in text
    assert "a library says" not in text
    assert "not a writable directory" not in text
    assert not list(tmp_path.glob("matplotlib-*"))


@pytest.mark.fault("a folder for pages that cannot be written")
def test_an_older_page_stays_where_a_new_one_cannot_be_written(tmp_path: Path) -> None:
    from vmcompare.handout import HandoutError, files

    (tmp_path / "taken").write_text("a file")
    for target in (tmp_path / "taken" / "x.html", Path("/proc/x.html"), Path("/dev/full/x.html")):
        with pytest.raises(HandoutError, match=r"x.html cannot be written \(.+\): "):
            files.write("text", target, tmp_path / "l.ipynb")


NOTEBOOKS = {
    "nested": b'{"nbformat":4,"nbformat_minor":5,"metadata":{"a":' + b"[" * 100_000,
    "nested metadata": b'{"nbformat":4,"nbformat_minor":5,"cells":[],"metadata":{"a":'
    + b"[" * 500 + b"]" * 500 + b"}}",
    "long number": b'{"nbformat":' + b"4" * 5000 + b"}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"nbformat":4}'.encode("utf-16"),
    "NULs": b"\0" * 1000,
    "a list": b"[]",
    "cells of no kind": b'{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[7]}',
    "tags of no kind": b'{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"cell_type":'
    b'"raw","id":"a","metadata":{"tags":{"a":1}},"source":""}]}',
    "too large": b" " * (5 * 2**20 + 1),
    "broken off": b"{",
    "no text": b"\xff",
}  # fmt: skip
SAID = {
    "broken off": r"it is not JSON \(.*line 1", "a list": "not a notebook of format 4",
    "cells of no kind": "not a valid", "no text": "it is not a text file",
    "gone": "there is no such notebook",
}  # fmt: skip


@pytest.mark.fault("a notebook that is damaged, endless or something else")
@pytest.mark.parametrize("form", [*NOTEBOOKS, "gone", "pipe", "device", "folder"])
def test_what_is_no_notebook_is_refused_in_one_sentence(tmp_path: Path, form: str) -> None:
    path = tmp_path / "toy-lesson.ipynb"
    if form == "pipe":
        os.mkfifo(path)
    elif form == "folder":
        path.mkdir()
    elif form == "device":
        path.symlink_to("/dev/zero")
    elif form != "gone":
        path.write_bytes(NOTEBOOKS[form])
    with pytest.raises(VmcompareError, match=f"no handout of .*{SAID.get(form, '')}") as error:
        rendered(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.fault("text or output that is endless or nested without end")
@pytest.mark.parametrize(
    "text",
    [">" * 10_000, "[" * 10_000, "- " * 10_000, "*a _b " * 5_000, "<div>" * 5_000, "<!--" * 7_000,
     r"\begin{a}" * 3_000, "`" * 10_000, "![" * 10_000, "x" * 40_000, "<a " * 10_000, "$" * 1_001,
     "\n".join(" " * 2 * n + "- a" for n in range(100)), "<x>" * 9_000, "&" * 20_000, "\ud800"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["text", "html", "markdown"])
def test_a_page_is_made_or_refused_by_cell_whatever_stands_in_it(
    tmp_path: Path, text: str, where: str
) -> None:
    cell = {
        "text": new_markdown_cell(f"## Here\n\n{text}"),
        "html": shown([output("text/html", text)], "## Here"),
        "markdown": shown([output("text/markdown", text)], "## Here"),
    }[where]
    try:
        assert rendered(made(tmp_path, cell)).startswith("<!DOCTYPE html>")
    except HandoutError as error:
        if error.cell != "## Here" or len(str(error)) > 400:
            raise


@pytest.mark.fault("a cell that shows more than a page can hold")
def test_an_endless_output_is_refused_by_cell(tmp_path: Path) -> None:
    cell = shown([{"output_type": "stream", "name": "stdout", "text": "x" * 3_000_000}])
    with pytest.raises(VmcompareError, match=r"`show\(\)`: the cell shows 3,000,0"):
        rendered(made(tmp_path, cell))


def vmcompare(*arguments: object, **environment: str | None) -> subprocess.CompletedProcess[str]:
    chosen = {k: v for k, v in (os.environ | environment).items() if v is not None}
    return subprocess.run(
        [sys.executable, "-m", "vmcompare", *map(str, arguments)],
        env=chosen, capture_output=True, text=True, check=False,
    )  # fmt: skip
