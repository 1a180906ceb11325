// Curves over train steps with their bands: one metric at a time, and alpha in its own plot.

// Steps, mean, low and high of a group's metric; null if no run recorded it.
const unpacked = new Map();
function curveOf(metric, group) {
  const packed = metric?.groups[group];
  if (!packed) return null;
  if (!unpacked.has(packed)) {
    const [grid, seeds, least, greatest, points] = packed;
    const bytes = atob(points);
    const steps = data.curves.grids[grid];
    const lines = [];
    for (let line = 0; line < (seeds > 1 ? 3 : 1); line += 1) {
      lines.push(steps.map((_, index) => {
        const at = 2 * (line * steps.length + index);
        const number = bytes.charCodeAt(at) + 256 * bytes.charCodeAt(at + 1);
        return number === 65535 ? NaN : least + (number / 65534) * (greatest - least);
      }));
    }
    unpacked.set(packed, { steps, seeds, mean: lines[0], low: lines[1] ?? null, high: lines[2] ?? null });
  }
  return unpacked.get(packed);
}

// Centred mean over `width` points; a gap stays a gap.
function smooth(values, width) {
  if (!values || width < 2) return values;
  const reach = Math.floor(width / 2);
  return values.map((own, index) => {
    if (Number.isNaN(own)) return own;
    let [sum, number] = [0, 0];
    for (let at = Math.max(0, index - reach); at <= Math.min(values.length - 1, index + reach); at += 1) {
      if (!Number.isNaN(values[at])) { sum += values[at]; number += 1; }
    }
    return sum / number;
  });
}

// The path of an SVG line, interrupted at gaps.
function path(steps, values, { sx, sy }) {
  let [text, pen] = ["", "M"];
  values.forEach((value, index) => {
    if (Number.isNaN(value)) { pen = "M"; return; }
    text += `${pen}${sx(steps[index]).toFixed(1)} ${sy(value).toFixed(1)}`;
    pen = "L";
  });
  return text;
}

function bandPath(line, scale) {
  let text = "";
  let start = 0;
  for (let index = 0; index <= line.steps.length; index += 1) {
    if (index < line.steps.length && !Number.isNaN(line.low[index])) continue;
    if (index > start) {
      const upper = path(line.steps.slice(start, index), line.high.slice(start, index), scale);
      const lower = path(line.steps.slice(start, index).reverse(), line.low.slice(start, index).reverse(), scale);
      text += `${upper}L${lower.slice(1)}z`;
    }
    start = index + 1;
  }
  return text;
}

// The range of y: it contains all means. Bands widen it by at most half the range of the means,
// because the band of two seeds can be hundreds of times as wide as everything else.
function rangeOf(lines, bands) {
  let [low, high, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const line of lines) {
    for (const value of line.mean) if (value < low) low = value;
    for (const value of line.mean) if (value > high) high = value;
    for (const value of (bands && line.low) || []) if (value < bottom) bottom = value;
    for (const value of (bands && line.high) || []) if (value > top) top = value;
  }
  const room = (high - low) / 4 || Math.abs(low) * 0.1 || 0.1;
  return airy([Math.min(low, Math.max(bottom, low - room)), Math.max(high, Math.min(top, high + room))]);
}

