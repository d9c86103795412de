"""Containers as runc starts them: the mechanism below Docker, without the daemon and its shim.

``runc run --detach`` on a bundle of our own: the namespaces, capabilities, limits, masked and
read-only paths that Docker asks for, an empty network namespace (Docker's ``none``), the shared
Alpine userland read-only and a tmpfs on /tmp. Detached, because then nobody stays beside the
container: what is left running is what the kernel needs, as below Docker, where a shim stays.

What Docker has and this has not: a seccomp filter (its profile is the product's), a writable layer,
an init process (the first program is PID 1), a network.

Root only. The first program's standard input is the dead-man's switch; what runc keeps on disk lies
in a temporary directory that :mod:`vmcompare.engines.cleanup` knows, and so does it know the
cgroup.
"""

from __future__ import annotations

from vmcompare.engines.runc.launcher import RuncLauncher, launchers, probe

__all__ = ["RuncLauncher", "launchers", "probe"]
