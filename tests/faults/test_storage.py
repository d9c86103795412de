"""A disk that is full, foreign, read-only or holds something else costs a sentence, never more."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import unprivileged

from vmcompare import paths
from vmcompare.__main__ import main
from vmcompare.course import answers
from vmcompare.course.steps import Prediction
from vmcompare.engines import cleanup
from vmcompare.engines.images import cache
from vmcompare.engines.qemu import accel
from vmcompare.engines.qemu.binary import Qemu
from vmcompare.errors import StorageError

ROOT = Path(__file__).parent.parent.parent

needs_root = pytest.mark.skipif(
    bool(unprivileged.impossible()), reason=unprivileged.impossible() or "a user can be had"
)

Damage = Callable[[Path], object]

OTHERS = "somebody else's"


def _folder(path: Path) -> None:
    (path / "within").mkdir(parents=True)


def _foreign(path: Path) -> None:
    path.write_text(OTHERS)
    os.chown(path, unprivileged.NOBODY, unprivileged.NOBODY)


INSTEAD: dict[str, Damage] = {
    "a folder": _folder,
    "a pipe": os.mkfifo,
    "a dangling link": lambda path: path.symlink_to(path.parent / "nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to another file": lambda path: path.symlink_to(path.parent.parent / "precious"),
    "an empty file": lambda path: path.write_text(""),
    "an unknown word": lambda path: path.write_text('"warp"'),
    "a list in a list": lambda path: path.write_text("[" * 200_000),
    "an object in an object": lambda path: path.write_text('{"a":' * 10_000),
    "no text": lambda path: path.write_bytes(b'{"a": "\xff\xfe\x00"}'),
    "a half": lambda path: path.write_text('{"04": {"x": {"val'),
    "a huge file": lambda path: os.truncate(os.open(path, os.O_WRONLY | os.O_CREAT), 1 << 33),
}
"""What may lie where a file of ours should be."""

if not unprivileged.impossible():
    INSTEAD["a file of another user"] = _foreign

instead = pytest.mark.parametrize("what", INSTEAD)


def replaced(path: Path, what: str) -> Path:
    """Put something else in the place of ``path``; returns a file that must stay as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    precious = path.parent.parent / "precious"
    precious.write_text(OTHERS)
    paths.remove(path)
    INSTEAD[what](path)
    return precious


def one_sentence(code: int, streams: Sequence[str], *words: str) -> None:
    """One line on standard error that names what is to be done, and no traceback."""
    out, said = streams[0], streams[1].strip()
    assert code == 1, said
    assert "Traceback" not in said + out
    assert said.count("\n") == 0, said
    for word in (*words, "Next step: "):
        assert word in said


# ---- places -------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A place where nothing can be put."""
    path = tmp_path / "place"
    match request.param:
        case "a file":
            path.write_text(OTHERS)
        case "a dangling link":
            path.symlink_to(tmp_path / "nowhere" / "at all")
        case "a link to itself":
            path.symlink_to(path)
        case "read-only":
            path = Path("/proc")
    return path


places = pytest.mark.parametrize(
    "place", ["a file", "a dangling link", "a link to itself", "read-only"], indirect=True
)


