// The page: asks what the model is, makes a view for each thing it can do, and follows changes that other tabs make.

import { ask } from "./api.js";
import { el, failed, quiet } from "./parts.js";
import { classesView, samplesView } from "./samples.js";
import { slotsView } from "./slots.js";
import { pictureView } from "./picture.js";
import { squareView } from "./square.js";
import { editView } from "./edit.js";
import { fillView } from "./fill.js";
import { tasksView, trainingView } from "./training.js";

const POLL = 2000;

function views(app) {
  const { about } = app;
  const found = [];
  if (about.fills && !about.mixture) found.push(fillView(app));
  if (about.mixture || about.layers.length) found.push(slotsView(app));
  if (about.classes.length && !about.fills) found.push(classesView(app));
  found.push(samplesView(app));
  if (about.mixture || (about.fills && about.pictures)) found.push(pictureView(app));
  if (about.fills && about.mixture) found.push(fillView(app));
  found.push(squareView(app));
  if (about.mixture) found.push(editView(app));
  if (about.tasks) found.push(tasksView(app));
  if (about.sheets.length) found.push(trainingView(app));
  return found;
}

function themes() {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("memogen-theme", root.dataset.theme);
  });
}

function turn(app, id) {
  const chosen = app.views.find((view) => view.id === id) || app.views[0];
  if (app.now === chosen) return;
  app.now = chosen;
  quiet();
  for (const view of app.views) {
    view.root.hidden = view !== chosen;
    if (view === chosen) view.tab.setAttribute("aria-current", "page");
    else view.tab.removeAttribute("aria-current");
  }
  chosen.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  chosen.shown();
}

async function follow(app) {
  if (!document.hidden) {
    try {
      const state = await ask("state");
      app.state = state;
      if (state.version !== app.version) {
        app.version = state.version;
        for (const view of app.views) view.changed?.();
      }
      if (state.trouble && state.trouble !== app.trouble) {
        app.trouble = state.trouble;
        failed(new Error(`no training images are shown: ${state.trouble}`));
      }
    } catch {
      // said when something is asked for
    }
  }
  setTimeout(() => follow(app), POLL);
}

async function begin() {
  themes();
  const about = await ask("about");
  const app = {
    about,
    version: about.version,
    state: about,
    now: null,
    label: () => (about.classes.length ? about.classes[0].label : null),
    go: (id) => { location.hash = id; },
    changedHere: (version) => {
      app.version = version;
      for (const view of app.views) view.changed?.();
    },
    view: (id) => app.views.find((view) => view.id === id),
  };
  document.title = `${about.name}, memogen explorer`;
  document.getElementById("name").textContent = about.name;
  const [channels, height, width] = about.shape;
  const size = height > 1 ? `${height} × ${width}${channels === 3 ? ", colour" : ""}` : `vectors of ${width}`;
  const memory = about.mixture ? `, ${about.real} real slots` : about.layers.length ? `, ${about.layers.join(" + ")} slots` : "";
  document.getElementById("kind").textContent = `${about.kind}, ${size}${memory}`;
  document.getElementById("preview")?.remove();
  app.views = views(app);
  const bar = document.getElementById("views");
  const main = document.getElementById("main");
  for (const view of app.views) {
    view.root = el("div", { class: "view", id: `view-${view.id}`, hidden: true });
    view.tab = el("a", { href: `#${view.id}` }, view.title);
    bar.append(view.tab);
    main.append(view.root);
    view.build(view.root);
  }
  addEventListener("hashchange", () => turn(app, location.hash.slice(1)));
  turn(app, location.hash.slice(1));
  setTimeout(() => follow(app), POLL);
}

begin().catch((error) => {
  document.getElementById("kind").textContent = error.message;
});
