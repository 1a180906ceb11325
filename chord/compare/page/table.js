// The table of groups: filter, sort, pick. Rows are created when first shown, a page at a time.

const PAGE = 50;
const table = { columns: [], key: null, down: false, order: [], shown: PAGE, rows: new Map(),
  best: false, differences: true, text: "", options: new Map() };

function estimateColumn(metric, number, kind) {
  const cell = (group) => groups[group][kind][number] ?? null;
  const values = groups.map((_, group) => cell(group)?.[0]);
  const column = { key: `${kind} ${metric.name}`, name: metric.name, head: [metricName(metric.name)], better: metric.better,
    value: (group) => cell(group)?.[0] ?? null, places: decimals(values), numeric: true };
  const known = values.filter(isNumber);
  const top = metric.better ? known.reduce((a, b) => (metric.better * (b - a) > 0 ? b : a), known[0]) : null;
  column.cell = (group) => {
    const one = cell(group);
    if (!one) return [el("span", { class: "quiet" }, "–")];
    const best = known.length > 1 && one[0] === top;
    return [
      el("span", { class: "mark" }, best ? el("span", { title: "best mean" }, "★") : "", best ? el("span", { class: "hear" }, "best ") : ""),
      el("span", { class: best ? "strong" : "" }, fixed(one[0], column.places)),
      half(one, column.places, finished(group)),
    ];
  };
  return column;
}

const finished = (group) => groups[group].runs.filter((run) => run.counted).length;

// Shows the number of values if it is not the number of the group's finished seeds.
function half(one, places, runs) {
  const [, low, high, n] = one;
  if (n < 2) return el("span", { class: "half" }, "one seed");
  const note = n < runs ? ` (n ${n})` : "";
  return el("span", { class: "half", title: `95 % interval ${fixed(low, places)} to ${fixed(high, places)}, n = ${n}` },
    `± ${fixed(longerSide(one), places)}${note}`);
}

function differenceColumn(metric, number) {
  const cell = (group) => groups[group].differences[number];
  const places = decimals(groups.map((_, group) => groups[group].final[number]?.[0]));
  return {
    key: `difference ${metric.name}`, name: `${metric.name}, difference to the baseline`, better: metric.better, numeric: true,
    head: [metricName(metric.name, "Δ ")],
    value: (group) => cell(group)?.[0] ?? null,
    cell: (group) => {
      const one = cell(group);
      if (!one) return [el("span", { class: "quiet" }, group === data.baseline ? "baseline" : "–")];
      const sure = isNumber(one[5]) && one[5] < 0.05;
      return [
        el("span", { class: sure ? "strong" : "" }, plus(one[0], places)), half(one, places, finished(group)),
        one[3] < 2 ? "" : el("span", { class: `p ${sure ? "strong" : ""}`, title: `p before correction: ${pValue(one[4])}` }, pValue(one[5]), sure ? " *" : ""),
      ];
    },
  };
}

function tableColumns() {
  const failed = (group) => groups[group].runs.length - finished(group);
  const tokens = (group) => groups[group].tokens.reduce((sum, [, number]) => sum + (number ?? 0), 0);
  const metrics = table.best
    ? data.bestMetrics.map((metric, number) => estimateColumn(metric, number, "best"))
    : data.metrics.flatMap((metric, number) => [
      estimateColumn(metric, number, "final"),
      ...(table.differences && data.baseline !== null ? [differenceColumn(metric, number)] : []),
    ]);
  return [
    { key: "label", name: "group", head: ["group"], value: (group) => groups[group].label, label: true },
    { key: "n", name: "n, finished seeds", head: ["n"], value: finished, better: 1, numeric: true, cell: (group) => [String(finished(group)),
      failed(group) ? el("span", { class: "p bad" }, `${failed(group)} ✕`) : "",
      groups[group].missing.length ? el("span", { class: "p" }, `${groups[group].missing.length} missing`) : ""] },
    ...metrics,
    { key: "seconds", name: "wall time", head: ["wall time"], value: (group) => groups[group].seconds?.[0] ?? null, numeric: true,
      cell: (group) => [duration(groups[group].seconds?.[0])] },
    { key: "tokens", name: "tokens", head: ["tokens"], value: (group) => (groups[group].tokens.length ? tokens(group) : null), numeric: true,
      cell: (group) => (groups[group].tokens.length ? [count(tokens(group)), el("span", { class: "p" },
        groups[group].tokens.map(([name, number]) => `${name} ${count(number)}`).join(", "))] : ["–"]) },
    { key: "failed", name: "not finished", head: ["not finished"], value: failed, numeric: true,
      cell: (group) => [failed(group) ? el("span", { class: "bad" }, `${failed(group)} ✕`) : el("span", { class: "quiet" }, "0")] },
    { key: "missing", name: "missing seeds", head: ["missing seeds"], value: (group) => groups[group].missing.length, numeric: true,
      cell: (group) => [ranges(groups[group].missing) || el("span", { class: "quiet" }, "none")] },
  ];
}