function linePlot(box, { metric, label, height, fixedRange, bands, width }) {
  const plot = el("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": `${label}: step whose values are shown` });
  const keys = el("div", { class: "legend" });
  const step = el("p", { class: "at quiet" });
  const note = el("p", { class: "quiet" });
  box.append(el("div", { class: "with-legend" }, plot, el("div", { class: "side" }, step, keys)), note);
  let [at, lines, all, scale, places] = [null, [], [], null, 3];

  function values(group) {
    const line = lines.find((one) => one.group === group);
    if (!line) return curveOf(metric(), group) ? "" : "not recorded";
    const index = nearest(line.steps, at);
    if (Math.abs(line.steps[index] - at) > (line.steps.at(-1) - line.steps[0]) / 20 + 1) return "–";
    const mean = fixed(line.mean[index], places);
    return line.low ? `${mean} ± ${fixed((line.high[index] - line.low[index]) / 2, places)}` : `${mean} · one seed`;
  }

  function readout() {
    step.textContent = lines.length ? `${metric().name} at step ${at}, mean ± half the 95 % interval` : "";
    plot.setAttribute("aria-valuenow", at ?? 0);
    plot.setAttribute("aria-valuetext", `step ${at}`);
    for (const key of keys.children) {
      key.querySelector("output").textContent = values(slots[Number(key.dataset.slot)]);
    }
    scale?.cursor.setAttribute("x1", scale.sx(at));
    scale?.cursor.setAttribute("x2", scale.sx(at));
  }

  function move(to) {
    at = all[Math.max(0, Math.min(all.length - 1, to))];
    readout();
  }

  function draw() {
    lines = visible().flatMap((group) => {
      const curve = curveOf(metric(), group);
      if (!curve) return [];
      const [mean, low, high] = [curve.mean, curve.low, curve.high].map((one) => smooth(one, width?.() ?? 1));
      return [{ ...curve, group, mean, low, high }];
    });
    const ended = at === null || at === all.at(-1);
    places = decimals(lines.flatMap((line) => line.mean));
    all = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
    legend(keys, picked(), () => "");
    note.textContent = "";
    scale = null;
    if (!lines.length) {
      plot.replaceChildren(message(picked().length ? "No visible group recorded this metric." : NOTHING_PICKED));
      at = null;
      readout();
      return;
    }
    if (ended || at > all.at(-1)) at = all.at(-1);
    const y = fixedRange ?? rangeOf(lines, bands?.() ?? true);
    scale = frame(plot, { x: all.length > 1 ? [all[0], all.at(-1)] : airy([all[0], all[0]]), y, height: height(), whole: true,
      xName: "train step", yName: metric().name, label: `${metric().name} over train steps, ${plural(lines.length, "line")}` });
    for (const line of bands?.() ?? true ? lines : []) {
      if (line.low) scale.layer.append(svg("path", { d: bandPath(line, scale), fill: colour(slotOf(line.group)), class: "band" }));
    }
    lines.forEach((line, order) => drawLine(line, order));
    scale.cursor = svg("line", { class: "cursor", y1: scale.inside.y, y2: scale.inside.y + scale.inside.height });
    scale.layer.append(scale.cursor);
    const cut = lines.some((line) => line.low && (bands?.() ?? true) && (Math.min(...line.low.filter((v) => !Number.isNaN(v))) < y[0] || Math.max(...line.high.filter((v) => !Number.isNaN(v))) > y[1]));
    note.textContent = cut ? "Some bands extend beyond the plot." : "";
    readout();
  }

  function drawLine(line, order) {
    const slot = slotOf(line.group);
    scale.layer.append(svg("path", { d: path(line.steps, line.mean, scale), class: "line", stroke: colour(slot), "stroke-dasharray": dashes(slot) }));
    const every = Math.max(1, Math.ceil(line.steps.length / 7));
    const first = Math.floor((order / lines.length) * every);
    for (let index = first; index < line.steps.length; index += every) {
      if (Number.isNaN(line.mean[index])) continue;
      const sign = marker(slot, 3.6);
      sign.setAttribute("transform", `translate(${scale.sx(line.steps[index]).toFixed(1)} ${scale.sy(line.mean[index]).toFixed(1)})`);
      scale.layer.append(sign);
    }
  }

  const follow = (event) => {
    if (!scale) return;
    const place = scale.root.getBoundingClientRect();
    move(nearest(all, scale.back(event.clientX - place.left)));
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity }[event.key];
    if (!by || !scale) return;
    event.preventDefault();
    move(all.indexOf(at) + by);
  });
  watch("picks", draw);
  drawOnResize(plot, draw);
  return draw;
}

function nearest(sorted, value) {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
}

function drawCurves() {
  const box = byId("curves");
  const { metrics, others } = data.curves;
  box.append(heading("curves", "Curves"));
  if (!metrics.length) { box.append(message("No run recorded a curve.")); return; }
  let chosen = metrics.find((metric) => metric.name !== "alpha") ?? metrics[0];
  let [bands, width] = [true, 1];
  const controls = el("div", { class: "bar" },
    choice("Metric", metrics.map(({ name }) => [name, name]), chosen.name, (name) => { chosen = metrics.find((one) => one.name === name); draw(); }),
    choice("Smoothing", [[1, "none"], [5, "5 points"], [15, "15 points"]], 1, (points) => { width = Number(points); draw(); }),
    toggle("95 % bands", true, (on) => { bands = on; draw(); }));
  box.append(controls);
  const draw = linePlot(box, { metric: () => chosen, label: "Curves", height: () => (window.innerWidth < 600 ? 260 : 380), bands: () => bands, width: () => width });
  draw();
  if (others.length) {
    box.append(el("details", {}, el("summary", {}, `${plural(others.length, "recorded metric")} not on this page`),
      el("p", { class: "quiet" }, named(others.join(", ")))));
  }
}

function drawAlpha() {
  const box = byId("alpha");
  const metric = data.curves.metrics.find(({ name }) => name === "alpha");
  box.append(heading("alpha", "Alpha: the share of SFT"));
  if (!metric) { box.append(message("No run recorded alpha.")); return; }
  linePlot(box, { metric: () => metric, label: "Alpha", height: () => 260, fixedRange: [-0.02, 1.02] })();
}
