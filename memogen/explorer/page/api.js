// Questions to the server. Each answer is a plain object; a refusal is an Error with one line.

async function answered(response) {
  let found;
  try {
    found = await response.json();
  } catch {
    throw new Error(`the server answered ${response.status}`);
  }
  if (!response.ok) throw new Error(found.error || `the server answered ${response.status}`);
  return found;
}

let open = 0;

// How many questions are open stands on <html>, for a style that shows it.
function counted(change) {
  open += change;
  document.documentElement.dataset.asking = open;
}

async function sent(address, options) {
  counted(1);
  try {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Error("the server does not answer: is memogen explore still running?");
    }
    return await answered(response);
  } finally {
    setTimeout(() => counted(-1), 0); // after whoever asked has shown the answer
  }
}

export function ask(name, fields = {}) {
  return sent(`/api/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields) });
}

const MOST = 10_000_000;

export function upload(file) {
  if (!file.type.startsWith("image/")) throw new Error(`${file.name || "this"}: is no picture; give a PNG, JPEG or WebP file`);
  if (file.size > MOST) throw new Error(`${file.name || "this picture"}: is larger than 10 MB; make it smaller`);
  return sent("/api/upload", { method: "POST", headers: { "Content-Type": file.type }, body: file });
}

// Only the newest question of a kind counts: an answer that a later question overtook is dropped, and while one is on its way the newest waits.
export function latest(question, show, fail) {
  let running = false;
  let waiting = null;
  const run = async (fields) => {
    running = true;
    try {
      const found = await question(fields);
      if (!waiting) show(found, fields);
    } catch (error) {
      if (!waiting) fail(error);
    }
    running = false;
    if (waiting) {
      const [next] = waiting;
      waiting = null;
      run(next);
    }
  };
  return (fields) => {
    if (running) waiting = [fields];
    else run(fields);
  };
}

export function randomSeed() {
  return Math.floor(Math.random() * 1_000_000);
}
