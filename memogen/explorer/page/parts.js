// Small parts of the page: elements, pictures on canvases, rows of tiles, keyboards, places to drop pictures.

import { ask, upload } from "./api.js";

export function el(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (name === "class") found.className = value;
    else if (value === true) found.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) found.setAttribute(name, value);
  }
  found.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return found;
}

export const button = (words, onclick, kind = "") => el("button", { type: "button", class: kind, onclick }, words);

let noteTimer = 0;

export function note(words, bad = false) {
  const place = document.getElementById("note");
  place.textContent = words;
  place.className = bad ? "shown bad" : "shown";
  clearTimeout(noteTimer);
  noteTimer = setTimeout(() => { place.className = ""; }, bad ? 7000 : 3000);
}

export function quiet() {
  clearTimeout(noteTimer);
  document.getElementById("note").className = "";
}

export const failed = (error) => note(error.message, true);

// Runs what a click asks for, with the button out of use meanwhile; what goes wrong is said.
export async function doing(control, work) {
  if (control) control.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    failed(error);
    return undefined;
  } finally {
    if (control) control.removeAttribute("aria-busy");
  }
}

// --- pictures ---

export function unpack(images) {
  const binary = atob(images.bytes);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return { ...images, bytes };
}

export function pixels(images, place, stretched = false) {
  const { width, height, channels, bytes } = images;
  const count = width * height;
  const found = new ImageData(width, height);
  let low = 0;
  let scale = 1;
  if (stretched) {
    const own = bytes.subarray(place * count * channels, (place + 1) * count * channels);
    low = own.reduce((a, b) => Math.min(a, b), 255);
    scale = 255 / Math.max(1, own.reduce((a, b) => Math.max(a, b), 0) - low);
  }
  for (let i = 0; i < count; i += 1) {
    const at = (place * count + i) * channels;
    for (let c = 0; c < 3; c += 1) found.data[i * 4 + c] = (bytes[at + (channels === 3 ? c : 0)] - low) * scale;
    found.data[i * 4 + 3] = 255;
  }
  return found;
}

export function paint(canvas, images, place = 0, stretched = false) {
  if (canvas.width !== images.width) canvas.width = images.width;
  if (canvas.height !== images.height) canvas.height = images.height;
  canvas.getContext("2d").putImageData(pixels(images, place, stretched), 0, 0);
  return canvas;
}

export function blank(shape, words) {
  const [, height, width] = folded(shape);
  const canvas = el("canvas", { width, height, role: "img", "aria-label": words });
  return canvas;
}

export function folded([channels, height, width]) {
  if (height > 1) return [channels, height, width];
  const side = Math.ceil(Math.sqrt(width));
  return [channels, Math.ceil(width / side), side];
}

export function show(images, place, words, stretched = false) {
  return paint(el("canvas", { role: "img", "aria-label": words }), images, place, stretched);
}

// A row or grid of pictures; those with a click are buttons. ``under`` gives the words under each.
export function tiles(images, { words, under, click, stretched = false, kind = "" }) {
  const row = el("div", { class: `tiles ${kind}` });
  for (let i = 0; i < images.num; i += 1) {
    const canvas = show(images, i, words(i), stretched);
    const told = under ? el("span", { class: "under" }, under(i)) : null;
    row.append(click
      ? el("button", { type: "button", class: "tile", "aria-label": words(i), onclick: (event) => click(i, event.currentTarget) }, canvas, told)
      : el("div", { class: "tile" }, canvas, told));
  }
  return row;
}

export function section(title, ...children) {
  return el("section", { class: "card" }, el("h2", {}, title), ...children);
}

let ids = 0;

export function labelled(words, control) {
  if (!control.id) control.id = `control-${(ids += 1)}`;
  return el("div", { class: "field" }, words ? el("label", { for: control.id }, words) : null, control);
}

export function select(words, choices, onchange) {
  const list = el("select", { onchange: (event) => onchange(event.target.value) },
    ...choices.map(([value, name]) => el("option", { value }, name)));
  return [list, labelled(words, list)];
}

