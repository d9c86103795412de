// node snapshot.mjs V86 KERNEL BIOS VGA OPTIONS OUT: boot the VM, wait until it is ready, freeze it.
// OPTIONS are those of the page's VM, as JSON. Free memory is zeroed first, so that it packs well.
import fs from "node:fs";

const [, , v86, kernel, bios, vga, options, out] = process.argv;
const { V86 } = await import(`${v86}/libv86.mjs`);
const file = (path) => {
  const { buffer, byteOffset, length } = fs.readFileSync(path);
  return { buffer: buffer.slice(byteOffset, byteOffset + length) };
};
const vm = new V86({
  ...JSON.parse(options),
  wasm_path: `${v86}/v86.wasm`,
  bios: file(bios),
  vga_bios: file(vga),
  bzimage: file(kernel),
  uart1: true,
  fastboot: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  autostart: true,
});

let console0 = "", line = "", awaited = null;
vm.add_listener("serial0-output-byte", (byte) => { console0 += String.fromCharCode(byte); });
vm.add_listener("serial1-output-byte", (byte) => {
  if (byte !== 10) {
    line += String.fromCharCode(byte);
    return;
  }
  if (line.trim() === awaited?.line) awaited.resolve();
  line = "";
});
const said = (words) => new Promise((resolve) => { awaited = { line: words, resolve }; });
const send = (text) => vm.serial_send_bytes(1, new TextEncoder().encode(`${text}\n`));
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

setTimeout(() => {
  console.error(`The VM was not ready within 5 minutes. Its console:\n${console0.slice(-2000)}`);
  process.exit(1);
}, 300_000).unref();

await said("@ready");
await wait(1500);
// 19 of 32 MiB: a file that takes the last page panics the kernel.
send("mount -t tmpfs -o size=100% zero /tmp; dd if=/dev/zero of=/tmp/zero bs=64k count=300 2>/dev/null;"
  + " rm /tmp/zero; umount /tmp; echo 3 > /proc/sys/vm/drop_caches; echo @zeroed");
await said("@zeroed");
await wait(1500);
await vm.stop();
fs.writeFileSync(out, Buffer.from(await vm.save_state()));
process.exit(0);
