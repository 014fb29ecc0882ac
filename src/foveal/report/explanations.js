"use strict";
/* Draws maps over images, and what each stage sees. Every text goes in as text; nothing here builds HTML from strings. */
const data = JSON.parse(document.getElementById("page-data").textContent);
const at = { image: 0, method: "", question: "", stage: 0, row: 0, column: 0 };
const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/* --- numbers to colours --- */
function decoded(map) {
  if (!map.cells) {
    const bytes = atob(map.values);
    map.cells = Float32Array.from(bytes, (one) => {
      const value = one.charCodeAt(0);
      return (value > 127 ? value - 256 : value) / data.levels;
    });
  }
  return map.cells;
}

function colour(share, below) {
  const stops = below ? data.signed : data.heat;
  const place = Math.min(Math.max(below ? (share + 1) / 2 : share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((one, channel) => one + (stops[low + 1][channel] - one) * (place - low));
}

function bilinear(cells, height, width, row, column) {
  const y = Math.min(Math.max(row, 0), height - 1);
  const x = Math.min(Math.max(column, 0), width - 1);
  const top = Math.floor(y);
  const left = Math.floor(x);
  const bottom = Math.min(top + 1, height - 1);
  const right = Math.min(left + 1, width - 1);
  const upper = cells[top * width + left] * (1 - x + left) + cells[top * width + right] * (x - left);
  const lower = cells[bottom * width + left] * (1 - x + left) + cells[bottom * width + right] * (x - left);
  return upper * (1 - y + top) + lower * (y - top);
}

const SIDE = 448; // of the large canvases, in pixels
const pictures = data.images.map((image) => {
  const picture = new Image();
  picture.src = image.picture;
  return picture;
});

function sized(canvas, image) {
  const scale = SIDE / Math.max(...image.size);
  canvas.height = Math.round(image.size[0] * scale);
  canvas.width = Math.round(image.size[1] * scale);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = scale < 2;
  context.drawImage(pictures[at.image], 0, 0, canvas.width, canvas.height);
  return context;
}

/* --- the map over the image --- */
function chosen() {
  const maps = data.images[at.image].maps;
  return maps.find((one) => one.method === at.method && one.question === at.question)
    || maps.find((one) => one.method === at.method) || maps[0];
}

function drawMap() {
  const image = data.images[at.image];
  const map = chosen();
  const canvas = $("overlay");
  const context = sized(canvas, image);
  const cells = decoded(map);
  const below = map.range[0] < 0;
  const empty = map.empty;
  const most = Number($("opacity").value) / 100;
  if (!empty && most > 0) {
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const [height, width] = map.size;
    for (let row = 0; row < canvas.height; row++) {
      for (let column = 0; column < canvas.width; column++) {
        const y = ((row + 0.5) * height) / canvas.height - 0.5;
        const x = ((column + 0.5) * width) / canvas.width - 0.5;
        const share = map.smooth ? bilinear(cells, height, width, y, x)
          : cells[Math.min(Math.max(Math.round(y), 0), height - 1) * width + Math.min(Math.max(Math.round(x), 0), width - 1)];
        const cover = map.smooth || below ? most * Math.abs(share) ** 0.7 : most;
        const paint = colour(share, below);
        const place = 4 * (row * canvas.width + column);
        for (let channel = 0; channel < 3; channel++) {
          pixels.data[place + channel] = pixels.data[place + channel] * (1 - cover) + paint[channel] * cover;
        }
      }
    }
    context.putImageData(pixels, 0, 0);
  }
  canvas.setAttribute("aria-label", `${map.title} over ${image.short}: why ${map.question}. ${map.warnings.join(" ")}`);
  const scale = $("scale").getContext("2d");
  for (let column = 0; column < 160; column++) {
    scale.fillStyle = `rgb(${colour(below ? column / 79.5 - 1 : column / 159, below).map(Math.round).join(" ")})`;
    scale.fillRect(column, 0, 1, 10);
  }
  $("low").textContent = below ? "spoke against" : "did not count";
  $("high").textContent = "spoke for";
}

function percent(share) {
  const words = (100 * share).toFixed(1);
  if (words === "100.0" && share < 1) return ">99.9 %";
  if (words === "0.0" && share > 0) return "<0.1 %";
  return `${words} %`;
}

function buttons(place, words, now, choose) {
  place.replaceChildren(...words.map((one) => {
    const button = make("button", "", one);
    button.type = "button";
    button.setAttribute("aria-pressed", String(one === now));
    button.addEventListener("click", () => {
      choose(one);
      [...place.children].find((other) => other.textContent === one)?.focus();
    });
    return button;
  }));
}

function show() {
  const image = data.images[at.image];
  const map = chosen();
  at.method = map.method;
  at.question = map.question;
  for (const button of document.querySelectorAll("[data-image]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.image) === at.image));
  }
  $("map-title").textContent = image.short;
  $("said").textContent = `Answered ${image.answered}. Why ${map.question} (${percent(map.probability)}): `
    + `${map.title}, ${map.source}.${map.caution ? ` ${map.caution}` : ""}${image.abstain ? ` The classifier abstains: ${image.abstain}.` : ""}`;
  buttons($("methods"), [...new Set(image.maps.map((one) => one.method))], at.method, (one) => { at.method = one; show(); });
  const questions = image.maps.filter((one) => one.method === at.method).map((one) => one.question);
  buttons($("classes"), questions, at.question, (one) => { at.question = one; show(); });
  const doubted = map.warnings.length > 0;
  $("doubt").hidden = !doubted && map.figures.length === 0;
  $("doubt").classList.toggle("calm", !doubted);
  const head = doubted ? "Do not trust this map." : "Nothing was found against this map; that makes neither it nor the answer right.";
  $("doubt").replaceChildren(make("p", doubted ? "" : "small", head), ...map.warnings.map((one) => make("p", "small", one)));
  $("figures").replaceChildren();
  if (map.figures.length) {
    const table = make("table", "small");
    table.append(make("caption", "", "Whether to believe it"));
    const body = make("tbody");
    for (const [what, value, wanted] of map.figures) {
      const row = make("tr");
      const head = make("th", "", what);
      head.scope = "row";
      row.append(head, make("td", "number", value), make("td", "muted", wanted));
      body.append(row);
    }
    table.append(body);
    $("figures").append(table);
  }
  drawMap();
  showStage();
}

/* --- stage by stage --- */
function showStage() {
  if (!$("stages")) return;
  const image = data.images[at.image];
  const stage = image.stages[Math.min(at.stage, image.stages.length - 1)];
  $("stages").hidden = !stage;
  if (!stage) return;
  const slider = $("stage");
  slider.max = image.stages.length - 1;
  slider.value = at.stage = Math.min(at.stage, image.stages.length - 1);
  const [count, height, width] = stage.shape;
  const [drawn, across] = stage.mean.size;
  const less = drawn < height || across < width ? `, drawn as means in ${drawn}×${across} cells` : "";
  const words = `${stage.name}: ${count} maps of ${height}×${width}${less}`;
  $("stage-label").textContent = words;
  slider.setAttribute("aria-valuetext", words);
  at.row = Math.min(at.row, stage.mean.size[0] - 1);
  at.column = Math.min(at.column, stage.mean.size[1] - 1);
  const maps = [{ ...stage.mean, unit: null }, ...stage.units];
  $("units").replaceChildren(...maps.map((map) => {
    const item = make("li", map.unit === null ? "large" : "");
    const canvas = make("canvas");
    drawCells(canvas, map);
    const name = map.unit === null ? "mean of all maps" : `map ${map.unit}`;
    const range = `${map.range[0].toPrecision(2)} to ${map.range[1].toPrecision(2)}`;
    const zero = map.range[0] === 0 && map.range[1] === 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${stage.name}, ${name}`);
    if (map.unit === null) canvas.tabIndex = 0;
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      at.row = Math.min(Math.max(Math.floor(((event.clientY - box.top) / box.height) * map.size[0]), 0), map.size[0] - 1);
      at.column = Math.min(Math.max(Math.floor(((event.clientX - box.left) / box.width) * map.size[1]), 0), map.size[1] - 1);
      drawSight();
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      at.row = Math.min(Math.max(at.row + step[0], 0), map.size[0] - 1);
      at.column = Math.min(Math.max(at.column + step[1], 0), map.size[1] - 1);
      drawSight();
    });
    item.append(canvas, make("span", "small", name), make("br"), make("span", "small muted", zero ? "all zero" : range));
    return item;
  }));
  drawSight();
}

function drawCells(canvas, map) {
  const [height, width] = map.size;
  const scale = Math.max(1, Math.floor(112 / Math.max(height, width)));
  canvas.height = height * scale;
  canvas.width = width * scale;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const cells = decoded(map);
  cells.forEach((share, place) => {
    context.fillStyle = `rgb(${colour(share, map.range[0] < 0).map(Math.round).join(" ")})`;
    context.fillRect((place % width) * scale, Math.floor(place / width) * scale, scale, scale);
  });
}

function drawSight() {
  const image = data.images[at.image];
  const stage = image.stages[at.stage];
  const canvas = $("sight");
  const context = sized(canvas, image);
  const scale = canvas.height / image.size[0];
  /* A cell of what is drawn may stand for several of the stage. */
  const cell = [0, 1].map((axis) => Math.floor((([at.row, at.column][axis] + 0.5) * stage.shape[axis + 1]) / stage.mean.size[axis]));
  const [top, left] = cell.map((one, axis) => stage.start[axis] + one * stage.stride[axis]);
  const [height, width] = stage.field;
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(left * scale, top * scale, width * scale, height * scale);
  context.fill("evenodd");
  for (const [colourOf, line] of [["#000000", 5], ["#ffffff", 2]]) {
    context.strokeStyle = colourOf;
    context.lineWidth = line;
    context.strokeRect(left * scale, top * scale, width * scale, height * scale);
  }
  const seen = [Math.max(top, 0), Math.min(top + height, image.size[0]), Math.max(left, 0), Math.min(left + width, image.size[1])];
  const whole = seen[0] === 0 && seen[2] === 0 && seen[1] === image.size[0] && seen[3] === image.size[1];
  const words = `The cell in row ${cell[0]}, column ${cell[1]} of ${stage.name} can see ${height}×${width} pixels: `
    + (whole ? "the whole image." : `rows ${seen[0]} to ${seen[1] - 1}, columns ${seen[2]} to ${seen[3] - 1}.`);
  canvas.setAttribute("aria-label", words);
  $("sight-words").textContent = words;
}

/* --- what is chosen --- */
for (const button of document.querySelectorAll("[data-image]")) {
  button.addEventListener("click", () => { at.image = Number(button.dataset.image); show(); });
}
$("opacity").addEventListener("input", drawMap);
if ($("stage")) $("stage").addEventListener("input", () => { at.stage = Number($("stage").value); showStage(); });
const middle = data.images[0].stages[0];
if (middle) { at.row = Math.floor(middle.mean.size[0] / 2); at.column = Math.floor(middle.mean.size[1] / 2); }
Promise.all(pictures.map((picture) => picture.decode())).then(() => {
  show();
  document.documentElement.classList.add("js");
});
