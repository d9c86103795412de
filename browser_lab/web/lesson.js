// The steps of the lesson: what each button does, what it says, what it notes.

const results = new Results();
const vm1 = new VM("VM 1");
const vm2 = new VM("VM 2");
const vms = [vm1, vm2];
const running = new Set();  // containers that beat

const say = (step, words) => { $(`said-${step}`).textContent = words; };

// A button that does its one thing once at a time, and says what went wrong.
const busy = new Set();
const stepOf = {};  // button → the step that it speaks in
function on(id, step, act) {
  stepOf[id] = step;
  $(id).addEventListener("click", async () => {
    if ($(id).getAttribute("aria-disabled") === "true") {
      if (!busy.has(id)) say(step, `Not now: ${$(id).title}.`);
      return;
    }
    busy.add(id);
    offer();
    try {
      await act();
    } catch (error) {
      const next = step === "resume" ? "Try it once more." : "If it stays so, boot VM 1 again and go on from there.";
      say(step, `That did not work: ${error.message}. ${next}`);
    }
    busy.delete(id);
    offer();
  });
}

// What can be done now. A button that cannot be used stays reachable, and says what it waits for.
function offer() {
  const both = running.has("A") && running.has("B");
  const typing = [...busy].some((id) => id === "look" || id.startsWith("hand-"));
  const waits = {
    boot: vm1.busy ? "VM 1 is starting" : "",
    resume: vm2.busy || vm2.alive ? "VM 2 runs" : "",
    "start-a": !vm1.alive ? "boot VM 1 first" : running.has("A") ? "A runs" : "",
    "start-b": !vm1.alive ? "boot VM 1 first" : running.has("B") ? "B runs" : "",
    ten: !vm1.alive ? "boot VM 1 first" : "",
    whose: !vm1.alive ? "boot VM 1 first" : !both ? "start A and B first" : "",
    weigh: !vm1.alive ? "boot VM 1 first" : "",
    look: !vm1.alive ? "boot VM 1 first" : typing ? "the shell is still busy" : "",
    panic: !vm1.alive ? "boot VM 1 first" : !running.has("A") ? "start A first" : "",
    save: results.rows.length ? "" : "nothing was measured yet",
  };
  // A hand step that is taken too early would change VM 1 itself.
  let taken = true;
  for (const step of Object.keys(HAND_STEPS)) {
    waits[`hand-${step}`] = waits.look || (taken ? "" : "take the steps before this one");
    taken &&= $(`hand-${step}`).closest("li").dataset.done === "true";
  }
  for (const [id, why] of Object.entries(waits)) {
    const wait = busy.has(id) ? "it is being done" : why;
    $(id).setAttribute("aria-disabled", String(Boolean(wait)));
    $(id).title = wait;
    if (!wait && $(`said-${stepOf[id]}`).textContent.startsWith("Not now:")) say(stepOf[id], "");
  }
  $("boot").textContent = ["off", "starting"].includes(vm1.state) ? "Boot VM 1" : "Boot VM 1 again";
}

// ---- the two VMs --------------------------------------------------------------------------------

const STATES = { off: "off", starting: "starting", running: "running", paused: "paused", dead: "kernel panic" };
const KEPT = 20_000;  // characters of a console