function drawTable() {
  const box = byId("table");
  box.append(heading("table", "Groups"));
  if (!groups.length) { box.append(message("There are no groups. What was left out, and why, is listed below.")); return; }
  box.append(tableControls(), el("p", { id: "picks-note", class: "quiet", role: "status" }),
    scrolling("Table of groups", el("table", { class: "groups" }, el("thead"), el("tbody", { class: "reference" }), el("tbody", { id: "rows" }))),
    el("div", { id: "more", class: "bar" }),
    el("p", { class: "quiet" }, "★ best mean of the column; not a finding by itself. * p below .05 after Holm's correction. ✕ runs that did not finish. ",
      "Picked groups appear in the plots and tables below."));
  watch("picks", drawPicks);
  tableHead();
  tableFilter();
  drawPicks();
}

function tableControls() {
  const search = el("input", { type: "search", id: "search", placeholder: "such as: cosine phi", oninput: () => { table.text = search.value; tableFilter(); } });
  const filters = data.options.map((option, index) => choice(option.name,
    [["", "all"], ...option.values.map((value, number) => [number, value])], "",
    (value) => { table.options.set(index, value === "" ? null : Number(value)); tableFilter(); }));
  const reset = el("button", { type: "button", onclick: () => {
    search.value = ""; table.text = ""; table.options.clear();
    filters.forEach((filter) => { filter.querySelector("select").value = ""; });
    tableFilter();
  } }, "Clear filter");
  const redo = (change) => (value) => { change(value); table.rows.clear(); tableHead(); tableSort(); };
  return el("div", {},
    el("div", { class: "bar" }, el("label", { class: "choice" }, el("span", {}, "Filter"), search), ...filters, reset,
      el("output", { id: "passing" })),
    el("div", { class: "bar" },
      data.bestMetrics.length ? choice("Numbers", [["final", "after the last step"], ["best", "at the best validation"]], "final",
        redo((value) => { table.best = value === "best"; })) : null,
      data.baseline === null ? null : toggle("differences to the baseline", true, redo((on) => { table.differences = on; })),
      el("button", { type: "button", onclick: () => pickOnly(leading(passing, COLOURS)) }, `Pick the best ${COLOURS}`),
      el("button", { type: "button", onclick: () => pickOnly(table.order) }, `Pick the first ${SLOTS} rows`),
      el("button", { type: "button", onclick: () => pickOnly([]) }, "Drop all")));
}

function tableHead() {
  table.columns = tableColumns();
  if (!table.columns.some((column) => column.key === table.key)) {
    const first = table.columns.slice(2).find((column) => column.better) ?? table.columns[0];
    table.key = first.key;
    table.down = first.better > 0;
  }
  const cells = table.columns.map((column) => {
    const arrow = el("span", { class: "arrow", "aria-hidden": "true" });
    const button = el("button", { type: "button", "aria-label": column.name, onclick: () => sortBy(column) },
      el("span", {}, ...column.head), arrow);
    column.th = el("th", { scope: "col", class: column.numeric ? "number" : "label" }, button);
    return column.th;
  });
  document.querySelector(".groups thead").replaceChildren(
    el("tr", {}, el("th", { scope: "col", class: "pick" }, el("span", { class: "hear" }, "picked")), ...cells));
  const base = data.base.some(isNumber) && !table.best;
  document.querySelector(".reference").replaceChildren(...(base ? [el("tr", {}, el("td", { class: "pick" }),
    ...table.columns.map((column) => {
      if (column.label) return el("th", { scope: "row", class: "label" }, "base model, before training");
      const value = column.key.startsWith("final ") ? data.base[data.metrics.findIndex((one) => `final ${one.name}` === column.key)] : null;
      return el("td", { class: "number" }, isNumber(value) ? el("span", { class: "mark" }) : "",
        isNumber(value) ? fixed(value, column.places) : "", isNumber(value) ? el("span", { class: "half" }) : "");
    }))] : []));
}

