// The page: controls, the engine behind them, and files.

const start = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const live = !start.report;
const limits = start.limits ?? { charges: 2000, lines: 300, bytes: 8e6 };
const NEAREST = 0.3, FARTHEST = 40; // values of L that the slider reaches

let scene = null;
const stage = new Stage(by("stage"), { changed: () => ask(), say });

function say(text) {
  by("status").textContent = text;
}

function complain(text) {
  by("problem").textContent = text;
}

/** The answer to a request, as an ArrayBuffer or as JSON; what went wrong is an error with a sentence. */
async function get(name, query = {}, body = null) {
  let answer;
  try {
    answer = await fetch(`${name}?${new URLSearchParams(query)}`, body ? { method: "POST", body } : {});
  } catch {
    throw new Error("The server does not answer: `efm-fast show` has ended.");
  }
  if (answer.ok) return answer.headers.get("Content-Type") === "application/json" ? answer.json() : answer.arrayBuffer();
  const told = await answer.json().catch(() => ({}));
  throw new Error(told.error ?? `The server answered ${answer.status}.`);
}

// ---- lines, traced as fast as the engine answers; a request that a newer one overtakes is never sent

const SLOW = 90, QUICK = 30; // milliseconds of the engine
let wanted = null, asking = false, settling = 0;
let every = 1; // while something moves: of the lines, every so many, as many as the engine manages

/** Ask for lines: coarse ones at once, and fine ones as soon as nothing has moved for a moment. */
function ask() {
  if (!live || kind() !== "live") return;
  clearTimeout(settling);
  settling = setTimeout(() => follow(false), 160);
  follow(true);
}

async function follow(draft) {
  wanted = { draft };
  if (asking) return;
  asking = true;
  try {
    while (wanted) {
      const { draft: rough } = wanted;
      wanted = null;
      await trace(rough);
    }
    complain("");
  } catch (problem) {
    complain(problem.message);
    stage.draw();
  } finally {
    asking = false;
  }
}

async function trace(draft) {
  const asked = scene, d = scene.features;
  const part = (name) => ({ data: scene[name].subarray(0, d * scene.count[name]), shape: [scene.count[name], d] });
  const facts = { L: scene.L, lines: Number(by("many").value), draft, every: draft ? every : 1 };
  const { facts: told, arrays } = unpackFrame(await get("lines", {}, packFrame(facts, { plus: part("plus"), minus: part("minus") })));
  if (asked !== scene || kind() !== "live") return;
  if (draft && told.milliseconds > SLOW) every = Math.min(4, 2 * every);
  if (draft && told.milliseconds < QUICK) every = Math.max(1, every / 2);
  const set = lineSet(arrays.points.data, told.counts, d + 1, scene);
  scene.live = set;
  scene.told = told;
  stage.setLines([{ set }]);
  stage.canvas.dataset.traced = Number(stage.canvas.dataset.traced ?? 0) + 1;
  stage.canvas.dataset.lines = told.counts.length;
  stage.canvas.dataset.draft = draft;
  if (!draft) say(endsOf(told));
}

function endsOf({ counts, ends, milliseconds }) {
  const ways = { front: "in front of Q", behind: "behind Q", escaped: "far away", "step limit": "unfinished", failed: "nowhere" };
  const parts = Object.entries(ends).map(([way, count]) => `${count} end ${ways[way] ?? way}`);
  return `${counts.length} lines: ${parts.join(", ")}. Traced in ${Math.round(milliseconds)} ms.`;
}

// ---- scenes

function kind() {
  return document.querySelector("input[name=kind]:checked").value;
}

function setScene(buffer) {
  const { facts, arrays } = unpackFrame(buffer), n = facts.features + 1;
  const made = { ...facts, plus: arrays.plus.data.slice(), minus: arrays.minus.data.slice() };
  Object.assign(made, frameOf(made.plus, made.minus, made.features, made.L));
  for (const name of ["learned", "exact"]) {
    if (arrays[name]) made[name] = lineSet(arrays[name].data, facts[`${name}_counts`], n, made);
  }
  adopt(made);
}

