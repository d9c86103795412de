"""The page: a template, and everything that runs in it, packed into one HTML file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined

from browser_lab.packages import Packages, linked
from vmcompare import __version__
from vmcompare.evidence.markdown import inline

HERE = Path(__file__).parent
WEB = HERE / "web"
SCRIPTS = ("vm.js", "results.js", "draw.js", "lesson.js")

MEMORY_MIB = 32
OPTIONS = {
    "memory_size": MEMORY_MIB << 20,
    "vga_memory_size": 1 << 20,
    "cmdline": "console=ttyS0 tsc=reliable random.trust_cpu=on",
}
"""Of the VM, for v86: in the page and where the snapshot is taken."""

GZIP, ZSTD = "application/gzip+base64", "application/zstd+base64"
"""Types of ``<script>`` elements that hold data, which no browser runs."""


def snapshot(packages: Packages, kernel: Path, cache: Path) -> Path:
    """A booted VM, frozen and packed by zstd, which v86 unpacks; made once for each kernel."""
    program = HERE / "snapshot.mjs"
    made_of = (kernel.name, packages.versions["v86"], OPTIONS, program.read_text())
    digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    packed = cache / f"snapshot-{digest}.zst"
    if not packed.exists():
        raw = cache / "snapshot.bin"
        files = [program, packages.v86 / "build", kernel, *packages.bios]
        subprocess.run(["node", *map(str, files), json.dumps(OPTIONS), str(raw)], check=True)
        subprocess.run(["zstd", "-q", "-19", "-f", "-o", packed, raw], check=True)
        raw.unlink()
    return packed


def render(packages: Packages, kernel: Path, frozen: Path) -> str:
    """The page's HTML."""
    v86 = packages.v86 / "build"
    worker = (v86 / "libv86.js").read_text() + "\n" + (WEB / "worker.js").read_text()
    bios, vga = packages.bios
    carried = {
        "worker": worker.encode(),
        "wasm": (v86 / "v86.wasm").read_bytes(),
        "bios": bios.read_bytes(),
        "vga": vga.read_bytes(),
        "kernel": kernel.read_bytes(),
    }
    versions = {
        "vmcompare": __version__,
        "v86": packages.versions["v86"],
        "kernel": _release(kernel),
        "memory_mib": MEMORY_MIB,
    }
    parts = [
        (name, GZIP, _base64(gzip.compress(data, 9, mtime=0))) for name, data in carried.items()
    ]
    parts.append(("snapshot", ZSTD, _base64(frozen.read_bytes())))
    parts.append(("options", "application/json", json.dumps(OPTIONS)))
    parts.append(("versions", "application/json", json.dumps(versions)))
    digests = [(n, hashlib.sha256(d).hexdigest()[:16]) for n, d in carried.items()]
    script = '"use strict";\n' + "\n".join((WEB / name).read_text() for name in SCRIPTS)
    environment = Environment(
        loader=ChoiceLoader(
            [
                FileSystemLoader(WEB),
                PackageLoader("vmcompare.course", "templates"),
                PackageLoader("vmcompare.handout", "template"),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    return environment.get_template("page.html.j2").render(
        policy=policy(script),
        versions=versions,
        quiz=json.loads((WEB / "quiz.json").read_text()),
        programs=programs(packages),
        digests=digests,
        v86_licence=(packages.v86 / "LICENSE").read_text(),
        parts=parts,
        script=script,
    )


def policy(script: str) -> str:
    """A Content-Security-Policy: this script, WebAssembly and workers made in the page; no request.

    What a worker runs was made from a part of the page, so ``blob:`` opens nothing to the outside.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' 'wasm-unsafe-eval'; worker-src blob:; "
        "style-src 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'"
    )


def programs(packages: Packages) -> list[tuple[str, str, str]]:
    """What the page carries of others: name, exact version, licence."""
    versions, libraries = packages.versions, linked(packages).items()
    return [
        ("v86 (npm v86)", versions["v86"], "BSD-2-Clause, below"),
        ("SoftFloat and the decoder of zstd, in v86", versions["v86"], "BSD-3-Clause, below"),
        ("Linux (Debian linux-source-6.1)", versions["linux-source-6.1"], "GPL-2.0"),
        ("BusyBox (Debian busybox-static)", versions["busybox-static"], "GPL-2.0"),
        *[(f"{name}, linked into BusyBox", version, "LGPL-2.1") for name, version in libraries],
        ("SeaBIOS (Debian seabios)", versions["seabios"], "LGPL-3.0"),
    ]


def _release(kernel: Path) -> str:
    """What the kernel calls itself: its image names it."""
    head = kernel.read_bytes()[:65536]
    at = int.from_bytes(head[0x20E:0x210], "little") + 0x200  # boot protocol: kernel_version
    return head[at : at + 100].split(b"\0")[0].split()[0].decode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
