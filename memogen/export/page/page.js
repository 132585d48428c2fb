"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("data").textContent);
  const [channels, height, width] = page.image.shape;
  const [low, high] = page.image.range;
  const SIDE = 7, GAP = Math.max(1, Math.round(width / 14)), SHOWN = page.slots ? 30 : 40;
  let ort, session, keys;
  let choice = {};                                   // what is drawn: {}, {label}, {group} (a class of slots) or {slot} (a place in the list)

  // --- what the page carries ---

  const packed = (id) => {
    const text = byId(id).textContent, letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  };
  const unpacked = (id) =>
    new Response(new Blob([packed(id)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();

  const single = (half) => {                         // a number from its half precision
    const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, rest = half & 1023;
    if (exponent === 0) return sign * rest * 2 ** -24;
    return exponent === 31 ? NaN : sign * (1 + rest / 1024) * 2 ** (exponent - 15);
  };

  async function prepare() {
    if (typeof DecompressionStream === "undefined" || typeof WebAssembly === "undefined")
      throw new Error("This browser is too old to draw here: it lacks WebAssembly or DecompressionStream. Open the page in a newer one.");
    const address = URL.createObjectURL(new Blob([await unpacked("runtime")], { type: "text/javascript" }));
    ort = await import(address);
    URL.revokeObjectURL(address);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = await unpacked("wasm");
    ort.env.logLevel = "error";
    session = await ort.InferenceSession.create(await unpacked("model"), { executionProviders: ["wasm"] });
    if (page.slots) keys = Float32Array.from(new Uint16Array(await unpacked("keys")), single);
  }

  // --- latents: the laws of the model ---

  const uniform = () => 1 - Math.random();           // in (0, 1]
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * Math.random());
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const unit = (a) => { const norm = Math.sqrt(dot(a, a)) || 1; return a.map((value) => value / norm); };
  const drawNoise = () => Array.from({ length: page.noise.dim }, page.noise.law === "uniform" ? () => 2 * Math.random() - 1 : normal);
  const keyOf = (place) => unit(Array.from(keys.subarray(place * page.slots.dim, (place + 1) * page.slots.dim)));

  function around(mean, kappa) {                     // a von Mises-Fisher draw: Wood 1994, the beta variable by its polar form
    const dim = mean.length, b = (dim - 1) / (2 * kappa + Math.sqrt(4 * kappa * kappa + (dim - 1) ** 2)), mode = (1 - b) / (1 + b);
    let cosine, gain;
    do {
      let beta = Math.cos(2 * Math.PI * Math.random());
      if (dim > 2) beta *= Math.sqrt(1 - uniform() ** (2 / (dim - 2)));
      cosine = (1 - b - (1 + b) * beta) / (1 + b - (1 - b) * beta);
      gain = kappa * (cosine - mode) + (dim - 1) * Math.log((1 - mode * cosine) / (1 - mode * mode));
    } while (!(gain >= Math.log(uniform())));
    const across = mean.map(normal), along = dot(across, mean);
    const tangent = unit(across.map((value, i) => value - along * mean[i])), rest = Math.sqrt(Math.max(0, 1 - cosine * cosine));
    return unit(mean.map((value, i) => cosine * value + rest * tangent[i]));
  }

  function pick(chances) {                           // a place, by chances that need not add up to one
    let point = Math.random() * chances.reduce((sum, chance) => sum + chance, 0);
    let last = 0;
    for (let i = 0; i < chances.length; i++) {
      if (chances[i] > 0) { last = i; if ((point -= chances[i]) < 0) return i; }
    }
    return last;
  }

  const chances = (group) => page.slots.prior.map((chance, i) => (group === undefined || page.slots.group[i] === group ? chance : 0));

  function latents(num, wanted = {}) {               // {noise, key, label, place}: an array for each image
    const made = { noise: Array.from({ length: num }, drawNoise) };
    if (page.slots) {
      const among = wanted.slot === undefined ? chances(wanted.group) : null;
      made.place = made.noise.map(() => (among ? pick(among) : wanted.slot));
      made.key = made.place.map((place) => (page.slots.key === "draw" ? around(keyOf(place), page.slots.concentration) : keyOf(place)));
    }
    if (page.labels) made.label = made.noise.map(() =>
      wanted.label === undefined ? page.labels.numbers[Math.floor(Math.random() * page.labels.numbers.length)] : wanted.label);
    return made;
  }

  async function draw(made) {                        // the numbers of all images, one after another, in the model's own range
    const num = made.noise.length, feeds = {};
    feeds.noise = new ort.Tensor("float32", Float32Array.from(made.noise.flat()), [num, page.noise.dim]);
    if (page.slots) feeds.key = new ort.Tensor("float32", Float32Array.from(made.key.flat()), [num, page.slots.dim]);
    if (page.labels) feeds.label = new ort.Tensor("int64", BigInt64Array.from(made.label.map(BigInt)), [num]);
    return (await session.run(feeds)).image.data;
  }

  // --- pictures ---

  function paint(context, numbers, place, left = 0, top = 0) {
    const area = height * width, plane = page.image.numbers / channels, picture = context.createImageData(width, height);
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) {
        const value = i < plane ? numbers[(place * channels + Math.min(c, channels - 1)) * plane + i] : low;  // a vector may not fill its last row
        picture.data[4 * i + c] = Math.round(((value - low) / (high - low)) * 255);
      }
      picture.data[4 * i + 3] = 255;
    }
    context.putImageData(picture, left, top);
  }

  const sheet = byId("samples");
  const tiles = Array.from({ length: SHOWN }, () => {
    const tile = document.createElement("canvas");
    [tile.width, tile.height] = [width, height];
    sheet.append(tile);
    return tile;
  });

  let turn = 0;
  async function showSamples() {
    const mine = ++turn;
    for (let first = 0; first < SHOWN; first += 8) { // in parts, so that the page answers in between
      const part = tiles.slice(first, first + 8), numbers = await draw(latents(part.length, choice));
      if (mine !== turn) return;
      part.forEach((tile, i) => paint(tile.getContext("2d"), numbers, i));
      await new Promise((done) => setTimeout(done));
    }
  }

  // --- the wall of slots ---

  const wall = byId("wall"), picture = new Image();
  let grid = { columns: 1, tile: 32 };
  function showWall() {
    const room = wall.clientWidth || 320, count = page.slots.prior.length, wish = Math.max(24, Math.min(40, width));
    const columns = Math.max(1, Math.floor(room / wish)), tile = room / columns, sharp = window.devicePixelRatio || 1;
    grid = { columns, tile };
    wall.width = Math.round(room * sharp);
    wall.height = Math.round(Math.ceil(count / columns) * tile * sharp);
    const context = wall.getContext("2d");
    context.scale(sharp, sharp);
    context.imageSmoothingEnabled = false;
    for (let i = 0; i < count; i++) {
      const left = (i % columns) * tile, top = Math.floor(i / columns) * tile;
      const across = i % page.slots.columns, down = Math.floor(i / page.slots.columns);
      context.globalAlpha = choice.group === undefined || page.slots.group[i] === choice.group ? 1 : 0.16;
      context.drawImage(picture, across * width, down * height, width, height, left + 1, top + 1, tile - 2, tile - 2);
      if (choice.slot !== i) continue;
      context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
      context.lineWidth = 3;
      context.strokeRect(left + 1.5, top + 1.5, tile - 3, tile - 3);
    }
  }

  function chooseSlot(place) {
    if (place < 0 || place >= page.slots.prior.length) return;
    choose({ slot: place });
    const top = Math.floor(place / grid.columns) * grid.tile, box = wall.parentElement;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + grid.tile > box.scrollTop + box.clientHeight) box.scrollTop = top + grid.tile - box.clientHeight;
  }

  if (page.slots) {
    picture.onload = showWall;
    picture.src = page.slots.wall;
    new ResizeObserver(() => picture.complete && showWall()).observe(wall.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showWall);
    wall.addEventListener("click", (event) => {
      const box = wall.getBoundingClientRect();
      chooseSlot(Math.floor((event.clientY - box.top) / grid.tile) * grid.columns + Math.min(grid.columns - 1, Math.floor((event.clientX - box.left) / grid.tile)));
    });
    wall.addEventListener("keydown", (event) => {
      const step = ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns })[event.key];
      if (step === undefined) return;
      event.preventDefault();
      chooseSlot(choice.slot === undefined ? 0 : choice.slot + step);
    });
  }

  // --- choosing what is drawn ---

  const percent = (share) => (share >= 0.0995 ? Math.round(100 * share) : Number((100 * share).toPrecision(2))) + " %";
  function told() {
    if (choice.slot !== undefined) {
      const name = page.slots.names[page.slots.group[choice.slot]];
      return `Slot ${page.slots.numbers[choice.slot]}${name ? `: ${name}` : ""}, drawn for ${percent(page.slots.prior[choice.slot])} of all images`;
    }
    if (choice.group !== undefined) {
      const count = page.slots.group.filter((group) => group === choice.group).length;
      return `${page.slots.names[choice.group]}: ${count} slot${count === 1 ? "" : "s"}, drawn for ${percent(chances(choice.group).reduce((a, b) => a + b, 0))} of all images`;
    }
    if (choice.label !== undefined) return page.labels.names[page.labels.numbers.indexOf(choice.label)];
    return page.slots ? "From the whole memory" : page.labels ? "Of any class" : "";
  }

  const chips = [];
  function choose(wanted) {
    choice = wanted;
    byId("chosen").textContent = told();
    for (const { chip, wish } of chips) chip.setAttribute("aria-pressed", JSON.stringify(wish) === JSON.stringify(choice));
    if (page.slots && picture.complete) showWall();
    if (!session) return;
    showSamples();
    if (page.labels) newCorners();
  }

  function addChip(word, wish) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = word;
    chip.addEventListener("click", () => choose(wish));
    byId("classes").append(chip);
    byId("classes").hidden = false;
    chips.push({ chip, wish });
  }
  const groups = page.slots ? page.slots.names.map((name, group) => [name, { group }]) : page.labels ? page.labels.numbers.map((label, i) => [page.labels.names[i], { label }]) : [];
  if (groups.length) addChip("All", {});
  for (const [word, wish] of groups) addChip(word, wish);

  // --- between four ---

  const square = byId("square"), knob = square.querySelector("i"), ground = square.querySelector("canvas"), large = byId("point");
  [ground.width, ground.height, large.width, large.height] = [SIDE * (width + GAP) - GAP, SIDE * (height + GAP) - GAP, width, height];
  square.style.aspectRatio = `${ground.width} / ${ground.height}`;
  let corners, spot = [0.5, 0.5], waiting = false, laying = 0;

  function slerp(a, b, share) {                      // along the great circle, at even speed
    const angle = 2 * Math.atan2(Math.hypot(...a.map((value, i) => b[i] - value)), Math.hypot(...a.map((value, i) => b[i] + value)));
    const flat = Math.sin(angle) < 1e-6, near = flat ? 1 - share : Math.sin((1 - share) * angle) / Math.sin(angle);
    const far = flat ? share : Math.sin(share * angle) / Math.sin(angle);
    return unit(a.map((value, i) => near * value + far * b[i]));
  }

  function between(points) {                         // latents of points (right, down) of the square
    const made = { noise: [], key: [], label: [] };
    for (const [right, down] of points) {
      const weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right];
      const scale = page.noise.law === "normal" ? Math.hypot(...weights) : 1;  // keeps the noise as long as noise is
      made.noise.push(corners.noise[0].map((_, i) => weights.reduce((sum, weight, c) => sum + weight * corners.noise[c][i], 0) / scale));
      if (page.slots) made.key.push(slerp(slerp(corners.key[0], corners.key[1], right), slerp(corners.key[2], corners.key[3], right), down));
      if (page.labels) made.label.push(corners.label[0]);
    }
    return made;
  }

  async function newCorners() {
    const mine = ++laying;
    corners = latents(4, page.labels ? choice : {});
    if (page.slots) {                                // four slots, of different classes where they are known
      const left = chances(), taken = [];
      for (let c = 0; c < 4; c++) {
        const place = left.some((chance) => chance > 0) ? pick(left) : taken[0];
        taken.push(place);
        left.forEach((_, i) => { if (i === place || (page.slots.names.length >= 4 && page.slots.group[i] === page.slots.group[place])) left[i] = 0; });
      }
      corners.key = taken.map(keyOf);
      corners.noise = corners.noise.map(() => corners.noise[0]);
      byId("corners").textContent = "Slots " + taken.map((place) => page.slots.numbers[place]).join(", ");
    }
    if (page.labels) { corners.label.fill(corners.label[0]); byId("corners").textContent = page.labels.names[page.labels.numbers.indexOf(corners.label[0])]; }
    showPoint();
    const context = ground.getContext("2d");
    for (let row = 0; row < SIDE; row++) {
      const numbers = await draw(between(Array.from({ length: SIDE }, (_, column) => [column / (SIDE - 1), row / (SIDE - 1)])));
      if (mine !== laying) return;
      for (let column = 0; column < SIDE; column++) paint(context, numbers, column, column * (width + GAP), row * (height + GAP));
      await new Promise((done) => setTimeout(done));
    }
  }

  const inset = 1 / (2 * SIDE);                      // a corner's image is there, not its outermost pixel
  function place(x, y) {
    spot = [x, y].map((value) => Math.min(1, Math.max(0, value)));
    [knob.style.left, knob.style.top] = spot.map((value) => `${100 * (inset + value * (1 - 2 * inset))}%`);
    square.setAttribute("aria-valuenow", Math.round(100 * spot[0]));
    square.setAttribute("aria-valuetext", `${Math.round(100 * spot[0])} % to the right, ${Math.round(100 * spot[1])} % down`);
    showPoint();
  }
  async function showPoint() {                       // the newest point, however fast it moves
    if (waiting || !session || !corners) return;
    waiting = true;
    let shown;
    do {
      shown = spot;
      paint(large.getContext("2d"), await draw(between([shown])), 0);
    } while (shown !== spot);
    waiting = false;
  }
  const follow = (event) => {
    const box = square.getBoundingClientRect();
    place(((event.clientX - box.left) / box.width - inset) / (1 - 2 * inset), ((event.clientY - box.top) / box.height - inset) / (1 - 2 * inset));
  };
  square.addEventListener("pointerdown", (event) => { square.setPointerCapture(event.pointerId); follow(event); });
  square.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "mouse") follow(event); });
  square.addEventListener("keydown", (event) => {
    const step = ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[event.key];
    if (!step) return;
    event.preventDefault();
    place(spot[0] + step[0] / 24, spot[1] + step[1] / 24);
  });

  // --- begin ---

  byId("again").addEventListener("click", showSamples);
  byId("others").addEventListener("click", newCorners);
  choose({});
  const ready = prepare().then(() => {
    byId("again").disabled = byId("others").disabled = false;
    byId("status").textContent = "";
    return Promise.all([showSamples(), newCorners()]);
  });
  ready.catch((error) => { byId("status").textContent = error.message; });
  window.memogen = { ready, latents, draw, choose, around };
})();
