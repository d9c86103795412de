"use strict";
// What-ifs: unpack the frames, then let the slider choose one. Without this script, or where the
// browser cannot unzip, the frame in the page stays.
const PARTS = new Set(["style", "defs", "g", "path", "use", "rect", "text", "tspan", "clipPath", "pattern"]);
async function wakeWhatIf(figure) {
  const find = (selector) => figure.querySelector(selector);
  const packed = Uint8Array.from(atob(find("script").textContent), (c) => c.charCodeAt(0));
  const unzipped = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { frames, setting, alt, caption, notes, print } = await new Response(unzipped).json();
  const range = find("input");
  const drawing = (index) => {
    const svg = new DOMParser().parseFromString(frames[index], "image/svg+xml").documentElement;
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
    picture.src = "data:image/svg+xml," + encodeURIComponent(frames[index]);
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

// What a reader predicts stays in this browser, and stands beside what was found.
const kept = (id) => { try { return localStorage.getItem(`vmcompare ${id}`) ?? ""; } catch { return ""; } };
const keep = (id, value) => { try { localStorage.setItem(`vmcompare ${id}`, value); } catch { /* private window */ } };
for (const field of document.querySelectorAll(".vmc-predict [id^='p-']")) {
  const cells = [...document.querySelectorAll(`output[for='${field.id}']`)];
  const found = cells.map((cell) => Number(cell.querySelector("data")?.value));
  const show = () => cells.forEach((cell, k) => {
    const guess = Number(field.value);
    const times = guess ? `${Number((found[k] / guess).toPrecision(2))}×` : "–";
    cell.textContent = found[k] ? times : field.value || "–";
  });
  field.value = kept(field.id);
  field.addEventListener("input", () => { keep(field.id, field.value); show(); });
  show();
}

// A number is checked when its field is left, or by Enter.
for (const field of document.querySelectorAll(".vmc-task input[type=number]")) {
  const [low, high] = field.nextElementSibling.value.split(" ").map(Number);
  const said = field.closest(".vmc-task").querySelector(".vmc-checked");
  field.addEventListener("change", () => {
    const right = field.value !== "" && low <= Number(field.value) && Number(field.value) <= high;
    said.querySelector(".vmc-right").hidden = !right;
    said.querySelector(".vmc-wrong").hidden = right || field.value === "";
  });
}

// Slides: one figure or one question on the screen, moved there and back, so that it stays alive.
const SLIDES = "h1, .vmc-predict:not(.vmc-task *), figure:not(figure figure), .vmc-diagram, .vmc-race, :is(.vmc-quiz, .vmc-works) .vmc-question";
function slides() {
  const all = [...document.querySelectorAll("main :is(" + SLIDES + ")")].filter((e) => !e.closest("details, .vmc-answers, .vmc-multiples"));
  const dialog = document.createElement("dialog");
  dialog.className = "vmc-slides";
  dialog.setAttribute("aria-label", "Slides");
  dialog.innerHTML = "<p></p><div></div><nav><button>‹ Back</button><output></output><button>Next ›</button><button>Close</button></nav>";
  const [title, stage, nav] = dialog.children;
  const [back, next, close] = nav.querySelectorAll("button");
  const mark = document.createComment("");
  let at = -1;
  const leave = () => {
    if (at >= 0) mark.replaceWith(all[at]);
    stage.replaceChildren();
  };
  const headings = [...document.querySelectorAll("main h2")];
  const follows = (a, b) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING;
  // What is to be predicted is told before: a copy of those paragraphs stands above the question.
  const premise = (heading) => [...document.querySelectorAll("main p:not(.vmc-predict, details p)")]
    .filter((p) => follows(heading, p) && follows(p, all[at])).map((p) => p.cloneNode(true));
  const show = (to) => {
    leave();
    at = Math.max(0, Math.min(all.length - 1, to));
    const heading = headings.findLast((h) => follows(h, all[at]));
    title.textContent = heading?.textContent ?? "";
    nav.querySelector("output").value = `${at + 1} of ${all.length}`;
    [back.disabled, next.disabled] = [at === 0, at === all.length - 1];
    const before = heading && all[at].matches(".vmc-predict") ? premise(heading) : [];
    all[at].replaceWith(mark);
    stage.append(...before, all[at]);
  };
  back.addEventListener("click", () => show(at - 1));
  next.addEventListener("click", () => show(at + 1));
  close.addEventListener("click", () => dialog.close());
  const keys = (event) => {
    if (event.target.matches?.("input, select")) return; // there the arrows choose
    const step = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
    if (step) { event.preventDefault(); show(at + step); }
  };
  // Of the whole page: a button that is disabled at the last slide loses the focus.
  addEventListener("keydown", keys);
  dialog.addEventListener("close", () => { leave(); removeEventListener("keydown", keys); dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
  show(0);
  next.focus();
}
const opener = document.querySelector(".vmc-open-slides");
if (opener) {
  opener.hidden = false;
  opener.addEventListener("click", slides);
}

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
