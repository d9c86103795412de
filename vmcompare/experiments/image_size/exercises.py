"""Image size: four exercises and the exit quiz."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from types import MappingProxyType

from vmcompare.evidence.exercise import (
    Answer,
    Choice,
    Exercise,
    Feedback,
    Kind,
    Question,
    chosen,
    near,
)
from vmcompare.evidence.units import ratio, seconds, size
from vmcompare.evidence.view import View
from vmcompare.experiments.image_size.explain import value_of
from vmcompare.experiments.image_size.measure import (
    COMPRESSED,
    NAMED_BY_TAR,
    SECOND,
    UPDATE,
    VIRTUAL,
)
from vmcompare.experiments.image_size.models import time_s
from vmcompare.sandbox import Platform

_NODES, _LINK_MBIT_S = 20, 50.0
"""Of the transfer exercise: computers, and the line to them in Mbit/s."""

_NAME, _CONTENT = "greeting", b"hello\n"
"""The file of the layer that is built by hand."""


def _tar(mtime: int = 0) -> bytes:
    """What the code of the exercise makes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(_NAME)
        info.size, info.mtime = len(_CONTENT), mtime
        tar.addfile(info, io.BytesIO(_CONTENT))
    return packed.getvalue()


def _start(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


_RIGHT, _ONLY_CONTENT, _SECOND_LATER = _start(_tar()), _start(_CONTENT), _start(_tar(1))
_NOTHING = _start(b"")

_DIGESTS: Mapping[str, str] = MappingProxyType(
    {
        _RIGHT: "Yes. The name of a layer is the SHA-256 of its tar, and everybody who makes the "
        "same tar gets the same name.",
        _ONLY_CONTENT: "That is the digest of the file’s content alone. A layer also holds the "
        "file’s name, owner, mode and time: hash the whole tar.",
        _SECOND_LATER: "That is the tar of a file that is one second younger. Its content is the "
        "same; what else does a tar store?",
        _NOTHING: "That is the SHA-256 of nothing at all. Where does the stream stand after "
        "writing? Use getvalue(), or seek(0) before read().",
    }
)
"""Start of a digest → what is said to whoever found that one."""


def _check_layer(view: View, answer: Answer) -> Feedback:
    """A choice; the right one is set beside what the engine said of the base layer."""
    said = chosen(_RIGHT, _DIGESTS)(view, answer)
    facts = view.values(metric="fact", phase=NAMED_BY_TAR)["value"]
    if not said.right or facts.empty:
        return said
    same = "the same name" if bool(facts.all()) else "another name"
    more = f"The measurement hashed the tar of the base layer, too; the engine gave it {same}."
    return Feedback(True, f"{said.text} {more}")


def _per_node(view: View, platform: Platform, phase: str) -> float:
    return time_s(_NODES, value_of(view, platform, phase), _LINK_MBIT_S)


def _whole_disks_s(view: View) -> float:
    return _per_node(view, Platform.VM, UPDATE)


def _like_with_like(view: View) -> float:
    return value_of(view, Platform.VM, COMPRESSED) / value_of(view, Platform.CONTAINER, COMPRESSED)


def _mixed_up(view: View) -> float:
    return value_of(view, Platform.VM, VIRTUAL) / value_of(view, Platform.CONTAINER, COMPRESSED)


def _check_bug(view: View, answer: Answer) -> Feedback:
    if isinstance(answer, int | float) and abs(answer / _mixed_up(view) - 1) < 0.05:
        text = "That is what the study says. Which two kinds of size does it divide?"
        return Feedback(False, text)
    check = near(_like_with_like, "ratio", within=0.03, why="Same kind of size on both sides.")
    return check(view, answer)


def _bug_solution(view: View) -> str:
    return (
        "Above the line stands the *virtual* size of a disk, mostly empty space that nobody sends; "
        "below it the *compressed* size of an image. Compressed on both sides, the ratio is "
        f"{ratio(_like_with_like(view))} instead of {ratio(_mixed_up(view))}."
    )


def _transfer_solution(view: View) -> str:
    whole, layer = _whole_disks_s(view), _per_node(view, Platform.CONTAINER, UPDATE)
    thin = _per_node(view, Platform.VM, f"{UPDATE}-on-backing-file")
    return (
        rf"$t = n \cdot 8B/v$ with $B$ = {size(value_of(view, Platform.VM, UPDATE))}: "
        f"{seconds(whole)}. A container’s layer takes {seconds(layer)}, an overlay over a "
        f"backing file {seconds(thin)}. Whether a base is shared matters; which technique shares "
        "it is a question of what you have."
    )


def _tweak_solution(view: View) -> str:
    sent = value_of(view, Platform.CONTAINER, SECOND)
    return (
        "The layer’s digest changes altogether, the base’s not at all. A registry is asked for "
        "digests, so the whole layer is sent, however little in it is new: for the measured "
        f"application {size(sent)}, compressed."
    )


_LAYER_CODE = """\
import hashlib, io, json, tarfile

stream, form = io.BytesIO(), tarfile.USTAR_FORMAT
with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
    info = tarfile.TarInfo("greeting")
    info.size, info.mtime = 6, 0
    tar.addfile(info, io.BytesIO(b"hello\\n"))
layer = stream.getvalue()
diff_id = "sha256:" + ...  # complete: SHA-256, in hexadecimal

config = {"architecture": "amd64", "os": "linux",
          "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
print(diff_id[7:19], json.dumps(config, indent=1), sep="\\n")"""

_TWEAK_CODE = """\
from vmcompare.engines.images import oci

program = bytes(range(256)) * 4096
for last in (b"A", b"B"):
    layer = oci.layer({"/opt/app/program": program + last})
    print(oci.digest(layer), len(layer), len(oci.compressed(layer)))"""

_BUG_CODE = """\
rows = lesson.view.values(metric="image_bytes")
sizes = rows.groupby(["platform", "phase"])["value"].median()
print(sizes["vm", "virtual"] / sizes["container", "compressed"])"""

_CHANGED = "The application’s layer gets another digest; the base keeps its own."
_ALL_CHANGED = "Every layer gets another digest, as the image as a whole is another one."
_PART = "Part of the layer’s digest changes, and only the changed byte is sent."
_SAME = "None: a digest names an image, and the name did not change."

EXERCISES: Mapping[str, Exercise] = MappingProxyType(
    {
        "one_byte": Exercise(
            name="one_byte",
            kind=Kind.TWEAK,
            title="One byte of the application",
            task="Run the code: the same application twice, with another last byte. Then look at "
            "`lesson.table('pieces')`, where a whole application was exchanged. "
            "Which digests change?",
            code=_TWEAK_CODE,
            choices=(_ALL_CHANGED, _PART, _CHANGED, _SAME),
            check=chosen(
                _CHANGED,
                {
                    _CHANGED: "Yes. A digest names content, so equal layers have equal names, and "
                    "whoever has one is not sent it again.",
                    _ALL_CHANGED: "Look at the base layer’s row in the table of pieces. The image "
                    "has a new digest, since its list of layers changed; which layers did?",
                    _PART: "Compare the two digests you printed, digit by digit. And can a "
                    "registry send a part of a layer?",
                    _SAME: "Compare the two lines you printed. A tag is a name that was given; "
                    "what is a digest made from?",
                },
            ),
            hints=(
                "Print both digests below each other.",
                "In the table of pieces, read a row from left to right.",
            ),
            solution=_tweak_solution,
        ),
        "a_layer": Exercise(
            name="a_layer",
            kind=Kind.FILL_IN,
            title="A layer in plain Python",
            task="A layer is a tar. Complete the line with `...`, run the code, and choose what "
            "the digest of your layer begins with. (Then look at the configuration: that list of "
            "digests is what makes an image out of layers.)",
            code=_LAYER_CODE,
            choices=tuple(sorted(_DIGESTS)),
            check=_check_layer,
            hints=(
                "hashlib.sha256(…) takes bytes; which bytes are the layer?",
                "hashlib.sha256(layer) is an object: ask it for hexdigest().",
            ),
            solution=lambda _: '`"sha256:" + hashlib.sha256(layer).hexdigest()` gives '
            f"`sha256:{_RIGHT}…`, on every computer: same bytes, same name.",
            in_class=True,
        ),
        "unlike_sizes": Exercise(
            name="unlike_sizes",
            kind=Kind.BUG,
            title="A study finds an enormous ratio",
            task="A report says how many times as many bytes must be sent for a virtual machine "
            "as for a container. It uses the code below. Find its mistake, repair it, and give the "
            "ratio of bytes **sent the first time**.",
            code=_BUG_CODE,
            unit="ratio",
            check=_check_bug,
            hints=(
                "Which words stand in the two pairs of brackets?",
                "print(sizes) shows all there is. Only one kind of size is sent over a line.",
            ),
            solution=_bug_solution,
        ),
        "twenty_nodes": Exercise(
            name="twenty_nodes",
            kind=Kind.TRANSFER,
            title="An update for twenty branch offices",
            task=f"A shop has {_NODES} branches, all behind one line of {_LINK_MBIT_S:g} Mbit/s. "
            "The application of 1 MiB is rebuilt every night, and today each branch is sent the "
            "whole disk of its machine again, compressed. How many seconds is the line busy? "
            "Which two other ways could you offer?",
            code='rows = lesson.view.values(metric="image_bytes", platform="vm")\n'
            'rows.set_index("phase")["value"]',
            unit="s",
            check=near(
                _whole_disks_s, "s", within=0.05,
                why="Set a layer, and an overlay over a backing file, beside it.",
            ),
            hints=(
                "Bits, not bytes: eight to each.",
                "1 Mbit/s is a million bits a second. Twenty copies share the one line.",
            ),
            solution=_transfer_solution,
        ),
    }
)  # fmt: skip
"""The lesson's exercises by name."""

QUESTIONS: tuple[Question, ...] = (
    Question(
        "memory",
        "An image occupies 60 MiB on disk. How much memory does an instance of it use?",
        (
            Choice(
                "60 MiB: the image is loaded when it starts.",
                "Files are read when they are used, and what is never used is never in memory. "
                "Set the sizes here beside what lesson 01 weighs: they are other figures.",
            ),
            Choice(
                "That cannot be told from the size of the image.",
                "Right. Disk, line and memory hold different things; lesson 01 measures memory.",
                right=True,
            ),
            Choice(
                "More than 60 MiB, because it is compressed on disk.",
                "Compression changes what is sent. See the four sizes of one box: none of them is "
                "memory in use.",
            ),
        ),
    ),
    Question(
        "machine_parts",
        "Both boxes hold the same application. What fills the rest of the machine’s box?",
        (
            Choice(
                "The application, which is larger when it is built for a machine.",
                "The figure of categories shows the application with the same bytes on all sides.",
            ),
            Choice(
                "Virtual hardware: BIOS, network card, disk controller.",
                "Those belong to the hypervisor. No file in the box is one of them; see the "
                "categories.",
            ),
            Choice(
                "A kernel, its modules and a RAM disk, on top of the same userland.",
                "Right: see the figure of categories. The userland is the same on both sides.",
                right=True,
            ),
        ),
    ),
    Question(
        "only_layers",
        "“Only Docker can send just what changed.” What does the measurement say?",
        (
            Choice(
                "True: a machine’s disk is one file, so all of it is sent.",
                "Look at the hollow marks in the figure of what is sent: an overlay is a file "
                "beside the disk that it extends.",
            ),
            Choice(
                "A machine can, too, if its disk is an overlay over a backing file.",
                "Right. Compare the hollow marks. A container does it without being asked, which "
                "is a real difference, but another one.",
                right=True,
            ),
            Choice(
                "Neither can: every update sends the whole image.",
                "Compare an update’s bytes with the first time’s in the table of sizes.",
            ),
        ),
    ),
    Question(
        "copy_up",
        "A container appends one byte to a large file of its image. What is stored?",
        (
            Choice(
                "One byte, in the image, for all containers of it.",
                "An image never changes: its digest names its content. See which layer grew.",
            ),
            Choice(
                "One byte: layers store differences.",
                "Overlay layers store files, not differences of files: see what the container’s "
                "layer grew by.",
            ),
            Choice(
                "A copy of the whole file, in the container’s own layer.",
                "Right, with the usual overlay driver: the table of the single byte shows it. "
                "The image itself stays as it was.",
                right=True,
            ),
        ),
    ),
)
"""The exit quiz."""