function adopt(made) {
  scene = made;
  scene.L0 = scene.L;
  scene.original = { plus: scene.plus.slice(), minus: scene.minus.slice() };
  Object.assign(scene, frameOf(scene.plus, scene.minus, scene.features, scene.L));
  countCharges(scene.charges);
  const hasRun = Boolean(scene.learned);
  by("kinds").hidden = !hasRun;
  for (const radio of document.querySelectorAll("input[name=kind]")) {
    radio.closest("label").hidden = (radio.value === "exact" || radio.value === "both") && !scene.exact || (radio.value === "live" && !live);
    radio.checked = radio.value === (hasRun ? (scene.exact ? "both" : "learned") : "live");
  }
  by("lead").hidden = false;
  stage.show(scene, true);
  tune();
  showKind();
}

function countCharges(n) {
  const d = scene.features;
  scene.count = Object.fromEntries(["plus", "minus"].map((name) => [name, Math.min(n, scene[name].length / d)]));
}

function showKind() {
  const chosen = kind(), fixed = chosen !== "live";
  for (const id of ["distance", "charges", "many"]) by(id).disabled = fixed;
  stage.movable = !fixed;
  if (fixed) {
    scene.L = scene.L0;
    for (const name of ["plus", "minus"]) scene[name].set(scene.original[name]);
    countCharges(scene.charges);
    tune();
    const sets = { learned: [{ set: scene.learned }], exact: [{ set: scene.exact }],
      both: [{ set: scene.exact, colour: true }, { set: scene.learned }] };
    stage.chosen = null;
    stage.setLines(sets[chosen]);
    stage.canvas.dataset.lines = sets[chosen][0].set.offsets.length - 1;
    say(scene.note ?? "");
  } else {
    stage.setLines(scene.live ? [{ set: scene.live }] : []);
    ask();
  }
}

// ---- sliders: L and the charges on logarithmic scales

const position = (value, low, high) => Math.round((1000 * Math.log(value / low)) / Math.log(high / low));
const valueAt = (at, low, high) => low * (high / low) ** (at / 1000);

/** Put the sliders where the scene is. */
function tune() {
  const most = scene.plus.length / scene.features, other = scene.minus.length / scene.features;
  scene.most = Math.max(most, other);
  by("distance").value = position(scene.L, NEAREST, FARTHEST);
  by("charges").value = scene.most > 1 ? position(Math.max(scene.count.plus, scene.count.minus), 1, scene.most) : 1000;
  tell();
}

function tell() {
  by("distance-said").textContent = scene.L.toPrecision(3);
  const { plus, minus } = scene.count;
  by("charges-said").textContent = plus === minus ? String(plus) : `${plus} and ${minus}`;
  by("many-said").textContent = by("many").value;
  by("distance").setAttribute("aria-valuetext", `L = ${scene.L.toPrecision(3)}`);
  by("charges").setAttribute("aria-valuetext", `${by("charges-said").textContent} charges`);
}

function listen() {
  by("distance").addEventListener("input", (event) => {
    scene.L = valueAt(Number(event.target.value), NEAREST, FARTHEST);
    changed();
  });
  by("charges").addEventListener("input", (event) => {
    countCharges(Math.round(valueAt(Number(event.target.value), 1, scene.most)));
    if (stage.chosen && stage.chosen.index >= scene.count[stage.chosen.plate]) stage.chosen = null;
    changed();
  });
  by("many").addEventListener("input", changed);
  by("kinds").addEventListener("change", showKind);
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  by("closer").addEventListener("click", () => stage.zoom(1.2));
  by("farther").addEventListener("click", () => stage.zoom(1 / 1.2));
  by("home").addEventListener("click", () => stage.home());
  by("source").addEventListener("change", (event) => open(event.target.value));
  for (const plate of ["plus", "minus"]) {
    by(`file-${plate}`).addEventListener("change", (event) => {
      if (event.target.files[0]) take(event.target.files[0], plate);
      event.target.value = "";
    });
  }
}

function changed() {
  tell();
  if (!asking) stage.draw(); // lines that are on their way draw the plates with them: twice would slow the engine
  ask();
}

/** Open a preset or a run, `preset:NAME` or `run:NAME`. */
let opening = 0;
async function open(what) {
  const mark = what.indexOf(":"), sort = what.slice(0, mark), name = what.slice(mark + 1), turn = ++opening;
  if (sort === "own") return;
  by("source").value = what;
  by("report").hidden = true;
  by("busy").hidden = sort !== "run";
  complain("");
  try {
    if (sort === "run") {
      const report = await get("report", { name });
      if (turn === opening) showReport(by("report"), report);
    }
    const buffer = await get(sort, { name });
    if (turn === opening) setScene(buffer);
  } catch (problem) {
    if (turn === opening) complain(problem.message);
  } finally {
    if (turn === opening) by("busy").hidden = true;
  }
}

