// Means of a metric over two options, such as schedule and weighting.

// Dark blue over grey to yellow: the order survives every common colour blindness, and grey print.
const SHADES = [[0, 32, 76], [56, 73, 108], [108, 110, 114], [167, 157, 117], [222, 205, 94], [255, 234, 70]];

function shade(share) {
  const place = Math.min(Math.max(share, 0), 1) * (SHADES.length - 1);
  const first = Math.min(Math.floor(place), SHADES.length - 2);
  const rgb = SHADES[first].map((from, index) => from + (SHADES[first + 1][index] - from) * (place - first));
  const linear = rgb.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { background: `rgb(${rgb.map(Math.round).join(" ")})`, ink: light > 0.179 ? "#000" : "#fff" };
}

function drawHeat() {
  const box = byId("heat");
  const options = data.options;
  box.append(heading("heat", "Heat map of two options"));
  if (options.length < 2 || !data.metrics.length) {
    box.append(message("The groups do not differ by two options, such as schedule and weighting."));
    return;
  }
  const find = (name, other) => { const at = options.findIndex((option) => option.name === name); return at >= 0 ? at : options.findIndex((_, index) => index !== other); };
  const chosen = { down: find("schedule", options.findIndex(({ name }) => name === "weighting")), metric: Math.max(0, data.metrics.findIndex((one) => one.better)) };
  chosen.across = find("weighting", chosen.down);
  const names = options.map(({ name }, index) => [index, name]);
  const redo = (what) => (value) => { chosen[what] = Number(value); draw(); };
  const place = el("div");
  const note = el("p", { class: "quiet" });
  box.append(el("div", { class: "bar" },
    choice("Metric", data.metrics.map(({ name }, index) => [index, name]), chosen.metric, redo("metric")),
    choice("Rows", names, chosen.down, redo("down")), choice("Columns", names, chosen.across, redo("across"))), place, note);

  function draw() {
    const [down, across] = [options[chosen.down], options[chosen.across]];
    const cells = new Map();
    const known = passing.filter((group) => groups[group].final[chosen.metric]);
    for (const group of known) {
      const key = `${down.of[group]},${across.of[group]}`;
      cells.set(key, [...(cells.get(key) ?? []), groups[group].final[chosen.metric]]);
    }
    const mean = (list) => list.reduce((sum, one) => sum + one[0], 0) / list.length;
    const means = [...cells.values()].map(mean);
    const [low, high] = [Math.min(...means), Math.max(...means)];
    const places = decimals(means);
    const used = (option) => option.values.map((text, value) => ({ text, value })).filter(({ value }) => known.some((group) => option.of[group] === value));
    const columns = used(across);
    if (!means.length || chosen.down === chosen.across) {
      place.replaceChildren(message(means.length ? "Rows and columns show the same option: choose another." : "No group of the filter has this metric."));
      note.textContent = "";
      return;
    }
    const paint = (list) => {
      if (!list) return el("td", { class: "empty" }, "no run");
      const cell = el("td", {}, el("span", { class: "value" }, fixed(mean(list), places)),
        el("span", { class: "p" }, list.length > 1 ? `mean of ${list.length} groups` : list[0][3] > 1 ? `± ${fixed(longerSide(list[0]), places)}, n ${list[0][3]}` : "one seed"));
      const { background, ink } = shade(high > low ? (mean(list) - low) / (high - low) : 0.5);
      cell.style.background = background;
      cell.style.color = ink;
      return cell;
    };
    place.replaceChildren(scrolling("Heat map", el("table", { class: "heat" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, named(down.name), " \\ ", named(across.name)), ...columns.map(({ text }) => el("th", { scope: "col" }, named(text))))),
      el("tbody", {}, ...used(down).map((row) => el("tr", {}, el("th", { scope: "row" }, named(row.text)),
        ...columns.map((column) => paint(cells.get(`${row.value},${column.value}`)))))))));
    const averaged = [...cells.values()].some((list) => list.length > 1);
    note.textContent = `Darkest ${fixed(low, places)}, brightest ${fixed(high, places)}; the filter of the table applies.` +
      (averaged ? " Some cells average groups that differ by other options: filter by those to see one group in each." : "");
  }
  watch("filter", draw);
  draw();
}
