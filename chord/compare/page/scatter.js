// One metric against another, with intervals: how much a method learns and how much it forgets.

function drawScatter() {
  const box = byId("scatter");
  box.append(heading("scatter", "Trade-off between two metrics"));
  if (data.metrics.length < 2) { box.append(message("This plot needs two metrics.")); return; }
  const find = (...patterns) => patterns.map((one) => data.metrics.findIndex(({ name }) => one.test(name))).find((index) => index >= 0);
  const axes = { x: find(/target_accuracy/, /target/) ?? 0 };
  axes.y = find(/retained\/mean/, /retained/) ?? -1;
  if (axes.y < 0 || axes.y === axes.x) axes.y = axes.x === 0 ? 1 : 0;
  const names = data.metrics.map(({ name }, index) => [index, name]);
  const plot = el("div", { class: "plot", tabindex: "0", role: "group", "aria-label": "Groups as points. The left and right arrow keys move between points, Enter picks." });
  const said = el("p", { class: "at", role: "status" });
  const keys = el("div", { class: "legend" });
  const pickAxis = (axis) => (value) => { axes[axis] = Number(value); at = null; draw(); };
  box.append(el("div", { class: "bar" }, choice("x axis", names, axes.x, pickAxis("x")), choice("y axis", names, axes.y, pickAxis("y"))),
    plot, said, keys);
  let [at, points, scale] = [null, [], null];

  function draw() {
    const pair = (group) => [groups[group].final[axes.x], groups[group].final[axes.y]];
    points = groups.map((_, group) => ({ group, pair: pair(group) })).filter(({ group, pair: [x, y] }) => x && y && !hidden.has(group));
    points.sort((a, b) => a.pair[0][0] - b.pair[0][0] || a.group - b.group);
    legend(keys, points.length ? picked() : []);
    scale = null;
    if (!points.length) { plot.replaceChildren(message("No group has both metrics.")); said.textContent = ""; return; }
    const base = [data.base[axes.x], data.base[axes.y]];
    const withBase = base.every(isNumber);
    const range = (axis) => {
      const lines = points.map(({ group, pair: values }) => ({ mean: [values[axis][0]],
        low: isPicked(group) && values[axis][3] > 1 ? [values[axis][1]] : null, high: isPicked(group) && values[axis][3] > 1 ? [values[axis][2]] : null }));
      return rangeOf(withBase ? [...lines, { mean: [base[axis]] }] : lines, true);
    };
    const [xName, yName] = [data.metrics[axes.x].name, data.metrics[axes.y].name];
    scale = frame(plot, { x: range(0), y: range(1), height: 340, cross: true, xName, yName, label: `${yName} against ${xName}, ${plural(points.length, "group")}` });
    const dots = svg("g", { class: "others" });
    for (const { group, pair: [x, y] } of points) {
      if (!isPicked(group)) dots.append(svg("circle", { cx: scale.sx(x[0]).toFixed(1), cy: scale.sy(y[0]).toFixed(1), r: 3.2 }));
    }
    scale.layer.append(dots);
    for (const { group, pair: [x, y] } of points) if (isPicked(group)) drawPoint(group, x, y);
    if (withBase) {
      scale.layer.append(svg("path", { class: "base", d: "M-6 0H6M0 -6V6", transform: `translate(${scale.sx(base[0])} ${scale.sy(base[1])})` }),
        svg("text", { x: scale.sx(base[0]) + 9, y: scale.sy(base[1]) + 14, "text-anchor": "start" }, "base"));
    }
    scale.ring = svg("circle", { class: "ring", r: 9, cx: -50, cy: -50 });
    scale.layer.append(scale.ring);
    show();
  }

  function drawPoint(group, x, y) {
    const slot = slotOf(group);
    const [px, py] = [scale.sx(x[0]), scale.sy(y[0])];
    const line = (x1, y1, x2, y2) => scale.layer.append(svg("line", { class: "whisker", x1, y1, x2, y2, stroke: colour(slot) }));
    if (x[3] > 1) line(scale.sx(x[1]), py, scale.sx(x[2]), py);
    if (y[3] > 1) line(px, scale.sy(y[1]), px, scale.sy(y[2]));
    const sign = marker(slot, 5.5);
    sign.setAttribute("transform", `translate(${px.toFixed(1)} ${py.toFixed(1)})`);
    scale.layer.append(sign);
  }

  function show() {
    const point = points.find(({ group }) => group === at);
    if (!scale) return;
    if (!point) {
      scale.ring.setAttribute("cx", -50);
      const others = points.filter(({ group }) => !isPicked(group)).length;
      said.textContent = `Point at a group to see its values.${others ? ` Grey: ${plural(others, "group")} not picked, without intervals; click to pick.` : ""}`;
      return;
    }
    const { pair: [x, y] } = point;
    const text = (one) => (one[3] > 1 ? `${fixed(one[0], 3)} [${fixed(one[1], 3)}, ${fixed(one[2], 3)}]` : `${fixed(one[0], 3)} (one seed)`);
    scale.ring.setAttribute("cx", scale.sx(x[0]));
    scale.ring.setAttribute("cy", scale.sy(y[0]));
    said.replaceChildren(named(groups[at].label, { class: "strong" }), ` · ${data.metrics[axes.x].name} ${text(x)} · ${data.metrics[axes.y].name} ${text(y)} · n ${Math.min(x[3], y[3])}`);
  }

  function closest(event) {
    const place = scale.root.getBoundingClientRect();
    const [px, py] = [event.clientX - place.left, event.clientY - place.top];
    let [best, least] = [null, 24];
    for (const { group, pair: [x, y] } of points) {
      const far = Math.hypot(scale.sx(x[0]) - px, scale.sy(y[0]) - py);
      if (far < least) [best, least] = [group, far];
    }
    return best;
  }

  function swap(group) {
    if (isPicked(group)) drop(group);
    else if (!pick(group)) { said.textContent = `${SLOTS} groups are picked. Drop one first.`; return; }
    changed("picks");
  }

  plot.addEventListener("pointermove", (event) => { if (scale) { at = closest(event); show(); } });
  plot.addEventListener("click", (event) => { const group = scale && closest(event); if (isNumber(group)) { at = group; swap(group); } });
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Enter" && at !== null) swap(at);
    if (!by || !points.length) return;
    event.preventDefault();
    const from = points.findIndex(({ group }) => group === at);
    at = points[from < 0 ? 0 : Math.max(0, Math.min(points.length - 1, from + by))].group;
    show();
  });
  watch("picks", draw);
  drawOnResize(plot, draw);
  draw();
}
