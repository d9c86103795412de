"""How the browser lab is built: what is lacking is named, and what is made says nothing of us."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from pathlib import Path

import pytest

from browser_lab import __main__ as command
from browser_lab import kernel, packages, page
from vmcompare.errors import Unavailable


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer without flex and node, whose system is to be left alone."""
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda tool: None if tool in ("flex", "node") else which(tool) or "/bin/x"
    )
    monkeypatch.setattr(packages, "HEADERS", Path(__file__))
    monkeypatch.setenv("ENGINES", "skip")


def test_what_is_missing_to_build_it_is_named_in_one_sentence(lacking: None) -> None:
    with pytest.raises(Unavailable) as raised:
        packages.need_tools()
    said = str(raised.value)
    assert said.startswith("the browser lab cannot be built here: flex, nodejs missing. Next step:")
    assert said.endswith("apt-get install --no-install-recommends flex nodejs")


def test_the_command_ends_with_that_sentence_and_exit_code_1(
    lacking: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["browser_lab"])
    assert command.main() == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "flex, nodejs missing" in told.err


def test_its_policy_allows_one_script_webassembly_and_workers_and_no_request() -> None:
    policy = page.policy("1 + 1")
    digest = base64.b64encode(hashlib.sha256(b"1 + 1").digest()).decode()
    assert f"script-src 'sha256-{digest}' 'wasm-unsafe-eval';" in policy
    assert "'unsafe-eval'" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy  # so the default holds: none


def test_the_kernel_names_nobody_who_built_it() -> None:
    assert kernel.BUILT_BY["KBUILD_BUILD_USER"] == "vmcompare"
    assert kernel.BUILT_BY["KBUILD_BUILD_HOST"] == "browser-lab"


def test_every_file_of_the_vm_that_is_put_in_it_exists() -> None:
    for name in (*kernel.SCRIPTS, "facts", "motd", "kernel.config", "lab.c"):
        assert (kernel.GUEST / name).is_file()


def test_what_a_hand_step_types_is_a_line_that_a_console_takes() -> None:
    html = (page.WEB / "page.html.j2").read_text(encoding="utf-8")
    steps = re.findall(r'\{\{ hand_step\(.*, "([^"]*)"\) \}\}', html)
    assert len(steps) == 5
    for step in steps:
        assert all(len(line) < 256 for line in step.split("\\n"))
