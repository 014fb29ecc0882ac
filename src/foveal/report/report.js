"use strict";
/* What the report does beyond showing: reading an epoch, sorting, looking into a cell, copying.
   Every text goes in as text; nothing here builds HTML from strings. */
document.documentElement.classList.add("js");
const data = JSON.parse(document.getElementById("report-data").textContent);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/* --- learning curves: the slider, or the pointer over a panel, chooses an epoch --- */
const slider = document.getElementById("epoch");
if (slider) {
  const panels = [...document.querySelectorAll(".panel")];
  const reading = document.getElementById("reading");
  const read = (index) => {
    const [x, words] = data.epochs[index];
    slider.value = index;
    slider.setAttribute("aria-valuetext", words);
    reading.textContent = words;
    for (const panel of panels) {
      const cursor = panel.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      panel.classList.add("reading");
    }
  };
  slider.addEventListener("input", () => read(Number(slider.value)));
  for (const panel of panels) {
    panel.addEventListener("pointermove", (event) => {
      const box = panel.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * panel.viewBox.baseVal.width;
      let nearest = 0;
      data.epochs.forEach(([at], index) => {
        if (Math.abs(at - x) < Math.abs(data.epochs[nearest][0] - x)) nearest = index;
      });
      read(nearest);
    });
  }
  read(Number(slider.value));
  for (const panel of panels) panel.classList.remove("reading");
  slider.addEventListener("focus", () => read(Number(slider.value)));
}

/* --- sorting: what has no value stays last whichever way --- */
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const numeric = button.dataset.sort === "number";
    const before = heading.getAttribute("aria-sort");
    const up = before ? before === "descending" : !numeric || column < 4;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const compare = (a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      const order = numeric ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b), "en", { numeric: true });
      return up ? order : -order;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  });
}

/* --- the images of a cell --- */
const cells = new Map([...document.querySelectorAll("[data-cell]")].map((button) => [button.dataset.cell, button]));
const size = data.classes.length;

function pictureOf(number) {
  if (number < 0) return make("span", "missing", "picture cannot be read");
  const image = make("img");
  const stored = data.images[number];
  if (stored) {
    [image.src, image.width, image.height] = stored;
  } else {
    const there = document.querySelector(`#mistakes img[data-image="${number}"]`);
    image.src = there.src;
    image.width = there.getAttribute("width");
    image.height = there.getAttribute("height");
  }
  if (image.width <= 48 && image.height <= 48) image.className = "tiny";
  return image;
}

function itemOf([id, label, stored, probability, number, row]) {
  const predicted = decided ? decided[row] : stored;
  const item = make("li");
  const box = make("div", "picture");
  const picture = pictureOf(number);
  if (picture.tagName === "IMG") picture.alt = `Test image ${id}`;
  box.append(picture);
  const verdict = make("p", "verdict");
  const arrow = make("span", "to", " → ");
  const given = make("bdi", label === predicted ? "" : "wrong-name", data.classes[predicted]);
  verdict.append(make("bdi", "", data.classes[label]), arrow, given);
  item.append(box, verdict, make("p", "probability", probability), make("p", "record", id));
  return item;
}

/* Where the slider decides, the cells hold other images than those of the most probable class. */
let decided = null;
let moved = null;

function imagesOf(name) {
  if (!moved) return data.cells[name] || [0, []];
  return [moved.count.get(name) || 0, moved.shown.get(name) || []];
}

function choose(name) {
  const [label, predicted] = name.split("-").map(Number);
  const [total, shown] = imagesOf(name);
  for (const [other, button] of cells) button.setAttribute("aria-pressed", String(other === name));
  const subject = label === predicted
    ? `“${data.classes[label]}” recognised`
    : `“${data.classes[label]}” classified as “${data.classes[predicted]}”`;
  let amount = total === 0 ? "no image" : `${total.toLocaleString("en")} image${total === 1 ? "" : "s"}`;
  if (shown.length < total && moved) {
    amount = `${shown.length} of ${amount}`;
  } else if (shown.length < total) {
    const which = label === predicted ? "least confident" : "most confident";
    amount = `the ${shown.length} ${which} of ${amount}`;
  }
  document.getElementById("cell-title").textContent = `${subject}: ${amount}`;
  document.getElementById("cell-pictures").replaceChildren(...shown.map((index) => itemOf(data.records[index])));
  document.getElementById("cell-images").hidden = false;
}