export const percent = (share) => (share >= 0.0995 ? `${(100 * share).toFixed(0)} %` : share >= 0.001 ? `${(100 * share).toFixed(1)} %` : share > 0 ? "< 0.1 %" : "0 %");

// Arrow keys move between the buttons of a grid, of which one at a time is a stop of the tab key.
export function roving(grid, selector = "button") {
  const stops = () => [...grid.querySelectorAll(selector)].filter((each) => each.offsetParent !== null);
  const choose = (chosen) => {
    for (const each of grid.querySelectorAll(`${selector}[tabindex="0"]`)) each.tabIndex = -1;
    chosen.tabIndex = 0;
  };
  grid.addEventListener("focusin", (event) => {
    const at = event.target.closest(selector);
    if (at) choose(at);
  });
  grid.addEventListener("keydown", (event) => {
    const at = event.target.closest(selector);
    if (!at || !["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    const all = stops();
    const place = all.indexOf(at);
    const box = at.getBoundingClientRect();
    let next;
    if (event.key === "ArrowLeft") next = all[place - 1];
    if (event.key === "ArrowRight") next = all[place + 1];
    if (event.key === "Home") [next] = all;
    if (event.key === "End") next = all[all.length - 1];
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const ahead = event.key === "ArrowDown" ? all.slice(place + 1) : all.slice(0, place).reverse();
      const other = ahead.filter((each) => Math.abs(each.getBoundingClientRect().top - box.top) > 4);
      if (other.length) {
        const row = other[0].getBoundingClientRect().top;
        const same = other.filter((each) => Math.abs(each.getBoundingClientRect().top - row) < 4);
        next = same.reduce((best, each) => (Math.abs(each.getBoundingClientRect().left - box.left) < Math.abs(best.getBoundingClientRect().left - box.left) ? each : best));
      }
    }
    event.preventDefault();
    if (next) { choose(next); next.focus(); }
  });
  const first = grid.querySelector(selector);
  if (first && !grid.querySelector(`${selector}[tabindex="0"]`)) first.tabIndex = 0;
}

// --- where pictures come from ---

// Examples, a sample of the model, and a place to drop or choose files; ``chosen(number, images, place)`` gets each picture.
export function source(app, chosen, { several = false, first = () => false } = {}) {
  const strip = el("div", { class: "strip", "aria-label": "Examples" });
  const file = el("input", { type: "file", accept: "image/*", multiple: several, class: "hidden-file", "aria-label": several ? "Choose pictures" : "Choose a picture" });
  const drop = el("label", { class: "drop" }, file, el("span", {}, several ? "Drop pictures here, or choose them" : "Drop a picture here, or choose one"));
  const take = (files) => doing(drop, async () => {
    for (const each of several ? files : files.slice(0, 1)) {
      const found = await upload(each);
      chosen(found.picture, unpack(found.images), 0);
    }
  });
  file.addEventListener("change", () => { take([...file.files]); file.value = ""; });
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take([...event.dataTransfer.files]); });
  const drawn = button("Draw a sample", (event) => doing(event.currentTarget, async () => {
    const found = await ask("sample", { seed: Math.floor(Math.random() * 1_000_000), label: app.label() });
    chosen(found.picture, unpack(found.images), 0);
  }), "quiet");
  let loaded = false;
  const load = async () => {
    if (loaded) return;
    try {
      const found = await ask("examples");
      if (!found.pictures.length) { setTimeout(load, 700); return; }
      loaded = true;
      const images = unpack(found.images);
      const row = tiles(images, { words: (i) => `example ${i + 1}`, click: (i) => chosen(found.pictures[i], images, i) });
      strip.replaceChildren(row);
      roving(row, "button.tile");
      if (first()) chosen(found.pictures[0], images, 0);
    } catch (error) {
      failed(error);
    }
  };
  const parts = el("div", { class: "source" }, app.about.pictures ? drop : null, el("div", { class: "row" }, el("span", { class: "soft" }, "or an example"), drawn), strip);
  return { parts, load };
}