@places
@pytest.mark.fault("a cache folder that cannot be used")
def test_a_cache_folder_that_cannot_be_used_is_named_with_the_variable(
    place: Path,
    private_places: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    code = main(["record", "boot_speed", "--platform", "process"])
    one_sentence(code, capsys.readouterr(), str(place), "XDG_CACHE_HOME")


@places
@pytest.mark.fault("a home that cannot be used")
def test_without_a_home_clean_does_its_work_and_measuring_names_what_to_set(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(place))
    assert main(["clean"]) == 0
    assert capsys.readouterr().err == ""
    code = main(["record", "boot_speed", "--platform", "process"])
    one_sentence(code, capsys.readouterr(), "XDG_CACHE_HOME")


@needs_root
@pytest.mark.fault("a read-only computer without a home")
def test_a_replay_needs_no_cache_no_home_and_no_rights(tmp_path: Path) -> None:
    with unprivileged.nobody(tmp_path) as user:
        notebook = user.home / "toy.ipynb"
        shows = "from vmcompare import Lesson\nLesson('boot_speed', '04').figure('starts')"
        cells = [nbformat.v4.new_markdown_cell("# A toy"), nbformat.v4.new_code_cell(shows)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
        inside = (
            "import os, subprocess, sys; os.environ['HOME'] = '/proc/nowhere';"
            f"sys.exit(subprocess.call([{sys.executable!r}, '-m', 'vmcompare', 'handout',"
            f"{str(notebook)!r}, '--mode', 'replay', '--out', {str(user.home / 'out')!r}]))"
        )
        done = user.run(
            [sys.executable, "-c", inside], cwd=ROOT, needs=(*unprivileged.interpreter(), ROOT)
        )
        assert done.returncode == 0, done.stderr
        page = (user.home / "out" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    assert "XDG_" not in page
    assert "<svg" in page


@needs_root
@pytest.mark.parametrize("options", ["noexec", "size=16k", "ro"])
@pytest.mark.fault("a temporary folder that is full, read-only or runs no program")
def test_a_temporary_folder_of_no_use_is_named_before_a_run_begins(
    options: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "vmcompare", "record", "boot_speed", "--platform", "process"]
    mount = f"mount -t tmpfs -o mode=1777,{options} tmpfs {tmp_path}"
    # Python falls back to these where TMPDIR cannot be written at all.
    others = "for d in /tmp /var/tmp; do mount -o bind,ro $d $d; done" if options == "ro" else ":"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
         f'{mount}; {others}; cd /proc; exec "$@"', "-", *command],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=240,
    )  # fmt: skip
    one_sentence(done.returncode, (done.stdout, done.stderr), str(tmp_path), "TMPDIR")


@pytest.mark.fault("no temporary folder at all")
def test_where_no_temporary_file_can_be_written_tmpdir_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    with pytest.raises(StorageError, match="TMPDIR"), cleanup.folder():
        pass


@pytest.mark.fault("a folder whose name is not UTF-8")
@pytest.mark.parametrize("variable", ["TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"])
def test_a_folder_whose_name_cannot_be_written_down_is_named_with_its_variable(
    variable: str, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "vmcompare", "record", "boot_speed", "--platform", "process"],
        env=os.environ | {variable: str(folder)}, text=True, capture_output=True, check=False,
        stdin=subprocess.DEVNULL, cwd=ROOT, timeout=240,
    )  # fmt: skip
    one_sentence(done.returncode, (done.stdout, done.stderr), variable)
    assert "its name is not UTF-8" in done.stderr
    assert [*folder.iterdir()] == []