const inMatrix = document.querySelector(".matrix") !== null;

function makeCurrent(button) {
  if (!inMatrix) return;
  for (const other of cells.values()) other.tabIndex = -1;
  button.tabIndex = 0;
}

const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -size], End: [0, size] };
for (const [name, button] of cells) {
  button.addEventListener("click", () => {
    makeCurrent(button);
    choose(name);
  });
  button.addEventListener("keydown", (event) => {
    const step = inMatrix && !event.ctrlKey && !event.metaKey && !event.altKey && steps[event.key];
    if (!step) return;
    event.preventDefault();
    const inside = (at) => Math.min(size - 1, Math.max(0, at));
    const [row, column] = name.split("-").map(Number);
    const next = cells.get(`${inside(row + step[0])}-${inside(column + step[1])}`);
    makeCurrent(next);
    next.focus();
  });
}
/* --- the threshold: one class is answered from a probability on, else the most probable of the others --- */
const positive = document.getElementById("positive");
if (positive) {
  const bytes = (text) => new Uint16Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const labels = bytes(data.answers.labels);
  const shares = bytes(data.answers.shares);
  const at = document.getElementById("at");
  const words = document.getElementById("at-words");
  const rates = document.getElementById("rates");
  const back = document.getElementById("back");
  const levels = [0.02, 0.05, 0.15, 0.4, 0.7];
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  const wilson = (hits, n) => {
    if (!n) return "undefined";
    const z = 1.959964, p = hits / n;
    const centre = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
    const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
    return `${percent(p)} (${percent(Math.max(0, centre - half))} to ${percent(Math.min(1, centre + half))}, ${hits} of ${n})`;
  };

  const original = Array.from({ length: size }, (_, label) => Array.from({ length: size }, (_, said) =>
    Number(cells.get(`${label}-${said}`)?.textContent || 0)));

  const mostProbable = (row, without) => {
    let best = without === 0 ? 1 : 0;
    for (let one = 0; one < size; one += 1) {
      if (one !== without && shares[row * size + one] > shares[row * size + best]) best = one;
    }
    return best;
  };

  const fill = () => {
    const counts = Array.from({ length: size }, () => new Array(size).fill(0));
    for (let row = 0; row < labels.length; row += 1) counts[labels[row]][decided[row]] += 1;
    moved = { count: new Map(), shown: new Map() };
    counts.forEach((line, label) => line.forEach((number, said) => moved.count.set(`${label}-${said}`, number)));
    data.records.forEach((record, index) => {
      const name = `${labels[record[5]]}-${decided[record[5]]}`;
      const list = moved.shown.get(name) || [];
      if (list.length < 24) moved.shown.set(name, [...list, index]);
    });
    return counts;
  };

  const draw = (counts) => {
    for (const [name, button] of cells) {
      if (!button.dataset.kind) continue;
      const [label, said] = name.split("-").map(Number);
      const number = counts[label][said];
      const total = counts[label].reduce((sum, one) => sum + one, 0);
      const shade = number && total ? 1 + levels.filter((bound) => number / total > bound).length : 0;
      button.textContent = number;
      button.className = `cell ${button.dataset.kind} s${shade}`;
      button.setAttribute("aria-label",
        `${number} image${number === 1 ? "" : "s"} of ${data.classes[label]} classified as ${data.classes[said]}`);
    }
    const chosen = [...cells].find(([, button]) => button.getAttribute("aria-pressed") === "true");
    if (chosen) choose(chosen[0]);
  };

  const tell = (counts, one) => {
    let hits = 0, missed = 0, alarms = 0, quiet = 0;
    counts.forEach((line, label) => line.forEach((number, said) => {
      if (label === one && said === one) hits += number;
      else if (label === one) missed += number;
      else if (said === one) alarms += number;
      else quiet += number;
    }));
    rates.textContent = `“${data.classes[one]}”: sensitivity ${wilson(hits, hits + missed)}, specificity ` +
      `${wilson(quiet, quiet + alarms)}, PPV ${wilson(hits, hits + alarms)}, NPV ${wilson(quiet, quiet + missed)}. ` +
      "Intervals take images as independent. A threshold that is chosen by looking at test images is no longer tested by them.";
  };

  let exact = null; // a threshold between two steps of the slider
  const slide = () => {
    const one = Number(positive.value);
    const bound = exact === null ? Number(at.value) / 200 : exact;
    words.textContent = percent(bound);
    at.setAttribute("aria-valuetext", percent(bound));
    decided = new Uint16Array(labels.length);
    for (let row = 0; row < labels.length; row += 1) {
      decided[row] = shares[row * size + one] >= bound * 65535 ? one : mostProbable(row, one);
    }
    const counts = fill();
    draw(counts);
    tell(counts, one);
    back.disabled = false;
  };

  const reset = () => {
    decided = null;
    moved = null;
    draw(original);
    rates.textContent = "";
    back.disabled = true;
  };
  words.textContent = percent(0.5);
  const slideByHand = () => { exact = null; slide(); };
  at.addEventListener("input", slideByHand);
  positive.addEventListener("change", slideByHand);
  document.getElementById("deployed")?.addEventListener("click", () => {
    [positive.value, exact] = data.operating;
    at.value = Math.round(exact * 200);
    slide();
  });
  back.addEventListener("click", reset);
}

