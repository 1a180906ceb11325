// Which groups are picked, hidden and filtered, and which plots to redraw when that changes.

const data = JSON.parse(byId("data").textContent);
const groups = data.groups;

// A picked group keeps its slot, and with it its colour, marker and dashes, until it is dropped.
const SLOTS = 16;
const COLOURS = 8;
const DASHES = ["", "8 4", "2 3", "10 3 2 3"];
const MARKERS = ["circle", "square", "up", "diamond", "down", "plus", "cross", "star"];

const slots = new Array(SLOTS).fill(null);
const hidden = new Set();
let passing = groups.map((_, index) => index);
const watchers = { picks: [], filter: [] };

const watch = (what, draw) => watchers[what].push(draw);
const changed = (what) => watchers[what].forEach((draw) => draw());

const slotOf = (group) => slots.indexOf(group);
const isPicked = (group) => slots.includes(group);
const picked = () => slots.filter((group) => group !== null);
const visible = () => picked().filter((group) => !hidden.has(group));

// Picks a group; false if all slots are taken.
function pick(group) {
  const free = slots.indexOf(null);
  if (free < 0) return false;
  slots[free] = group;
  return true;
}

function drop(group) {
  slots[slotOf(group)] = null;
  hidden.delete(group);
}

function pickOnly(list) {
  slots.fill(null);
  hidden.clear();
  list.slice(0, SLOTS).forEach((group, index) => { slots[index] = group; });
  changed("picks");
}

// The best `number` groups by the first metric where higher or lower is better.
function leading(candidates, number) {
  const metric = Math.max(data.metrics.findIndex((one) => one.better), 0);
  const better = data.metrics[metric]?.better || 1;
  const value = (group) => groups[group].final[metric]?.[0] ?? -better * Infinity;
  const order = [...candidates].sort((a, b) => better * (value(b) - value(a)) || a - b);
  return order.slice(0, number);
}

function firstPicks() {
  if (groups.length <= COLOURS + 1) return groups.map((_, index) => index);
  const best = leading(groups.keys(), COLOURS);
  if (data.baseline === null || best.includes(data.baseline)) return best;
  return [data.baseline, ...best.slice(0, COLOURS - 1)];
}

const colour = (slot) => `var(--series-${slot % COLOURS})`;
const dashes = (slot) => DASHES[(slot + Math.floor(slot / COLOURS)) % DASHES.length];

// A slot's marker, centred at (0, 0). The second eight are hollow.
function marker(slot, size = 4.5) {
  const s = size;
  const shapes = {
    circle: `M${-s} 0a${s} ${s} 0 1 0 ${2 * s} 0a${s} ${s} 0 1 0 ${-2 * s} 0z`,
    square: `M${-s} ${-s}h${2 * s}v${2 * s}h${-2 * s}z`,
    up: `M0 ${-1.2 * s}L${1.15 * s} ${0.9 * s}H${-1.15 * s}z`,
    down: `M0 ${1.2 * s}L${1.15 * s} ${-0.9 * s}H${-1.15 * s}z`,
    diamond: `M0 ${-1.35 * s}L${1.35 * s} 0L0 ${1.35 * s}L${-1.35 * s} 0z`,
    plus: `M${-s} ${-s / 3}h${s * 2 / 3}v${-s * 2 / 3}h${s * 2 / 3}v${s * 2 / 3}h${s * 2 / 3}v${s * 2 / 3}` +
      `h${-s * 2 / 3}v${s * 2 / 3}h${-s * 2 / 3}v${-s * 2 / 3}h${-s * 2 / 3}z`,
    cross: `M${-s} ${-s}L${s} ${s}M${-s} ${s}L${s} ${-s}`,
    star: star(1.4 * s),
  };
  const shape = MARKERS[slot % MARKERS.length];
  const open = shape === "cross" || slot >= COLOURS;
  return svg("path", {
    d: shapes[shape], stroke: colour(slot), "stroke-width": shape === "cross" ? 2.2 : 1.4,
    fill: open ? "var(--surface)" : colour(slot),
  });
}

function star(radius) {
  const points = Array.from({ length: 10 }, (_, index) => {
    const r = index % 2 ? radius * 0.42 : radius;
    const angle = (Math.PI / 5) * index;
    return `${(r * Math.sin(angle)).toFixed(2)} ${(-r * Math.cos(angle)).toFixed(2)}`;
  });
  return `M${points.join("L")}z`;
}

// The line and marker of a picked group, as in the plots.
function swatch(group) {
  const slot = slotOf(group);
  const sign = marker(slot);
  sign.setAttribute("transform", "translate(15 7)");
  return svg("svg", { class: "swatch", width: 30, height: 14, viewBox: "0 0 30 14", "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 29, y1: 7, y2: 7, stroke: colour(slot), "stroke-width": 2.2,
      "stroke-dasharray": dashes(slot) }), sign);
}
