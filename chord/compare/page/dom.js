// Helpers for elements and for formatting numbers. Data reaches the page only through `append` and
// `setAttribute`, which treat it as text and never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const byId = (id) => document.getElementById(id);

// A name chosen by a user, isolated so that its writing direction does not affect the rest.
const named = (text, attributes = {}, breaks = BREAKS) =>
  el("bdi", { ...attributes, class: `name ${attributes.class ?? ""}` }, ...breakable(text, breaks));

// Text may break at spaces and slashes, and anywhere within a word that is too long for a line.
const BREAKS = /[^\s/]{1,28}[\s/]*|[\s/]+/g;
const BREAKS_OF_METRICS = /[^\s/_]{1,28}[\s/_]*|[\s/_]+/g;

function breakable(text, breaks = BREAKS) {
  // A browser would also break after the hyphen of 1e-4.
  const pieces = (String(text).match(breaks) ?? [""]).map((piece) =>
    (piece.includes("-") ? el("span", { class: "whole" }, piece) : piece));
  return pieces.flatMap((piece, index) => (index ? [el("wbr"), piece] : [piece]));
}

// `test/retained/mean`: may break after a slash; the split is in small print.
function metricName(name, before = "") {
  const [head, ...rest] = name.split("/");
  if (!rest.length) return el("span", {}, before, named(name, {}, BREAKS_OF_METRICS));
  return el("span", { class: "metric" }, el("small", {}, `${head}/`), el("wbr"), before, named(rest.join("/"), {}, BREAKS_OF_METRICS));
}

const MINUS = "−";
const signed = (text) => (text.startsWith("-") ? MINUS + text.slice(1) : text);
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// The ± of an interval: the longer side, because a bootstrap interval need not be symmetric.
const longerSide = ([mean, low, high]) => ([mean, low, high].every(isNumber) ? Math.max(high - mean, mean - low) : NaN);

// The number of decimals that gives the largest value three digits; at most 6.
function decimals(values) {
  let largest = 0;
  for (const value of values) if (isNumber(value)) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return 0;
  return Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.min(largest * 0.999, 1e9)))));
}

function fixed(value, places) {
  if (!isNumber(value)) return "–";
  if (Math.abs(value) >= 1e7) return signed(value.toExponential(2));
  return signed(value.toFixed(places));
}

const plus = (value, places) => (isNumber(value) && value >= 0 ? "+" : "") + fixed(value, places);

function count(value) {
  if (!isNumber(value)) return "–";
  if (value < 1e4) return String(Math.round(value));
  const [unit, size] = value >= 1e9 ? ["G", 1e9] : value >= 1e6 ? ["M", 1e6] : ["k", 1e3];
  return `${(value / size).toPrecision(3)} ${unit}`;
}

function duration(seconds) {
  if (!isNumber(seconds) || seconds <= 0) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function pValue(p) {
  if (!isNumber(p)) return "p –";
  return p < 0.001 ? "p < .001" : `p ${p.toFixed(3).replace(/^0/, "")}`;
}

const plural = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// 0, 1, 2, 3, 7 as "0–3, 7".
function ranges(numbers) {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const parts = [];
  for (const number of sorted) {
    const last = parts.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : b === a + 1 ? `${a}, ${b}` : `${a}–${b}`)).join(", ");
}

// A labelled drop-down; `options` are [value, text].
function choice(label, options, chosen, onpick) {
  const select = el("select", { onchange: () => onpick(select.value) },
    ...options.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)));
  return el("label", { class: "choice" }, el("span", {}, label), select);
}

function toggle(label, on, onpick) {
  const box = el("input", { type: "checkbox", checked: on, onchange: () => onpick(box.checked) });
  return el("label", { class: "toggle" }, box, label);
}

const heading = (id, text) => el("h2", { id: `${id}-title` }, text);
const message = (text) => el("p", { class: "message" }, text);
// A scrollable box for content wider than the page; it can be scrolled with the keyboard.
const scrolling = (label, child) =>
  el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, child);
