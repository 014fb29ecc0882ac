"use strict";
(() => {
  const points = [...document.querySelectorAll("#points .point")];
  const picture = document.getElementById("picture");
  const words = document.getElementById("words");
  const ring = document.getElementById("ring");
  const choose = (point) => {
    points.forEach((one) => one.setAttribute("tabindex", one === point ? "0" : "-1"));
    ring.setAttribute("transform", point.getAttribute("transform"));
    ring.removeAttribute("hidden");
    picture.src = point.dataset.image;
    picture.hidden = false;
    words.textContent = point.getAttribute("aria-label");
  };
  points.forEach((point, at) => {
    point.addEventListener("pointerenter", () => choose(point));
    point.addEventListener("focus", () => choose(point));
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? points.length - 1 : at + (step || 0);
      if (next === at || !points[next]) return;
      event.preventDefault();
      points[next].focus();
    });
  });
})();
