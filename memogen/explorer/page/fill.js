// Paint over pixels of a picture and see them filled in.

import { ask, latest, randomSeed } from "./api.js";
import { button, el, failed, labelled, note, pixels, select, source, unpack } from "./parts.js";

const MARK = [255, 120, 60];

export function fillView(app) {
  const { about } = app;
  const size = about.shape[1] > 1 ? about.shape.slice(1) : [1, about.shape[2]];
  const [height, width] = size;
  let picture = null;
  let base = null; // ImageData
  let mask = new Uint8Array(height * width);
  let brush = Math.max(1, Math.round(Math.min(height, width) / 9));
  let rubs = false;
  let seed = 0;
  let label = about.classes.length ? about.classes[0].label : null;
  let stages = null;
  let player = 0;
  const canvas = el("canvas", { class: "paint", width, height, role: "img", "aria-label": "the picture; paint over what is to be filled in" });
  const result = el("canvas", { class: "paint", width, height, role: "img", "aria-label": "the picture filled in" });
  const told = el("p", { class: "soft", role: "status" }, "Choose a picture, then paint over it.");
  const steps = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step of the filling" });
  const from = source(app, (number, images, place) => choose(number, images, place), { first: () => picture === null });

  function drawCanvas() {
    if (!base) return;
    const shown = new ImageData(new Uint8ClampedArray(base.data), width, height);
    for (let i = 0; i < mask.length; i += 1) {
      if (mask[i]) MARK.forEach((value, c) => { shown.data[i * 4 + c] = value; });
    }
    canvas.getContext("2d").putImageData(shown, 0, 0);
  }

  function drawStage() {
    if (!stages) return;
    const at = Number(steps.value);
    result.getContext("2d").putImageData(pixels(stages.images, at), 0, 0);
    told.textContent = stages.step[at] === 0 ? "noise in the missing pixels" : `after ${stages.step[at]} steps`;
  }

  function play() {
    clearInterval(player);
    const quick = matchMedia("(prefers-reduced-motion: reduce)").matches;
    steps.value = quick ? stages.images.num - 1 : 0;
    drawStage();
    if (quick) return;
    player = setInterval(() => {
      if (Number(steps.value) >= stages.images.num - 1) { clearInterval(player); return; }
      steps.value = Number(steps.value) + 1;
      drawStage();
    }, 110);
  }

  const filled = latest((fields) => ask("fill", fields), (found) => {
    stages = { step: found.step, images: unpack(found.images) };
    steps.max = stages.images.num - 1;
    play();
  }, failed);

  function fill() {
    if (picture === null) { note("choose a picture first"); return; }
    if (!mask.some(Boolean)) { note("paint over some pixels first"); return; }
    filled({ picture, mask: mask.join(""), seed, steps: 60, label });
  }

  function choose(number, images, place) {
    picture = number;
    base = pixels(images, place);
    if (!mask.some(Boolean)) preset("lower half");
    drawCanvas();
    fill();
  }

  function preset(name) {
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const middle = Math.abs(x - (width - 1) / 2) < width / 4 && Math.abs(y - (height - 1) / 2) < height / 4;
        const on = { "left half": x < width / 2, "lower half": y >= height / 2, square: middle, "at random": Math.random() < 0.6, nothing: false }[name];
        mask[y * width + x] = on ? 1 : 0;
      }
    }
  }

  function dab(event) {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const y = ((event.clientY - box.top) / box.height) * height;
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= (brush / 2 + 0.3) ** 2) mask[row * width + column] = rubs ? 0 : 1;
      }
    }
    drawCanvas();
  }

  function build(root) {
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); dab(event); event.preventDefault(); });
    canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) dab(event); });
    canvas.addEventListener("pointerup", fill);
    steps.addEventListener("input", () => { clearInterval(player); drawStage(); });
    const sizes = el("input", { type: "range", min: 1, max: Math.max(2, Math.round(Math.min(height, width) / 2)), value: brush, oninput: (event) => { brush = Number(event.target.value); } });
    const rub = el("input", { type: "checkbox", onchange: (event) => { rubs = event.target.checked; } });
    const presets = ["lower half", "left half", "square", "at random", "nothing"].map((name) => button(name, () => {
      preset(name);
      drawCanvas();
      if (name !== "nothing") fill();
    }, "chip"));
    const controls = [button("Fill in", fill), button("Another way", () => { seed = randomSeed(); fill(); }, "quiet")];
    if (about.classes.length) {
      const [, choice] = select("Class", about.classes.map((each) => [String(each.label), each.name]), (value) => { label = Number(value); fill(); });
      controls.push(choice);
    }
    root.append(el("div", { class: "split narrow-first" },
      el("div", { class: "left" }, el("section", { class: "card" }, el("h2", {}, "The picture"), from.parts)),
      el("section", { class: "card" }, el("div", { class: "pair" },
        el("figure", {}, el("figcaption", {}, "paint over pixels"), canvas),
        el("figure", {}, el("figcaption", {}, "filled in"), result)),
      el("div", { class: "row" }, ...presets),
      el("div", { class: "row" }, labelled("Brush", sizes), el("label", { class: "check" }, rub, "rub out"), ...controls),
      labelled("Steps", steps), told)));
  }

  return { id: "fill", title: "Fill in", build, shown: () => from.load() };
}
