// Shared by all plots: round ticks, a frame with axes, a legend that shows values.

function ticks(low, high, about, whole = false) {
  const raw = Math.max((high - low) / Math.max(about, 1), whole ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((one) => one * power >= raw * 0.75) ?? 10);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const list = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) list.push(at * step);
  return { list, text: (value) => (Math.abs(value) >= 1e5 || places > 6 ? signed(value.toExponential(1)) : fixed(value, Math.min(places, 6))) };
}

// A non-empty range with a small margin.
function airy([low, high], share = 0.04) {
  if (!(low <= high)) return [0, 1];
  const air = (high - low) * share || Math.abs(low) * 0.1 || 0.5;
  return [low - air, high + air];
}

// An SVG as wide as its box, in the box's own pixels, so that text keeps its size on a phone.
function frame(box, { x, y, height, xName, yName, label, cross = false, whole = false }) {
  const width = Math.max(box.clientWidth, 240);
  const across = ticks(x[0], x[1], width / 90, whole);
  const up = ticks(y[0], y[1], height / 55);
  const left = 14 + 7.2 * Math.max(2, ...up.list.map((value) => up.text(value).length));
  const [right, top, bottom] = [14, 26, 40];
  const sx = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
  const sy = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
  const clip = `clip-${frame.count = (frame.count ?? 0) + 1}`;
  const inside = { x: left, y: top, width: width - left - right, height: height - top - bottom };
  const layer = svg("g", { "clip-path": `url(#${clip})` });
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    svg("defs", {}, svg("clipPath", { id: clip }, svg("rect", { ...inside, x: left - 6, width: inside.width + 12 }))));
  for (const value of up.list) {
    root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: sy(value), y2: sy(value) }),
      svg("text", { x: left - 8, y: sy(value) + 4, "text-anchor": "end" }, up.text(value)));
  }
  for (const value of across.list) {
    root.append(cross ? svg("line", { class: "grid", x1: sx(value), x2: sx(value), y1: top, y2: height - bottom }) : svg("g"),
      svg("line", { class: "tick", x1: sx(value), x2: sx(value), y1: height - bottom, y2: height - bottom + 5 }),
      svg("text", { x: sx(value), y: height - bottom + 19, "text-anchor": "middle" }, across.text(value)));
  }
  root.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }), layer,
    svg("text", { class: "axis-name", x: 2, y: 13 }, yName),
    svg("text", { class: "axis-name", x: width - right, y: height - 4, "text-anchor": "end" }, xName));
  box.replaceChildren(root);
  return { root, layer, sx, sy, inside, back: (px) => x[0] + ((px - left) / inside.width) * (x[1] - x[0]) };
}

// Picked groups as buttons that hide and show a line; `values` gives the text beside a name.
function legend(box, members, values) {
  box.replaceChildren(...members.map((group) => {
    const off = hidden.has(group);
    const item = el("button", { type: "button", class: "key", "aria-pressed": String(!off), onclick: () => {
      if (hidden.has(group)) hidden.delete(group);
      else hidden.add(group);
      changed("picks");
      box.querySelector(`[data-slot="${slotOf(group)}"]`)?.focus();
    }, "data-slot": slotOf(group) }, swatch(group), named(groups[group].label), el("output", {}, values?.(group) ?? ""));
    return item;
  }));
}

// Redraws when the width of the box changes, but not while the page is being laid out.
function drawOnResize(box, draw) {
  let width = box.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(box.clientWidth - width) < 2) return;
    width = box.clientWidth;
    requestAnimationFrame(draw);
  }).observe(box);
}

const NOTHING_PICKED = "No group is picked. Tick one in the table.";
