"""Running a notebook in a kernel of its own, of this interpreter, that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from vmcompare.engines import child_python, cleanup
from vmcompare.errors import VmcompareError
from vmcompare.handout import HandoutError
from vmcompare.measuring.mode import EDITION_ENV, HANDOUT_ENV, PROGRESS_ENV

T = TypeVar("T")

STARTUP_TIMEOUT_S = 60
ATTEMPTS = 2
PROGRESS_S = 0.5  # how often the progress of a long cell is looked at
_KERNEL = "vmcompare"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SOCKET_PATH_MAX = 107 - len("/ipc-5")  # of a Unix socket's 108 bytes, with the final zero


def command() -> list[str]:
    return child_python.command("ipykernel_launcher", "-f", "{connection_file}")


async def execute(
    content: nbformat.NotebookNode,
    notebook: Path,
    *,
    edition: str,
    timeout_s: float,
    progress: Callable[[str], None],
) -> None:
    """Run all code cells of ``content`` in place; without any, no kernel is started.

    Raises ``HandoutError``: a file beside it hides a module, the kernel did not start or died, a
    cell failed, or time ran out.
    """
    try:
        child_python.refuse(notebook.resolve().parent)
    except child_python.HiddenModule as error:
        raise HandoutError(notebook, str(error)) from error
    cells = [(i, c) for i, c in enumerate(content.cells) if c.cell_type == "code" and c.source]
    if not cells:
        return
    client = NotebookClient(content, timeout=None, store_widget_state=False)
    try:
        async with (
            asyncio.timeout(timeout_s),
            _kernel(client, notebook, edition) as told,
            _followed(told, progress),
        ):
            await _run_cells(client, cells, notebook, progress)
    except HandoutError:
        raise
    except TimeoutError as error:
        raise HandoutError(notebook, f"it took more than {timeout_s:g} s") from error
    except (VmcompareError, OSError) as error:
        why = str(error) if isinstance(error, VmcompareError) else error.strerror
        raise HandoutError(notebook, f"its kernel could not be started ({why})") from error


async def _run_cells(
    client: NotebookClient,
    cells: Sequence[tuple[int, nbformat.NotebookNode]],
    notebook: Path,
    progress: Callable[[str], None],
) -> None:
    for number, (index, cell) in enumerate(cells, start=1):
        progress(f"cell {number} of {len(cells)}")
        first = cell.source.strip().partition("\n")[0]
        try:
            await client.async_execute_cell(cell, index, execution_count=number)
        except CellExecutionError as error:
            what = f"{error.ename}: {_ANSI.sub('', error.evalue).strip()}"
            # The line of the cell itself that the traceback points at: the first "----> 1 …".
            found = re.search(r"^-+> ?\d+ (.*)$", _ANSI.sub("", str(error)), flags=re.MULTILINE)
            line = found[1].strip() if found else ""
            raise HandoutError(notebook, what, cell=first, line=line) from error
        except CellTimeoutError as error:
            raise HandoutError(notebook, "it took too long", cell=first) from error
        except DeadKernelError as error:
            # nbclient takes our own cancellation (Ctrl-C, time out) for the kernel's death.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error
            raise HandoutError(notebook, "the kernel died", cell=first) from error


@asynccontextmanager
async def _followed(path: Path, progress: Callable[[str], None]) -> AsyncIterator[None]:
    """Pass on what a long cell writes into ``path`` while it runs."""

    async def follow() -> None:
        said = ""
        while True:
            await asyncio.sleep(PROGRESS_S)
            line = path.read_text(encoding="utf-8") if path.exists() else ""
            if line and line != said:
                said = line
                progress(line)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()


@asynccontextmanager
async def _kernel(client: NotebookClient, notebook: Path, edition: str) -> AsyncIterator[Path]:
    """A started kernel behind ``client``, and the file in which long cells tell their progress."""
    environment = cleanup.marked(child_python.environment())
    environment |= {HANDOUT_ENV: "1", EDITION_ENV: edition}
    console = ""
    for _ in range(ATTEMPTS):
        with _short_directory() as directory:
            told = directory / "progress"
            manager = _manager(directory)
            try:
                with (directory / "log").open("wb") as log:
                    await manager.start_kernel(
                        env=environment | {PROGRESS_ENV: str(told)},
                        cwd=str(notebook.resolve().parent),
                        stdout=log,
                        stderr=log,
                    )
                kernel_client = manager.client()
                kernel_client.start_channels()
                try:
                    try:
                        await kernel_client.wait_for_ready(timeout=STARTUP_TIMEOUT_S)
                    except RuntimeError:  # it died, or did not answer
                        console = (directory / "log").read_text(encoding="utf-8", errors="replace")
                        continue
                    kernel_client.allow_stdin = False
                    client.km, client.kc = manager, kernel_client
                    client.reset_execution_trackers()
                    yield told
                    return
                finally:
                    kernel_client.stop_channels()
            finally:
                # Shielded: a second request to stop must not leave the kernel behind.
                await asyncio.shield(_shut_down(manager))
    last = console.strip().splitlines()[-1:]
    why = f": {last[0]}" if last else f" within {STARTUP_TIMEOUT_S} s"
    raise HandoutError(notebook, f"its kernel did not start, not even at a second try{why}")


async def _shut_down(manager: AsyncKernelManager) -> None:
    if manager.has_kernel:
        await manager.shutdown_kernel(now=True)
    manager.cleanup_connection_file()


def _manager(directory: Path) -> AsyncKernelManager:
    spec = directory / "kernels" / _KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    # IPython's profile and history lie there too: a page depends on no home, nor on what is in it.
    described = {
        "argv": command(),
        "display_name": "vmcompare handout",
        "language": "python",
        "env": {"IPYTHONDIR": str(directory / "ipython")},
    }
    spec.write_text(json.dumps(described), encoding="utf-8")
    specs = KernelSpecManager(kernel_dirs=[str(spec.parent.parent)])
    settings: dict[str, Any] = {}
    if sys.platform != "win32":
        # TCP ports are picked before they are bound: two exports at once may pick the same.
        settings = {"transport": "ipc", "ip": str(directory / "ipc")}
    return AsyncKernelManager(
        kernel_name=_KERNEL,
        kernel_spec_manager=specs,
        connection_file=str(directory / "connection.json"),
        **settings,
    )


@contextmanager
def _short_directory() -> Iterator[Path]:
    """A new private directory whose socket paths fit what the system allows."""
    with ExitStack() as stack:
        directory = stack.enter_context(cleanup.folder())
        if len(os.fsencode(directory)) > _SOCKET_PATH_MAX and sys.platform != "win32":
            directory = stack.enter_context(cleanup.folder(Path("/tmp")))
        yield directory


def wait_for(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end, in a thread of its own; interrupted, it is cancelled and ends in order.

    An event loop may be running in this thread already (a notebook, Playwright). And a signal, by
    which Python interrupts the main thread wherever it is, must not strike inside an event loop.
    """
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()

    async def noted() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result((asyncio.get_running_loop(), task))
        return await run()

    with cleanup.guard(), ThreadPoolExecutor(max_workers=1) as pool:
        done = pool.submit(lambda: asyncio.run(noted()))
        try:
            return done.result()
        except KeyboardInterrupt:
            loop, task = begun.result()
            loop.call_soon_threadsafe(task.cancel)
            raise  # leaving the pool waits until the kernel has gone
