// What was measured in this tab, as rows of a recording that `vmcompare check` takes.

const UNITS = {
  duration_s: "s", part_bytes: "bytes", item_count: "count", fact: "bool", observation: "bool",
};
const versions = JSON.parse(document.getElementById("part-versions").textContent);
const hex = (digits) => [...crypto.getRandomValues(new Uint8Array(digits / 2))]
  .map((byte) => byte.toString(16).padStart(2, "0")).join("");

class Results {
  constructor() {
    this.started = new Date();
    const second = this.started.toISOString().slice(0, 19);
    this.startedUtc = `${second}Z`;
    this.runId = `${second.replaceAll(/[-:]/g, "")}Z-${hex(6)}`;
    this.hostId = hex(12);  // of this page's life: a browser tells no name, and need not
    this.rows = [];
    this.changed = () => {};
  }

  // One row. `phase` names what the value is of; how often it was noted before is its repetition.
  note(metric, phase, value, { warmth = "cold", text = "" } = {}) {
    const rep = this.rows.filter((row) => row.metric === metric && row.phase === phase).length;
    this.rows.push({
      kind: "row", ts_utc: new Date().toISOString(), platform: "browser-vm", metric, value,
      unit: UNITS[metric], status: "ok", provenance: "measured", block: 0, rep, is_warmup: false,
      layer: "mechanism", warmth, vmm: `v86 ${versions.v86}`, accel: "v86",
      guest_kernel: versions.kernel, mem_limit_mib: versions.memory_mib, phase, text,
    });
    this.changed();
  }

  // The file: one JSON object a line.
  lines() {
    const host = {
      host_id: this.hostId,
      os: navigator.userAgentData?.platform || navigator.platform || "unknown",
      cores: navigator.hardwareConcurrency || 0,
      versions: { vmcompare: versions.vmcompare, v86: versions.v86 },
      details: { browser: { user_agent: navigator.userAgent.slice(0, 300) }, v86: { accelerator: "v86" } },
    };
    const run = {
      kind: "run", schema: 1, run_id: this.runId, experiment: "browser_lab",
      started_utc: this.startedUtc, rounds: 1, host,
    };
    const all = [run, ...this.rows, { kind: "end", status: "complete" }];
    return all.map((line) => `${JSON.stringify(line)}\n`).join("");
  }
}
