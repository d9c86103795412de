"""Whatever a recording holds, and wherever a run breaks off: a sentence, and the rows so far."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from planted import planted, row, starts

from vmcompare.__main__ import main
from vmcompare.errors import RecordingError, StorageError
from vmcompare.evidence.claims.runs import gather
from vmcompare.evidence.recording import Measurement, Recorder, Recording, read
from vmcompare.measuring import contributed, host
from vmcompare.paths import data_dir

Line = dict[str, Any]
Lines = list[Line]

HOSTILE = {
    "a number of 400 digits": 10**400,
    "infinity": float("inf"),
    "no number": float("nan"),
    "a list": ["vm"],
    "an object": {"vm": {"vm": {}}},
    "script in a formula": r" $\text{<svg/onload=alert(1)>}$",
    "a control character": "\x1b[2J",
    "a C1 control character": "\x9b2J",
    "text that runs backwards": "\u202egnp.exe",
    "a line separator": "a\u2028b",
    "half a surrogate": "\ud800",
    "100 kB": "x" * 100_000,
    "a negative number": -5,
    "a number in quotes": "5.0",
}
"""What somebody may write where something else belongs."""

CLOSED = ("platform", "metric", "warmth", "runtime", "machine", "accel", "unit", "status",
          "provenance", "ts_utc", "image_digest", "layer", "network", "is_warmup")  # fmt: skip
"""Fields of a row that take none of these; a free text takes the formula, a count the small."""


def hardware(directory: Path) -> Recording:
    facts = host.facts({"docker": "28.5", "qemu": "9.2"}, {"qemu": {"accelerator": "kvm"}})
    facts["host_id"] = "0123456789ab"
    return planted(directory, starts(accel="kvm", whole=False), host=facts)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return hardware(tmp_path_factory.mktemp("good"))


def lines_of(run: Recording) -> Lines:
    return [json.loads(line) for line in run.path.read_text(encoding="utf-8").splitlines()]


def written(lines: Lines) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def refused(path: Path) -> RecordingError:
    """What both doors say of a file: the same, with its name or beside it; one printable line."""
    with pytest.raises(RecordingError) as caught:
        read(path)
    said = str(caught.value)
    assert contributed.problems(path) == (caught.value.unnamed,)
    assert caught.value.unnamed.endswith(f"{said.partition(' cannot be read: ')[2]}.")
    assert said.isprintable()
    assert len(said) < 500
    assert path.name in said
    return caught.value


@pytest.mark.fault("any value in any field of a recording")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_value_that_does_not_belong_is_refused_with_line_and_field(
    tmp_path: Path, good: Recording, what: str
) -> None:
    path = tmp_path / good.path.name
    lines = lines_of(good)
    fields = [(3, lines[3], name) for name in CLOSED]
    fields += [(0, lines[0], name) for name in ("run_id", "started_utc", "experiment", "host")]
    fields += [(0, lines[0]["host"], name) for name in ("host_id", "ksm", "versions", "details")]
    fields += [(0, lines[0]["host"]["details"], "qemu")]
    called = {"qemu": "host.details"}
    for number, line, name in fields:
        before, line[name] = line[name], HOSTILE[what]
        path.write_bytes(written(lines))
        error = refused(path)
        assert error.line == number + 1
        said = (called.get(name, name), "not JSON", "it is longer than")
        assert any(words in error.what for words in said), error
        line[name] = before
    counts = ("block", "rep", "order_in_block", "vcpus", "mem_limit_mib")
    for name in counts:
        before, lines[3][name] = lines[3][name], HOSTILE[what]
        path.write_bytes(written(lines))
        assert refused(path).line == 4
        lines[3][name] = before


@pytest.mark.fault("any value for a text of a recording")
@pytest.mark.parametrize("what", sorted({*HOSTILE} - {"script in a formula", "a number in quotes"}))
def test_a_text_is_short_and_printable_or_refused(
    tmp_path: Path, good: Recording, what: str
) -> None:
    path = tmp_path / good.path.name
    lines = lines_of(good)
    for name in ("text", "error", "phase", "vmm", "guest_kernel", "confinement"):
        before, lines[3][name] = lines[3][name], HOSTILE[what]
        path.write_bytes(written(lines))
        assert refused(path).line == 4
        lines[3][name] = before


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "200,000 brackets": lambda _: b"[" * 200_000 + b"\n",
    "brackets in a later line": lambda data: data + b"[" * 200_000 + b"\n",
    "objects within objects": lambda data: data[:-1] + b"\n" + b'{"a":' * 12_000 + b"\n",
    "brackets before the kind": lambda _: b'{"x":' + b"[" * 60_000 + b"\n",
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda data: data.decode().encode("utf-16-le"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "compressed": gzip.compress,
    "bytes that are no UTF-8": lambda data: data.replace(b"planted", b"\xff\xfe"),
    "zeroes in the middle": lambda data: data[:5000] + bytes(4096) + data[5000:],
    "300,000 rows": lambda data: data + data.splitlines(keepends=True)[2] * 300_000,
    "empty lines": lambda _: b"\n" * 300_000,
    "larger than any": lambda data: data + b" " * 2**24,
    "nothing": lambda _: b"",
}


@pytest.mark.fault("a recording that is none")
@pytest.mark.parametrize("form", DAMAGE)
def test_bytes_that_are_no_recording_are_refused_in_little_memory(
    tmp_path: Path, good: Recording, form: str
) -> None:
    path = tmp_path / good.path.name
    lines = lines_of(good)[:20]
    lines[0]["host"]["cpu"] = "planted"
    path.write_bytes(DAMAGE[form](written(lines)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # kB


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, Path]]:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "device.jsonl").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jsonl"))
        yield {path.stem: path for path in tmp_path.iterdir()}


@pytest.mark.fault("a recording that is no regular file")
@pytest.mark.parametrize("form", ["pipe", "folder", "loop", "device", "socket"])
def test_what_is_no_regular_file_is_refused_without_waiting(
    odd: dict[str, Path], form: str
) -> None:
    assert refused(odd[form]).line == 0


def every_row_twice(lines: Lines) -> None:
    lines[1:-1] = [line for line in lines[1:-1] for _ in range(2)]


TWICE: dict[str, tuple[Callable[[Lines], object], str]] = {
    "every row twice": (every_row_twice, "The same row stands there 2 times"),
    "a row 50 times": (
        lambda lines: lines.__setitem__(slice(5, 6), lines[5:6] * 50),
        "stands there 50 times",
    ),
    "two end lines": (lambda lines: lines.append(lines[-1]), "follows the end line"),
    "rows after the end": (lambda lines: lines.append(lines[5]), "follows the end line"),
    "half a row after the end": (
        lambda lines: lines.append({"kind": "row", "torn": True}),
        "follows the end line",
    ),
    "two run lines": (lambda lines: lines.insert(5, lines[0]), "a second run begins here"),
    "two files in one": (lambda lines: lines.extend(lines[:]), "follows the end line"),
    "a block below zero": (lambda lines: lines[5].update(block=-5), "block must be at least 0"),
    "another accelerator": (
        lambda lines: [x.update(accel="hvf") for x in [y for y in lines if y.get("accel")][:9]],
        "Rows state hvf, kvm",
    ),
    "rows of an older run": (
        lambda lines: lines.insert(9, lines[9] | {"ts_utc": "2020-01-01T00:00:00.000Z", "rep": 99}),
        "not in the order of their times",
    ),
}


@pytest.mark.fault("a file that is not one run, whole, once")
@pytest.mark.parametrize("form", TWICE)
def test_one_file_is_one_run_whole_and_once(tmp_path: Path, good: Recording, form: str) -> None:
    change, says = TWICE[form]
    lines, path = lines_of(good), tmp_path / good.path.name
    change(lines)
    data = written(lines)
    path.write_bytes(data[:-9] if form == "half a row after the end" else data)
    found = contributed.problems(path)
    assert any(says in sentence for sentence in found), found


@pytest.mark.fault("a recording that breaks off at any byte")
@pytest.mark.parametrize("tail", [b"", bytes(4096)], ids=["cut", "zeroes"])
def test_a_torn_recording_is_read_and_checked_to_its_last_whole_row(
    tmp_path: Path, good: Recording, attempt: int, tail: bytes
) -> None:
    data = good.path.read_bytes()
    head = data.index(b"\n") + 1
    at = random.Random(attempt).randrange(head, len(data) - 30)
    path = tmp_path / good.path.name
    path.write_bytes(data[:at] + tail)
    run = read(path)
    assert list(run.rows) == list(good.rows[: data[:at].count(b"\n") - 1])
    assert contributed.problems(path) == ("The run is not complete: it has no end line.",)


def full_after(left: int, code: int) -> Callable[[int, Any], int]:
    """``os.write`` of a disk with ``left`` bytes of room."""
    room, real = left, os.write

    def write(file: int, data: Any) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(code, os.strerror(code))
        done = real(file, bytes(data)[:room])
        room -= done
        return done

    return write


@pytest.mark.fault("no room, or a broken disk, in mid-run")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG])
def test_where_a_disk_takes_no_more_the_rows_so_far_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: int, code: int
) -> None:
    room = random.Random(attempt).randrange(1500, 12_000)
    monkeypatch.setattr("vmcompare.evidence.recording.os.write", full_after(room, code))
    done = 0
    recorder = Recorder(tmp_path, "boot_speed", {"host_id": "abc"}, rounds=1)
    with pytest.raises(StorageError, match="--out") as caught, recorder:  # noqa: PT012
        for block in range(1000):
            recorder.append(row("vm", "ready_s", 1.0, block=block))
            done += 1
    said = str(caught.value)
    assert recorder.path.name in said
    assert os.strerror(code) in said
    data = recorder.path.read_bytes()
    assert len(data) == room
    recorder.end("failed")
    assert recorder.path.read_bytes() == data
    assert [r["block"] for r in read(recorder.path).rows] == list(range(done))


@pytest.mark.fault("a folder for recordings with no room at all")
def test_where_not_even_the_first_line_fits_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmcompare.evidence.recording.os.write", full_after(100, errno.ENOSPC))
    with pytest.raises(StorageError, match="No space left"):
        Recorder(tmp_path, "boot_speed", {"host_id": "abc"}, rounds=1)
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.fault("a real file system of 16 KiB")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_run_on_a_file_system_of_16_kib_keeps_what_fits(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "vmcompare-test", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        recorder = Recorder(tmp_path, "boot_speed", {"host_id": "abc"}, rounds=1)
        with pytest.raises(StorageError, match=r"MiB free there.*--out"), recorder:  # noqa: PT012
            for block in range(1000):
                recorder.append(row("vm", "ready_s", 1.0, block=block))
        rows = read(recorder.path).rows
        assert [r["block"] for r in rows] == list(range(len(rows)))
        assert len(rows) > 10
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.fault("a folder for recordings that cannot be written to")
@pytest.mark.parametrize("form", ["a file stands there", "a file is above it", "read-only"])
def test_a_place_that_takes_no_files_is_named_with_the_option(tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_text("")
    out = {"a file stands there": tmp_path / "file", "a file is above it": tmp_path / "file" / "x",
           "read-only": Path("/proc/vmcompare")}[form]  # fmt: skip
    with pytest.raises(StorageError, match="--out"):
        Recorder(out, "boot_speed", {"host_id": "abc"}, rounds=1)


@pytest.mark.fault("a stop request in the middle of a row")
def test_a_stop_in_mid_row_leaves_no_torn_line_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    real, chance = os.write, random.Random(attempt)

    def stopped(file: int, data: Any) -> int:
        monkeypatch.setattr("vmcompare.evidence.recording.os.write", real)
        real(file, bytes(data)[: chance.choice([chance.randrange(len(data)), len(data)])])
        raise KeyboardInterrupt

    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        Recorder(tmp_path, "boot_speed", {"host_id": "abc"}, rounds=1) as recorder,
    ):
        recorder.append(row("vm", "ready_s", 1.0))
        monkeypatch.setattr("vmcompare.evidence.recording.os.write", stopped)
        recorder.append(row("vm", "ready_s", 2.0, block=1))
    run = read(recorder.path)
    assert run.ended == "stopped"
    assert [r["value"] for r in run.rows] in ([1.0], [1.0, 2.0])


_ENDLESS = """
import sys
from pathlib import Path
from vmcompare.evidence.recording import Measurement, Recorder
from vmcompare.sandbox import Platform
with Recorder(Path(sys.argv[1]), "boot_speed", {"host_id": "abc"}, rounds=1) as recorder:
    print(recorder.path, flush=True)
    for block in range(10**6):
        row = Measurement(platform=Platform.VM, metric="ready_s", value=1.0, block=block)
        recorder.append(row)
        print(block, flush=True)
