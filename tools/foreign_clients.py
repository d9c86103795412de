"""``python -m tools.foreign_clients -n 200``: do lessons end in a client that is not ours?

Runs the lessons by plain ``jupyter nbconvert --execute``, one after the other in turn and several
at a time, each with a time limit, and counts those that never ended, and those that failed. Nothing
is measured: the lessons replay recordings. What does not end in time is ended, with its kernel;
nobody else's processes are touched. Exit code 1 unless all of them ended well.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import psutil

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
AT_ONCE = 4
LIMIT_S = 300.0
"""Time (s) for one lesson. Four at a time on two slow processors take a tenth of it."""

GONE_S = 10.0


class Ending(StrEnum):
    """How an execution went."""

    ENDED = "ended"
    FAILED = "failed"
    HUNG = "never ended"


def execute(notebook: Path, limit_s: float = LIMIT_S) -> tuple[Ending, str]:
    """Execute one notebook by nbconvert; returns how it went, and the last line nbconvert said."""
    with tempfile.TemporaryDirectory(prefix="vmcompare-foreign-") as folder:
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"]
        command += ["--output-dir", folder, "--output", "executed", str(notebook)]
        log = Path(folder, "log")
        with log.open("wb") as said:
            client = psutil.Popen(command, env=_environment(Path(folder)), stdout=said, stderr=said)
        try:
            code = client.wait(limit_s)
        except psutil.TimeoutExpired:
            ending = Ending.HUNG
        else:
            ending = Ending.FAILED if code else Ending.ENDED
        finally:
            _end(client)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return ending, lines[-1] if lines else ""


def _environment(folder: Path) -> dict[str, str]:
    """Recordings only, and nothing of the person's own: no predictions, no configuration."""
    places = ("XDG_DATA_HOME", "XDG_STATE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")
    private = {name: str(folder / name.lower()) for name in (*places, "IPYTHONDIR")}
    return os.environ | private | {"VMCOMPARE_MODE": "replay"}


def _end(client: psutil.Popen) -> None:
    """End a client with all that it started, if it is still there."""
    family = [client]
    with contextlib.suppress(psutil.Error):
        family += client.children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, GONE_S)


def executions(
    count: int,
    notebooks: Sequence[Path] = NOTEBOOKS,
    limit_s: float = LIMIT_S,
    tell: Callable[[str], object] = print,
) -> Counter[Ending]:
    """Execute notebooks, each in its turn until there were ``count``; how many ended how."""
    found: Counter[Ending] = Counter()

    def one(notebook: Path) -> tuple[Path, Ending, str, float]:
        began_s = time.monotonic()
        ending, said = execute(notebook, limit_s)
        return notebook, ending, said, time.monotonic() - began_s

    with ThreadPoolExecutor(AT_ONCE) as pool:
        turns = itertools.islice(itertools.cycle(notebooks), count)
        for number, (notebook, ending, said, took_s) in enumerate(pool.map(one, turns), 1):
            found[ending] += 1
            why = f": {said}" if ending is Ending.FAILED else ""
            tell(f"{number:4} {notebook.stem}: {ending} ({took_s:.0f} s){why}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Execute lessons and say how many ended; 1 unless all did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("-n", type=int, default=len(NOTEBOOKS), help="executions in all")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds for each")
    arguments = parser.parse_args(argv)
    found = executions(arguments.n, limit_s=arguments.limit_s)
    print(", ".join(f"{found[ending]} {ending}" for ending in Ending))
    return 0 if found[Ending.ENDED] == arguments.n else 1


if __name__ == "__main__":
    sys.exit(main())
