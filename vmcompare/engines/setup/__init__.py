"""Engines for the course: ``python -m vmcompare.engines.setup ensure`` (or ``stop``).

``ensure`` makes Docker and QEMU usable where that needs nobody's decision (root on Debian or
Ubuntu, as in a cloud classroom), and otherwise prints the one next step for each that is missing.
It never disturbs a Docker that runs already, and never fails: the course also works on recordings.
``ENGINES=skip`` in the environment leaves the system alone.

``stop`` ends only a daemon that ``ensure`` itself started.
"""

from __future__ import annotations

from vmcompare.engines.setup.carry_out import ensure
from vmcompare.engines.setup.daemon import stop
from vmcompare.engines.setup.decisions import Facts, Install, StartDocker, Step, Tell, plan, remedy
from vmcompare.engines.setup.system import DAEMON, facts

__all__ = [
    "DAEMON",
    "Facts",
    "Install",
    "StartDocker",
    "Step",
    "Tell",
    "ensure",
    "facts",
    "plan",
    "remedy",
    "stop",
]
