"""Is the kernel that containers share this computer's, or that of a VM nobody saw start?"""

from __future__ import annotations

from collections.abc import Sequence

from vmcompare.experiments.shared_kernel.observer import Reading

_MAKERS = ("linuxkit", "microsoft", "wsl2")
"""In the release of the kernels that Docker Desktop and WSL2 boot in a VM of their own."""


def hidden_vm(host: Reading | None, containers: Sequence[Reading]) -> bool:
    """Whether the containers run under the kernel of a virtual machine the learner did not start.

    So it is when their boot id is not the host's; when there is no Linux host to ask (macOS,
    Windows); or when the kernel's release names the maker of such a VM. The last tells a session
    inside WSL2, which shares that VM's kernel itself.

    Args:
        host: the host's reading, where it runs Linux.
        containers: those of the containers.
    """
    if host is None or any(one.boot_id != host.boot_id for one in containers):
        return bool(containers)
    return any(maker in one.release.lower() for one in containers for maker in _MAKERS)
