"""Gets what the browser tests need, where that is possible: Chromium, Firefox, npm's packages.

Run by `make test`. On Debian and Ubuntu as root it installs what is missing (and says so);
elsewhere it goes on with what is there, and the browser tests say what they lack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from vmcompare.engines.setup import APT

PACKAGES = {
    **{"chromium": "chromium", "firefox-esr": "firefox-esr", "pdftotext": "poppler-utils"},
    **{"node": "nodejs", "npm": "npm"},
}
"""Program → Debian's package."""

OTHER_NAMES = {"chromium": "google-chrome", "firefox-esr": "firefox"}
"""Program → one that does as well."""

NPM = ("axe-core", "puppeteer-core", "v86")
ROOT = Path(__file__).parent.parent
TRIES, AGAIN_S = 2, 20.0  # a mirror that is busy answers later


def main() -> int:
    """Install what is missing and can be installed; never fails, the tests will tell."""
    if os.environ.get("ENGINES") == "skip":
        print("browser: the system is left alone (ENGINES=skip)")
        return 0
    lacking = [
        package
        for program, package in PACKAGES.items()
        if not (shutil.which(program) or shutil.which(OTHER_NAMES.get(program, program)))
    ]
    if lacking and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        print(f"browser: installing Debian's {', '.join(lacking)} for the browser tests")
        apt = [*APT, "-qq"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        _try([*apt, "update"], env)
        _try([*apt, "install", "-y", "--no-install-recommends", *lacking], env)
    elif lacking:
        print(
            f"browser: missing {', '.join(lacking)}; next step: install them for the browser tests"
        )
    if not all((ROOT / "node_modules" / name).is_dir() for name in NPM) and shutil.which("npm"):
        _try(["npm", "ci", "--silent", "--no-audit", "--no-fund"], dict(os.environ))
    return 0


def _try(command: list[str], env: dict[str, str]) -> None:
    for number in range(TRIES):
        if number:
            time.sleep(AGAIN_S)
        done = subprocess.run(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if not done.returncode:
            return
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    print(f"browser: {' '.join(command)} failed: {last}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
