"""Gets what the browser tests need, where that is possible: Chromium and axe-core.

Run by `make test`. On Debian and Ubuntu as root it installs the package `chromium` (and says so);
elsewhere it goes on with what is there, and the browser tests say what they lack.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("chromium", "poppler-utils")
ROOT = Path(__file__).parent.parent


def main() -> int:
    """Install what is missing and can be installed; never fails, the tests will tell."""
    if os.environ.get("ENGINES") == "skip":
        print("browser: the system is left alone (ENGINES=skip)")
        return 0
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
            print("browser: installing Debian's chromium and poppler-utils for the browser tests")
            apt = ["apt-get", "-qq"]
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            _try([*apt, "update"], env)
            _try([*apt, "install", "-y", "--no-install-recommends", *PACKAGES], env)
        else:
            print("browser: no Chromium; next step: install Chromium for the browser tests")
    if not (ROOT / "node_modules" / "axe-core").is_dir():
        if shutil.which("npm"):
            _try(["npm", "ci", "--silent", "--no-audit", "--no-fund"], dict(os.environ))
        else:
            print("browser: no npm; next step: install Node.js for the accessibility tests")
    return 0


def _try(command: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        print(f"browser: {' '.join(command[:2])} failed: {last}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
