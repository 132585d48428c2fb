// A picture: the slots it belongs to (or asks for), what the model makes of it, and more like it.

import { ask, randomSeed } from "./api.js";
import { button, doing, el, failed, note, paint, percent, section, show, source, tiles, unpack } from "./parts.js";

export function pictureView(app) {
  const { about } = app;
  let chosen = null;
  let seed = 0;
  const big = el("div", { class: "chosen" }, el("p", { class: "soft" }, "Choose a picture."));
  const results = el("div", { class: "results" });
  const from = source(app, (...picture) => choose(...picture));

  function choose(number, images, place) {
    chosen = number;
    big.replaceChildren(show(images, place, "the chosen picture"));
    if (app.now !== view) app.go("picture");
    refresh();
  }

  async function refresh() {
    if (chosen === null) return;
    const asked = chosen;
    results.setAttribute("aria-busy", "true");
    try {
      const found = await ask("picture", { picture: chosen, seed, num: 9 });
      if (asked !== chosen) return;
      results.replaceChildren(...(about.mixture ? mixtureParts(found) : vaeParts(found)));
      if (found.looking) setTimeout(() => { if (asked === chosen) refresh(); }, 1200);
    } catch (error) {
      failed(error);
    } finally {
      results.removeAttribute("aria-busy");
    }
  }

  function bars(slots, shares, layer, rest = []) {
    const most = Math.max(...shares, 1e-9);
    const rows = slots.map((slot, i) => {
      const canvas = el("canvas", { role: "img", "aria-label": `slot ${slot}` });
      const go = () => app.view("slots").choose(slot);
      const bar = el("span", { class: "bar" }, el("span", { class: "amount" }));
      bar.firstChild.style.width = `${(100 * shares[i]) / most}%`;
      const inside = [canvas, el("span", { class: "who" }, `slot ${slot}`), bar, el("span", { class: "value" }, percent(shares[i]))];
      const row = layer === 0 || about.mixture
        ? el("button", { type: "button", class: "barrow", onclick: go, "aria-label": `slot ${slot}, ${percent(shares[i])}` }, ...inside)
        : el("div", { class: "barrow" }, ...inside);
      return [row, canvas];
    });
    if (slots.length) {
      ask("wall", { slots, seed: 0, layer, apart: 1 }).then((answer) => {
        const images = unpack(answer.images);
        rows.forEach(([, canvas], i) => paint(canvas, images, i));
      }).catch(failed);
    }
    return el("div", { class: "bars" }, ...rows.map(([row]) => row), ...rest.map(([name, value]) => el("p", { class: "soft rest" }, `${name} ${percent(value)}`)));
  }

  function mixtureParts(found) {
    const { belongs } = found;
    const again = button("Again", () => { seed = randomSeed(); refresh(); }, "quiet small");
    const like = unpack(found.like);
    const parts = [
      section("Slots it belongs to",
        bars(belongs.slot, belongs.share, 0, [["other real slots", belongs.other], ["fake slots", belongs.fake]]),
        el("p", { class: "soft" }, `The memory takes it for real with ${percent(belongs.real)}.`)),
      section("What the generator makes of it", tiles(unpack(found.own), { words: (i) => `the picture drawn anew, noise ${i + 1}` })),
      el("section", { class: "card" }, el("div", { class: "line" }, el("h2", {}, "More like this"), again),
        el("p", { class: "soft" }, "Slots are drawn from the posterior of the picture, and pictures from the slots."),
        tiles(like, { words: (i) => `from slot ${found.drawn[i]}`, click: (i) => app.view("slots").choose(found.drawn[i]) })),
    ];
    if (found.nearest) {
      const near = unpack(found.nearest.images);
      parts.push(section(`Nearest in ${found.nearest.of}`, tiles(near, {
        words: (i) => `${found.nearest.label[i] || "image"}, cosine ${found.nearest.cosine[i].toFixed(2)}`, under: (i) => found.nearest.label[i] || found.nearest.cosine[i].toFixed(2),
      })));
    }
    return parts;
  }

  function vaeParts(found) {
    const again = button("Again", () => { seed = randomSeed(); refresh(); }, "quiet small");
    return [
      el("section", { class: "card" }, el("div", { class: "line" }, el("h2", {}, "What the model makes of it"), again), tiles(unpack(found.own), { words: (i) => `reconstruction ${i + 1}` })),
      ...found.asks.map((layer, i) => section(`Slots it asks for in layer ${i}`, bars(layer.slot, layer.share, i))),
    ];
  }

  function build(root) {
    const add = about.mixture ? button("Add it to the memory", (event) => doing(event.currentTarget, async () => {
      if (chosen === null) { note("choose a picture first"); return; }
      app.view("edit").take(chosen, big.querySelector("canvas"));
    }), "quiet") : null;
    root.append(el("div", { class: "split narrow-first" },
      el("div", { class: "left" }, el("section", { class: "card" }, el("h2", {}, "The picture"), big, add, from.parts)), results));
  }

  const view = { id: "picture", title: "Picture", build, shown: () => from.load(), changed: () => { if (app.now === view) refresh(); }, choose };
  return view;
}
