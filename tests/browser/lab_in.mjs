// node lab_in.mjs chrome|firefox EXECUTABLE PAGE [SHOTS]: go through the browser lab as a reader does,
// and print what was seen as JSON. Chromium and Firefox alike, over WebDriver BiDi.
import fs from "node:fs";
import os from "node:os";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [, , browserName, executablePath, pagePath, shots] = process.argv;
const COLD_MS = 240_000;
const RESUME_MS = 240_000; // printed with the load; on an idle computer about one second
const STEP_MS = 120_000;
const root = process.getuid?.() === 0;
const args = browserName === "chrome" ? ["--disable-gpu", "--no-first-run", ...(root ? ["--no-sandbox"] : [])] : [];
const browser = await puppeteer.launch({
  browser: browserName, executablePath, headless: true, args, protocolTimeout: 300_000,
  defaultViewport: { width: 1366, height: 768 },
});
const seen = { browser: await browser.version(), requests: [], complaints: [], times_s: {} };
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

try {
  const page = await browser.newPage();
  page.on("request", (request) => seen.requests.push(request.url().slice(0, 100)));
  page.on("console", (said) => seen.complaints.push(said.text()));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.goto(pathToFileURL(pagePath).href);

  const text = (selector) => page.$eval(selector, (found) => found.textContent);
  const until = async (what, ms, check) => {
    const began = Date.now();
    while (!(await check())) {
      if (Date.now() - began > ms) {
        const said = await page.$$eval(".lab-said", (all) => all.map((one) => one.textContent));
        const consoles = await page.$$eval(".lab-vm pre", (all) => all.map((one) => one.textContent.slice(-500)));
        throw new Error(`${what} was not seen within ${ms / 1000} s; the page says: ${said.filter(Boolean).join(" | ")}; the consoles end: ${consoles.join(" | ")}`);
      }
      await wait(100);
    }
    return (Date.now() - began) / 1000;
  };
  // Clicked by script: what lies under a pointer is a matter of other tests.
  const click = async (id) => {
    await until(`#${id} ready`, STEP_MS, () => page.$eval(`#${id}`, (b) => b.getAttribute("aria-disabled") === "false"));
    await page.$eval(`#${id}`, (button) => button.click());
  };
  const state = (at, wanted) => async () => (await page.$eval(`#${at}`, (vm) => vm.dataset.state)) === wanted;
  const done = (id) => until(`the end of ${id}`, STEP_MS, () => page.$eval(`#${id}`, (b) => b.title !== "it is being done"));
  const counts = () => page.$$eval("#beats tr", (rows) => Object.fromEntries(rows.map((row) => [row.dataset.who, Number(row.dataset.count)])));
  const shot = (name) => (shots ? page.screenshot({ path: `${shots}/browser-lab-${browserName}-${name}.png` }) : null);

  for (const choice of ["kernels-2", "silent-vm1", "ratio-5-20"]) await page.$eval(`#${choice}`, (radio) => radio.click());

  await click("boot");
  seen.times_s.boot = await until("VM 1", COLD_MS, state("vm1", "running"));
  await shot("booted");
  await click("resume");
  seen.times_s.resume = await until("VM 2", RESUME_MS, state("vm2", "running"));
  for (const id of ["start-a", "start-b", "ten", "whose"]) {
    await click(id);
    seen.times_s[id] = await done(id);
  }
  seen.starts = await page.$eval("#starts", (svg) => svg.getAttribute("aria-label"));
  const row = (fact) => page.$$eval(`#kernels tr[data-fact="${fact}"] td`, (cells) => Object.fromEntries(cells.map((cell) => [cell.dataset.who, cell.dataset.value])));
  seen.boot_ids = await row("boot id");
  seen.processes = await row("processes");
  seen.process_lists = await row("process list");
  await shot("kernels");

  const began = Date.now();
  await page.type("#line-vm1", "read a b </proc/uptime; sleep 1; read c d </proc/uptime; echo slept=$a=$c");
  await page.focus("#line-vm1");
  await page.keyboard.press("Enter");
  await until("the end of sleep", STEP_MS, async () => /slept=\d/.test(await text("#console-vm1")));
  const slept = /slept=([\d.]+)=([\d.]+)/.exec(await text("#console-vm1"));
  seen.slept_s = { guest: slept[2] - slept[1], here: (Date.now() - began) / 1000 };

  for (const id of ["hand-limit", "hand-name", "hand-processes", "hand-network", "hand-files"]) {
    await click(id);
    seen.times_s[id] = await done(id);
  }
  seen.hand = await page.$$eval("#hand tr", (rows) => Object.fromEntries(rows.map((one) => [one.dataset.fact, one.dataset.own === "true"])));
  await shot("hand");
  await click("weigh");
  await done("weigh");
  seen.memory = await page.$$eval("#memory tr", (rows) => Object.fromEntries(rows.map((one) => [one.dataset.who, Number(one.dataset.bytes)])));

  await click("panic");
  seen.times_s.panic = await done("panic");
  const before = await counts();
  await wait(5000);
  const after = await counts();
  seen.beats_after_panic = Object.fromEntries(Object.keys(after).map((who) => [who, after[who] - before[who]]));
  seen.said = await page.$$eval(".lab-said", (all) => all.map((one) => one.textContent));
  seen.predictions = await page.$$eval('[id^="right-"]', (cells) => cells.map((cell) => cell.textContent));
  await shot("panic");
  if (shots) await page.screenshot({ path: `${shots}/browser-lab-${browserName}-whole.png`, fullPage: true });
  seen.recording = await page.$eval("#recording", (area) => area.value);

  // Once more: a dead VM can be booted again.
  await click("boot");
  seen.times_s.again = await until("VM 1 again", COLD_MS, state("vm1", "running"));
} catch (error) {
  seen.error = String(error);
} finally {
  await browser.close();
}
seen.load = os.loadavg()[0];
fs.writeSync(1, JSON.stringify(seen));
