// Means of a metric over two options, such as schedule and weighting.

// From dark blue through grey to yellow: readable with any common colour blindness and in print.
const SHADES = [[0, 32, 76], [56, 73, 108], [108, 110, 114], [167, 157, 117], [222, 205, 94], [255, 234, 70]];

function shade(share) {
  const place = Math.min(Math.max(share, 0), 1) * (SHADES.length - 1);
  const first = Math.min(Math.floor(place), SHADES.length - 2);
  const rgb = SHADES[first].map((from, index) => from + (SHADES[first + 1][index] - from) * (place - first));
  const linear = rgb.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { background: `rgb(${rgb.map(Math.round).join(" ")})`, ink: light > 0.179 ? "#000" : "#fff" };
}

const MAPS = 6;

// Whether members that agree in all settings of `given` also agree in `setting`.
function follows(setting, given, members) {
  const seen = new Map();
  return members.every((group) => {
    const key = given.map(({ of }) => of[group]).join();
    if (!seen.has(key)) seen.set(key, setting.of[group]);
    return seen.get(key) === setting.of[group];
  });
}

// The option of a config group explains only its own settings: `schedule` explains `schedule.peak`.
const explains = (option, { name }) => !option.strategy || name === option.name || name.startsWith(`${option.name}.`);

// The maps of some groups, each with the setting that its groups share; `why` if there are none. As
// in heatmap.png, there is one map if only the two axes differ, or one per value of a further setting.
function mapsOf(down, across, members) {
  const axes = [down, across];
  const own = (setting) => axes.filter((axis) => explains(axis, setting));
  const differing = data.settings.filter((one) => data.decisive.includes(one.name) && !follows(one, own(one), members));
  if (!differing.length) return { maps: [{ title: "", members }] };
  const candidates = [...data.options, ...differing].filter(({ name }) => axes.every((axis) => axis.name !== name));
  const names = candidates.map(({ name }) => name).filter((name, at, all) => all.indexOf(name) === at && differing.some((one) => one.name === name));
  const why = `Not drawn: the groups also differ in ${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}. Filter by that, or choose other options.`;
  const count = ({ of }) => new Set(members.map((group) => of[group])).size;
  const [further] = candidates.filter((one) => differing.every((other) => follows(other, [one, ...own(other)], members)))
    .sort((a, b) => count(a) - count(b));
  if (!further) return { maps: [], why };
  const maps = further.values.map((text, value) => ({ title: `${further.name}=${text}`, members: members.filter((group) => further.of[group] === value) }))
    .filter((one) => isCrossed(down, across, one.members));
  if (!maps.length) return { maps, why };
  const without = members.length - maps.reduce((sum, one) => sum + one.members.length, 0);
  const note = maps.length > MAPS ? ` The first ${MAPS} of ${maps.length} values of ${further.name}.`
    : without ? ` ${without} of ${plural(members.length, "group")} are in no map: too few share their ${further.name}.` : "";
  return { maps: maps.slice(0, MAPS), note };
}

// Whether at least half of the cells have a group and two rows share two columns.
function isCrossed(down, across, members) {
  const rows = new Map();
  for (const group of members) rows.set(down.of[group], (rows.get(down.of[group]) ?? new Set()).add(across.of[group]));
  const sets = [...rows.values()];
  const shared = sets.some((one, at) => sets.slice(at + 1).some((other) => [...one].filter((column) => other.has(column)).length > 1));
  return shared && 2 * members.length >= sets.length * new Set(members.map((group) => across.of[group])).size;
}

function drawHeat() {
  const box = byId("heat");
  const options = data.options;
  box.append(heading("heat", "Heat map of two options"));
  if (options.length < 2 || !data.metrics.length) {
    box.append(message("The groups do not differ in two options, such as schedule and weighting."));
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
    const value = (group) => groups[group].final[chosen.metric];
    const known = passing.filter(value);
    note.textContent = "";
    if (!known.length || chosen.down === chosen.across) {
      place.replaceChildren(message(known.length ? "Rows and columns show the same option: choose another." : "No group that passes the filter has this metric."));
      return;
    }
    const { maps, why, note: more } = mapsOf(down, across, known);
    if (!maps.length) { place.replaceChildren(message(why)); return; }
    const means = maps.flatMap(({ members }) => members.map((group) => value(group)[0]));
    const [low, high, places] = [Math.min(...means), Math.max(...means), decimals(means)];
    const paint = (one) => {
      if (!one) return el("td", { class: "empty" }, "no run");
      const cell = el("td", {}, el("span", { class: "value" }, fixed(one[0], places)),
        el("span", { class: "p" }, one[3] > 1 ? `± ${fixed(longerSide(one), places)}, n ${one[3]}` : "one seed"));
      const { background, ink } = shade(high > low ? (one[0] - low) / (high - low) : 0.5);
      cell.style.background = background;
      cell.style.color = ink;
      return cell;
    };
    place.replaceChildren(...maps.map(({ title, members }) => {
      const cells = new Map(members.map((group) => [`${down.of[group]},${across.of[group]}`, value(group)]));
      const used = (option) => option.values.map((text, index) => ({ text, index })).filter(({ index }) => members.some((group) => option.of[group] === index));
      const columns = used(across);
      return scrolling(title || "Heat map", el("table", { class: "heat" }, title ? el("caption", {}, named(title)) : null,
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, named(down.name), " \\ ", named(across.name)), ...columns.map(({ text }) => el("th", { scope: "col" }, named(text))))),
        el("tbody", {}, ...used(down).map((row) => el("tr", {}, el("th", { scope: "row" }, named(row.text)),
          ...columns.map((column) => paint(cells.get(`${row.index},${column.index}`))))))));
    }));
    note.textContent = `Darkest ${fixed(low, places)}, brightest ${fixed(high, places)}; the table's filter applies.${more ?? ""}`;
  }
  watch("filter", draw);
  draw();
}
