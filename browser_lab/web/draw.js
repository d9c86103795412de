// Pictures that change while something happens: the phases of a start, the beats, ten starts.

const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svgElement(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Three significant digits, as everywhere in the course.
function seconds(ms) {
  const [value, unit] = ms < 999.5 ? [ms, "ms"] : [ms / 1000, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

function size(bytes) {
  const [value, unit] = bytes < 2 ** 20 ? [bytes / 1024, "KiB"] : [bytes / 2 ** 20, "MiB"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

const PHASES = {
  page: "the page unpacks what it carries",
  emulator: "v86 starts: the empty computer",
  firmware: "firmware runs, the kernel unpacks itself",
  kernel: "the kernel starts",
  userland: "the first programs start",
  memory: "the frozen memory is put back",
  answer: "the VM answers",
};

// The bar of one start: a part for each phase, as wide as it took; the last one grows.
function drawPhases(vm) {
  const bar = $(vm.resumed ? "bar-resume" : "bar-boot");
  const rows = $(vm.resumed ? "phases-resume" : "phases-boot");
  bar.closest("figure").hidden = false;
  const growing = vm.busy && vm.ends.length < vm.phases.length;
  const ends = growing ? [...vm.ends, now()] : vm.ends;
  bar.replaceChildren(...ends.map((end, k) => {
    const part = element("span", { class: `phase-${k + 1}` }, String(k + 1));
    part.style.flexGrow = String(Math.max(1, end - (k ? ends[k - 1] : vm.clicked)));
    return part;
  }));
  rows.replaceChildren(...vm.phases.map((name, k) => {
    const took = k < ends.length ? seconds(ends[k] - (k ? ends[k - 1] : vm.clicked)) : "";
    const here = growing && k === ends.length - 1;
    return element("li", {}, `${PHASES[name]}: `, element("b", {}, here ? `${took} so far` : took || "–"));
  }));
}

// One row for each who beats: a mark a beat, over the last 15 seconds.
const BEATS_MS = 15_000;
const SILENT_MS = 1500;
const beats = new Map();  // who → {row, strip, state, times, count}

function beat(who, t) {
  if (!beats.has(who)) {
    const strip = svgElement("svg", { viewBox: "0 0 300 16", preserveAspectRatio: "none", "aria-hidden": "true" });
    const state = element("td", {}, "");
    const row = element("tr", { "data-who": who }, element("th", { scope: "row" }, who), element("td", {}, strip), state);
    beats.set(who, { row, strip, state, times: [], count: 0 });
    const order = ["VM 1", "A", "B", "VM 2"];
    $("beats").replaceChildren(...order.filter((name) => beats.has(name)).map((name) => beats.get(name).row));
    $("no-beats").hidden = true;
  }
  const known = beats.get(who);
  known.times.push(t);
  known.count += 1;
}

function forgetBeats(names) {
  for (const name of names) {
    beats.get(name)?.row.remove();
    beats.delete(name);
  }
}

// Whether somebody has been silent for long; those whose VM is paused or gone are not drawn as such.
function drawBeats(stateOf) {
  const right = now();
  for (const [who, known] of beats) {
    known.times = known.times.filter((t) => right - t < BEATS_MS);
    known.strip.replaceChildren(...known.times.map((t) => svgElement("rect", {
      x: String(300 - ((right - t) / BEATS_MS) * 300), y: "2", width: "2.5", height: "12",
    })));
    const vm = stateOf(who);
    const quiet = !known.times.length || right - known.times.at(-1) > SILENT_MS;
    const state = { paused: "paused", off: "ended", starting: "ended" }[vm] ?? (quiet ? "silent" : "beats");
    if (known.state.textContent !== state) known.state.textContent = state;
    known.row.className = state === "silent" ? "silent" : "";
    known.row.dataset.count = String(known.count);
    known.row.dataset.state = state;
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// Rows of marks on one axis from zero: name → times in ms.
function drawStarts(series) {
  const largest = Math.max(...Object.values(series).flat());
  const x = (value) => 110 + (value / largest) * 370;
  const drawing = [];
  Object.entries(series).forEach(([name, values], row) => {
    const y = 28 + row * 46;
    const label = svgElement("text", { x: "0", y: String(y + 5) });
    label.textContent = name;
    drawing.push(label, svgElement("line", { x1: "110", x2: "490", y1: String(y), y2: String(y) }));
    values.forEach((value) => drawing.push(svgElement("circle", { cx: String(x(value)), cy: String(y), r: "5" })));
    const middle = x(median(values));
    drawing.push(svgElement("rect", { x: String(middle - 2), y: String(y - 13), width: "4", height: "26" }));
    const text = svgElement("text", { x: "500", y: String(y + 5) });
    text.textContent = seconds(median(values));
    drawing.push(text);
  });
  $("starts").replaceChildren(...drawing);
  $("starts").setAttribute("aria-label", Object.entries(series).map(([name, values]) => (
    `${name}: median ${seconds(median(values))}, from ${seconds(Math.min(...values))} `
    + `to ${seconds(Math.max(...values))}`)).join("; "));
  $("starts").closest("figure").hidden = false;
}
