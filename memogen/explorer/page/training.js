// How the training went: its saved sheets of samples one after another; and what a run of tasks knew after each.

import { ask, latest } from "./api.js";
import { button, el, failed, labelled, section } from "./parts.js";
import { classRows } from "./samples.js";

function player(slider, least, show, wait) {
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; control.textContent = "Play"; };
  const control = button("Play", () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) >= Number(slider.max)) slider.value = least;
    show();
    control.textContent = "Pause";
    timer = setInterval(() => {
      if (Number(slider.value) >= Number(slider.max)) { stop(); return; }
      slider.value = Number(slider.value) + 1;
      show();
    }, wait);
  });
  slider.addEventListener("input", () => { if (timer) stop(); show(); });
  return [control, stop];
}

export function trainingView(app) {
  const { sheets } = app.about;
  const picture = el("img", { class: "sheet", alt: "" });
  const told = el("p", { class: "soft", role: "status" });
  const slider = el("input", { type: "range", min: 0, max: sheets.length - 1, value: sheets.length - 1, "aria-label": "Point of the training" });
  const kept = new Map();
  let stop = () => {};

  function show() {
    const at = Number(slider.value);
    const { task, step } = sheets[at];
    const words = `${task === null ? "" : `task ${task + 1}, `}step ${step.toLocaleString("en")}`;
    for (const near of [at, at + 1]) {
      if (near < sheets.length && !kept.has(near)) {
        const image = new Image();
        image.src = `/sheets/${near}`;
        kept.set(near, image);
      }
    }
    picture.src = `/sheets/${at}`;
    picture.alt = `samples after ${words}`;
    told.textContent = words;
    slider.setAttribute("aria-valuetext", words);
  }

  function build(root) {
    const [control, halt] = player(slider, 0, show, 450);
    stop = halt;
    root.append(section("Samples while it trained", el("div", { class: "row grow" }, control, labelled("", slider)), told, picture));
  }

  return { id: "training", title: "Training", build, shown: show, left: () => stop() };
}

export function tasksView(app) {
  const { tasks } = app.about;
  const place = el("div", { class: "rows" });
  const told = el("p", { class: "soft", role: "status" });
  const slider = el("input", { type: "range", min: 0, max: tasks - 1, value: tasks - 1, "aria-label": "After which task" });
  const drawn = latest((fields) => ask("classes", fields), (found, fields) => {
    place.replaceChildren(...classRows(found));
    told.textContent = `after task ${fields.task + 1} of ${tasks}: ${found.name.join(", ")}`;
  }, failed);
  const show = () => drawn({ task: Number(slider.value), num: 12, seed: 0 });

  function build(root) {
    const [control] = player(slider, 0, show, 1100);
    root.append(section("What it knew after each task", el("div", { class: "row grow" }, control, labelled("", slider)), told, place));
  }

  return { id: "tasks", title: "Tasks", build, shown: show };
}
