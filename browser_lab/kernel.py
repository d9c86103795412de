"""The VM's kernel, with its first file system inside, from Debian's source and ``guest/``.

Five processor minutes once, and 10 to 20 seconds when only what runs in the VM has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from browser_lab.packages import Packages

GUEST = Path(__file__).parent / "guest"

SCRIPTS = {
    **{"init": "/init", "rc": "/etc/rc"},
    **{"enter": "/bin/enter", "hand": "/bin/hand"},
}
"""File of ``guest/`` → where it lies in the VM."""

BUILT_BY = {
    "KBUILD_BUILD_USER": "vmcompare",
    "KBUILD_BUILD_HOST": "browser-lab",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "2026-01-01",
}
"""What the kernel says of its making: nothing of this computer, and the same every time."""


def build(packages: Packages, cache: Path) -> Path:
    """The kernel's image (bzImage); made only where ``cache`` does not hold this very one."""
    image = cache / f"kernel-{_digest(packages)}.bin"
    if image.exists():
        return image
    tree = _unpacked(packages, cache)
    files = _first_file_system(packages, cache, tree)
    config = (GUEST / "kernel.config").read_text() + f'CONFIG_INITRAMFS_SOURCE="{files}"\n'
    fragment = tree / "kernel/configs/browser-lab.config"
    if not fragment.exists() or fragment.read_text() != config:
        fragment.write_text(config)
        _make(tree, "tinyconfig")
        _make(tree, "browser-lab.config")
    _make(tree, "LZ4=lz4", f"-j{os.cpu_count()}", "bzImage")
    shutil.copy(tree / "arch/x86/boot/bzImage", image)
    return image


def _digest(packages: Packages) -> str:
    """Of all that the kernel is made of."""
    digest = hashlib.sha256(repr((sorted(packages.versions.items()), BUILT_BY)).encode())
    for path in sorted([*GUEST.iterdir(), Path(__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _unpacked(packages: Packages, cache: Path) -> Path:
    tree, version = cache / "linux", packages.versions["linux-source-6.1"]
    noted = tree / ".debian-version"
    if not noted.exists() or noted.read_text() != version:
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        subprocess.run(
            ["tar", "-xJf", packages.linux, "-C", tree, "--strip-components=1"], check=True
        )
        noted.write_text(version)
    return tree


def _make(tree: Path, *arguments: str) -> None:
    command = ["make", "-s", "ARCH=i386", *arguments]
    environment = {**os.environ, **BUILT_BY}
    # Errors come on standard error; the rest is how each setting came about.
    subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=True)


def _first_file_system(packages: Packages, cache: Path, tree: Path) -> Path:
    """The list of its entries, in the form that the kernel's own build packs (``gen_init_cpio``).

    Below ``/img`` lies what containers see as their root: the same programs, once more by link.
    """
    program = _program(cache, tree)
    folders = "bin dev etc proc root run sys tmp img img/bin img/dev img/old img/proc img/root"
    lines = [f"dir /{name} 755 0 0" for name in f"{folders} img/tmp".split()]
    lines += ["nod /dev/console 600 0 0 c 5 1", "nod /img/dev/null 666 0 0 c 1 3"]
    lines += [f"file /bin/busybox {packages.busybox} 755 0 0 /img/bin/busybox"]
    lines += [f"file /bin/lab {program} 755 0 0 /img/bin/lab"]
    lines += [f"file /bin/facts {GUEST / 'facts'} 755 0 0 /img/bin/facts"]
    lines += [f"file {at} {GUEST / name} 755 0 0" for name, at in SCRIPTS.items()]
    lines += [f"file /etc/motd {GUEST / 'motd'} 644 0 0"]
    listed = subprocess.run(
        [packages.busybox, "--list"], check=True, capture_output=True, text=True
    )
    applets = set(listed.stdout.split()) - {"busybox"}
    lines += [
        f"slink {root}/bin/{applet} busybox 777 0 0"
        for applet in sorted(applets)
        for root in ("", "/img")
    ]
    files = cache / "files.list"
    files.write_text("\n".join(lines) + "\n")
    return files


def _program(cache: Path, tree: Path) -> Path:
    """``guest/lab.c``, on the small C library in the kernel's source (nolibc)."""
    if not (tree / "usr/include/asm").exists():
        _make(tree, "headers")
    program, library = cache / "lab", tree / "tools/include/nolibc/nolibc.h"
    flags = "-m32 -march=i686 -Os -Wall -static -nostdlib -nostdinc -ffreestanding -fno-pic -no-pie"
    flags += " -fno-stack-protector -fno-asynchronous-unwind-tables -fno-ident -s"
    gcc_own = subprocess.run(
        ["gcc", "-print-file-name=include"], check=True, capture_output=True, text=True
    ).stdout.strip()
    headers = ["-isystem", gcc_own, "-isystem", str(tree / "usr/include")]
    built = ["-include", str(library), "-o", str(program), str(GUEST / "lab.c")]
    subprocess.run(["gcc", *flags.split(), *headers, *built], check=True)
    return program
