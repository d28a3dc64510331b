// A run's report as elements of the page. All text goes in as text, never as HTML.

/** An element with attributes and children. */
function make(name, attributes = {}, ...children) {
  const space = ["svg", "path", "line", "text"].includes(name) ? "http://www.w3.org/2000/svg" : null;
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function showReport(place, report) {
  const parts = [factsCard(report)];
  for (const table of report.tables) parts.push(measuresCard(table));
  if (report.curves.length) {
    parts.push(card("Training", make("div", { class: "curves" }, ...report.curves.map(curveFigure))));
  }
  if (report.pictures.length) {
    parts.push(card("Pictures", make("div", { class: "pictures" }, ...report.pictures.map(pictureFigure))));
  }
  const rows = report.settings.map(([key, value]) => make("tr", {}, make("th", { scope: "row" }, key), make("td", {}, value)));
  const half = Math.ceil(rows.length / 2);
  const tables = [rows.slice(0, half), rows.slice(half)].map((part) => make("table", { class: "settings" }, make("tbody", {}, ...part)));
  parts.push(card("Settings", make("div", { class: "columns" }, ...tables)));
  place.replaceChildren(...parts);
  place.hidden = false;
}

function card(title, ...children) {
  return make("section", { class: "card", "aria-label": title }, make("h2", {}, title), ...children);
}

function factsCard({ name, description, facts, notes }) {
  const rows = Object.entries(facts).map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", {}, value)));
  const made = card(`Run ${name}`, make("p", {}, description), make("dl", { class: "facts" }, ...rows));
  if (notes.length) made.append(make("ul", { class: "notes" }, ...notes.map((note) => make("li", {}, note))));
  return made;
}

function measuresCard({ title, columns, rows }) {
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map((row) =>
    make("tr", {}, ...row.map((cell, k) => (k ? make("td", {}, cell) : make("th", { scope: "row" }, cell)))));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  return card(`Measures: ${title}`, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Measures, ${title}` }, table));
}

function pictureFigure({ caption, source }) {
  return make("figure", {}, make("img", { src: source, alt: caption, loading: "lazy" }), make("figcaption", {}, caption));
}

/** A curve over the steps: every value faint, the running mean bold. */
function curveFigure({ name, steps, values, smooth, logarithmic }) {
  const scale = logarithmic ? Math.log10 : (v) => v, every = values.map(scale);
  const left = 40, right = 300, top = 8, bottom = 118;
  let low = Math.min(...every), high = Math.max(...every);
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) (low -= 0.5), (high += 0.5);
  const first = steps[0], last = steps[steps.length - 1];
  const x = (step) => left + ((right - left) * (step - first)) / Math.max(1, last - first);
  const y = (value) => bottom - ((bottom - top) * (scale(value) - low)) / (high - low);
  const path = (ys) => "M" + steps.map((step, k) => `${x(step).toFixed(1)} ${y(ys[k]).toFixed(1)}`).join("L");
  const marks = [0, 0.5, 1].map((share) => {
    const level = low + share * (high - low), at = bottom - share * (bottom - top);
    const value = logarithmic ? 10 ** level : level;
    return [
      make("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }),
      make("text", { x: left - 6, y: at + 3, "text-anchor": "end" }, brief(value)),
    ];
  });
  const now = brief(smooth[smooth.length - 1]);
  const told = `${name}: ${brief(smooth[0])} at step ${first}, ${now} at step ${last}${logarithmic ? ", logarithmic axis" : ""}`;
  const drawing = make("svg", { viewBox: "0 0 308 140", role: "img", "aria-label": told }, ...marks.flat(),
    make("path", { class: "thin", d: path(values) }), make("path", { class: "bold", d: path(smooth) }),
    make("text", { x: left, y: 134 }, String(first)),
    make("text", { x: right, y: 134, "text-anchor": "end" }, `step ${last}`));
  return make("figure", {}, make("figcaption", {}, name, make("span", {}, now)), drawing);
}

function brief(value) {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}
