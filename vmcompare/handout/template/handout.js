"use strict";
// What-ifs: unpack the frames, then let the slider choose one. Without this script, or where the
// browser cannot unzip, the frame in the page stays.
const PARTS = new Set(["style", "defs", "g", "path", "use", "rect", "text", "tspan", "clipPath", "pattern"]);
async function wakeWhatIf(figure) {
  const find = (selector) => figure.querySelector(selector);
  const packed = Uint8Array.from(atob(find("script").textContent), (c) => c.charCodeAt(0));
  const unzipped = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { lines, frames, setting, alt, caption, notes, print } = await new Response(unzipped).json();
  const text = (index) => {
    const svg = [];
    for (let k = 0; k < frames[index].length; k += 2) {
      const [first, count] = frames[index].slice(k, k + 2);
      svg.push(...lines.slice(first, first + count));
    }
    return svg.join("\n");
  };
  const range = find("input");
  const drawing = (index) => {
    const svg = new DOMParser().parseFromString(text(index), "image/svg+xml").documentElement;
    for (const part of svg.querySelectorAll("*")) if (!PARTS.has(part.localName)) part.remove();
    svg.classList.add("vmc-svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", alt[index]);
    return svg;
  };
  const show = (index) => {
    find(".vmc-figure > svg").replaceWith(drawing(index));
    range.setAttribute("aria-valuetext", setting[index]);
    find("output").value = find(".vmc-setting b").textContent = setting[index];
    find(".vmc-caption").textContent = caption[index];
    find(".vmc-notes").textContent = notes[index];
  };
  range.addEventListener("input", () => show(Number(range.value)));
  // Read out when the slider comes to rest, not at every step.
  range.addEventListener("change", () => { find(".vmc-status").textContent = alt[Number(range.value)]; });
  find(".vmc-multiples").replaceChildren(...print.map((index) => {
    const multiple = document.createElement("figure");
    const words = document.createElement("figcaption");
    const picture = new Image();
    picture.src = "data:image/svg+xml," + encodeURIComponent(text(index));
    picture.alt = alt[index];
    words.textContent = setting[index];
    multiple.append(words, picture);
    return multiple;
  }));
  // A reload may keep the slider's place (Firefox does): show what it says.
  show(Number(range.value));
  find(".vmc-control").hidden = false;
  figure.dataset.ready = "";
}
if ("DecompressionStream" in window) document.querySelectorAll("figure.vmc-whatif").forEach(wakeWhatIf);

// What scrolls sideways must be reachable by keyboard; what does not, must not stop the Tab key.
const reach = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
document.querySelectorAll(".vmc-math").forEach((formula) => reach.observe(formula));

// On paper nothing can be unfolded.
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const details of unfolded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of unfolded) details.open = false;
});
