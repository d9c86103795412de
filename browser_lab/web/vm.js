// A VM in its worker, and the three channels to it: console, commands of the page, beats.

// The same clock here and in every worker: milliseconds.
const now = () => performance.timeOrigin + performance.now();

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const PATIENCE_MS = 60_000;
function within(promise, otherwise) {
  return Promise.race([promise, wait(PATIENCE_MS).then(() => { throw new Error(otherwise); })]);
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < bytes.length; k += 1) bytes[k] = text.charCodeAt(k);
  return bytes;
}

// A part of the page as an ArrayBuffer; unpacked anew each time, so that none is held twice.
async function part(name) {
  const packed = document.getElementById(`part-${name}`);
  const bytes = bytesOf(packed.textContent.trim());
  if (packed.type === "application/zstd+base64") return bytes.buffer;  // v86 unpacks it itself
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).arrayBuffer();
}

let program = "";
async function workerAddress() {
  program ||= URL.createObjectURL(new Blob([await part("worker")], { type: "text/javascript" }));
  return program;
}

const BOOT = ["page", "emulator", "firmware", "kernel", "userland"];
const RESUME = ["page", "emulator", "memory", "answer"];

class VM extends EventTarget {
  // Events: "state", "phase", "console" (detail: text), "beat" (detail: {who, t}), "typed".
  constructor(name) {
    super();
    this.name = name;
    this.forget();
  }

  forget() {
    this.state = "off";  // off, starting, running, paused, dead
    this.resumed = false;
    this.clicked = 0;
    this.ends = [];  // when each phase of the start ended, ms
    this.silentSince = 0;
    this.waiting = [];
    this.asked = Promise.resolve();
    this.decoder = new TextDecoder();
  }

  get phases() { return this.resumed ? RESUME : BOOT; }
  get busy() { return this.state === "starting"; }
  get alive() { return this.state === "running"; }

  tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  become(state) {
    this.state = state;
    this.tell("state");
  }

  // Boot, or resume from the snapshot. Settles when the VM answers; rejects when it cannot start.
  async start(resumed) {
    this.end();
    this.forget();
    this.resumed = resumed;
    this.clicked = now();
    this.become("starting");
    try {
      const [address, wasm, bios, vga, last] = await Promise.all([
        workerAddress(), part("wasm"), part("bios"), part("vga"),
        part(resumed ? "snapshot" : "kernel"),
      ]);
      this.phaseEnded("page", now());
      const options = JSON.parse(document.getElementById("part-options").textContent);
      Object.assign(options, { bios: { buffer: bios }, vga_bios: { buffer: vga } });
      if (!resumed) options.bzimage = { buffer: last };
      const ready = this.line(resumed ? "@resumed" : "@ready");
      this.worker = new Worker(address);
      this.worker.onmessage = ({ data }) => this.heard(data);
      this.worker.onerror = (error) => this.fail(error.message);
      this.post({ task: "start", wasm, options, snapshot: resumed ? last : null });
      const { t } = await within(ready, `${this.name} did not start within a minute`);
      this.phaseEnded(this.phases.at(-1), t);
      this.become("running");
      await this.ask(`lab beat '${this.name}' &`);
    } catch (error) {
      this.end();
      throw error;
    }
  }

  phaseEnded(name, t) {
    if (this.ends.length !== this.phases.indexOf(name)) return;
    this.ends.push(t);
    this.tell("phase");
  }

  heard(message) {
    const { type, t } = message;
    if (type === "emulator") this.phaseEnded("emulator", t);
    else if (type === "running") this.runs(t);
    else if (type === "console") this.tell("console", this.decoder.decode(Uint8Array.from(message.bytes), { stream: true }));
    else if (type === "line" && message.port === 0) this.said(message.text, t);
    else if (type === "line") this.answered(message.text, t);
    else if (type === "memory") this.weighed?.(message.bytes);
  }

  runs(t) {
    if (this.state === "paused") this.become("running");
    if (!this.busy || !this.resumed) return;
    this.phaseEnded("memory", t);
    // All resumed VMs have the same memory; each gets random numbers and a clock of its own.
    const random = [...crypto.getRandomValues(new Uint32Array(8))].join("");
    this.send(1, `lab seed ${random}; date -s @${Math.round(Date.now() / 1000)} >/dev/null; echo @resumed\n`);
    this.send(0, "\n");
  }

  // The kernel's messages on the console.
  said(text, t) {
    if (/Linux version/.test(text)) this.phaseEnded("firmware", t);
    else if (/Run \/init as init process/.test(text)) this.phaseEnded("kernel", t);
    else if (/end Kernel panic/.test(text)) {
      this.silentSince = t;
      this.post({ task: "pause" });  // it would only spin
      this.fail(`the kernel of ${this.name} is dead`);
      this.become("dead");
    }
  }

  // A line for the page.
  answered(text, t) {
    if (text.startsWith("@beat ")) {
      this.tell("beat", { who: text.slice(6), t });
      return;
    }
    for (const wait of this.waiting) wait.lines.push({ text, t });
    const done = this.waiting.find((wait) => wait.until === text);
    if (!done) return;
    this.waiting.splice(this.waiting.indexOf(done), 1);
    done.resolve({ t, lines: done.lines.slice(0, -1) });
  }

  // Resolves to {t, lines} when the page is sent this line; lines are {text, t}.
  line(until) {
    return new Promise((resolve, reject) => { this.waiting.push({ until, lines: [], resolve, reject }); });
  }

  // What a command prints, as lines {text, t}. One command at a time.
  ask(command) {
    const answer = this.asked.then(() => {
      if (!this.alive) throw new Error(`${this.name} does not run`);
      const done = this.line("@done");
      this.send(1, `${command}${command.endsWith("&") ? "" : ";"} echo @done\n`);
      return done;
    });
    this.asked = answer.catch(() => null);
    return answer.then(({ lines }) => lines);
  }

  // As if it were typed on the console.
  type(text) {
    this.send(0, text);
    this.tell("typed");
  }

  // Bytes of the emulator's memory: the VM's own 32 MiB and what v86 needs beside it.
  memory() {
    return new Promise((resolve) => {
      this.weighed = resolve;
      this.post({ task: "memory" });
    });
  }

  pause() {
    if (!this.alive) return;
    this.post({ task: "pause" });
    this.become("paused");
  }

  go() { if (this.state === "paused") this.post({ task: "go" }); }

  // The worker ends, and all that is in it.
  end() {
    this.worker?.terminate();
    this.worker = null;
    this.fail(`${this.name} was ended`);
    if (this.state !== "off") this.become("off");
  }

  fail(why) {
    for (const wait of this.waiting.splice(0)) wait.reject(new Error(why));
  }

  send(port, text) { this.post({ task: "send", port, text }); }
  post(message) { this.worker?.postMessage(message); }
}
