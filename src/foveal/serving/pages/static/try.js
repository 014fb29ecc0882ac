"use strict";
/* Images that are dropped, chosen or pasted are sent one by one, and each answer stands beside its image. */
const box = $("drop");
const chooser = $("images");
const answers = $("answers");
const AT_ONCE = 3;
const MOST_TRIES = 6;
const waiting = [];
let running = 0;

const percent = (share) => {
  const words = (100 * share).toFixed(1);
  if (words === "100.0" && share < 1) return ">99.9 %";
  if (words === "0.0" && share > 0) return "<0.1 %";
  return `${words} %`;
};

function take(files) {
  for (const file of files) {
    const item = make("li", "card try");
    const figure = make("div", "small-stage");
    const image = make("img");
    image.alt = "";
    image.src = URL.createObjectURL(file);
    image.addEventListener("error", () => image.remove());
    const heat = make("canvas");
    heat.hidden = true;
    figure.append(image, heat);
    const words = make("div", "stack");
    const head = make("p", "name");
    head.append(make("bdi", "", shown(file.name)));
    const said = make("div", "said", "waits");
    said.setAttribute("role", "status");
    words.append(head, said);
    item.append(figure, words);
    answers.prepend(item);
    waiting.push({ file, said, heat, key: [...crypto.getRandomValues(new Uint8Array(12))].map((one) => one.toString(16).padStart(2, "0")).join("") });
  }
  work();
}

function work() {
  while (running < AT_ONCE && waiting.length) {
    running++;
    ask(waiting.shift()).finally(() => { running--; work(); });
  }
}

const pause = (seconds) => new Promise((done) => { setTimeout(done, 1000 * seconds); });

async function ask(one) {
  one.said.textContent = "is looked at …";
  const subject = $("subject").value.trim();
  for (let turn = 1; turn <= MOST_TRIES; turn++) {
    const form = new FormData();
    form.append("images", one.file, one.file.name);
    if (subject) form.append("subject", subject);
    let response = null;
    let body = null;
    try {
      response = await fetch("/v1/predict", { method: "POST", body: form, headers: { Accept: "application/json", "X-CSRF-Token": meta("csrf"), "Idempotency-Key": one.key } });
      body = await response.json();
    } catch { /* asked again below */ }
    if (response?.ok && body) { show(one, body.answers[0]); return; }
    const again = !response || [429, 502, 503, 504].includes(response.status) || body?.error?.code === "in_flight";
    if (!again || turn === MOST_TRIES) {
      one.said.className = "said note";
      one.said.textContent = body?.error?.message || "The service was not reached.";
      if (body?.error?.code === "unauthorized") location.assign("/login?next=/try");
      return;
    }
    one.said.textContent = "waits for the service …";
    await pause(Number(response?.headers.get("Retry-After")) || turn);
  }
}

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function bar(share) {
  const drawing = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "share", "aria-hidden": "true" });
  drawing.append(svg("rect", { class: "track", width: 100, height: 10 }), svg("rect", { class: "fill", width: (100 * share).toFixed(2), height: 10 }));
  return drawing;
}

function show(one, answer) {
  if (answer.error) {
    one.said.className = "said note";
    one.said.textContent = answer.error.message;
    return;
  }
  const parts = [];
  if (answer.abstained) {
    const note = make("div", "note");
    note.append(make("p", "big", "No answer to rely on"), make("p", "", `The classifier abstains: ${shown(answer.abstained)}.`));
    parts.push(note);
  } else {
    const head = make("p", "big");
    head.append(make("bdi", "", shown(answer.label)));
    parts.push(head);
  }
  const table = make("table", "bars");
  const shares = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
  for (const [name, share] of shares.slice(0, 5)) {
    const row = make("tr", name === answer.leading ? "leading" : "");
    const head = make("th");
    head.scope = "row";
    head.append(make("bdi", "", shown(name)));
    const cell = make("td");
    cell.append(bar(share));
    row.append(head, cell, make("td", "number", percent(share)));
    table.append(row);
  }
  parts.push(table);
  const links = make("p", "row-of");
  const look = make("button", "", "Where it looked");
  look.type = "button";
  look.addEventListener("click", () => map(one, answer, look));
  const link = make("a", "", "Open the case");
  link.href = `/cases/${answer.case}`;
  links.append(look, link);
  parts.push(links, make("p", "small muted", answer.disclaimer));
  one.said.className = "said stack";
  one.said.replaceChildren(...parts);
}

async function map(one, answer, button) {
  if (!one.heat.hidden) { one.heat.hidden = true; button.textContent = "Where it looked"; return; }
  button.disabled = true;
  button.textContent = "is being made …";
  try {
    const response = await fetch(`${answer.explanation}?method=gradcam&target=${encodeURIComponent(answer.leading)}`, { method: "POST", headers: { Accept: "image/png", "X-CSRF-Token": meta("csrf") } });
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.error?.message || "No map could be made.");
    paintHeat(one.heat, await createImageBitmap(await response.blob()));
    one.heat.hidden = false;
    button.textContent = "Hide the map";
  } catch (error) {
    button.textContent = error instanceof TypeError ? "The service was not reached" : error.message;
  } finally {
    button.disabled = false;
  }
}

for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => { event.preventDefault(); box.classList.add("over"); });
}
addEventListener("dragleave", (event) => { if (!event.relatedTarget) box.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  box.classList.remove("over");
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
chooser.addEventListener("change", () => { take(chooser.files); chooser.value = ""; });
$("send").hidden = true;