function sortBy(column) {
  const same = table.key === column.key;
  table.down = same ? !table.down : column.better > 0;
  table.key = column.key;
  tableSort();
}

function tableFilter() {
  const words = table.text.toLowerCase().split(/\s+/).filter(Boolean);
  passing = groups.map((_, index) => index).filter((group) => {
    const label = groups[group].label.toLowerCase();
    return words.every((word) => label.includes(word)) &&
      data.options.every((option, index) => (table.options.get(index) ?? option.of[group]) === option.of[group]);
  });
  table.shown = PAGE;
  byId("passing").textContent = passing.length === groups.length ? plural(groups.length, "group")
    : `${passing.length.toLocaleString("en")} of ${plural(groups.length, "group")}`;
  tableSort();
  changed("filter");
}

const collator = new Intl.Collator("en", { numeric: true });

function tableSort() {
  const column = table.columns.find((one) => one.key === table.key);
  const values = new Map(passing.map((group) => [group, column.value(group)]));
  const sign = table.down ? -1 : 1;
  table.order = [...passing].sort((a, b) => {
    const [x, y] = [values.get(a), values.get(b)];
    // Groups without a value come last in both directions.
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return sign * (typeof x === "string" ? collator.compare(x, y) : x - y) || a - b;
  });
  for (const { th, key } of table.columns) {
    const sorted = key === table.key;
    if (sorted) th.setAttribute("aria-sort", table.down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
    th.querySelector(".arrow").textContent = sorted ? (table.down ? "▼" : "▲") : "";
  }
  tableRows();
}

function tableRows() {
  const rows = table.order.slice(0, table.shown).map((group) => {
    if (!table.rows.has(group)) table.rows.set(group, tableRow(group));
    return table.rows.get(group);
  });
  byId("rows").replaceChildren(...(rows.length ? rows
    : [el("tr", {}, el("td", { colspan: table.columns.length + 1 }, "No group passes the filter."))]));
  rows.forEach(markPick);
  const rest = table.order.length - rows.length;
  const more = (number) => () => { table.shown += number; tableRows(); };
  byId("more").replaceChildren(...(rest > 0 ? [
    el("span", {}, `Rows 1–${rows.length} of ${table.order.length.toLocaleString("en")}.`),
    el("button", { type: "button", onclick: more(PAGE) }, `Show ${Math.min(PAGE, rest)} more`),
    el("button", { type: "button", onclick: more(rest) }, "Show all"),
  ] : []));
}

function tableRow(group) {
  const box = el("input", { type: "checkbox", "aria-label": `pick ${groups[group].label}`, onchange: () => {
    if (!box.checked) drop(group);
    else if (!pick(group)) {
      box.checked = false;
      byId("picks-note").textContent = `${SLOTS} groups are picked; more could not be distinguished in a plot. Drop one first.`;
      return;
    }
    changed("picks");
  } });
  const cells = table.columns.map((column) => (column.label
    ? el("th", { scope: "row", class: "label" }, el("div", {}, el("span", { class: "sign" }),
      el("span", {}, named(groups[group].label), group === data.baseline ? el("span", { class: "tag" }, "baseline") : null)))
    : el("td", { class: "number" }, ...column.cell(group))));
  const row = el("tr", {}, el("td", { class: "pick" }, box), ...cells);
  row.group = group;
  return row;
}

function markPick(row) {
  const on = isPicked(row.group);
  row.querySelector("input").checked = on;
  row.classList.toggle("picked", on);
  row.querySelector(".sign").replaceChildren(...(on ? [swatch(row.group)] : []));
}

function drawPicks() {
  byId("picks-note").textContent = `${plural(picked().length, "group")} picked, at most ${SLOTS}.`;
  for (const row of byId("rows").children) if (row.group !== undefined) markPick(row);
}