"""


@pytest.mark.fault("kill -9 while rows are written")
def test_a_row_that_was_appended_outlives_its_process(tmp_path: Path, attempt: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        path = Path(child.stdout.readline().strip())
        for _ in range(random.Random(attempt).randrange(1, 60)):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    rows = read(path).rows
    assert [r["block"] for r in rows] == list(range(len(rows)))
    assert len(rows) > last


@pytest.mark.fault("a file system without fsync")
def test_only_a_file_system_without_fsync_is_forgiven_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(code: int) -> Callable[[int], None]:
        def sync(file: int) -> None:
            raise OSError(code, os.strerror(code))

        return sync

    monkeypatch.setattr("vmcompare.evidence.recording.os.fsync", says(errno.EINVAL))
    with Recorder(tmp_path, "boot_speed", {"host_id": "abc"}, rounds=1) as recorder:
        recorder.append(row("vm", "ready_s", 1.0))
    assert read(recorder.path).ended == "complete"
    monkeypatch.setattr("vmcompare.evidence.recording.os.fsync", says(errno.EIO))
    with pytest.raises(StorageError):
        Recorder(tmp_path, "boot_speed", {"host_id": "abc"}, rounds=1)


@pytest.mark.fault("odd characters in what a guest or an engine says")
@pytest.mark.parametrize(
    "text",
    ["a\x85b", "a\u2028b\u2029c", "\ud800", "\x1b[2J\x07", "\u202eabc", "a\nb\r\n\tc", "\x00",
     "\ufeff", "é ’ 中 🙂", "x" * 100_000, "\x1b" * 100_000],
    ids=["U+0085", "U+2028", "surrogate", "escape", "bidi", "lines", "zero", "BOM", "letters",
         "long", "long-escapes"],
)  # fmt: skip
def test_whatever_a_guest_says_our_own_file_can_be_read(tmp_path: Path, text: str) -> None:
    facts = {
        "host_id": "abc",
        "os": text,
        "versions": {"docker": text},
        "details": {"x": {"y": text}},
    }
    odd = Measurement(
        platform=row("vm", "ready_s", 1.0).platform, metric="observation", value=1.0,
        text=text, phase=text, vmm=text, guest_kernel=text, confinement=text,
    )  # fmt: skip
    with Recorder(tmp_path, "boot_speed", facts, rounds=1) as recorder:
        recorder.append(odd)
        recorder.append(row("vm", "ready_s", None, error=text))
    first, second = read(recorder.path).rows
    for name in ("text", "phase", "vmm", "guest_kernel", "confinement"):
        assert first[name] == getattr(odd, name)
    if text.isprintable() and len(text) < 100:
        assert first["text"] == second["error"] == text
    assert recorder.path.read_bytes().count(b"\n") == 4


@pytest.mark.fault("an /etc/os-release of any kind")
@pytest.mark.parametrize(
    "data",
    [b'PRETTY_NAME="De\xc2\x85bian\xe2\x80\xa8 12"\n', b'PRETTY_NAME="\xff\xfe"\n', b"[" * 99_999,
     b'PRETTY_NAME="' + b"x" * 99_999 + b'"\n'],
    ids=["U+0085", "no UTF-8", "brackets", "long"],
)  # fmt: skip
def test_any_name_of_a_system_can_be_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    (tmp_path / "os-release").write_bytes(data)
    monkeypatch.setattr("platform._os_release_cache", None)
    monkeypatch.setattr("platform._os_release_candidates", (str(tmp_path / "os-release"),))
    facts = host.facts({}, {})
    with Recorder(tmp_path, "boot_speed", facts, rounds=1) as recorder:
        pass
    assert read(recorder.path).host == facts
    assert facts["os"].isprintable()


@pytest.mark.fault("a bad recording among good ones")
@pytest.mark.parametrize("where", ["project", "own"])
@pytest.mark.parametrize(
    "form", ["folder", "pipe", "200,000 brackets", "any value", "another experiment"]
)
def test_one_bad_file_is_named_and_left_out(
    tmp_path: Path, good: Recording, where: str, form: str
) -> None:
    place = tmp_path / where / "boot_speed"
    place.mkdir(parents=True)
    (place / good.path.name).write_bytes(good.path.read_bytes())
    bad = place / "99991231T000000Z-ffffff.jsonl"
    lines = lines_of(good)
    if form == "folder":
        bad.mkdir()
    elif form == "pipe":
        os.mkfifo(bad)
    elif form == "another experiment":
        lines[0]["experiment"] = "isolation"
        bad.write_bytes(written(lines))
    elif form == "any value":
        lines[5]["value"] = {"a": []}
        bad.write_bytes(written(lines))
    else:
        bad.write_bytes(b"[" * 200_000 + b"\n")
    evidence = gather(project_dir=tmp_path / "project", own_dir=tmp_path / "own")
    assert [run.recording.run_id for run in evidence.runs] == [good.run_id]
    [said] = evidence.problems["boot_speed"]
    assert bad.name in said


@pytest.mark.fault("control characters of a file in the terminal")
@pytest.mark.parametrize("form", ["field", "value", "file name", "experiment"])
def test_check_prints_nothing_raw_from_a_file(
    tmp_path: Path, good: Recording, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    bad, lines = "\x1b]0;gone\x07\x9b2J\u202e", lines_of(good)
    path = tmp_path / (f"{bad}.jsonl" if form == "file name" else good.path.name)
    if form == "field":
        lines[2][bad] = 1
    elif form == "value":
        lines[2]["platform"] = bad
    elif form == "experiment":
        lines[0]["experiment"] = bad
    path.write_bytes(written(lines))
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines()), said


@pytest.mark.fault("any byte of a recording changed")
def test_whatever_byte_is_changed_reading_and_checking_agree(tmp_path: Path, attempt: int) -> None:
    [source] = (data_dir() / "recordings" / "image_size").glob("*.jsonl")
    data, chance = source.read_bytes(), random.Random(attempt)
    path = tmp_path / source.name
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(changed))
            changed[at : at + chance.choice([0, 1, 1, 300])] = chance.choice(
                [
                    bytes([chance.randrange(256)]),
                    b"\n",
                    b'"',
                    b"9" * 400,
                    b"\\ud800",
                    b"[" * 99,
                    b"",
                ]
            )
        path.write_bytes(bytes(changed))
        found = contributed.problems(path)
        assert all(sentence.isprintable() for sentence in found)
        if len(found) == 1 and "cannot be read" in found[0]:
            refused(path)
        else:
            read(path)
