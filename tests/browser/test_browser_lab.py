"""The browser lab, driven in Chromium and Firefox: a VM boots, is looked into, and dies."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_tools import ROOT, SCREENSHOTS, Open, missing, screenshot

from vmcompare import paths
from vmcompare.evidence.recording import read
from vmcompare.measuring import contributed

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

DRIVER = Path(__file__).parent / "lab_in.mjs"
MAX_BYTES = 12_000_000


@pytest.fixture(scope="session")
def lab_page() -> Path:
    """The page, where it was built."""
    page = paths.browser_lab_page()
    if not page.exists():
        missing("the browser lab was not built (make browser-lab)")
    return page


@pytest.fixture(scope="session", params=["chrome", "firefox"])
def seen(request: pytest.FixtureRequest, lab_page: Path) -> dict[str, Any]:
    """What was seen on a way through the whole page, in a browser."""
    names = {"chrome": ("chromium", "google-chrome"), "firefox": ("firefox-esr", "firefox")}
    found = next(filter(None, map(shutil.which, names[request.param])), None)
    if found is None:
        missing(f"{names[request.param][0]} is not on PATH (make browser-tools)")
    if not (ROOT / "node_modules/puppeteer-core").is_dir():
        missing("puppeteer-core is not installed (npm ci)")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    command = ["node", str(DRIVER), request.param, found, str(lab_page), str(SCREENSHOTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=840)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    print(f"{told['browser']}, load {told['load']:.1f}: {told['times_s']}; {told.get('starts')}")
    assert "error" not in told, (told["error"], told["complaints"])
    return told


class TestInBothBrowsers:
    def test_nothing_is_asked_for_and_nothing_complained_of(self, seen: dict[str, Any]) -> None:
        assert all(url.startswith(("file:", "blob:", "data:")) for url in seen["requests"])
        assert seen["complaints"] == []

    def test_a_second_in_the_vm_is_a_second(self, seen: dict[str, Any]) -> None:
        assert seen["slept_s"]["guest"] >= 0.98
        assert seen["slept_s"]["here"] >= 0.95

    def test_vm_1_and_its_containers_have_one_boot_id_and_vm_2_another(
        self, seen: dict[str, Any]
    ) -> None:
        ids = seen["boot_ids"]
        assert len(ids["VM 1"]) == 36
        assert ids["VM 1"] == ids["A"] == ids["B"] != ids["VM 2"]

    def test_a_container_sees_few_processes_and_the_vm_sees_them_too(
        self, seen: dict[str, Any]
    ) -> None:
        for name in ("A", "B"):
            assert int(seen["processes"][name]) <= 3
            assert seen["process_lists"][name].startswith("1:lab")
        assert int(seen["processes"]["VM 1"]) > 5

    def test_five_steps_give_a_shell_its_own_of_everything_but_a_kernel(
        self, seen: dict[str, Any]
    ) -> None:
        own = {"memory limit", "host name", "process list", "network", "files"}
        assert seen["hand"] == {**dict.fromkeys(own, True), "boot id": False}

    def test_a_container_weighs_less_than_the_vm_it_is_in(self, seen: dict[str, Any]) -> None:
        memory = seen["memory"]
        assert memory["VM 1"] > 32 * 2**20
        assert 0 < memory["A"] < 8 * 2**20

    def test_a_panic_silences_what_shares_the_kernel_and_nothing_else(
        self, seen: dict[str, Any]
    ) -> None:
        beats = seen["beats_after_panic"]
        assert (beats["VM 1"], beats["A"], beats["B"]) == (0, 0, 0)
        assert beats["VM 2"] > 0

    def test_predictions_are_set_beside_what_was_found(self, seen: dict[str, Any]) -> None:
        kernels, silent, ratio = seen["predictions"]
        assert kernels == silent == "✓ yes"
        assert ratio in ("✓ yes", "✗ no")

    def test_what_is_saved_is_a_good_recording_of_a_browser_alone(
        self, seen: dict[str, Any], tmp_path: Path
    ) -> None:
        run_id = json.loads(seen["recording"].splitlines()[0])["run_id"]
        path = tmp_path / f"{run_id}.jsonl"
        path.write_text(seen["recording"], encoding="utf-8")
        assert contributed.problems(path) == ()
        recording = read(path)
        assert {(row["platform"], row["accel"]) for row in recording.rows} == {
            ("browser-vm", "v86")
        }
        assert recording.host["details"]["browser"]["user_agent"].startswith("Mozilla/")
        facts = {row["phase"]: row["value"] for row in recording.rows if row["metric"] == "fact"}
        assert facts["VM 1, A and B have one boot id"] == 1
        assert facts["VM 2 beats within 3 s after the panic"] == 1
        assert facts["A beats within 3 s after the panic"] == 0


class TestThePage:
    def test_is_small_enough_to_hand_out_and_says_what_it_carries(self, lab_page: Path) -> None:
        assert lab_page.stat().st_size <= MAX_BYTES
        html = lab_page.read_text(encoding="utf-8")
        assert "unsafe-eval" not in html.replace("wasm-unsafe-eval", "")
        for name in (
            "v86",
            "linux-source-6.1",
            "busybox-static",
            "seabios",
            "Redistribution and use",
        ):
            assert name.casefold() in html.casefold()

    def test_boots_by_keyboard(self, open_page: Open, lab_page: Path) -> None:
        page = open_page(lab_page, width=1366)
        boot = page.get_by_role("button", name="Boot VM 1", exact=True)
        for _ in range(12):
            page.keyboard.press("Tab")
            if boot.evaluate("button => button === document.activeElement"):
                break
        page.keyboard.press("Enter")
        page.locator("#said-boot", has_text="VM 1 is booting.").wait_for(state="attached")
        page.locator('#vm1[data-state="running"]').wait_for(timeout=240_000)
        line = page.get_by_label("Command for VM 1")
        line.focus()
        page.keyboard.type("echo =$((6 * 7))=")
        page.keyboard.press("Enter")
        page.locator("#console-vm1").filter(has_text="=42=").wait_for(timeout=120_000)
        page.keyboard.press("ArrowUp")
        assert line.input_value() == "echo =$((6 * 7))="

    @pytest.mark.parametrize(
        ("width", "dark"), [(1366, False), (1366, True), (800, False), (360, False)]
    )
    def test_is_accessible_and_does_not_scroll_sideways(
        self,
        open_page: Open,
        axe: Callable[[Any], list[str]],
        lab_page: Path,
        width: int,
        dark: bool,
    ) -> None:
        page = open_page(lab_page, width=width, dark=dark)
        screenshot(page, f"browser-lab-{width}-{'dark' if dark else 'light'}")
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".lab-narrow").is_visible() is (width < 640)

    def test_what_cannot_be_done_yet_says_what_it_waits_for(
        self, open_page: Open, lab_page: Path
    ) -> None:
        page = open_page(lab_page, width=1366)
        for name in ("Start A", "Ask all four", "Make the kernel panic from A"):
            button = page.get_by_role("button", name=name)
            assert button.get_attribute("aria-disabled") == "true"
            assert button.get_attribute("title") == "boot VM 1 first"
        page.get_by_role("button", name="Ask all four").press("Enter")
        assert page.locator("#said-whose").inner_text() == "Not now: boot VM 1 first."
        assert page.get_by_label("Command for VM 1").get_attribute("placeholder") == "not running"
        page.get_by_role("button", name="Start A").press("Enter")
        page.get_by_role("button", name="Boot VM 1", exact=True).press("Enter")
        page.locator('#start-a[aria-disabled="false"]').wait_for(timeout=240_000)
        assert page.locator("#said-containers").inner_text() == ""
        page.locator("#hand-files").press("Enter")
        said = page.locator("#said-hand").inner_text()
        assert said == "Not now: take the steps before this one."

    def test_several_pasted_lines_are_several_commands(
        self, open_page: Open, lab_page: Path
    ) -> None:
        page = open_page(lab_page, width=1366)
        page.get_by_role("button", name="Boot VM 1", exact=True).click()
        page.locator('#vm1[data-state="running"]').wait_for(timeout=240_000)
        page.get_by_label("Command for VM 1").evaluate("""field => {
            const clipboardData = new DataTransfer();
            clipboardData.setData('text/plain', 'a=6\\necho =$((a * 7))=\\n');
            field.dispatchEvent(new ClipboardEvent('paste', {clipboardData, cancelable: true}));
        }""")
        page.locator("#console-vm1").filter(has_text="=42=").wait_for(timeout=120_000)

    def test_stands_still_while_it_is_hidden_for_long_and_goes_on_after(
        self, open_page: Open, lab_page: Path
    ) -> None:
        page = open_page(lab_page, width=1366)
        page.get_by_role("button", name="Resume VM 2").click()
        page.locator('#vm2[data-state="running"]').wait_for(timeout=240_000)
        page.evaluate("document.documentElement.dataset.hiddenLimitS = '0.2'")
        hide = """hidden => {
            Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
            document.dispatchEvent(new Event('visibilitychange'));
        }"""
        page.evaluate(hide, True)
        page.locator('#vm2[data-state="paused"]').wait_for(timeout=60_000)
        count = "Number(document.querySelector('[data-who=\"VM 2\"]').dataset.count)"
        still = -1
        for _ in range(40):  # beats that were on their way come first
            before, still = still, page.evaluate(count)
            if still == before:
                break
            page.wait_for_timeout(1500)
        assert still == before
        page.evaluate(hide, False)
        page.locator('#vm2[data-state="running"]').wait_for(timeout=60_000)
        page.locator(f'[data-who="VM 2"]:not([data-count="{still}"])').wait_for(timeout=60_000)
        assert page.locator("#paused").is_visible()

    def test_ends_its_workers_when_it_is_left(self, open_page: Open, lab_page: Path) -> None:
        page = open_page(lab_page, width=1366)
        page.get_by_role("button", name="Resume VM 2").click()
        page.locator('#vm2[data-state="running"]').wait_for(timeout=240_000)
        assert page.workers
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        page.locator('#vm2[data-state="off"]').wait_for(timeout=60_000)
        for _ in range(300):
            if not page.workers:
                break
            page.wait_for_timeout(200)
        assert page.workers == []
