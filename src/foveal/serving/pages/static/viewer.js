"use strict";
/* The image: larger and smaller, moved, its grey levels, and the heat map over it. */
const viewer = $("viewer");
if (viewer) {
  const stage = viewer.querySelector(".stage");
  const picture = $("picture");
  const heat = $("heat");
  const at = { scale: 1, x: 0, y: 0, level: 128, window: 255, inverted: false };
  const MOST = 16;

  const within = (value, low, high) => Math.min(Math.max(value, low), high);

  /* --- size and place --- */
  const place = () => {
    const box = viewer.getBoundingClientRect();
    const [width, height] = [stage.offsetWidth * at.scale, stage.offsetHeight * at.scale];
    const loose = (of, room) => Math.max((of - room) / 2, 0) + (at.scale > 1 ? Math.min(of, room) / 4 : 0);
    at.x = within(at.x, -loose(width, box.width), loose(width, box.width));
    at.y = within(at.y, -loose(height, box.height), loose(height, box.height));
    stage.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.scale})`;
    viewer.style.touchAction = at.scale > 1 || mode === "window" ? "none" : "pan-y";
    const fitted = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight);
    viewer.classList.toggle("pixels", fitted * at.scale > 4);
    tell();
  };

  const zoom = (factor, clientX, clientY) => {
    const box = viewer.getBoundingClientRect();
    const [x, y] = clientX === undefined ? [0, 0] : [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
    const scale = within(at.scale * factor, 1, MOST);
    const grown = scale / at.scale;
    at.x = x - (x - at.x) * grown;
    at.y = y - (y - at.y) * grown;
    at.scale = scale;
    if (scale === 1) at.x = at.y = 0;
    place();
  };

  const fit = () => { at.scale = 1; at.x = at.y = 0; place(); };

  /* --- levels: grey g is shown as (g - low) / window; exact, by the filter of the page --- */
  const levels = () => {
    const slope = (at.inverted ? -255 : 255) / at.window;
    const low = at.level - at.window / 2;
    const intercept = at.inverted ? 1 + low / at.window : -low / at.window;
    for (const one of document.querySelectorAll("#levels feFuncR, #levels feFuncG, #levels feFuncB")) {
      one.setAttribute("slope", slope);
      one.setAttribute("intercept", intercept);
    }
    const plain = at.level === 128 && at.window === 255 && !at.inverted;
    picture.style.filter = plain ? "" : "url(#levels)";
    $("level").value = at.level;
    $("window").value = at.window;
    $("invert").setAttribute("aria-pressed", String(at.inverted));
    tell();
  };

  const tell = () => {
    $("reading").textContent = `${Math.round(at.scale * 100)} % · level ${Math.round(at.level)} · window ${Math.round(at.window)}${at.inverted ? " · inverted" : ""}`;
  };

  const shift = (level, window_) => {
    at.level = within(at.level + level, 0, 255);
    at.window = within(at.window + window_, 1, 510);
    levels();
  };

  /* --- mouse and touch --- */
  let mode = "pan";
  const setMode = (wanted) => {
    mode = wanted;
    $("do-pan").setAttribute("aria-pressed", String(mode === "pan"));
    $("do-window").setAttribute("aria-pressed", String(mode === "window"));
    viewer.classList.toggle("windowing", mode === "window");
    place();
  };
  $("do-pan").addEventListener("click", () => setMode("pan"));
  $("do-window").addEventListener("click", () => setMode("window"));

  const fingers = new Map();
  let apart = 0;
  const distance = () => {
    const [one, other] = [...fingers.values()];
    return Math.hypot(one.x - other.x, one.y - other.y);
  };
  viewer.addEventListener("pointerdown", (event) => {
    if (event.button > 2) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, right: event.button === 2 });
    if (event.pointerType !== "touch" || at.scale > 1 || mode === "window") viewer.setPointerCapture(event.pointerId);
    if (fingers.size === 2) apart = distance();
  });
  viewer.addEventListener("pointermove", (event) => {
    const was = fingers.get(event.pointerId);
    if (!was) return;
    const [dx, dy] = [event.clientX - was.x, event.clientY - was.y];
    fingers.set(event.pointerId, { ...was, x: event.clientX, y: event.clientY });
    if (fingers.size === 2) {
      const now = distance();
      const [one, other] = [...fingers.values()];
      if (apart > 0) zoom(now / apart, (one.x + other.x) / 2, (one.y + other.y) / 2);
      apart = now;
    } else if (mode === "window" || was.right) {
      shift(dy / 2, dx);
    } else if (at.scale > 1) {
      at.x += dx;
      at.y += dy;
      place();
    }
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    viewer.addEventListener(kind, (event) => { fingers.delete(event.pointerId); apart = 0; });
  }
  viewer.addEventListener("contextmenu", (event) => event.preventDefault());
  viewer.addEventListener("dblclick", (event) => { if (at.scale > 1) fit(); else zoom(3, event.clientX, event.clientY); });
  viewer.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== viewer) return; // the page scrolls until the image was clicked
    event.preventDefault();
    zoom(1.0015 ** -event.deltaY, event.clientX, event.clientY);
  }, { passive: false });
  picture.draggable = false;

  /* --- keys --- */
  const steps = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  viewer.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey) {
      shift(8 * step[1], -8 * step[0]);
    } else if (at.scale > 1) {
      at.x += 40 * step[0];
      at.y += 40 * step[1];
      place();
    } else {
      return;
    }
    event.preventDefault();
  });
  const invert = () => { at.inverted = !at.inverted; levels(); };
  const reset = () => { Object.assign(at, { level: 128, window: 255, inverted: false }); levels(); fit(); };
  onKey("+", () => zoom(1.25));
  onKey("=", () => zoom(1.25));
  onKey("-", () => zoom(0.8));
  onKey("0", fit);
  onKey("i", invert);
  onKey("x", reset);
  $("larger").addEventListener("click", () => zoom(1.25));
  $("smaller").addEventListener("click", () => zoom(0.8));
  $("fit").addEventListener("click", fit);
  $("invert").addEventListener("click", invert);
  $("reset").addEventListener("click", reset);
  $("level").addEventListener("input", () => { at.level = Number($("level").value); levels(); });
  $("window").addEventListener("input", () => { at.window = Number($("window").value); levels(); });
  addEventListener("resize", place);
  picture.addEventListener("load", place);
  picture.addEventListener("error", () => { $("reading").textContent = "The image could not be loaded."; });
  levels();
  place();

  /* --- the heat map: made when it is first asked for --- */
  if ($("show-heat")) {
    let wanted = 0;
    const on = () => $("show-heat").getAttribute("aria-pressed") === "true";
    const strength = () => { heat.style.opacity = Number($("opacity").value) / 100; };
    const draw = async () => {
      const turn = ++wanted;
      const method = $("method");
      const [why, how] = [$("target").value, method.selectedOptions[0].textContent];
      heat.hidden = true;
      $("heat-words").textContent = `${how} is being made …`;
      const address = `/v1/explain/${viewer.dataset.case}?method=${encodeURIComponent(method.value)}&target=${encodeURIComponent(why)}`;
      try {
        const response = await fetch(address, { method: "POST", headers: { Accept: "image/png", "X-CSRF-Token": meta("csrf") } });
        if (!response.ok) {
          const body = await response.json().catch(() => null);
          throw new Error(body?.error?.message || `The service answered ${response.status}.`);
        }
        const map = await createImageBitmap(await response.blob());
        if (turn !== wanted || !on()) return;
        paintHeat(heat, map);
        heat.setAttribute("aria-label", `Heat map of ${how}: what speaks for ${why}`);
        heat.hidden = false;
        strength();
        $("heat-words").textContent = `${how}: what moved the answer towards ${why}, not what a human would look at.`;
        facts(address, turn);
      } catch (error) {
        if (turn === wanted) $("heat-words").textContent = error instanceof TypeError ? "The service was not reached." : error.message;
      }
    };
    const facts = async (address, turn) => {
      const response = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => null);
      const told = response?.ok ? await response.json().catch(() => null) : null;
      const doubts = [told?.caution, ...(Array.isArray(told?.warnings) ? told.warnings : [])].filter((one) => typeof one === "string" && one);
      if (turn === wanted && doubts.length) $("heat-words").textContent += ` ${doubts.join(" ")}`;
    };
    const toggle = () => {
      $("show-heat").setAttribute("aria-pressed", String(!on()));
      if (on()) draw();
      else { wanted++; heat.hidden = true; $("heat-words").textContent = ""; }
    };
    $("show-heat").addEventListener("click", toggle);
    onKey("h", toggle);
    $("opacity").addEventListener("input", () => { if (on()) strength(); else toggle(); });
    $("target").addEventListener("change", () => { if (on()) draw(); });
    $("method").addEventListener("change", () => { if (on()) draw(); });
  }
}

/* Grey from 0 to 1 as heat: the stronger, the more it covers. */
function paintHeat(canvas, map) {
  const stops = ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"]
    .map((one) => [0, 2, 4].map((from) => parseInt(one.slice(from, from + 2), 16)));
  [canvas.width, canvas.height] = [map.width, map.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(map, 0, 0);
  const pixels = context.getImageData(0, 0, map.width, map.height);
  const table = Array.from({ length: 256 }, (_, grey) => {
    const where = (grey / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(where), stops.length - 2);
    return [...stops[low].map((one, channel) => one + (stops[low + 1][channel] - one) * (where - low)), 255 * (grey / 255) ** 0.7];
  });
  for (let byte = 0; byte < pixels.data.length; byte += 4) {
    const paint = table[pixels.data[byte]];
    for (let channel = 0; channel < 4; channel++) pixels.data[byte + channel] = paint[channel];
  }
  context.putImageData(pixels, 0, 0);
}
