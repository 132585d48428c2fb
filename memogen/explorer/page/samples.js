// Samples of the model, and of a model that knows classes a row for each.

import { ask, latest, randomSeed } from "./api.js";
import { button, doing, el, failed, labelled, note, section, select, tiles, unpack } from "./parts.js";

const NUM = 64;

export function samplesView(app) {
  const { about } = app;
  let seed = 0;
  let label = about.classes.length && about.fills ? about.classes[0].label : null;
  let without = [];
  let begun = false;
  const place = el("div", { class: "tiles many", role: "group", "aria-label": "Samples" });
  const field = el("input", { type: "number", min: 0, max: 2147483647, value: 0, "aria-label": "Seed" });
  const looks = about.mixture || (about.fills && about.pictures);

  const drawn = latest((fields) => ask("samples", fields), (found) => {
    const images = unpack(found.images);
    const row = tiles(images, { words: (i) => `sample ${i} of seed ${seed}`, click: looks ? look : null });
    place.replaceChildren(...row.children);
  }, failed);
  const refresh = () => drawn({ num: NUM, seed, label, without });

  function look(i, control) {
    doing(control, async () => {
      const found = await ask("sample", { seed, start: i, label });
      app.view("picture").choose(found.picture, unpack(found.images), 0);
    });
  }

  function build(root) {
    const controls = [labelled("Seed", field), button("New", () => { seed = randomSeed(); field.value = seed; refresh(); })];
    field.addEventListener("change", () => {
      const value = Number(field.value);
      if (!Number.isInteger(value) || value < 0 || value > 2147483647) { note("a seed is a whole number from 0 to 2147483647", true); return; }
      seed = value;
      refresh();
    });
    if (about.classes.length) {
      const every = about.fills ? [] : [["", "every class"]];
      const [, choice] = select("Class", [...every, ...about.classes.map((each) => [String(each.label), each.name])], (value) => {
        label = value === "" ? null : Number(value);
        refresh();
      });
      controls.push(choice);
    }
    about.layers.forEach((num, i) => {
      const box = el("input", { type: "checkbox", checked: true, onchange: (event) => {
        without = event.target.checked ? without.filter((each) => each !== i) : [...without, i];
        refresh();
      } });
      controls.push(el("label", { class: "check" }, box, `memory of layer ${i}`));
    });
    const hint = looks ? "Choose a sample to look at it as a picture." : "";
    root.append(el("div", { class: "toolbar" }, ...controls, el("p", { class: "soft count" }, hint)), el("div", { class: "card" }, place));
  }

  return { id: "samples", title: "Samples", build, shown: () => { if (!begun) { begun = true; refresh(); } }, changed: () => { if (begun) refresh(); } };
}

export function classesView(app) {
  let seed = 0;
  let begun = false;
  const place = el("div", { class: "rows" });

  const drawn = latest((fields) => ask("classes", fields), (found) => place.replaceChildren(...classRows(found)), failed);
  const refresh = () => drawn({ num: 12, seed });

  function build(root) {
    root.append(section("Every class that it knows",
      el("div", { class: "row" }, button("New noise", () => { seed = randomSeed(); refresh(); })), place));
  }

  return { id: "classes", title: "Classes", build, shown: () => { if (!begun) { begun = true; refresh(); } } };
}

export function classRows(found) {
  const images = unpack(found.images);
  return found.label.map((label, line) => {
    const part = { ...images, num: found.columns, bytes: images.bytes.subarray(line * found.columns * images.width * images.height * images.channels) };
    return el("div", { class: "class" }, el("h3", {}, found.name[line]), tiles(part, { words: (i) => `${found.name[line]}, sample ${i + 1}`, kind: "line-of" }));
  });
}