// ---- files

async function take(file, plate) {
  try {
    if (file.size > limits.bytes) {
      throw new Error(`${file.name} has ${file.size.toLocaleString("en")} bytes; at most ${limits.bytes.toLocaleString("en")} are read.`);
    }
    const { facts, arrays } = unpackFrame(await get("points", { name: file.name }, file));
    const given = arrays.points ? { [plate]: arrays.points } : arrays;
    place(file.name, given, facts.notes);
    complain("");
  } catch (problem) {
    complain(problem.message);
  }
}

function place(name, given, notes) {
  const features = Object.values(given)[0].shape[1];
  const both = given.plus && given.minus;
  if (!both && scene.features !== features) {
    throw new Error(`${name} has ${features} feature${features > 1 ? "s" : ""} and the other plate ${scene.features}; ` +
      "open a preset with as many first, or drop an .npz file with the arrays plus and minus.");
  }
  const data = (plate) => given[plate]?.data.slice() ?? scene[plate].slice();
  let entry = by("source").querySelector("option[value='own:']");
  if (!entry) by("source").prepend((entry = make("option", { value: "own:" })));
  entry.textContent = `Your own: ${name}`;
  by("source").value = "own:";
  by("report").hidden = true;
  opening++;
  adopt({ title: name, features, L: scene.L, charges: limits.charges, plus: data("plus"), minus: data("minus") });
  stage.canvas.dataset.points = Object.values(given).map((part) => part.shape[0]).join();
  if (notes.length) say(`${notes.join(". ")}.`);
}

function listenForDrops() {
  const screen = by("stage").parentElement;
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    screen.classList.add("drop");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? screen.classList.remove("drop"));
  addEventListener("drop", (event) => {
    screen.classList.remove("drop");
    if (!hasFiles(event)) return;
    event.preventDefault();
    const area = screen.getBoundingClientRect();
    const plate = event.clientX < area.left + area.width / 2 ? "plus" : "minus";
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0], plate);
  });
}

// ---- samples on their way

const calm = matchMedia("(prefers-reduced-motion: reduce)");
let playing = 0;

function setShare(share) {
  stage.share = share;
  by("time").value = Math.round(1000 * share);
  by("time").setAttribute("aria-valuetext", `${Math.round(100 * share)} percent of the way`);
  stage.draw();
}

function play() {
  if (playing) return halt();
  by("play").classList.add("playing");
  by("play").setAttribute("aria-label", "Pause");
  let share = stage.share >= 1 ? 0 : stage.share, before = null;
  const mine = (playing = Math.random());
  const go = (now) => {
    if (playing !== mine) return;
    share = Math.min(1, share + (before === null ? 0 : (now - before) / (1000 * SECONDS)));
    before = now;
    // whoever asked for less motion sees a few still pictures
    setShare(calm.matches && share < 1 ? Math.floor(share * 6) / 6 : share);
    if (share >= 1) halt();
    else requestAnimationFrame(go);
  };
  requestAnimationFrame(go);
}

function halt() {
  playing = 0;
  by("play").classList.remove("playing");
  by("play").setAttribute("aria-label", "Play: send samples along the lines");
}

// ---- beginning

function begin() {
  themeButton(by("theme"), () => stage.recolour());
  by("play").addEventListener("click", play);
  stage.play = play;
  by("time").addEventListener("input", (event) => (halt(), setShare(Number(event.target.value) / 1000)));
  listen();
  if (!live) return beginReport(start.report);
  const option = (sort) => ({ name, title, description }) => make("option", { value: `${sort}:${name}`, title: description ?? title }, title ?? name);
  by("source").append(make("optgroup", { label: "Examples" }, ...start.presets.map(option("preset"))));
  if (start.runs.length) by("source").append(make("optgroup", { label: `Runs in ${start.folder}` }, ...start.runs.map(option("run"))));
  listenForDrops();
  open(by("source").value);
}

function beginReport(report) {
  for (const part of document.querySelectorAll("[data-live]")) part.hidden = true;
  by("title").textContent = `Run ${report.name}`;
  by("lead").textContent = report.description;
  by("lab").hidden = !report.scene;
  showReport(by("report"), report);
  if (report.scene) setScene(fromBase64(report.scene));
}

begin();