for (const [vm, at] of [[vm1, "vm1"], [vm2, "vm2"]]) {
  const screen = $(`console-${at}`);
  let text = "";
  let follows = true;  // until the reader scrolls up
  const down = () => { if (follows) screen.scrollTop = screen.scrollHeight; };
  screen.addEventListener("wheel", () => { follows = false; });
  screen.addEventListener("keydown", () => { follows = false; });
  screen.addEventListener("scroll", () => {
    follows ||= screen.scrollTop + screen.clientHeight >= screen.scrollHeight - 5;
  });
  new ResizeObserver(down).observe(screen);
  vm.addEventListener("console", ({ detail }) => {
    text = (text + detail).replaceAll(/\x1b\[[0-9;]*[A-Za-z]|\r/g, "").slice(-KEPT);
    screen.textContent = text;
    down();
  });
  vm.addEventListener("state", () => {
    if (vm.state === "starting") {
      screen.textContent = text = "";
      forgetBeats(vm === vm1 ? ["VM 1", "A", "B"] : ["VM 2"]);
    }
    $(`state-${at}`).textContent = STATES[vm.state];
    $(at).dataset.state = vm.state;
    field.placeholder = vm.alive ? "" : "not running";
    field.readOnly = !vm.alive;
    if (vm === vm1 && !["running", "paused"].includes(vm.state)) running.clear();
    offer();
  });
  vm.addEventListener("phase", () => drawPhases(vm));
  vm.addEventListener("beat", ({ detail }) => beat(detail.who, detail.t));
  // The line below the console: Enter sends it, the arrows bring earlier ones back, Ctrl-C goes through.
  const field = $(`line-${at}`);
  const sent = [];
  let back = 0;
  $(`form-${at}`).addEventListener("submit", (event) => {
    event.preventDefault();
    if (!vm.alive) return;
    back = sent.push(field.value);
    vm.type(`${field.value}\n`);
    field.value = "";
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) {
      back = Math.min(Math.max(back + step, 0), sent.length);
      field.value = sent[back] ?? "";
      event.preventDefault();
    }
    if (!event.ctrlKey || event.key.toLowerCase() !== "c" || !vm.alive) return;
    if (field.selectionStart !== field.selectionEnd) return;  // it copies
    event.preventDefault();
    vm.type("\x03");
  });
  // A field of one line would make one of several.
  field.addEventListener("paste", (event) => {
    const lines = event.clipboardData.getData("text").trimEnd().split(/\r?\n/);
    if (lines.length === 1 || !vm.alive) return;
    event.preventDefault();
    typeLines(vm, screen, lines).catch(() => null);
  });
}

// Each line once the shell asks for it. A program that the reader started may not end by itself.
async function typeLines(vm, screen, lines) {
  for (const line of lines) {
    await prompted(screen);
    vm.type(`${line}\n`);
  }
  await prompted(screen);
}

