"""``python -m tools.fuzz``: damaged and hostile files for everything that reads what others wrote.

Each mutation is made from a real file by a generator seeded with target, seed and number, so the
command that is printed with a failure replays it. Allowed are success and a ``VmcompareError``
whose message is one printable line. Everything else is a failure: any other exception, more than
``CPU_S`` of processor time, a read that blocks, more than ``MEMORY`` of further memory, a file of
somebody else deleted, a stranger's process ended, markup from a file that reaches a page as markup.

The readers run in worker processes inside bubblewrap: the file system is read-only but for one
temporary folder, and no process outside can be seen. A ledger that deletes whatever it names
therefore deletes nothing of the person who looks for that fault.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import functools
import json
import os
import platform
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SEED = "10"
CPU_S = 1.0
"""Processor seconds for one file. A slow or busy computer does not count against the reader."""
WALL_S = 20.0
"""Seconds after which a reader counts as blocked (by a FIFO, say)."""
STUCK_S = 60.0
"""Seconds without a word from a worker (it hangs where no signal is heard) until it is killed."""
MEMORY = 200 * 2**20
"""Further bytes of address space for one file."""

MARKER = "<svg/onload=alert(1)>"
_RAW = {
    "@digits@": "9" * 5000,
    "@deep@": "[" * 100_000,
    "@deep object@": '{"a":' * 5000 + "1" + "}" * 5000,
    "@infinity@": "1e999",
}
"""What ``json.dumps`` cannot write, by the words that stand for it until then."""
_STRINGS = (
    "", " ", "\n", "\x00", "\x1b[2J\x07", "a\x85b\u2028c", "\ud800", "\u202eevil\u2066", "\ufeff",
    "x" * 100_000, "é" * 3000, "$" * 500, "{" * 500, "`" * 300, "[" * 300, "<details>" * 200,
    MARKER, f" $\\text{{{MARKER}}}$", r"$\href{javascript:alert(1)}{x}$", r"$\frac{1}{$",
    r"$$\begin{matrix}$$", r"$\left($", "![p](http://x.example/p.png)", "![p](file:///etc/passwd)",
    "![p](attachment:none.png)", "[x](javascript:alert(1))", "</script><script>alert(1)</script>",
    "../..", "/", "/etc", "~", "C:\\Users\\x", "NaN", "nan", "1", "-1", "0", "true", "tcg", "kvm",
    "vm", "container", "ok", "error", "s", "bytes", "complete", "2026-13-45T99:99:99Z",
    "%s %d {0} {x}", *_RAW,
)  # fmt: skip
_NUMBERS = (
    0, -1, 1, 2, -5, 1.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, 2**64, 10**18, int("9" * 400),
    float("nan"), float("inf"), float("-inf"), True, False, None,
)  # fmt: skip
_THINGS = ([], {}, [[[]]], [1, 2], ["x"] * 1000, {"x": {"x": []}}, {"": None}, [None])

Json = Any


def nasty(rng: random.Random) -> Json:
    """A value that some reader did not expect."""
    return copy.deepcopy(rng.choice(rng.choice((_STRINGS, _NUMBERS, _THINGS))))


def _places(node: Json) -> Iterator[tuple[Any, Any]]:
    """Every value in ``node`` as (the list or object that holds it, its index or name)."""
    held = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in held:
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def change(rng: random.Random, document: Json) -> None:
    """Replace, delete, double, swap or rename something anywhere in ``document``."""
    places = list(_places(document))
    if not places:
        return
    holder, key = rng.choice(places)
    other, other_key = rng.choice(places)
    match rng.choice(("replace", "within") * 3 + ("delete", "double", "swap", "rename")):
        case "delete":
            del holder[key]
        case "double" if isinstance(holder, list):
            holder[key:key] = [copy.deepcopy(holder[key])] * rng.choice((1, 1, 2, 50))
        case "swap":
            was = copy.deepcopy(holder[key]), copy.deepcopy(other[other_key])
            holder[key], other[other_key] = was[1], was[0]
        case "rename" if isinstance(holder, dict):
            holder[str(rng.choice(_STRINGS))[:300]] = holder.pop(key)
        case "within" if isinstance(holder[key], str):
            at = rng.randint(0, len(holder[key]))
            holder[key] = holder[key][:at] + str(rng.choice(_STRINGS)) + holder[key][at:]
        case _:
            holder[key] = nasty(rng)


def written(lines: list[Json], *, ascii_only: bool = True) -> bytes:
    """The file that has these values as its lines."""
    text = "".join(json.dumps(line, ensure_ascii=ascii_only) + "\n" for line in lines)
    for word, raw in _RAW.items():
        text = text.replace(f'"{word}"', raw)
    return text.encode("utf-8", "surrogatepass")


def damage(rng: random.Random, data: bytes) -> bytes:
    """Change bytes without regard to what they mean."""
    at = rng.randint(0, len(data))
    end = min(len(data), at + rng.choice((1, 1, 4, 60, 3000)))
    match rng.randrange(10):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes(rng.choice((1, 100, 70_000))) + data[at:]
        case 2:
            return b"\xef\xbb\xbf" + data
        case 3:
            return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32")))
        case 4:
            return data[:at] + rng.randbytes(rng.choice((1, 4, 50))) + data[at:]
        case 5:
            return data[:at] + data[at:end] * rng.choice((2, 3, 200)) + data[end:]
        case 6:
            return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\xc2\x85", b"\xe2\x80\xa8")))
        case 7:
            return data[:at] + data[end:]
        case 8:
            return data[:at] + rng.choice(list(_RAW.values())).encode() + data[at:]
        case _:
            flipped = bytearray(data)
            for _ in range(rng.choice((1, 1, 10)) if data else 0):
                flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return bytes(flipped)


def put(rng: random.Random, path: Path, data: bytes) -> None:
    """Write ``data`` as ``path``; now and then put something there that is no ordinary file."""
    match rng.randrange(300):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.symlink_to(path.name)
        case _:
            path.write_bytes(data)
            path.chmod(0o600)


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Attributes:
        originals: real files, as lists of the JSON values of their lines (one for a whole file).
        place: where a mutated file is put, below the worker's folder.
        read: reads what lies there, everything that a learner's command would.
        share: its part of all mutations; those that take long have a small one.
    """

    originals: Callable[[], list[list[Json]]]
    place: str
    read: Callable[[Path, random.Random], None]
    share: float

    def mutation(self, rng: random.Random) -> bytes:
        """The bytes of one mutated file."""
        lines = copy.deepcopy(rng.choice(self.originals()))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            change(rng, lines)
        data = written(lines, ascii_only=rng.random() < 0.5)
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            data = damage(rng, data)
        return data


