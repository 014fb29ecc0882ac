"use strict";
/* The list keeps itself current, but never changes under a mouse or a focus. */
const list = $("list");
const open = () => [...list.querySelectorAll(".row")];

function move(step) {
  const rows = open();
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1)];
  next?.focus();
}
onKey("j", () => move(1));
onKey("k", () => move(-1));

let forced = false;
const busy = () => list.contains(document.activeElement) || list.matches(":hover");

list.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && !forced) event.preventDefault();
});
list.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.xhr.status === 200 && busy() && !forced) {
    event.detail.shouldSwap = false;
    $("changed").hidden = false;
  }
});
list.addEventListener("htmx:afterSwap", () => { $("changed").hidden = true; forced = false; });
list.addEventListener("htmx:sendError", () => banner("stale", "The service is not reached: the list is as it was."));
list.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) banner("stale", ""); });
$("show-changed").addEventListener("click", () => {
  forced = true;
  $("changed").hidden = true;
  htmx.trigger(list, "refresh");
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) htmx.trigger(list, "refresh"); });
