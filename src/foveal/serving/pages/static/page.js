"use strict";
/* What every page does: keys, the idle sign-off, and signatures that wait for the network.
   Every text goes in as text; nothing here builds HTML from strings. */
document.documentElement.classList.add("js");
const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/* Control characters, and those that turn the reading order, are made visible, as on the server. */
const shown = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

/* What is kept in this browser is kept apart for each person. */
const store = {
  read(key) {
    try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
  },
  write(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify(value));
      return true;
    } catch { return false; }
  },
  keys(prefix) {
    try { return Object.keys(localStorage).filter((key) => key.startsWith(prefix)); } catch { return []; }
  },
};

/* The review of a case that its reader has begun and not signed: at this, and the case's number. */
const draftPrefix = `foveal:draft:${meta("caller")}:`;

/* --- banners: one of each kind --- */
function banner(kind, text, link) {
  let node = $(`banner-${kind}`);
  if (!text) { node?.remove(); return; }
  if (!node) {
    node = make("p", "banner");
    node.id = `banner-${kind}`;
    $("banners").append(node);
  }
  const words = [text];
  if (link) {
    const anchor = make("a", "", link[1]);
    anchor.href = link[0];
    words.push(" ", anchor);
  }
  node.replaceChildren(...words);
}

/* --- keys: single letters, unless one is writing or has turned them off --- */
const letters = {};
function onKey(key, act) { letters[key] = act; }

const isWriting = (node) => node.isContentEditable
  || /^(TEXTAREA|SELECT)$/.test(node.tagName) || (node.tagName === "INPUT" && !/^(radio|checkbox|range|button|submit)$/.test(node.type));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isWriting(event.target)) return;
  if (document.querySelector("dialog[open]") || store.read("foveal:no-letters")) return;
  const act = letters[event.key];
  if (!act) return;
  event.preventDefault();
  act(event);
});

if ($("keys")) {
  const box = $("single-keys");
  box.checked = !store.read("foveal:no-letters");
  box.addEventListener("change", () => store.write("foveal:no-letters", box.checked ? null : true));
  onKey("?", () => $("keys").showModal());
  for (const button of document.querySelectorAll("[data-keys]")) button.addEventListener("click", () => $("keys").showModal());
}

/* --- the menu closes when one goes elsewhere --- */
for (const menu of document.querySelectorAll(".menu details")) {
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
  });
}

function post(address, fields, more = {}) {
  return fetch(address, {
    method: "POST",
    headers: { Accept: "application/json", "X-CSRF-Token": meta("csrf"), ...more },
    body: new URLSearchParams(fields),
    redirect: "error",
  });
}

/* --- signatures that wait: kept until the service has taken or refused them; its key lets each sign once --- */
const outbox = {
  prefix: `foveal:outbox:${meta("caller")}:`,
  own: null, // the case whose page this is, and what it does with an outcome
  sending: new Set(),

  keep(caseId, item) { return store.write(this.prefix + caseId, item); },
  waiting() { return store.keys(this.prefix).map((key) => key.slice(this.prefix.length)); },

  async send(caseId) {
    const item = store.read(this.prefix + caseId);
    if (!item || this.sending.has(caseId)) return null;
    this.sending.add(caseId);
    try {
      const response = await post(item.address, item.fields);
      if (response.status >= 500 || response.status === 429) return { later: true };
      if (response.status === 401 || response.status === 403) return { later: true, out: true };
      const body = await response.json();
      store.write(this.prefix + caseId, null);
      if (response.ok) {
        store.write(draftPrefix + caseId, null);
        return { done: body };
      }
      return { refused: body };
    } catch {
      return { later: true, offline: true };
    } finally {
      this.sending.delete(caseId);
    }
  },

  async flush() {
    for (const caseId of this.waiting()) {
      const outcome = await this.send(caseId);
      if (!outcome) continue;
      if (this.own?.caseId === caseId) this.own.told(outcome);
      else if (outcome.done) banner(`sent-${caseId}`, `Your signature of case ${caseId.slice(-6)} was sent.`, [`/cases/${caseId}`, "See it"]);
      else if (outcome.refused) banner(`sent-${caseId}`, `Your signature of case ${caseId.slice(-6)} was not taken: ${outcome.refused.error.message}`, [`/cases/${caseId}`, "Look again"]);
      else if (outcome.out) banner("out", "A signature waits until you sign in again.", ["/login", "Sign in"]);
    }
    this.tell();
  },

  tell() {
    const count = this.waiting().length;
    const wait = count ? ` ${count === 1 ? "One signature waits" : `${count} signatures wait`} in this browser and will be sent once.` : "";
    if (!navigator.onLine) banner("offline", `There is no network.${wait || " What you write is kept in this browser."}`);
    else if (count) banner("offline", `The service was not reached.${wait}`);
    else banner("offline", "");
  },
};
addEventListener("online", () => outbox.flush());
addEventListener("offline", () => outbox.tell());
setInterval(() => { if (outbox.waiting().length) outbox.flush(); }, 4000);
addEventListener("load", () => outbox.flush());