class Wrong(Exception):
    """What a reader did is not allowed."""


class Over(BaseException):
    """Time is up. Not an ``Exception``: nothing that is tried may take it for one of its own."""


def line_of_text(words: str) -> None:
    """Refuse what cannot be printed as one harmless line."""
    for character in words:
        kind, bidi = unicodedata.category(character), unicodedata.bidirectional(character)
        if kind in ("Cc", "Cs", "Zl", "Zp") or bidi in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
        ):
            raise Wrong(f"U+{ord(character):04X} in the message {words[:200]!r}")
    if len(words) > 2000:
        raise Wrong(f"a message of {len(words)} characters: {words[:200]!r}")


def no_markup(page: str) -> None:
    """Refuse a page on which words of a file have become markup."""
    for sign in ("<svg/onload", '="javascript:', 'src="http', "</script><script>"):
        if sign in page:
            at = page.index(sign)
            raise Wrong(f"markup of the file is on the page: {page[max(0, at - 60) : at + 60]!r}")


# ---- recordings ---------------------------------------------------------------------------------


@functools.cache
def _recordings() -> list[list[Json]]:
    """The first rows of each recording of the project, with its end line."""
    found = []
    for path in sorted((ROOT / "data" / "recordings").glob("*/*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found.append([json.loads(line) for line in (*lines[:40], lines[-1])])
    return found


def _read_recording(path: Path, rng: random.Random) -> None:
    from vmcompare.course import page, text
    from vmcompare.errors import VmcompareError
    from vmcompare.evidence import recording
    from vmcompare.evidence.view import compose
    from vmcompare.experiments.explanation import explanation, of_table
    from vmcompare.measuring import contributed

    for sentence in contributed.problems(path):
        line_of_text(sentence)
    run = recording.read(path)
    run.frame()
    line_of_text(contributed.summary(run))
    if rng.random() < 0.8:  # what follows takes ten times as long
        return
    for sentence in contributed.doubts(run):
        line_of_text(sentence)
    view = compose(run, None)
    no_markup(page.Note(view.caption())._repr_html_())
    explained = explanation(run.experiment)
    if not explained.tables:
        return
    try:
        name = rng.choice([*explained.tables])
        made = explained.tables[name](view)
        shown = text.table(made, None, lambda: of_table(explained, name, view))
        no_markup(page.table(*shown)._repr_html_())
    except VmcompareError as error:  # (too few rows for this one)
        no_markup(page.Note(str(error))._repr_html_())


# ---- ledgers ------------------------------------------------------------------------------------


_DEAD = "99999-0a1b2c3d"
"""A session whose process has ended."""


def _bystander(box: Path) -> tuple[Path, int]:
    """A folder and a process of somebody else's, made (again) where there are none."""
    from vmcompare.engines import cleanup

    folder, noted, link = box / "tmp" / "bystander", box / "pid", box / "tmp" / "vmcompare-link"
    letters = [folder / "inside" / "letter.txt", box / "home" / "letter.txt"]
    for letter in letters:
        letter.parent.mkdir(parents=True, exist_ok=True)
        letter.write_text("of somebody else")
    if not link.is_symlink():
        link.symlink_to(folder)
    if not noted.exists() or cleanup.started(int(noted.read_text())) is None:
        stranger = ["tail", "-f", str(letters[0])]
        noted.write_text(str(subprocess.Popen(stranger, env={"PATH": os.defpath}).pid))
    return folder, int(noted.read_text())


def _ledgers() -> list[list[Json]]:
    """Ledgers of a dead owner: what one holds, what none should hold, and how they used to be."""
    from vmcompare.engines import cleanup

    box = Path.home().parent
    folder, pid = _bystander(box)
    head = {"session": _DEAD, "pid": 99999, "started": "1", "boot": cleanup.boot(), "host": "x"}
    own, home = f"{box}/tmp/vmcompare-{_DEAD}-0a1b2c3d", str(box / "home")
    link = box / "tmp" / "vmcompare-link"
    usual = [head, {"watch": "containers"}, {"watch": own}]
    forged = [
        f"{folder}", f"{own}/../bystander", home, f"{home}/../home", f"{link}/inside", str(link),
        f"{box}/tmp/../tmp/bystander", f"{folder}/vmcompare-{_DEAD}-0a1b2c3e",
    ]  # fmt: skip
    older = [head, *({"watch": f"path {name}", "path": name} for name in (own, *forged))]
    older += [
        {"watch": f"process {number}", "pid": number, "started": "12345"}
        for number in (pid, os.getpid(), 1, 0, -1)
    ]
    return [
        usual,
        [*usual, {"forget": own}],
        [head, *({"watch": name} for name in forged)],
        [{**head, "boot": "another", "host": platform.node()}, *usual[1:]],
        [{**head, "pid": pid, "session": f"{pid}-0a1b2c3d"}, *usual[1:]],
        older,
    ]


def _read_ledger(path: Path, rng: random.Random) -> None:
    from vmcompare.engines import cleanup

    box = Path.home().parent
    folder, pid = _bystander(box)
    (box / "tmp" / f"vmcompare-{_DEAD}-0a1b2c3d" / "inside").mkdir(parents=True, exist_ok=True)
    (folder / f"vmcompare-{_DEAD}-0a1b2c3e").mkdir(exist_ok=True)
    if path.is_file() and rng.random() < 0.1:
        path.chmod(rng.choice((0o666, 0o620)))
    swept = cleanup.sweep()
    for item in swept:
        line_of_text(f"{item.kind} {item.name}")
    for sentence in getattr(swept, "refused", ()):
        line_of_text(sentence)
    for letter in (folder / "inside" / "letter.txt", box / "home" / "letter.txt"):
        if not letter.is_file():
            raise Wrong("a file of somebody else is gone")
    if not (folder / f"vmcompare-{_DEAD}-0a1b2c3e").is_dir():
        raise Wrong("a folder that is called like ours, but lies elsewhere, is gone")
    if cleanup.started(pid) is None:
        raise Wrong("a process of somebody else was ended")


# ---- answers ------------------------------------------------------------------------------------


def _answers() -> list[list[Json]]:
    """An answers file, as a learner has it after two lessons."""
    when = "2026-11-25T12:15:24Z"
    values = {
        "kernels": 3, "vm_s": 4.5, "exercise/loop": "1.25", "question/which": ["a", "c"],
        "exercise/table": {"a": 1, "b": 2}, "guess": "more than ten",
    }  # fmt: skip
    lesson = {name: {"value": value, "kept_utc": when} for name, value in values.items()}
    return [[{"02": lesson, "04": dict(lesson), "99": {}}]]


def _read_answers(path: Path, _: random.Random) -> None:
    from vmcompare.course import answers
    from vmcompare.course.steps import Prediction

    def all_of_them() -> None:
        for lesson in ("02", "04", "99", "none"):
            for kind in answers.Kind:
                answers.kept(lesson, kind)
            for name in answers.kept(lesson):
                if not isinstance(Prediction(lesson, name, "?").kept(), float | int | None):
                    raise Wrong("a prediction is not a number")

    all_of_them()
    answers.keep("04", "vm_s", 1.5)
    all_of_them()
    if answers.kept("04").get("vm_s") != 1.5:
        raise Wrong("an answer was kept, but it is not there")
    if others := [p.name for p in path.parent.iterdir() if p.name.endswith(".tmp")]:
        raise Wrong(f"{others} stays")


# ---- notebooks ----------------------------------------------------------------------------------


@functools.cache
def _notebooks() -> list[list[Json]]:
    """The project's notebooks, cut to a few cells, with outputs of every kind."""
    found = []
    png = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
        "rkJggg=="
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt" viewBox="0 0 9 9">'
        '<path d="M 0 0 L 1.2345 2"/></svg>'
    )
    shown = [
        {"text/plain": "<Figure>", "text/html": "<table><tr><th>a</th><td>1</td></tr></table>"},
        {"text/plain": "x"}, {"text/latex": "$\\frac{a}{b}$"}, {"text/markdown": "**a** $x_1$"},
        {"image/png": png}, {"image/svg+xml": svg},
        {"application/vnd.jupyter.widget-view+json": {"model_id": "1", "version_major": 2}},
    ]  # fmt: skip
    outputs: list[Json] = [
        {"output_type": "display_data", "data": data, "metadata": {"image/png": {"alt": "a dot"}}}
        for data in shown
    ]
    outputs.append({"output_type": "stream", "name": "stdout", "text": "\x1b[31mred\x1b[0m\n"})
    outputs.append(
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m: v"]}
    )
    text = (
        "## A table\n\n|a|b|\n|-|-|\n|1|$x^2$|\n\n$$\\frac{1}{2}\\text{ of it}$$\n\n"
        "![dot](attachment:d.png)\n\n"
        '<details class="vmc-answer"><summary>Answer</summary>1</details>'
    )
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        content = json.loads(path.read_text(encoding="utf-8"))
        markdown = [
            cell
            for cell in content["cells"]
            if cell["cell_type"] == "markdown" and "](figures/" not in "".join(cell["source"])
        ]
        code = [c for c in content["cells"] if c["cell_type"] == "code"]
        picked = [markdown[0], code[0], markdown[-len(found) - 1], copy.deepcopy(code[1])]
        picked[3]["outputs"] = [
            outputs[len(found) % len(outputs)],
            outputs[-len(found) % len(outputs)],
        ]
        cell = {
            "cell_type": "markdown", "id": "m", "metadata": {"tags": []}, "source": text,
            "attachments": {"d.png": {"image/png": png}},
        }  # fmt: skip
        metadata = content["metadata"] | {"title": "A title", "vmcompare": {"run": {"id": "x"}}}
        found.append([content | {"cells": [*picked, cell], "metadata": metadata}])
    return found


def _read_notebook(path: Path, rng: random.Random) -> None:
    from vmcompare.handout import EDITIONS, files, page

    edition = rng.choice(EDITIONS)
    content = files.read(path)
    page.leave_out(content)
    text = page.render(content, path, edition=edition)
    no_markup(text)
    policy = re.search(r"script-src ([^;]*)", text)
    if policy is None or "unsafe" in policy[1] or "sha256-" not in policy[1]:
        raise Wrong("the page does not refuse scripts that are not its own")
    if handler := re.search(r"<[a-z][^<>]*\son[a-z]+\s*=", text):
        raise Wrong(f"an element of the page runs a script: {handler[0][-200:]!r}")


TARGETS = {
    "recordings": Target(_recordings, "made/20261125T121524Z-ab32fa.jsonl", _read_recording, 0.4),
    "ledgers": Target(_ledgers, f"state/vmcompare/sessions/{_DEAD}.jsonl", _read_ledger, 0.25),
    "answers": Target(_answers, "data/vmcompare/answers.json", _read_answers, 0.25),
    "notebooks": Target(_notebooks, "made/lesson.ipynb", _read_notebook, 0.1),
}


# ---- the worker: inside bubblewrap, one folder to write into ------------------------------------


def work(target: Target, seed: str, numbers: Sequence[int], tell: Callable[..., None]) -> None:
    """Try each number; tell it before, and what was wrong with it after."""
    box = Path.home().parent
    place = box / target.place
    for name in ("home", "tmp", "run"):
        (box / name).mkdir()
    os.chdir(box / "home")
    for handled in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(handled, _over)
    os.environ.pop("DOCKER_HOST", None)
    os.environ["PATH"] = str(box)  # no engine is asked
    whole = target.originals()
    for original in whole:  # imports and caches count for none of them
        _clear(place)
        place.write_bytes(written(original))
        with contextlib.suppress(Exception):
            target.read(place, random.Random(0))
    for number in numbers:
        rng = random.Random(f"{seed} {number}")
        data = target.mutation(rng)
        tell(number)
        _clear(place)
        if number < len(whole):  # the first ones are not damaged at all
            place.write_bytes(written(whole[number]))
        else:
            put(rng, place, data)
        if wrong := _tried(target, place, rng):
            tell(number, *wrong)


class _allowed_errors:  # noqa: N801
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        from vmcompare.errors import VmcompareError

        if isinstance(error, VmcompareError):
            line_of_text(str(error))
            return True
        return False


def _tried(target: Target, place: Path, rng: random.Random) -> tuple[str, str] | None:
    """What was wrong, in one line and at length; ``None`` when nothing was."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        signal.setitimer(signal.ITIMER_REAL, WALL_S)
        with _allowed_errors():
            target.read(place, rng)
        signal.setitimer(signal.ITIMER_PROF, 0)
        return None
    except (Exception, Over) as error:  # noqa: BLE001
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "/vmcompare/" in f.filename] or list(frames)
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        what = f"{type(error).__name__} at {where}: {str(error)[:300]}"
        return what, "".join(traceback.format_exception(error))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _over(number: int, _: object) -> None:
    if number == signal.SIGPROF:
        raise Over(f"more than {CPU_S:g} s of processor time")
    raise Over(f"blocked for {WALL_S:g} s")


def _clear(place: Path) -> None:
    """An empty folder for the next file: readers may have put something beside the last one."""
    shutil.rmtree(place.parent, ignore_errors=True)
    place.parent.mkdir(parents=True, mode=0o700)


# ---- the parent ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """One mutation that was not met with success or one sentence."""

    target: str
    seed: str
    number: int
    what: str
    told: str = ""

    def __str__(self) -> str:
        replay = (
            f"python -m tools.fuzz --target {self.target} --seed {self.seed} --only {self.number}"
        )
        return f"{self.target}: {self.what}\n    {replay}"


def fuzz(target: str, seed: str, numbers: range) -> list[Failure]:
    """Try ``numbers`` of ``target``, in as many workers as it takes when some of them die."""
    failures: list[Failure] = []
    left = numbers
    while left:
        done = None
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            worker = _worker(Path(folder).resolve(), target, seed, left)
            for number, *wrong in _told(worker):
                done = number
                if wrong:
                    failures.append(Failure(target, seed, number, *wrong))
            code = worker.wait()
            assert worker.stderr is not None
            said = worker.stderr.read().decode(errors="replace")[-2000:]
            worker.stderr.close()
        if code != 0:
            what = f"the worker hung or died (code {code}); its last words: {said.strip()[-300:]!r}"
            failures.append(Failure(target, seed, left.start if done is None else done, what, said))
        if done is None:  # not even what is undamaged was read
            break
        left = range(done + 1, left.stop)
    return failures


def _worker(box: Path, target: str, seed: str, numbers: range) -> subprocess.Popen[bytes]:
    from vmcompare.engines.bare import bubblewrap

    places = {
        "HOME": "home", "TMPDIR": "tmp", "XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "state",
        "XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config",
    }  # fmt: skip
    found = bubblewrap.candidates()
    if not found:
        sys.exit("fuzzing needs bubblewrap, so that nothing outside can be deleted or ended")
    command = [
        str(found[-1]), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid",
        "--unshare-net", "--die-with-parent", "--bind", str(box), str(box), "--chdir", str(ROOT),
        *(w for name, place in places.items() for w in ("--setenv", name, str(box / place))),
        sys.executable, "-m", "tools.fuzz", "--worker", target, "--seed", seed,
        "--only", str(numbers.start), str(numbers.stop),
    ]  # fmt: skip
    environment = os.environ | {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def _told(worker: subprocess.Popen[bytes]) -> Iterator[list[Any]]:
    """What the worker tells, line by line; one that says nothing for too long is killed."""
    assert worker.stdout is not None
    rest = b""
    with worker.stdout as pipe:
        while True:
            if not select.select([pipe], [], [], STUCK_S)[0]:
                worker.kill()
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(json.loads, lines)


def fuzz_all(targets: Sequence[str], seed: str, count: int) -> list[Failure]:
    """``count`` mutations in all, over as many workers as there are processors."""
    shares = {name: TARGETS[name].share for name in targets}
    jobs = []
    for name in targets:
        many = round(count * shares[name] / sum(shares.values()))
        step = max(250, many // 10)
        jobs += [(name, seed, range(at, min(many, at + step))) for at in range(0, many, step)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [failure for found in pool.map(lambda job: fuzz(*job), jobs) for failure in found]


def main() -> int:
    """Fuzz, and print one failure of each kind with the command that replays it."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS, default=[])
    parser.add_argument("--seed", default=SEED)
    parser.add_argument("-n", type=int, default=10_000, help="mutations in all (default: 10000)")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="NUMBER", help="one of them, or from … to"
    )
    parser.add_argument("--worker", choices=TARGETS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _be_worker(TARGETS[arguments.worker], arguments.seed, range(*arguments.only))
        return 0
    targets = arguments.target or list(TARGETS)
    if arguments.only:
        numbers = range(arguments.only[0], (arguments.only[1:] or [arguments.only[0] + 1])[0])
        failures = [f for name in targets for f in fuzz(name, arguments.seed, numbers)]
        print("\n".join(f.told for f in failures))
    else:
        failures = fuzz_all(targets, arguments.seed, arguments.n)
    kinds = collections.defaultdict(list)
    for failure in failures:
        kinds[failure.target, failure.what.partition(": ")[0]].append(failure)
    for same in sorted(kinds.values(), key=len, reverse=True):
        print(f"{len(same)} × {same[0]}")
    print(f"{len(failures)} failures" if failures else "nothing found")
    return 1 if failures else 0


def _be_worker(target: Target, seed: str, numbers: range) -> None:
    """Tell on what was standard output; whatever the readers print goes nowhere."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def tell(*words: object) -> None:
        print(json.dumps(words), file=told, flush=True)

    work(target, seed, numbers, tell)


if __name__ == "__main__":
    sys.exit(main())
