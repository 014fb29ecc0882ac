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

function itemOf([id, label, predicted, probability, number]) {
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

function choose(name) {
  const [label, predicted] = name.split("-").map(Number);
  const [total, shown] = data.cells[name] || [0, []];
  for (const [other, button] of cells) button.setAttribute("aria-pressed", String(other === name));
  const subject = label === predicted
    ? `“${data.classes[label]}” recognised`
    : `“${data.classes[label]}” classified as “${data.classes[predicted]}”`;
  let amount = total === 0 ? "no image" : `${total.toLocaleString("en")} image${total === 1 ? "" : "s"}`;
  if (shown.length < total) {
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
