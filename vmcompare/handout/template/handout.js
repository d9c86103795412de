"use strict";
// What-ifs: unpack the frames, then let the slider choose one. Without this script, or where the
// browser cannot unzip, the frame in the page stays.
async function wakeWhatIf(figure) {
  const find = (selector) => figure.querySelector(selector);
  const packed = Uint8Array.from(atob(find("script").textContent), (c) => c.charCodeAt(0));
  const unzipped = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { lines, frames, text, alt, caption, notes, print } = await new Response(unzipped).json();
  const address = (index) => {
    const svg = [];
    for (let k = 0; k < frames[index].length; k += 2) {
      const [first, count] = frames[index].slice(k, k + 2);
      svg.push(...lines.slice(first, first + count));
    }
    return "data:image/svg+xml," + encodeURIComponent(svg.join("\n"));
  };
  const range = find("input");
  const image = find(".vmc-frame img");
  const show = (index) => {
    image.src = address(index);
    image.alt = alt[index];
    range.setAttribute("aria-valuetext", text[index]);
    find("output").value = find(".vmc-setting b").textContent = text[index];
    find(".vmc-caption").textContent = caption[index];
    find(".vmc-notes").textContent = notes[index];
  };
  range.addEventListener("input", () => show(Number(range.value)));
  // Read out when the slider comes to rest, not at every step.
  range.addEventListener("change", () => { find(".vmc-status").textContent = image.alt; });
  find(".vmc-multiples").replaceChildren(...print.map((index) => {
    const multiple = document.createElement("figure");
    const words = document.createElement("figcaption");
    const picture = new Image();
    picture.src = address(index);
    picture.alt = alt[index];
    words.textContent = text[index];
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
