"use strict";
// One VM a worker: a kernel that panics spins in its own thread, not in the page's or its neighbour's.
// What comes out of the VM is stamped here, with the clock of the browser, as it comes.
let vm;

// v86 makes a worker for its pauses and forgets its address at once. A browser that has not read the
// program by then would leave the VM in its first pause for ever.
const forget = URL.revokeObjectURL.bind(URL);
URL.revokeObjectURL = (address) => { setTimeout(forget, 10_000, address); };

const now = () => performance.timeOrigin + performance.now();
const tell = (type, more) => postMessage({ type, t: now(), ...more });

// Console (serial port 0): bytes, in bundles. Both ports: whole lines, each with the time of its end.
function listen(port) {
  let line = [], bundle = [], timer = 0;
  vm.add_listener(`serial${port}-output-byte`, (byte) => {
    if (byte === 10) {
      tell("line", { port, text: String.fromCharCode(...line) });
      line = [];
    } else if (byte !== 13) {
      line.push(byte);
    }
    if (port !== 0) return;
    bundle.push(byte);
    timer ||= setTimeout(() => {
      tell("console", { bytes: bundle });
      bundle = [];
      timer = 0;
    }, 30);
  });
}

const tasks = {
  start({ wasm, options, snapshot }) {
    vm = new V86({
      ...options,
      wasm_fn: async (imports) => (await WebAssembly.instantiate(wasm, imports)).instance.exports,
      uart1: true,
      disable_keyboard: true,
      disable_mouse: true,
      disable_speaker: true,
      fastboot: true,
      autostart: false,
    });
    listen(0);
    listen(1);
    vm.add_listener("emulator-ready", async () => {
      tell("emulator");
      if (snapshot) await vm.restore_state(snapshot);
      await vm.run();
      tell("running");
    });
  },
  send({ port, text }) { vm.serial_send_bytes(port, new TextEncoder().encode(text)); },
  memory() { tell("memory", { bytes: vm.v86.cpu.wasm_memory.buffer.byteLength }); },
  async pause() { await vm.stop(); tell("paused"); },
  async go() { await vm.run(); tell("running"); },
};
onmessage = ({ data }) => tasks[data.task](data);
