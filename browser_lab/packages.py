"""What the lab is made of, fetched once: Debian's packages and their sources, npm's v86.

Debian's packages come by an apt state of our own. So neither root nor a second architecture on
this computer is needed, and the versions stay what they are until the cache is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmcompare.engines.setup import APT
from vmcompare.errors import Unavailable

ROOT = Path(__file__).parent.parent

TOOLS = {
    **{"gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc"},
    **{"lz4": "lz4", "xz": "xz-utils", "zstd": "zstd", "node": "nodejs", "npm": "npm"},
    **{"apt-get": "apt", "dpkg-deb": "dpkg"},
}
"""Programs that build the lab → Debian's package of each."""

HEADERS = Path("/usr/include/stdio.h")
"""The C library's headers, Debian's ``libc6-dev``: the kernel builds programs for itself."""

BINARIES = ("linux-source-6.1", "busybox-static", "seabios")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Packages:
    """What was fetched.

    Attributes:
        folder: holds the Debian packages as files.
        unpacked: holds their contents.
        versions: package → version, v86 included.
    """

    folder: Path
    unpacked: Path
    versions: dict[str, str]

    @property
    def linux(self) -> Path:
        """The kernel's source, packed."""
        return self.unpacked / "usr/src/linux-source-6.1.tar.xz"

    @property
    def busybox(self) -> Path:
        """BusyBox for 32 bits, static."""
        return self.unpacked / "bin/busybox"

    @property
    def bios(self) -> tuple[Path, Path]:
        """SeaBIOS, and its VGA BIOS."""
        bios = self.unpacked / "usr/share/seabios"
        return bios / "bios.bin", bios / "vgabios-stdvga.bin"

    @property
    def v86(self) -> Path:
        """The folder of npm's package."""
        return ROOT / "node_modules/v86"


def missing() -> list[str]:
    """Debian's packages that are lacking here, of those that build the lab."""
    lacking = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    return lacking if HEADERS.exists() else [*lacking, "libc6-dev"]


def need_tools() -> None:
    """Install what is missing where that may be done: on Debian, as root.

    Raises:
        Unavailable: something is missing; it is named.
    """
    lacking = missing()
    if lacking and os.environ.get("ENGINES") != "skip" and _may_install():
        print(f"browser lab: installing Debian's {', '.join(lacking)}", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["install", "-y", "--no-install-recommends", *lacking]
        for task in (["update"], install):
            subprocess.run([*APT, "-qq", *task], env=environment, check=False)
        lacking = missing()
    if lacking:
        raise Unavailable(
            f"the browser lab cannot be built here: {', '.join(lacking)} missing",
            "on Debian 12, apt-get install --no-install-recommends " + " ".join(lacking),
        )


def _may_install() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and bool(shutil.which("apt-get"))


def fetch(cache: Path) -> Packages:
    """The packages; fetched where ``cache`` does not hold them yet.

    Raises:
        Unavailable: one cannot be had.
    """
    folder, unpacked = cache / "debian", cache / "debian/unpacked"
    folder.mkdir(parents=True, exist_ok=True)
    if not all(_packed(folder, name) for name in BINARIES):
        apt = _apt(cache)
        for name in BINARIES:
            subprocess.run([*apt, "download", name], cwd=folder, check=False)
    versions = {}
    for name in BINARIES:
        packed = _packed(folder, name)
        if packed is None:
            step = "read what apt-get says above; it takes a network and Debian 12's sources"
            raise Unavailable(f"apt-get fetched no {name}", step)
        versions[name] = _field(packed, "Version")
        if not (unpacked / name).exists():
            subprocess.run(["dpkg-deb", "-x", packed, unpacked], check=True)
            (unpacked / name).touch()
    return Packages(folder, unpacked, {**versions, "v86": _v86()})


def _packed(folder: Path, name: str) -> Path | None:
    return next(folder.glob(f"{name}_*.deb"), None)


def _field(package: Path, name: str) -> str:
    command = ["dpkg-deb", "-f", str(package), name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _v86() -> str:
    described = ROOT / "node_modules/v86/package.json"
    if not described.exists():
        command = ["npm", "ci", "--silent", "--ignore-scripts"]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode or not described.exists():
            raise Unavailable("npm ci could not fetch v86", "look at what npm ci says")
    return str(json.loads(described.read_text())["version"])


def sources(cache: Path, packages: Packages) -> Sequence[Path]:
    """The source packages of BusyBox, of what is linked into it, and of SeaBIOS, as files.

    That of Linux is the package ``linux-source`` itself.

    Raises:
        Unavailable: one cannot be had.
    """
    wanted = [f"seabios={packages.versions['seabios']}"]
    busybox = _packed(packages.folder, "busybox-static")
    assert busybox is not None
    source = _field(busybox, "Source").partition(" ")[0] or "busybox"
    wanted.append(f"{source}={packages.versions['busybox-static'].partition('+b')[0]}")
    wanted += [f"{name}={version}" for name, version in linked(packages).items()]
    wanted = sorted(set(wanted))
    folder = cache / "sources"
    noted = folder / "wanted"
    if not noted.exists() or noted.read_text() != "\n".join(wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        apt = _apt(cache)
        for name in wanted:
            command = [*apt, "source", "--download-only", name]
            if subprocess.run(command, cwd=folder, check=False).returncode:
                step = "remove the lab's cache, so that all packages are fetched anew"
                raise Unavailable(f"apt-get fetched no source of {name}", step)
        noted.write_text("\n".join(wanted))
    return [path for path in sorted(folder.iterdir()) if path != noted]


def linked(packages: Packages) -> dict[str, str]:
    """What BusyBox was linked with, as its package says: source package → version."""
    busybox = _packed(packages.folder, "busybox-static")
    assert busybox is not None
    said = ",".join(_field(busybox, name) for name in ("Built-Using", "Static-Built-Using"))
    built = [entry.split() for entry in said.split(",") if entry.strip()]
    return {name: version.rstrip(")") for name, _, version in built}


def _apt(cache: Path) -> list[str]:
    """The beginning of an apt-get command that knows this computer's sources, for i386."""
    state = cache / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    form = "$(SITE) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    known = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    lines = [f"{kind} {signed}{line}" for kind in ("deb", "deb-src") for line in sorted({*known})]
    (state / "sources.list").write_text("\n".join(lines) + "\n")
    options = {
        "APT::Architecture": "i386",
        "APT::Architectures::": "i386",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
    }
    apt = [*APT, "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    # No error yet: a source that has nothing for i386 is one to apt. The download decides.
    if subprocess.run([*apt, "update"], check=False).returncode:
        print("browser lab: apt-get could not read all its sources; the others may do", flush=True)
    return apt