async function prompted(screen) {
  for (let tries = 0; tries < 50; tries += 1) {
    await wait(100);
    if (/[#>] $/.test(screen.textContent)) return;
  }
  throw new Error("the shell on the console does not answer; Ctrl-C there ends a program");
}

const owner = (who) => (who === "VM 2" ? vm2 : vm1);
setInterval(() => {
  for (const vm of vms) if (vm.busy) drawPhases(vm);
  drawBeats((who) => owner(who).state);
}, 100);

// ---- predictions --------------------------------------------------------------------------------

const found = {};  // question → what was found
function compare() {
  for (const question of ["kernels", "silent", "ratio"]) {
    const chosen = document.querySelector(`input[name=${question}]:checked`);
    const guess = chosen ? chosen.labels[0].textContent.trim() : "no prediction";
    $(`guess-${question}`).textContent = guess;
    $(`found-${question}`).textContent = found[question]?.words ?? "not measured yet";
    const right = found[question] && chosen ? found[question].choice === chosen.value : null;
    $(`right-${question}`).textContent = right === null ? "–" : right ? "✓ yes" : "✗ no";
  }
}
$("predictions").addEventListener("change", compare);

// ---- 1, 2: boot and resume ----------------------------------------------------------------------

function noteStart(vm, what) {
  const warmth = vm.resumed ? "clone" : "cold";
  results.note("duration_s", what, (vm.ends.at(-1) - vm.clicked) / 1000, { warmth });
  vm.phases.forEach((name, k) => {
    const from = k ? vm.ends[k - 1] : vm.clicked;
    results.note("duration_s", `${what}: ${PHASES[name]}`, Math.max(0, vm.ends[k] - from) / 1000, { warmth });
  });
}

on("boot", "boot", async () => {
  running.clear();
  forgetHand();
  say("boot", "VM 1 is booting.");
  await vm1.start(false);
  noteStart(vm1, "boot of VM 1");
  say("boot", `VM 1 runs, ${seconds(vm1.ends.at(-1) - vm1.clicked)} after the click. Its messages are on its console.`);
});

on("resume", "resume", async () => {
  say("resume", "VM 2 is being resumed.");
  await vm2.start(true);
  noteStart(vm2, "resume of VM 2");
  say("resume", `VM 2 answers, ${seconds(vm2.ends.at(-1) - vm2.clicked)} after the click. It goes on where it was frozen.`);
});

// ---- 3: containers ------------------------------------------------------------------------------

function firstBeat(who) {
  return new Promise((resolve) => {
    const listen = ({ detail }) => {
      if (detail.who !== who) return;
      vm1.removeEventListener("beat", listen);
      resolve(detail.t);
    };
    vm1.addEventListener("beat", listen);
  });
}

for (const name of ["A", "B"]) {
  const id = `start-${name.toLowerCase()}`;
  on(id, "containers", async () => {
    const clicked = now();
    const beats = firstBeat(name);
    await vm1.ask(`lab container ${name} /bin/lab beat ${name} &`);
    const t = await within(beats, `${name} does not beat`);
    running.add(name);
    results.note("duration_s", `start of container ${name}, from the click to its first beat`, (t - clicked) / 1000);
    say("containers", `${name} beats: ${seconds(t - clicked)} after the click.`);
  });
}

on("ten", "ten", async () => {
  say("ten", "Ten starts of each are being timed.");
  const series = {};
  for (const what of ["process", "container"]) {
    const lines = await vm1.ask(`lab start ${what} 10`);
    const go = lines.filter(({ text }) => text === "@go");
    const byte = lines.filter(({ text }) => text === "@byte");
    if (go.length !== 10 || byte.length !== 10) throw new Error(`only ${byte.length} of 10 answered`);
    series[what] = byte.map(({ t }, k) => t - go[k].t);
    for (const ms of series[what]) results.note("duration_s", `start of a ${what} in VM 1`, ms / 1000);
  }
  drawStarts(series);
  const ratio = median(series.container) / median(series.process);
  const words = `${Number(ratio.toPrecision(2))} times as long`;
  found.ratio = { words, choice: ratio < 2 ? "under-2" : ratio < 5 ? "2-5" : ratio < 20 ? "5-20" : "over-20" };
  say("ten", `In the middle (median), a container took ${words} as a process: ${seconds(median(series.container))} and ${seconds(median(series.process))}.`);
  compare();
});

// ---- 4: whose kernel? ---------------------------------------------------------------------------

function facts(lines) {
  const pairs = lines.map(({ text }) => text.split("=")).filter((pair) => pair.length === 2);
  return Object.fromEntries(pairs);
}

const QUESTIONS = {
  release: "kernel release", "boot id": "boot id", uptime: "seconds since the boot",
  processes: "processes it sees", "process list": "which ones",
};

on("whose", "whose", async () => {
  say("whose", "Each of them is being asked.");
  const seen = { "VM 1": facts(await vm1.ask("facts")) };
  for (const name of ["A", "B"]) seen[name] = facts(await vm1.ask(`enter ${name} facts`));
  if (vm2.alive) seen["VM 2"] = facts(await vm2.ask("facts"));
  const names = Object.keys(seen);
  $("kernels-head").replaceChildren(element("td"), ...names.map((name) => element("th", { scope: "col" }, name)));
  const ids = names.map((name) => seen[name]["boot id"]);
  const kernels = [...new Set(ids)];
  $("kernels").replaceChildren(...Object.entries(QUESTIONS).map(([fact, words]) => element("tr", { "data-fact": fact },
    element("th", { scope: "row" }, words),
    ...names.map((name) => {
      const value = seen[name][fact] ?? "–";
      const shown = fact === "boot id" ? `kernel ${kernels.indexOf(value) + 1}: ${value.slice(0, 8)}…` : value;
      return element("td", { "data-who": name, "data-value": value, class: fact === "boot id" ? `kernel-${kernels.indexOf(value) + 1}` : "" }, shown);
    }))));
  $("kernels").closest("figure").hidden = false;
  for (const name of names) {
    results.note("observation", `boot id of ${name}`, 1, { text: seen[name]["boot id"] });
    results.note("item_count", `processes that ${name} sees`, Number(seen[name].processes));
  }
  const shared = new Set(ids.slice(0, 3)).size === 1;
  results.note("fact", "VM 1, A and B have one boot id", Number(shared));
  if (names.includes("VM 2")) {
    results.note("fact", "VM 2 has a boot id of its own", Number(!ids.slice(0, 3).includes(ids[3])));
    found.kernels = { words: `${kernels.length} boot ids, so ${kernels.length} kernels`, choice: String(kernels.length) };
    say("whose", `Four answers, ${kernels.length} boot ids: ${kernels.length} kernels.`);
    $("drawn-kernels").removeAttribute("hidden");
  } else {
    say("whose", `Three answers, ${kernels.length} boot id. Resume VM 2 in step 2, then ask again.`);
  }
  compare();
});

// ---- 5: a container by hand ---------------------------------------------------------------------

// Hand step → the fact by which one sees that it was taken. What to type stands on the page.
const HAND_STEPS = {
  limit: "memory limit", name: "host name", processes: "process list", network: "network",
  files: "files",
};
let hand = null;  // what the shell on the console saw last

function forgetHand() {
  hand = null;
  $("hand").closest("figure").hidden = true;
  for (const step of Object.keys(HAND_STEPS)) {
    $(`hand-${step}`).closest("li").dataset.done = "false";
    $(`now-${step}`).textContent = "";
  }
}

// Looks at the shell on the console; returns the facts in which it differs from VM 1.
async function look() {
  const host = facts(await vm1.ask("facts"));
  const shell = facts(await vm1.ask("hand"));
  if (!host["boot id"] || !shell["boot id"]) throw new Error("the shell on the console cannot be looked at");
  host["memory limit"] = "none";
  const before = hand ?? shell;
  hand = shell;
  const shown = (fact) => (fact === "memory limit" && shell[fact] > 0 ? size(Number(shell[fact])) : shell[fact] ?? "–");
  const rows = [...Object.values(HAND_STEPS), "boot id"];
  const own = [];
  $("hand").replaceChildren(...rows.map((fact) => {
    const mine = shell[fact] ?? "–";
    // Two lists of one view differ, too. What beats for VM 1 is in its list, and in no narrower one.
    const narrow = (list) => Boolean(list) && !list.includes(":lab");
    const differs = fact === "process list" ? narrow(mine) : mine !== host[fact];
    if (differs) own.push(fact);
    const verdict = fact === "boot id" ? (differs ? "another kernel" : "the same kernel") : differs ? "its own" : "VM 1's";
    const changed = fact === "process list" ? narrow(mine) !== narrow(before[fact]) : mine !== before[fact];
    return element("tr", { "data-fact": fact, "data-own": String(differs), class: changed ? "changed" : "" },
      element("th", { scope: "row" }, fact), element("td", {}, host[fact] ?? "–"), element("td", {}, shown(fact)),
      element("td", {}, verdict));
  }));
  $("hand").closest("figure").hidden = false;
  for (const [step, fact] of Object.entries(HAND_STEPS)) {
    const taken = own.includes(fact);
    $(`hand-${step}`).closest("li").dataset.done = String(taken);
    $(`now-${step}`).textContent = taken ? `${fact}: ${host[fact]} in VM 1, ${shown(fact)} in your shell` : "";
  }
  const left = Object.values(HAND_STEPS).length - own.filter((fact) => fact !== "boot id").length;
  say("hand", left ? `Of the five, your shell has ${own.length} of its own now.` : "All five are its own. The kernel is still VM 1's: this is a container.");
  if (!left) results.note("fact", "a container made by hand has the boot id of VM 1", Number(shell["boot id"] === host["boot id"]));
  return own;
}

for (const [step, fact] of Object.entries(HAND_STEPS)) {
  on(`hand-${step}`, "hand", async () => {
    const lines = $(`hand-${step}`).closest("li").querySelector("pre").textContent.split("\n");
    await typeLines(vm1, $("console-vm1"), lines);
    for (let tries = 0; tries < 5; tries += 1) {
      if ((await look()).includes(fact)) return;
      await wait(500);
    }
    say("hand", "This step changed nothing. What does the console say? exit goes one step back.");
  });
}
on("look", "hand", look);

// ---- 6: memory ----------------------------------------------------------------------------------

on("weigh", "weigh", async () => {
  const rows = [];
  for (const vm of vms.filter(({ alive }) => alive)) {
    rows.push([vm.name, "v86 holds for it in this tab", await vm.memory()]);
  }
  const lines = await vm1.ask("read name total unit </proc/meminfo; echo total=$total; for g in A B; do [ -d /sys/fs/cgroup/$g ] && read m </sys/fs/cgroup/$g/memory.current && echo $g=$m; done");
  const inside = facts(lines);
  for (const name of ["A", "B"]) if (inside[name]) rows.push([name, "VM 1's kernel counts for it", Number(inside[name])]);
  rows.push(["VM 1, inside", "its kernel can give to programs", Number(inside.total) * 1024]);
  $("memory").replaceChildren(...rows.map(([who, what, bytes]) => element("tr", { "data-who": who, "data-bytes": String(bytes) },
    element("th", { scope: "row" }, who), element("td", {}, what), element("td", { class: "number" }, size(bytes)))));
  $("memory").closest("figure").hidden = false;
  for (const [who, what, bytes] of rows) results.note("part_bytes", `${who}: ${what}`, bytes);
  const [, , held] = rows[0];
  const a = rows.find(([who]) => who === "A");
  say("weigh", a ? `VM 1 keeps ${size(held)} of this tab, A ${size(a[2])} of VM 1.` : `VM 1 keeps ${size(held)} of this tab. Start A and B in step 3, and weigh again.`);
});

// ---- 7: panic -----------------------------------------------------------------------------------

on("panic", "panic", async () => {
  say("panic", "A asks the kernel to crash.");
  const before = new Map([...beats].map(([who, { count }]) => [who, count]));
  const sent = now();
  const dead = new Promise((resolve) => {
    const listen = () => {
      if (vm1.state !== "dead") return;
      vm1.removeEventListener("state", listen);
      resolve();
    };
    vm1.addEventListener("state", listen);
  });
  vm1.ask("enter A sh -c 'echo c > /proc/sysrq-trigger'").catch(() => null);
  await within(dead, "the kernel did not crash");
  const counts = new Map([...beats].map(([who, { count }]) => [who, count]));
  say("panic", "VM 1's kernel is dead. Watch the beats.");
  await wait(3000);
  const silent = [...counts].filter(([who, count]) => beats.get(who).count === count).map(([who]) => who);
  const beating = [...counts.keys()].filter((who) => !silent.includes(who));
  results.note("duration_s", "panic: from the request to the kernel's last line", (vm1.silentSince - sent) / 1000);
  for (const who of counts.keys()) results.note("fact", `${who} beats within 3 s after the panic`, Number(beating.includes(who)));
  const all = before.has("B") && before.has("VM 2");
  const words = `${silent.join(", ")} fell silent${beating.length ? `; ${beating.join(", ")} beats on` : ""}`;
  if (all) found.silent = { words, choice: silent.length === 4 ? "all" : silent.length === 3 ? "vm1" : silent.length === 2 ? "ab" : "a" };
  say("panic", `${words}.${all ? "" : " With B and VM 2 running you would see more: boot VM 1 again."}`);
  compare();
});

// ---- save ---------------------------------------------------------------------------------------

results.changed = () => {
  $("rows").textContent = `${results.rows.length} values so far.`;
  $("recording").value = results.lines();
  $("save").title = "";
  $("save").setAttribute("aria-disabled", "false");
};
on("save", "save", () => {
  const address = URL.createObjectURL(new Blob([results.lines()], { type: "application/x-ndjson" }));
  element("a", { href: address, download: `${results.runId}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  say("save", `Saved as ${results.runId}.jsonl, where your browser puts downloads. If it did not, copy the text below into a file of that name.`);
});

// ---- when nobody looks --------------------------------------------------------------------------

// VMs take a processor even when nobody looks: hidden for long, they stand still; closed, they end.
const limit = () => Number(document.documentElement.dataset.hiddenLimitS) * 1000;
let timer = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) {
    timer = setTimeout(() => { for (const vm of vms) vm.pause(); }, limit());
    return;
  }
  if (vms.some((vm) => vm.state === "paused")) $("paused").hidden = false;
  for (const vm of vms) vm.go();
});
addEventListener("pagehide", () => { for (const vm of vms) vm.end(); });

offer();
compare();
