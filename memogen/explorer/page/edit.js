// Edits of the memory: what was done and can be taken back, pictures written as slots, samples before and after, saving.

import { ask, latest, randomSeed } from "./api.js";
import { button, doing, el, failed, labelled, note, paint, percent, section, source, tiles, unpack } from "./parts.js";

const NUM = 36;

export function editView(app) {
  const { about } = app;
  let seed = 0;
  let begun = false;
  let share = 0.2;
  const chosen = []; // [number, canvas]
  const steps = el("ol", { class: "steps" });
  const off = el("div", { class: "row" });
  const before = el("div", { class: "tiles" });
  const after = el("div", { class: "tiles" });
  const waiting = el("div", { class: "tiles waiting" });
  const undo = button("Take back", (event) => act(event, { what: "undo" }), "quiet");
  const reset = button("Begin anew", (event) => act(event, { what: "reset" }), "quiet");
  const write = button("Write into the memory", (event) => doing(event.currentTarget, async () => {
    if (!chosen.length) { note("choose a picture first"); return; }
    const found = await ask("edit", { what: "add", pictures: chosen.map(([number]) => number), share });
    chosen.length = 0;
    waiting.replaceChildren();
    note(`written as slot${found.slots.length > 1 ? "s" : ""} ${found.slots.join(", ")}`);
    app.changedHere(found.version);
  }));
  const from = source(app, (number, images, place) => take(number, paint(el("canvas", { role: "img", "aria-label": "a picture to add" }), images, place)), { several: true });

  const drawn = latest((fields) => ask("compare", fields), (found) => {
    before.replaceChildren(...tiles(unpack(found.before), { words: (i) => `sample ${i} before` }).children);
    after.replaceChildren(...tiles(unpack(found.after), { words: (i) => `sample ${i} after` }).children);
  }, failed);

  function act(event, fields) {
    doing(event.currentTarget, async () => {
      const found = await ask("edit", fields);
      app.changedHere(found.version);
    });
  }

  function take(number, canvas) {
    if (chosen.length >= 16) { note("sixteen pictures at a time", true); return; }
    const copy = el("canvas", { role: "img", "aria-label": "a picture to add", width: canvas.width, height: canvas.height });
    copy.getContext("2d").drawImage(canvas, 0, 0);
    const entry = [number, copy];
    chosen.push(entry);
    const tile = el("button", { type: "button", class: "tile", "aria-label": "leave this picture out", title: "leave it out", onclick: () => {
      chosen.splice(chosen.indexOf(entry), 1);
      tile.remove();
    } }, copy);
    waiting.append(tile);
    if (app.now !== view) app.go("edit");
  }

  async function refresh() {
    const table = await ask("slots");
    steps.replaceChildren(...table.steps.map((words) => el("li", {}, words)));
    undo.disabled = table.steps.length < 2;
    const turned = table.slot.filter((_, i) => table.state[i] === 1);
    reset.disabled = table.steps.length < 2 && !turned.length;
    off.replaceChildren(...turned.slice(0, 40).map((slot) => button(`slot ${slot}`, (event) => act(event, { what: "on", slots: [slot] }), "chip")),
      ...(turned.length > 1 ? [button("Turn all on", (event) => act(event, { what: "on", slots: turned }), "quiet small")] : []),
      ...(turned.length ? [button("Forget what is off", (event) => act(event, { what: "forget", slots: turned }), "danger")] : []),
      ...(turned.length ? [button("Unlearn what is off", (event) => { note("training the generator; this takes seconds"); act(event, { what: "unlearn", slots: turned }); }, "danger")] : []),
      ...(turned.length ? [] : [el("p", { class: "soft" }, "No slot is turned off.")]));
    kinds(table);
    drawn({ num: NUM, seed });
  }

  const classes = el("div", { class: "row" });

  function kinds(table) {
    const buttons = table.classes.map((name, kind) => {
      const members = table.slot.filter((_, i) => table.label[i] === kind && table.state[i] !== 2);
      if (!members.length) return null;
      const on = members.filter((slot) => table.state[table.slot.indexOf(slot)] !== 1);
      return button(name, (event) => act(event, { what: on.length ? "off" : "on", slots: members }), on.length ? "chip on" : "chip");
    }).filter(Boolean);
    buttons.forEach((each) => each.setAttribute("aria-pressed", String(each.classList.contains("on"))));
    classes.replaceChildren(...buttons);
    classes.parentElement.hidden = !buttons.length;
  }

  function build(root) {
    const told = el("output", {}, percent(share));
    const slider = el("input", { type: "range", min: 0.01, max: 0.9, step: 0.01, value: share, oninput: (event) => { share = Number(event.target.value); told.textContent = percent(share); } });
    const parts = [
      el("section", { class: "card wide" }, el("div", { class: "line" }, el("h2", {}, "Samples before and after"), button("New seed", () => { seed = randomSeed(); drawn({ num: NUM, seed }); }, "quiet small")),
        el("div", { class: "pair" }, el("figure", {}, el("figcaption", {}, "as it was trained"), before), el("figure", {}, el("figcaption", {}, "as it is now"), after))),
      section("Turn slots off and on", el("p", { class: "soft" }, "A slot that is off is neither drawn nor found; the others share its part. Slots are turned off, forgotten and frozen where they are looked at; a whole class is turned off here, and then forgotten. To unlearn also trains the generator, without images, until it cannot draw what these slots held."),
        off, el("div", {}, el("h3", {}, "Whole classes"), classes)),
      section("Add slots from pictures", el("p", { class: "soft" }, "Each picture is encoded and written in place of the lightest slot."), from.parts, waiting,
        el("label", { class: "field" }, el("span", {}, "Their share of the prior ", told), slider), el("div", { class: "row" }, write)),
      section("Steps", steps, el("div", { class: "row" }, undo, reset),
        about.save ? el("div", { class: "row" }, button("Save as model …", (event) => doing(event.currentTarget, async () => {
          const found = await ask("save");
          note(`saved in ${found.saved}`);
        })), el("span", { class: "soft" }, about.save)) : null),
    ];
    root.append(el("div", { class: "board" }, ...parts));
  }

  const view = {
    id: "edit",
    title: "Edit",
    build,
    shown: () => { begun = true; from.load(); refresh().catch(failed); },
    changed: () => { if (begun && app.now === view) refresh().catch(failed); },
    take,
  };
  return view;
}