/* --- the images of a bin of probability --- */
const bins = [...document.querySelectorAll("[data-bin]")];
for (const button of bins) {
  button.addEventListener("click", () => {
    const [total, shown] = data.bins[Number(button.dataset.bin)];
    for (const other of bins) other.setAttribute("aria-pressed", String(other === button));
    const amount = shown.length < total ? `${shown.length} of ${total.toLocaleString("en")}` : total;
    const range = button.closest("tr").cells[0].textContent;
    document.getElementById("bin-title").textContent = `${range}: ${amount} image${total === 1 ? "" : "s"}, wrong ones first`;
    const kept = decided;
    decided = null;
    document.getElementById("bin-pictures").replaceChildren(...shown.map((index) => itemOf(data.records[index])));
    decided = kept;
    document.getElementById("bin-images").hidden = false;
  });
}

/* --- slices: one table at a time --- */
const slice = document.getElementById("slice");
if (slice) {
  const show = () => {
    for (const table of document.querySelectorAll(".slice-table")) table.hidden = table.dataset.slice !== slice.value;
  };
  slice.addEventListener("change", show);
  show();
}

/* --- the mistakes, the surest or the least sure first --- */
const turn = document.getElementById("turn");
if (turn) {
  turn.addEventListener("click", () => {
    const list = document.querySelector("#mistakes .pictures");
    list.replaceChildren(...[...list.children].reverse());
    const least = turn.getAttribute("aria-pressed") !== "true";
    turn.setAttribute("aria-pressed", String(least));
  });
}

/* Something is shown from the start: the most frequent confusion, or else the first class. */
if (cells.has(data.first)) {
  makeCurrent(cells.get(data.first));
  choose(data.first);
}

/* --- copying --- */
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(source);
      said.textContent = "Selected: press Ctrl+C.";
    }
  });
}

/* --- on paper everything is open --- */
const closed = () => document.querySelectorAll("details:not([open])");
addEventListener("beforeprint", () => closed().forEach((node) => { node.open = true; node.dataset.printed = ""; }));
addEventListener("afterprint", () => {
  document.querySelectorAll("details[data-printed]").forEach((node) => { node.open = false; delete node.dataset.printed; });
});
