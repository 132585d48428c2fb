// The wall of slots, and one slot beside it.

import { ask, randomSeed } from "./api.js";
import { blank, button, doing, el, failed, labelled, note, paint, percent, roving, select, tiles, unpack } from "./parts.js";

const AT_ONCE = 256;
const FIRST = 64; // of the first batch, so that the first pictures are soon there
const STATES = ["", "off", "free", "yours"];

export function slotsView(app) {
  const { about } = app;
  const mixture = about.mixture;
  let table = null;
  let pictures = new Map(); // slot -> [images, place]
  let keys = ""; // which keys the pictures are of
  let seed = 0;
  let layer = 0;
  let stretched = false;
  let apart = !mixture; // a slot less the mean of its layer
  let chosen = null;
  let big = null; // the chosen slot's picture
  let order = null; // by likeness
  let watcher = null;
  let sort = mixture ? "class" : "weight";
  let sorting = null; // where it is chosen
  let words = "";
  const cells = new Map();

  const wall = el("div", { class: "wall", role: "group", "aria-label": "Slots" });
  const detail = el("aside", { class: "detail", "aria-label": "The chosen slot", tabindex: "-1" });
  const count = el("p", { class: "soft count", role: "status" });

  const row = (slot) => table.slot.indexOf(slot);
  const named = (place) => (table.label[place] >= 0 ? table.classes[table.label[place]] : "");
  const stateOf = (place) => (mixture ? STATES[table.state[place]] : "");
  const frozen = (place) => (mixture && table.frozen[place] ? "frozen" : "");
  const said = (place) => [`slot ${table.slot[place]}`, named(place), stateOf(place), frozen(place)].filter(Boolean).join(", ");

  function matches(place) {
    const asked = words.trim().toLowerCase();
    if (!asked) return true;
    if (/^\d+$/.test(asked) && String(table.slot[place]) === asked) return true;
    return named(place).toLowerCase().includes(asked) || stateOf(place) === asked || frozen(place) === asked || (!/^\d+$/.test(asked) && said(place).includes(asked));
  }

  function groups() {
    const places = table.slot.map((_, place) => place).filter(matches);
    const weight = mixture ? table.mass : table.weight;
    const heavy = (a, b) => weight[b] - weight[a] || a - b;
    if (sort === "class" && table.classes.length) {
      const found = new Map();
      for (const place of places) {
        const key = mixture && table.state[place] === 3 ? -2 : mixture && table.state[place] === 2 ? -3 : table.label[place];
        if (!found.has(key)) found.set(key, []);
        found.get(key).push(place);
      }
      const name = (key) => (key === -2 ? "yours" : key === -3 ? "free" : key < 0 ? "no class known" : table.classes[key]);
      const rank = (key) => (key === -2 ? -1 : key < 0 ? 1e6 - key : key);
      return [...found].sort((a, b) => rank(a[0]) - rank(b[0])).map(([key, members]) => [name(key), members.sort(heavy)]);
    }
    if (sort === "likeness" && order) {
      const rank = new Map(order.map((slot, i) => [slot, i]));
      return [["", places.sort((a, b) => (rank.get(table.slot[a]) ?? 1e9) - (rank.get(table.slot[b]) ?? 1e9))]];
    }
    if (sort === "age") return [["", places.sort((a, b) => table.age[a] - table.age[b] || a - b)]];
    if (sort === "number") return [["", places]];
    return [["", places.sort(heavy)]];
  }

  function draw() {
    watcher?.disconnect();
    cells.clear();
    const found = groups();
    const shown = found.reduce((sum, [, places]) => sum + places.length, 0);
    const parts = [];
    for (const [title, places] of found) {
      if (title) {
        const share = mixture ? `, ${percent(places.reduce((sum, place) => sum + table.prior[place], 0))} of the prior` : "";
        parts.push(el("h3", { class: "group" }, title, el("span", { class: "soft" }, ` ${places.length}${share}`)));
      }
      const grid = el("div", { class: "grid" });
      for (const place of places) {
        const canvas = blank(about.shape, "");
        canvas.setAttribute("aria-hidden", "true");
        canvas.removeAttribute("role");
        const slot = table.slot[place];
        const cell = el("button", {
          type: "button", class: `cell ${stateOf(place)}`, "aria-label": said(place), title: said(place), tabindex: -1, onclick: () => choose(slot),
        }, canvas);
        if (slot === chosen) cell.setAttribute("aria-pressed", "true");
        cells.set(slot, [cell, canvas]);
        grid.append(cell);
      }
      parts.push(grid);
    }
    if (!shown) parts.push(el("p", { class: "soft" }, "No slot matches. Clear the search to see all."));
    wall.replaceChildren(...parts);
    wall.querySelector("button.cell")?.setAttribute("tabindex", "0");
    count.textContent = shown === table.slot.length ? `${shown} slots` : `${shown} of ${table.slot.length} slots`;
    fetchVisible();
  }

  const version = () => `${keys} ${layer} ${seed} ${apart}`;

  // Batches in the order of the wall, each when it comes near the window.
  function fetchVisible() {
    const all = [...cells.keys()];
    for (const slot of all) {
      const have = pictures.get(slot);
      if (have) paint(cells.get(slot)[1], have[0], have[1], stretched);
    }
    const missing = all.filter((slot) => !pictures.has(slot));
    const batches = new Map();
    for (let start = 0, size = FIRST; start < missing.length; start += size, size = AT_ONCE) {
      const batch = missing.slice(start, start + size);
      for (const slot of [batch[0], batch[batch.length >> 1], batch[batch.length - 1]]) batches.set(cells.get(slot)[0], batch);
    }
    const begun = new Set();
    const of = version();
    watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const batch = batches.get(entry.target);
        if (entry.isIntersecting && batch && !begun.has(batch)) {
          begun.add(batch);
          load(batch, of);
        }
      }
    }, { rootMargin: "900px" });
    for (const cell of batches.keys()) watcher.observe(cell);
  }

  async function load(batch, of) {
    try {
      const images = unpack((await ask("wall", { slots: batch, seed, layer, apart: Number(apart) })).images);
      if (of !== version()) return;
      batch.forEach((slot, i) => {
        pictures.set(slot, [images, i]);
        if (cells.has(slot)) paint(cells.get(slot)[1], images, i, stretched);
        if (slot === chosen && big) paint(big, images, i, stretched);
      });
    } catch (error) {
      failed(error);
    }
  }

  async function refresh() {
    try {
      table = await ask("slots", { layer });
    } catch (error) {
      failed(error);
      return;
    }
    const now = mixture ? table.steps.join("|") : String(layer);
    if (now !== keys) {
      keys = now;
      pictures = new Map();
      order = null;
    }
    if (sort === "class" && mixture && !table.classes.length) {
      sort = "mass";
      sorting.value = sort;
    }
    if (sort === "likeness" && !order) order = (await ask("likeness")).slot;
    draw();
    if (chosen !== null) tell(chosen, false);
  }

  function choose(slot, focus = true) {
    if (chosen !== null) cells.get(chosen)?.[0].removeAttribute("aria-pressed");
    chosen = slot;
    cells.get(slot)?.[0].setAttribute("aria-pressed", "true");
    tell(slot, focus);
  }

  function close() {
    const cell = chosen !== null ? cells.get(chosen)?.[0] : null;
    cell?.removeAttribute("aria-pressed");
    chosen = null;
    detail.classList.remove("open");
    detail.replaceChildren(hint());
    cell?.focus();
  }

  const hint = () => el("p", { class: "soft hint" }, mixture
    ? "Choose a slot to see what the generator draws from it, its neighbours, and with --data the training images nearest to it."
    : "Choose a slot to see it larger, and the pictures that ask for it most.");

  let draws = 0;

  async function tell(slot, open = true) {
    if (row(slot) < 0) return close();
    const asked = slot;
    const place = row(slot);
    if (open) detail.classList.add("open");
    let found;
    try {
      found = await ask("slot", { slot, seed: draws, wall: seed, layer, num: 12 });
    } catch (error) {
      failed(error);
      return undefined;
    }
    if (chosen !== asked) return undefined;
    const top = detail.scrollTop;
    detail.replaceChildren(...(mixture ? mixtureDetail(slot, place, found) : layerDetail(slot, place, found)));
    detail.scrollTop = top;
    if (found.looking) setTimeout(() => { if (chosen === asked) tell(asked, false); }, 900);
    return undefined;
  }

  function head(slot, place, ...facts) {
    const have = pictures.get(slot);
    big = blank(about.shape, said(place));
    big.classList.add("big");
    if (have) paint(big, have[0], have[1], stretched);
    const name = named(place);
    return el("div", { class: "head" }, big, el("div", { class: "title" },
      el("h2", {}, `Slot ${slot}`),
      name ? el("p", { class: "name" }, mixture ? name : el("span", { class: "soft" }, "most asked for by "), mixture ? el("span", { class: "soft" }, ` ${percent(table.share[place])}`) : name) : null,
      stateOf(place) ? el("span", { class: `badge ${stateOf(place)}` }, stateOf(place) === "off" ? "turned off" : stateOf(place)) : null,
      frozen(place) ? el("span", { class: "badge" }, "frozen") : null,
      el("dl", { class: "facts" }, ...facts.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))))),
    el("button", { type: "button", class: "quiet round close", "aria-label": "Close the slot", onclick: close }, "×"));
  }

  function mixtureDetail(slot, place, found) {
    const state = table.state[place];
    const edit = (what) => (event) => doing(event.currentTarget, async () => {
      const done = await ask("edit", { what, slots: [slot] });
      note({
        off: `slot ${slot} is off`, on: `slot ${slot} is on`, forget: `slot ${slot} is forgotten; Edit takes it back`,
        freeze: `slot ${slot} is frozen: a training that goes on from the saved model leaves it as it is`, thaw: `slot ${slot} learns again`,
      }[what]);
      app.changedHere(done.version);
    });
    const actions = el("div", { class: "row" },
      state === 2 ? null : state === 1 ? button("Turn on", edit("on")) : button("Turn off", edit("off"), "quiet"),
      state === 2 ? null : button("Forget", edit("forget"), "danger"),
      state === 2 ? null : table.frozen[place] ? button("Unfreeze", edit("thaw"), "quiet") : button("Freeze", edit("freeze"), "quiet"),
      state === 2 ? null : button("Use as a corner", () => { app.view("between").corner(slot); note(`slot ${slot} is a corner of the square`); }, "quiet"));
    const facts = [["mass", table.mass[place].toFixed(2)], ["age", String(table.age[place])], ["prior", percent(table.prior[place])]];
    if (state === 2) return [head(slot, place, ...facts), el("p", { class: "soft" }, "This slot is free: nothing is drawn from it, and no picture belongs to it.")];
    const images = unpack(found.images);
    const near = found.neighbours.slot.map((each, i) => [each, found.neighbours.cosine[i]]);
    const beside = tiles(unpack(found.neighbours.images), {
      words: (i) => `slot ${near[i][0]}, ${named(row(near[i][0]))}, cosine ${near[i][1].toFixed(2)}`, under: (i) => near[i][1].toFixed(2), click: (i) => choose(near[i][0]),
    });
    const parts = [head(slot, place, ...facts), actions,
      el("div", { class: "line" }, el("h3", {}, "Drawn from it"), button("New noise", () => { draws = randomSeed(); tell(slot, false); }, "quiet small")),
      tiles(images, { words: (i) => `draw ${i + 1} of slot ${slot}` }),
      el("h3", {}, "Neighbours in key space"), beside];
    if (found.nearest) {
      const closest = unpack(found.nearest.images);
      parts.push(el("h3", {}, `Nearest in ${found.nearest.of}`), tiles(closest, {
        words: (i) => `${found.nearest.label[i] || "image"}, cosine ${found.nearest.cosine[i].toFixed(2)}`, under: (i) => found.nearest.cosine[i].toFixed(2),
      }));
    } else parts.push(el("p", { class: "soft" }, found.looking ? "Reading the training images …" : "Start with --data to see the training images nearest to it."));
    return parts;
  }

  function layerDetail(slot, place, found) {
    const images = unpack(found.askers.images);
    return [head(slot, place, ["layer", String(layer)], ["mean weight", table.weight[place].toFixed(3)]),
      el("h3", {}, "Pictures that ask for it most"),
      tiles(images, { words: (i) => `picture with weight ${found.askers.weight[i].toFixed(2)}`, under: (i) => found.askers.weight[i].toFixed(2) })];
  }

  function build(root) {
    const search = el("input", { type: "search", placeholder: "number or class", oninput: (event) => { words = event.target.value; if (table) draw(); } });
    const choices = mixture
      ? [["class", "class"], ["likeness", "likeness"], ["mass", "mass"], ["age", "age"], ["number", "number"]]
      : [["weight", "mean weight"], ["class", "class"], ["number", "number"]];
    const [list, sorted] = select("Sort by", choices, async (value) => {
      sort = value;
      await refresh();
    });
    list.value = sort;
    sorting = list;
    const controls = [labelled("Find", search), sorted];
    if (mixture) controls.push(button("New noise", () => { seed = randomSeed(); pictures = new Map(); fetchVisible(); }, "quiet"));
    if (!mixture && about.layers.length > 1) {
      const [, choice] = select("Layer", about.layers.map((num, i) => [String(i), `${i} (${num} slots)${i ? "" : ", next to the data"}`]), (value) => {
        layer = Number(value);
        close();
        refresh();
      });
      controls.push(choice);
    }
    if (!mixture) {
      const [, choice] = select("Show", [["apart", "what sets it apart"], ["alone", "the slot decoded alone"], ["contrast", "alone, full contrast"]], (value) => {
        stretched = value === "contrast";
        apart = value === "apart";
        pictures = new Map();
        fetchVisible();
        if (chosen !== null) tell(chosen, false);
      });
      controls.push(choice);
    }
    detail.append(hint());
    roving(wall, "button.cell");
    detail.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
    wall.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
    root.append(el("div", { class: "split" }, el("div", { class: "left" }, el("div", { class: "toolbar" }, ...controls, count), wall), detail));
  }

  return {
    id: "slots",
    title: "Slots",
    build,
    shown: () => { if (!table) refresh(); },
    changed: () => { if (table) refresh(); },
    choose: (slot) => {
      app.go("slots");
      words = "";
      const then = () => { choose(slot); cells.get(slot)?.[0].scrollIntoView({ block: "center" }); };
      if (table) then();
      else refresh().then(then);
    },
  };
}
