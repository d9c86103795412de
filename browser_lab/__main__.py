"""``python -m browser_lab --out dist``: build the page, and the sources that go with it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from browser_lab import kernel, packages, page
from vmcompare import paths
from vmcompare.errors import VmcompareError

PAGE = "browser-lab.html"
SOURCES = "browser-lab-sources.tar"

T = TypeVar("T")


def main() -> int:
    """Build what is not there yet; what is missing is one sentence and exit code 1."""
    parser = argparse.ArgumentParser(prog="browser_lab", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"))
    out = parser.parse_args().out
    try:
        packages.need_tools()
        build(out)
    except VmcompareError as error:
        print(f"browser lab: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        said = f"{error.cmd[0]} ended with exit code {error.returncode}; what it said stands above"
        print(f"browser lab: {said}", file=sys.stderr)
    else:
        return 0
    return 1


def build(out: Path) -> None:
    """Write the page and its sources into ``out``; say how long each part took.

    Raises:
        VmcompareError: a part cannot be had.
        subprocess.CalledProcessError: a program of the build failed.
    """
    cache = paths.cache_dir() / "browser-lab"
    cache.mkdir(parents=True, exist_ok=True)
    with paths.locked(cache / "lock"):
        found = _timed("packages", lambda: packages.fetch(cache))
        image = _timed("kernel", lambda: kernel.build(found, cache))
        frozen = _timed("snapshot", lambda: page.snapshot(found, image, cache))
        text = _timed("page", lambda: page.render(found, image, frozen))
        out.mkdir(parents=True, exist_ok=True)
        paths.write(out / PAGE, text)
        (out / PAGE).chmod(0o644)
        print(f"wrote {out / PAGE} ({len(text.encode()):,} bytes)")
        _timed("sources", lambda: write_sources(found, cache, out / SOURCES))
        print(f"wrote {out / SOURCES} ({(out / SOURCES).stat().st_size:,} bytes)")


def write_sources(found: packages.Packages, cache: Path, target: Path) -> None:
    """The tar of all that the page's programs are made of; left alone where it is up to date.

    Raises:
        Unavailable: a source cannot be had.
    """
    here = Path(__file__).parent
    own = [path for path in sorted(here.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    linux = next(found.folder.glob("linux-source-6.1_*.deb"))
    held = {f"debian/{path.name}": path for path in [linux, *packages.sources(cache, found)]}
    held |= {f"browser_lab/{path.relative_to(here).as_posix()}": path for path in own}
    held |= {f"v86/{name}": found.v86 / name for name in ("LICENSE", "package.json", "Readme.md")}
    listed = "".join(
        f"{name} {version} ({licence})\n" for name, version, licence in page.programs(found)
    )
    noted = cache / "versions.txt"
    noted.write_text(listed)
    held["versions.txt"] = noted
    part = target.with_name(target.name + ".part")
    with tarfile.open(part, "w") as tar:
        for name, path in sorted(held.items()):
            tar.add(path, arcname=f"browser-lab-sources/{name}", filter=_nobody)
    part.replace(target)


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names of who built it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _timed(what: str, make: Callable[[], T]) -> T:
    began, began_cpu = time.monotonic(), _cpu_s()
    made = make()
    took, cpu = time.monotonic() - began, _cpu_s() - began_cpu
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{what}: {took:.1f} s, {cpu:.1f} CPU s{load}", flush=True)
    return made


def _cpu_s() -> float:
    """Processor seconds of this process and of its ended children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


if __name__ == "__main__":
    sys.exit(main())
