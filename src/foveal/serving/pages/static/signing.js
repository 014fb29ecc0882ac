"use strict";
/* The form of a case: verdicts by a key, drafts that are kept, signatures that are sent once. */
const form = $("review");
const follow = (id) => () => $(id)?.click();
onKey("n", follow("next"));
onKey("p", follow("previous"));
onKey("j", follow("next"));
onKey("k", follow("previous"));
onKey("u", follow("up"));

const waits = $("waiting");
if (waits) {
  setInterval(async () => {
    const response = await fetch(`/v1/cases/${waits.dataset.case}`, { headers: { "X-Foveal-Poll": "1" } }).catch(() => null);
    const told = response?.ok ? await response.json() : null;
    if (told && told.state !== "waiting" && !$("reason")?.value) location.reload();
  }, 3000);
}

if (form) {
  const caseId = form.dataset.case;
  const draftKey = draftPrefix + caseId;
  const radios = [...form.querySelectorAll("[name=verdict]")];
  const verdict = () => radios.find((one) => one.checked)?.value || "";
  const label = $("label");
  const reason = $("reason");

  const fit = () => {
    const amend = verdict() === "amend";
    if (label) {
      label.closest(".for-amend").hidden = !amend;
      label.required = amend;
    }
    reason.required = amend || verdict() === "reject";
    $("reason-asked").textContent = reason.required ? "(needed)" : verdict() === "second-opinion" ? "(what is the question?)" : "";
  };

  const said = () => ({ verdict: verdict(), label: verdict() === "amend" && label ? label.value : "", reason: reason.value.trim() });
  const keep = () => {
    const now = said();
    const empty = !now.reason && !now.label && !now.verdict;
    const kept = store.write(draftKey, empty ? null : { ...now, version: form.dataset.version, at: Date.now() });
    $("draft").textContent = empty ? "" : kept ? "Draft kept in this browser." : "This browser keeps no drafts.";
  };

  const restore = (draft) => {
    for (const one of radios) one.checked = one.value === draft.verdict;
    if (label && draft.label) label.value = draft.label;
    reason.value = draft.reason || "";
    const at = new Date(draft.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const since = String(draft.version) !== form.dataset.version ? " Others have reviewed the case since." : "";
    const drop = make("button", "", "Discard");
    drop.type = "button";
    drop.addEventListener("click", () => { form.reset(); store.write(draftKey, null); $("draft").textContent = ""; fit(); reason.focus(); });
    $("draft").replaceChildren(`Your draft of ${at} is back.${since} `, drop);
  };

  const kept = store.read(draftKey);
  if (kept && !$("said")) restore(kept);
  fit();
  form.addEventListener("input", () => { fit(); keep(); });

  const choose = (value, then) => () => {
    const radio = radios.find((one) => one.value === value);
    if (!radio) return;
    radio.checked = true;
    fit();
    keep();
    then().focus();
  };
  onKey("a", choose("accept", () => $("sign")));
  onKey("m", choose("amend", () => label));
  onKey("r", choose("reject", () => reason));
  onKey("o", choose("second-opinion", () => reason));
  reason.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    if (event.key === "Escape") $("sign").focus();
  });

  const lock = (locked, words) => {
    for (const one of form.elements) if (one.type !== "hidden") one.disabled = locked;
    $("draft").textContent = words || "";
  };

  const differ = (body) => {
    const box = $("refused");
    const lines = [make("p", "", body.error.message)];
    if (body.difference) {
      const list = make("ul");
      for (const one of body.difference.newer) {
        const item = make("li");
        item.append(make("bdi", "", one.who), ` ${one.said}`);
        if (one.reason) item.append(": “", make("bdi", "", one.reason), "”");
        item.append(`, ${one.when}`);
        list.append(item);
      }
      lines.push(list, make("p", "", "Your own words are still here, unsigned. Sign to add them to what was said, or go on."));
      form.elements.version.value = form.dataset.version = body.difference.version;
      keep();
    }
    box.replaceChildren(...lines);
    box.className = "note";
    box.hidden = false;
    box.scrollIntoView({ block: "nearest" });
  };

  const told = (outcome) => {
    if (outcome.done) { location.assign(outcome.done.next); return; }
    if (outcome.refused) { lock(false); differ(outcome.refused); return; }
    if (outcome.out) {
      lock(false, "Not sent yet: you are signed out. It is kept in this browser.");
      banner("out", "Your signature waits until you sign in again.", [`/login?next=${encodeURIComponent(location.pathname)}`, "Sign in"]);
      return;
    }
    lock(true, "Not sent yet. It is kept in this browser and will be sent once, when the service can be reached.");
  };
  outbox.own = { caseId, told };
  addEventListener("storage", (event) => { // another tab of this browser sent it
    if (event.key === outbox.prefix + caseId && event.newValue === null && !outbox.sending.has(caseId)) location.reload();
  });
  if (outbox.waiting().includes(caseId)) lock(true, "Signed here and not sent yet.");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    $("refused").hidden = true;
    const fields = { ...said(), version: form.elements.version.value, csrf: "" };
    const before = store.read(outbox.prefix + caseId);
    const same = before && ["verdict", "label", "reason", "version"].every((name) => before.fields[name] === fields[name]);
    const random = [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
    fields.request_key = same ? before.fields.request_key : random;
    const item = { address: form.getAttribute("action"), fields, at: Date.now() };
    if (!outbox.keep(caseId, item)) { form.submit(); return; } // a browser that keeps nothing sends the form itself
    lock(true, "Signing …");
    const outcome = await outbox.send(caseId);
    if (outcome) told(outcome);
    outbox.tell();
  });
}