/* --- idle: a sign of life is sent while one is there; a warning comes before the end --- */
const idle = Number(meta("idle"));
if (idle > 0) {
  const warnAt = Math.min(60, idle / 3);
  let told = Date.now();
  const seen = () => Number(store.read("foveal:active") || told);
  const active = () => store.write("foveal:active", Date.now());
  active();
  let last = 0;
  const sign = (event) => {
    if ($("idle").open && event.type !== "keydown" && event.type !== "pointerdown") return;
    if (Date.now() - last > 1000) { last = Date.now(); active(); }
  };
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
    addEventListener(kind, sign, { passive: true });
  }
  const leave = async () => {
    document.querySelector("main").hidden = true;
    store.write("foveal:out", Date.now());
    try { await post("/logout", { idle: "yes" }); } catch { /* the service has ended it by itself, or will */ }
    location.replace("/login?why=idle");
  };
  $("idle-stay").addEventListener("click", () => { active(); $("idle").close(); });
  let leaving = false;
  setInterval(() => {
    const left = idle - (Date.now() - seen()) / 1000;
    if (left <= 0 && !leaving) { leaving = true; leave(); return; }
    $("idle-left").textContent = Math.max(0, Math.ceil(left));
    if (left <= warnAt && !$("idle").open) $("idle").showModal();
    if (left > warnAt && $("idle").open) $("idle").close();
    if (seen() > told && Date.now() - told > Math.min(45000, 200 * idle)) {
      told = Date.now();
      post("/alive", {}).catch(() => {});
    }
  }, 1000);
  addEventListener("storage", (event) => { if (event.key === "foveal:out") location.replace("/login?why=idle"); });
}

/* --- who signs out by hand leaves no draft to whoever sits down next; being idle keeps them --- */
$("sign-out")?.addEventListener("submit", (event) => {
  const waiting = outbox.waiting(); // signed; the draft is wanted where the signature is refused
  const drafts = store.keys(draftPrefix).filter((key) => !waiting.includes(key.slice(draftPrefix.length)));
  const them = drafts.length === 1 ? "A draft" : `${drafts.length} drafts`;
  if (drafts.length && !confirm(`${them} that you have not signed will be deleted from this browser. Sign out?`)) {
    event.preventDefault();
    return;
  }
  for (const key of drafts) store.write(key, null);
});

addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

/* --- a page that asks by itself says so, and carries the token of its forms --- */
document.addEventListener("htmx:configRequest", (event) => { event.detail.headers["X-CSRF-Token"] = meta("csrf"); });

/* --- before something is taken away, one is asked --- */
for (const button of document.querySelectorAll("[data-sure]")) {
  button.addEventListener("click", (event) => { if (!confirm(button.dataset.sure)) event.preventDefault(); });
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = $(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
}
