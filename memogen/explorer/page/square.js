// A square of four corners: slots, or points of noise. The picture follows the point inside, sliders move its noise.

import { ask, latest, randomSeed } from "./api.js";
import { blank, button, el, failed, labelled, note, paint, pixels, select, unpack } from "./parts.js";

const SIDE = 9;
const CORNERS = ["top left", "top right", "bottom left", "bottom right"];
const WAIT = 60;

export function squareView(app) {
  const { about } = app;
  const mixture = about.mixture;
  let corners = mixture ? null : [1, 2, 3, 4];
  let point = [0.5, 0.5];
  let amounts = Array(about.directions).fill(0);
  let seed = 0;
  let label = about.classes.length ? about.classes[0].label : null;
  let real = [];
  let timer = 0;
  const map = el("canvas", { class: "map", "aria-hidden": "true" });
  const big = blank(about.shape, "the picture at the point");
  big.classList.add("big");
  const handle = el("div", { class: "handle", role: "slider", tabindex: 0, "aria-label": "Point between the corners", "aria-valuemin": 0, "aria-valuemax": 100 });
  const pad = el("div", { class: "pad" }, map, handle);
  const [, height, width] = about.shape[1] > 1 ? about.shape : [1, 1, 1];
  pad.style.aspectRatio = `${width} / ${height}`;
  const fields = CORNERS.map((name, i) => el("input", { type: "number", min: 0, "aria-label": mixture ? `slot at the ${name}` : `seed at the ${name}`, onchange: (event) => put(i, event.target.value) }));

  const about4 = () => (mixture ? { slots: corners } : { seeds: corners, label });
  const whole = latest((asked) => ask("square", asked), (found) => drawMap(unpack(found.images)), failed);
  const one = latest((asked) => ask("square", asked), (found) => paint(big, unpack(found.images)), failed);

  function drawMap(images) {
    const { width: wide, height: tall } = images;
    const gap = Math.max(1, Math.round(wide / 14));
    map.width = (wide + gap) * SIDE - gap;
    map.height = (tall + gap) * SIDE - gap;
    const ink = map.getContext("2d");
    for (let i = 0; i < images.num; i += 1) ink.putImageData(pixels(images, i), (i % SIDE) * (wide + gap), Math.floor(i / SIDE) * (tall + gap));
  }

  function refreshPoint() {
    const [right, down] = point;
    handle.style.left = `${100 * right}%`;
    handle.style.top = `${100 * down}%`;
    handle.setAttribute("aria-valuenow", Math.round(100 * right));
    handle.setAttribute("aria-valuetext", `${Math.round(100 * right)} % to the right, ${Math.round(100 * down)} % down`);
    if (corners) one({ ...about4(), points: [point], seed, amounts });
  }

  function refresh() {
    if (!corners) return;
    fields.forEach((field, i) => { field.value = corners[i]; });
    refreshPoint();
    clearTimeout(timer);
    timer = setTimeout(() => {
      const steps = Array.from({ length: SIDE * SIDE }, (_, i) => [(i % SIDE) / (SIDE - 1), Math.floor(i / SIDE) / (SIDE - 1)]);
      whole({ ...about4(), points: steps, seed, amounts });
    }, WAIT);
  }

  function put(place, value) {
    const number = Number(value);
    if (value === "" || !Number.isInteger(number) || number < 0 || (mixture && !real.includes(number))) {
      note(mixture ? `${value}: is no real slot of this memory` : "a seed is a whole number", true);
      fields[place].value = corners[place];
      return;
    }
    corners[place] = number;
    refresh();
  }

  const any = () => (mixture ? real[Math.floor(Math.random() * real.length)] : randomSeed());

  function move(event) {
    const box = pad.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    point = [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
    refreshPoint();
  }

  function keys(event) {
    const step = event.shiftKey ? 0.125 : 0.03;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const by = moves[event.key];
    if (!by) return;
    event.preventDefault();
    point = point.map((value, i) => Math.min(1, Math.max(0, value + by[i])));
    refreshPoint();
  }

  async function begin() {
    if (mixture && !corners) {
      const table = await ask("slots");
      real = table.slot.filter((_, i) => table.state[i] !== 2);
      const heavy = table.slot.map((slot, i) => [slot, table.label[i], table.mass[i]]).filter((_, i) => table.state[i] !== 2).sort((a, b) => b[2] - a[2]);
      corners = [];
      const seen = new Set();
      for (const [slot, kind] of heavy) {
        if (corners.length < 4 && (kind < 0 || !seen.has(kind))) { corners.push(slot); seen.add(kind); }
      }
      for (const [slot] of heavy) if (corners.length < 4 && !corners.includes(slot)) corners.push(slot);
      while (corners.length < 4) corners.push(heavy[0][0]);
    }
    refresh();
  }

  function build(root) {
    pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); move(event); handle.focus({ preventScroll: true }); event.preventDefault(); });
    pad.addEventListener("pointermove", (event) => { if (pad.hasPointerCapture(event.pointerId)) move(event); });
    handle.addEventListener("keydown", keys);
    const sliders = amounts.map((_, i) => {
      const slider = el("input", { type: "range", min: -3, max: 3, step: 0.1, value: 0, "aria-label": `noise, direction ${i + 1}` });
      slider.addEventListener("input", () => { amounts[i] = Number(slider.value); refresh(); });
      return slider;
    });
    const level = () => { amounts = amounts.map(() => 0); sliders.forEach((slider) => { slider.value = 0; }); };
    const controls = [button("New corners", () => { corners = corners.map(any); refresh(); })];
    if (mixture) controls.push(button("New noise", () => { seed = randomSeed(); refresh(); }, "quiet"));
    if (about.classes.length) {
      const [, choice] = select("Class", about.classes.map((each) => [String(each.label), each.name]), (value) => { label = Number(value); refresh(); });
      controls.push(choice);
    }
    const told = mixture ? "Corners are slots; their keys are joined along great circles of the sphere." : "Corners are seeds of noise, which is mixed as it is.";
    root.append(el("div", { class: "split even" },
      el("section", { class: "card" }, el("h2", {}, "Between four corners"), el("p", { class: "soft" }, `${told} Drag inside, or use the arrow keys.`), pad,
        el("div", { class: "corners" }, ...fields.map((field, i) => labelled(CORNERS[i], field))), el("div", { class: "row" }, ...controls)),
      el("section", { class: "card" }, el("h2", {}, "The picture there"), big, el("h3", {}, "Noise"),
        el("p", { class: "soft" }, "The directions of noise in which pictures change most."),
        el("div", { class: "sliders" }, ...sliders.map((slider, i) => labelled(String(i + 1), slider))),
        el("div", { class: "row" }, button("Level the sliders", () => { level(); refresh(); }, "quiet")))));
  }

  let begun = false;
  let next = 0;
  const view = {
    id: "between",
    title: "Between",
    build,
    shown: () => { if (!begun) { begun = true; begin().catch(failed); } },
    changed: () => {
      if (!begun) return;
      if (mixture) ask("slots").then((table) => { real = table.slot.filter((_, i) => table.state[i] !== 2); if (app.now === view) refresh(); }).catch(failed);
      else refresh();
    },
    corner: async (slot) => {
      if (!begun) { begun = true; await begin(); }
      corners[next] = slot;
      next = (next + 1) % 4;
      refresh();
    },
  };
  return view;
}
