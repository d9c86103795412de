"""Containers as Docker starts them: the product a learner knows, over its API.

The request sequence is the one ``docker run --rm -i --init`` makes (create, attach, wait for the
removal, start), so that what is timed is Docker and not this harness. Attaching comes before
starting, or the first byte could pass unseen.

Three things remove a container: leaving its context; the *dead-man switch* (its first program
blocks on the standard input that we hold open, so it ends when we do, and the engine removes it);
and :mod:`vmcompare.engines.cleanup`, by label, for one that was created but never started.
"""

from __future__ import annotations

from vmcompare.engines.docker.launcher import DockerLauncher, launchers, probe

__all__ = ["DockerLauncher", "launchers", "probe"]