@needs_root
@pytest.mark.parametrize("named", ["HOME", "XDG"])
@pytest.mark.fault("root with a learner's HOME")
def test_root_leaves_a_learners_home_alone(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(tmp_path, unprivileged.NOBODY, unprivileged.NOBODY)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
        if named == "XDG":
            monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (paths.cache_dir(), paths.state_dir(), paths.user_recordings_dir()):
        assert not path.is_relative_to(tmp_path)
    paths.settle_home()
    assert not Path.home().is_relative_to(tmp_path)
    assert "XDG_CACHE_HOME" not in os.environ
    assert list(tmp_path.iterdir()) == []


# ---- the cache ----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, private_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache."""
    monkeypatch.setattr(cache, "_digests", {})  # as in a new process
    monkeypatch.setattr(cache, "directory", lambda: tmp_path / "images")


def build(out: Path) -> None:
    out.write_bytes(b"content")


@instead
@pytest.mark.parametrize("suffix", ["", ".json", ".lock"])
@pytest.mark.fault("a cache entry, its side-car or lock is something else")
def test_whatever_lies_where_a_cache_entry_should_be_is_replaced(
    store: None, suffix: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = cache.get("a.bin", "key", build)
    precious = replaced(entry.with_name(entry.name + suffix), what)
    monkeypatch.setattr(cache, "_digests", {})
    again = cache.get("a.bin", "key", build)
    assert again.read_bytes() == b"content"
    assert not again.is_symlink()
    assert cache.digest(again) == f"sha256:{hashlib.sha256(b'content').hexdigest()}"
    assert precious.read_text() == OTHERS


@pytest.mark.fault("a cache entry edited while it is in use")
def test_an_edit_is_noticed_though_size_and_time_are_set_back(store: None) -> None:
    entry = cache.get("a.bin", "key", build)
    before = entry.stat()
    entry.write_bytes(b"CONTENT")
    os.utime(entry, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get("a.bin", "key", build).read_bytes() == b"content"


@pytest.mark.fault("a disk that fills while the cache is built")
def test_a_build_without_room_is_one_sentence_and_leaves_no_part(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from vmcompare.errors import StorageError
from vmcompare.engines.images import cache
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    cache.directory = lambda: Path(sys.argv[1])
    cache.get("a.bin", "key", lambda out: out.write_bytes(bytes(30000)))
except StorageError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "a-" in done.stdout
    assert "XDG_CACHE_HOME" in done.stdout
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.fault("kill -9 of a process that builds the cache")
def test_a_killed_build_is_done_again_and_clean_finds_what_it_left(
    attempt: int, tmp_path: Path, private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = """
import time
from vmcompare.engines.images import cache
def build(out):
    print("begun", flush=True)
    with out.open("wb") as stream:
        for _ in range(400):
            stream.write(bytes(100_000))
            time.sleep(0.001)
cache.get("a.bin", "key", build)
print("done", flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    time.sleep(random.Random(attempt).uniform(0, 0.6))
    child.kill()
    child.communicate()
    monkeypatch.setattr(cache, "_digests", {})
    entry = cache.get("a.bin", "key", build)
    assert entry.read_bytes() in (b"content", bytes(40_000_000))
    cleanup.sweep()
    assert sorted(path.name for path in entry.parent.iterdir()) == [
        entry.name, f"{entry.name}.json", f"{entry.name}.lock"
    ]  # fmt: skip


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A lock that a suspended process holds."""
    lock = tmp_path / "a.lock"
    script = (
        "import sys, time; from pathlib import Path; from vmcompare.paths import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        child.send_signal(signal.SIGSTOP)
        try:
            yield lock
        finally:
            child.kill()


@pytest.mark.fault("a lock held by a suspended process")
def test_a_wait_for_a_lock_is_told_and_ends(held: Path) -> None:
    told: list[str] = []
    with (
        pytest.raises(StorageError, match="another process has held it"),
        paths.locked(held, timeout_s=0.3, waiting=lambda: told.append("waiting")),
    ):
        pass
    assert told == ["waiting"]


@pytest.mark.parametrize("said", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.fault("a file system without locks")
def test_a_file_system_without_locks_does_for_one_process_at_a_time(
    said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(said, os.strerror(said))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        paths.locked(tmp_path / "a.lock"),
        pytest.raises(StorageError),
        paths.locked(tmp_path / "a.lock", timeout_s=0.2),
    ):
        pass
    with paths.locked(tmp_path / "a.lock", timeout_s=5):
        pass


# ---- the accelerator ----------------------------------------------------------------------------

KEPT = {
    "an unknown accelerator": {"accel": "warp", "rejected": []},
    "a nonsense rejection": {"accel": "tcg", "rejected": [["tcg", "because"]]},
    "rejections out of order": {"accel": "kvm", "rejected": [["kvm", ""]]},
    "numbers": {"accel": 7, "rejected": 7},
    "no object": [],
    "a rejection that is none": {"accel": "kvm", "rejected": [1]},
    "an escape": {"accel": "tcg", "rejected": [["kvm", "\x1b[2J"]]},
}


@pytest.mark.parametrize("what", [*KEPT, *INSTEAD])
@pytest.mark.fault("a kept accelerator that is something else")
def test_an_accelerator_that_was_kept_wrongly_is_proved_anew(
    what: str, tmp_path: Path, private_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\n")
    proved: list[str] = []

    def prove(qemu: Qemu, candidates: Sequence[str]) -> accel.Accelerator:
        proved.append("again")
        return accel.Accelerator(candidates[0])

    monkeypatch.setattr(accel, "prove", prove)
    qemu = Qemu(program, "7.2.0")
    choice = accel.choose(qemu)
    assert accel.choose(qemu) == choice
    assert len(proved) == 1
    (file,) = paths.cache_dir().glob("accelerator-*.json")
    if what in KEPT:
        file.write_text(json.dumps(KEPT[what]))
    else:
        replaced(file, what)
    assert accel.choose(qemu) == choice
    assert len(proved) == 2
    assert accel.choose(qemu) == choice
    assert len(proved) == 2


# ---- answers ------------------------------------------------------------------------------------


@instead
@pytest.mark.fault("a file of answers that is something else")
def test_a_damaged_file_of_answers_is_put_aside_under_a_name_of_its_own(
    what: str, private_places: Path
) -> None:
    path = paths.answers_path()
    for number in (1, 2):
        precious = replaced(path, what)
        assert answers.kept("04") == {}
        said = answers.keep("04", "x", number)
        assert answers.kept("04") == {"x": number}
        assert precious.read_text() == OTHERS
        if what != "a dangling link":  # nothing is there, and nothing is lost
            aside = "answers.damaged.json" if number == 1 else "answers.damaged-2.json"
            assert aside in said
            assert os.path.lexists(path.with_name(aside))


@pytest.mark.fault("several notebooks answer at once")
def test_no_answer_is_lost_when_several_notebooks_answer_at_once(private_places: Path) -> None:
    script = """
import sys
from vmcompare.course import answers
for number in range(60):
    assert answers.keep(f"0{number % 7}", f"{sys.argv[1]}-{number}", number) == "Kept."
"""
    children = [subprocess.Popen([sys.executable, "-c", script, name]) for name in "abc"]
    assert [child.wait(240) for child in children] == [0, 0, 0]
    assert sum(len(answers.kept(f"0{lesson}")) for lesson in range(7)) == 180


@pytest.mark.fault("kill -9 of a notebook that answers")
def test_a_killed_notebook_leaves_whole_answers_and_no_part(
    attempt: int, private_places: Path
) -> None:
    script = """
from vmcompare.course import answers
for number in range(100_000):
    answers.keep("04", "x" * 20_000, number)
    print(number, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(random.Random(attempt).uniform(0, 0.3))
    child.kill()
    told = [int(line) for line in child.communicate()[0].splitlines()]
    (number,) = answers.kept("04").values()
    assert isinstance(number, int)
    assert number >= max(told, default=0)
    assert answers.keep("04", "y", 1) == "Kept."
    assert list(paths.answers_path().parent.glob("*.part")) == []


@places
@pytest.mark.fault("a home that is read-only while a lesson is answered")
def test_answers_are_held_in_memory_where_they_cannot_be_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch, private_places: Path
) -> None:
    there = os.environ["XDG_DATA_HOME"]
    monkeypatch.setenv("XDG_DATA_HOME", str(place))
    said = answers.keep("04", "x", 1.5)
    assert said.startswith("Kept for this session only: ")
    assert "XDG_DATA_HOME" in said
    assert answers.kept("04") == {"x": 1.5}
    monkeypatch.setenv("XDG_DATA_HOME", there)  # there is room again
    assert answers.keep("04", "y", 2) == "Kept."
    monkeypatch.setattr(answers, "_held", {})
    assert answers.kept("04") == {"x": 1.5, "y": 2}


@pytest.mark.parametrize(
    ("guess", "is_kept"),
    [
        (np.int64(3), 3), (np.float32(0.5), 0.5), (np.array(2.5), 2.5), (Fraction(1, 4), 0.25),
        (Decimal("0.75"), 0.75), (7, 7), (1e300, 1e300),
    ],
)  # fmt: skip
@pytest.mark.fault("a prediction that is a number of another library")
def test_any_real_number_is_a_prediction(
    guess: object, is_kept: float, private_places: Path
) -> None:
    asked = Prediction("04", "x", "How long?", "s")
    assert asked.refuses(guess) == ""
    number = answers.number(guess)
    assert number == is_kept
    assert answers.keep("04", "x", number) == "Kept."
    assert answers.kept("04") == {"x": is_kept}


@pytest.mark.parametrize(
    "guess",
    [
        True, np.True_, 1j, np.complex64(1), math.nan, math.inf, np.float64("nan"), Decimal("NaN"),
        Decimal("sNaN"), 10**400, "3", b"3", [3], np.array([1, 2]), object(), None,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.fault("a prediction that is no number")
def test_what_is_no_number_is_asked_for_again(guess: object) -> None:
    assert Prediction("04", "x", "How long?", "s").refuses(guess) == "Please give a number."
