// The top of the page: what is compared, caveats, and links to the sections.

function drawSummary() {
  const runs = [...groups.flatMap((group) => group.runs), ...data.strays];
  const bad = runs.filter((run) => !run.counted).length;
  const seeds = new Set(runs.map((run) => run.seed));
  const timed = runs.filter((run) => isNumber(run.seconds));
  const seconds = timed.reduce((sum, run) => sum + run.seconds, 0);
  const out = data.leftOut.reduce((sum, item) => sum + item.what.length, 0);
  const facts = [
    ["runs", runs.length.toLocaleString("en")],
    ["groups", groups.length.toLocaleString("en")],
    ["seeds", seeds.size ? `${seeds.size} (${ranges(seeds)})` : "none"],
    ["not finished", bad.toLocaleString("en")],
    ["left out", out.toLocaleString("en")],
    [`wall time, ${timed.length < runs.length ? `${timed.length} of ${runs.length}` : "all"} runs`, duration(seconds)],
  ];
  const baseline = groups[data.baseline];
  byId("top").append(
    el("h1", {}, named(data.title || "Comparison")),
    el("dl", { class: "facts" }, ...facts.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("ul", { class: "notes" },
      ...data.notes.map((note) => el("li", {}, note)),
      groups.length ? el("li", {}, "Values are means over seeds ± half the 95 % interval") : null,
      baseline ? el("li", {}, "Δ is the difference to the baseline ", named(baseline.label, { class: "strong" })) : null,
      out ? el("li", {}, el("a", { href: "#left-out" }, `${plural(out, "item")} left out`), ", with the reasons") : null),
    groups.length ? navigation() : message("There is nothing to compare: no group of runs was found."),
  );
}

function navigation() {
  const places = [["table", "Table"], ["curves", "Curves"], ["alpha", "Alpha"], ["scatter", "Trade-off"],
    ["heat", "Heat map"], ["settings", "Settings"], ["answers", "Responses"], ["runs", "Runs"], ["left-out", "Left out"]];
  return el("nav", { "aria-label": "Sections" }, ...places.map(([id, text]) => el("a", { href: `#${id}` }, text)));
}

function drawLeftOut() {
  const said = new Set(data.leftOut.flatMap(({ what }) => what));
  const failed = [...groups.flatMap((group) => group.runs), ...data.strays]
    .filter((run) => !run.counted && !said.has(`${run.path} (${run.name})`));
  const box = byId("left-out");
  box.append(heading("left-out", "Left out and not finished"));
  if (!failed.length && !data.leftOut.length) {
    box.append(el("p", {}, "Every run finished, and nothing was left out."));
    return;
  }
  const list = (lines) => el("ul", { class: "long", tabindex: "0" }, ...lines.map((line) => el("li", {}, named(line))));
  for (const { reason, what } of data.leftOut) {
    box.append(el("details", { open: what.length <= 10 },
      el("summary", {}, named(reason), el("span", { class: "quiet" }, ` · ${plural(what.length, "item")}`)), list(what)));
  }
  const errors = new Map();
  for (const run of failed) {
    const why = `${run.status}: ${run.error ?? "no error was recorded"}`;
    errors.set(why, [...(errors.get(why) ?? []), `${run.name} (${run.path}), step ${run.steps[0]} of ${run.steps[1]}`]);
  }
  for (const [why, lines] of errors) {
    box.append(el("details", { open: lines.length <= 10 },
      el("summary", {}, named(why), el("span", { class: "quiet" }, ` · ${plural(lines.length, "run")}`)), list(lines)));
  }
}

function drawFoot() {
  byId("foot").append(el("p", {}, data.versions.map(([name, version]) => `${name} ${version}`).join(" · ")));
}
