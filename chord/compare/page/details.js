// Settings, sample responses and single runs of the picked groups.

function groupHead(group) {
  return el("th", { scope: "col" }, el("div", {}, swatch(group), named(groups[group].label)));
}

function drawSettings() {
  const box = byId("settings");
  box.append(heading("settings", "Settings that differ"));
  if (!data.settings.length) { box.append(message("All groups have the same settings.")); return; }
  let narrow = true;
  const place = el("div");
  box.append(el("div", { class: "bar" }, toggle("only settings that differ between the picked groups", true, (on) => { narrow = on; draw(); })), place);
  function draw() {
    const members = picked();
    if (!members.length) { place.replaceChildren(message(NOTHING_PICKED)); return; }
    const rows = data.settings.filter(({ of }) => !narrow || new Set(members.map((group) => of[group])).size > 1);
    if (!rows.length) { place.replaceChildren(message("The picked groups have the same settings.")); return; }
    place.replaceChildren(scrolling("Settings that differ", el("table", { class: "settings" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "setting"), ...members.map(groupHead))),
      el("tbody", {}, ...rows.map(({ name, values, of }) => el("tr", {}, el("th", { scope: "row" }, named(name)),
        ...members.map((group) => el("td", {}, named(values[of[group]])))))))));
  }
  watch("picks", draw);
  draw();
}

function drawAnswers() {
  const box = byId("answers");
  box.append(heading("answers", "Sample responses"));
  if (!data.problems.length) { box.append(message("No run recorded sample responses.")); return; }
  let at = 0;
  const short = (text) => (text.length > 70 ? `${text.slice(0, 70)}…` : text).replace(/\s+/g, " ");
  const select = choice("Problem", data.problems.map(({ problem }, index) => [index, `${index + 1}. ${short(problem)}`]), 0, (value) => show(Number(value)));
  const step = (text, by) => el("button", { type: "button", onclick: () => show((at + by + data.problems.length) % data.problems.length) }, text);
  const place = el("div");
  box.append(el("div", { class: "bar" }, select, step("Previous", -1), step("Next", 1)), place);
  if (data.problemsLeftOut) box.append(el("p", { class: "quiet" }, `${plural(data.problemsLeftOut, "more problem")} left out to keep the page small.`));
  const show = (problem) => { at = problem; select.querySelector("select").value = String(at); draw(); };
  const verdict = (right) => el("span", { class: right ? "right" : "wrong" }, right ? "✓ right" : "✕ wrong");
  const card = (head, text, ...notes) => el("article", { class: "card" }, el("h3", {}, ...head),
    el("p", { class: "verdict" }, ...notes), el("pre", {}, named(text || "(empty)")));
  function draw() {
    const { problem, expert, base } = data.problems[at];
    const cards = picked().map((group) => {
      const said = data.answers[group]?.to.find(([index]) => index === at);
      const head = [swatch(group), named(groups[group].label)];
      if (!said) return el("article", { class: "card" }, el("h3", {}, ...head), el("p", { class: "quiet" }, "no response recorded"));
      return card(head, said[1], verdict(said[2]), el("span", { class: "quiet" }, ` · seed ${data.answers[group].seed}`));
    });
    place.replaceChildren(
      el("div", { class: "card problem" }, el("h3", {}, "Problem"), el("pre", {}, named(problem))),
      el("div", { class: "cards" }, card(["Expert"], expert, el("span", { class: "quiet" }, "the demonstration")),
        ...base.map(([text, right], index) => card([base.length > 1 ? `Base model ${index + 1}` : "Base model"], text, verdict(right))),
        ...cards),
      picked().length ? "" : message(NOTHING_PICKED));
  }
  watch("picks", draw);
  draw();
}

function drawRuns() {
  const box = byId("runs");
  box.append(heading("runs", "Runs of the picked groups"));
  if (!groups.length) { box.append(message("There are no runs.")); return; }
  const places = data.metrics.map((_, metric) => decimals(groups.flatMap((group) => group.runs.map((run) => run.final[metric]))));
  const place = el("div");
  box.append(place);
  const head = (text, kind = "") => el("th", { scope: "col", class: kind }, text);
  const state = (run) => (run.counted ? ["finished"] : [
    el("span", { class: "bad" }, `${run.status === "finished" ? "not evaluated" : run.status} ✕`), run.error ? named(run.error, { class: "p" }) : ""]);
  const row = (group, run) => el("tr", {},
    el("th", { scope: "row" }, el("div", {}, swatch(group), named(run.name))),
    el("td", { class: "number" }, String(run.seed)), el("td", { class: "state" }, ...state(run)),
    el("td", { class: "number" }, `${run.steps[0]} / ${run.steps[1]}`),
    el("td", { class: "number" }, run.bestStep === null ? "–" : String(run.bestStep)),
    ...run.final.map((value, metric) => el("td", { class: "number" }, fixed(value, places[metric]))),
    el("td", { class: "number" }, duration(run.seconds)), el("td", {}, el("code", {}, named(run.path))));
  function draw() {
    const members = picked();
    if (!members.length) { place.replaceChildren(message(NOTHING_PICKED)); return; }
    place.replaceChildren(scrolling("Runs of the picked groups", el("table", { class: "runs" },
      el("thead", {}, el("tr", {}, head("run"), head("seed", "number"), head("status"), head("steps", "number"), head("best step", "number"),
        ...data.metrics.map(({ name }) => head(metricName(name), "number")), head("wall time", "number"), head("path"))),
      el("tbody", {}, ...members.flatMap((group) => groups[group].runs.map((run) => row(group, run)))))));
  }
  watch("picks", draw);
  draw();
}
