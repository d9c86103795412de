"""Containers as Docker starts them: the product a learner knows, over its API.

The request sequence is the one ``docker run --rm -i --init`` makes (create, attach, wait for the
removal, start), so that what is timed is Docker and not this harness.

Three things remove a container: leaving its context; the end of its standard input, which we hold
open (its first program ends with that, and the engine removes it); and, for one that was created
but never started, :mod:`vmcompare.engines.cleanup`, by its label.
"""

from __future__ import annotations

from vmcompare.engines.docker.launcher import DockerLauncher, launchers, probe

__all__ = ["DockerLauncher", "launchers", "probe"]
