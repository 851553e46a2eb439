// One run: its numbers, curves, exits, config, and questions put to it, loop by loop.

// The quantities that are looked at first, and stand above a run's others.
const FINAL = [/(^|, )accuracy, test$/, /(^|, )bits_per_parameter(, train)?, total$/, /(^|, )accuracy, train$/];

// A small chart of lines [{name, points, floor}], or of bars.
function smallChart(title, labels, lines, bars = false) {
  const box = { left: 46, right: 312, top: 24, bottom: 140 };
  const all = lines.flatMap((line) => line.points);
  const heights = all.map(([, y]) => y), floors = lines.map((line) => line.floor).filter((floor) => floor !== null && floor !== undefined);
  const share = heights.every((value) => value >= 0 && value <= 1);
  const x = scaleOf(all.map(([at]) => at), box.left, box.right, false, 5);
  const y = scaleOf([...heights, ...floors, ...(share ? [0, 1] : [])], box.bottom, box.top, false, 4);
  const svg = element("svg", { viewBox: "0 0 320 176", role: "img", "aria-label": title });
  axisLines(svg, x, y, box, labels);
  for (const floor of new Set(floors)) svg.append(element("line", { x1: box.left, x2: box.right, y1: y.at(floor), y2: y.at(floor), class: "floor" }));
  const thick = Math.min(28, 180 / all.length);
  lines.forEach(({ points }, i) => {
    const colour = COLOURS[i % COLOURS.length];
    const at = points.map(([px, py]) => [x.at(px), y.at(py)]);
    if (bars) {
      const shift = (i - (lines.length - 1) / 2) * thick;
      at.forEach(([px, py]) => svg.append(element("rect", { x: px + shift - thick / 2, width: thick - 1, y: py, height: Math.max(0, y.at(0) - py), fill: colour })));
      return;
    }
    svg.append(element("path", { class: "line", stroke: colour, d: at.map(([px, py], j) => `${j ? "L" : "M"}${px.toFixed(1)},${py.toFixed(1)}`).join("") }));
    if (at.length < 9) at.forEach(([cx, cy]) => svg.append(element("circle", { cx, cy, r: 3, fill: colour })));
  });
  const names = lines.length > 1 || lines[0].name ? lines.map((line, i) => element("li", {},
    element("svg", { viewBox: "0 0 10 10" }, element("circle", { cx: 5, cy: 5, r: 5, fill: COLOURS[i % COLOURS.length] })), line.name || "all")) : [];
  return element("figure", { class: "small" }, element("h4", {}, title), svg, element("ul", { class: "names" }, ...names));
}

function curvesOf(place) {
  const byMetric = new Map();
  for (const [name, steps, values] of data.curves[place]) {
    const [metric, split, difficulty] = data.curve_names[name];
    const rest = [split, difficultyOf(difficulty)].filter(Boolean).join(", ");
    if (!byMetric.has(metric)) byMetric.set(metric, []);
    const points = data.steps[steps].map((step, i) => [step, values[i]]).filter(([, value]) => value !== null);
    byMetric.get(metric).push({ name: metric === "loss" ? "" : rest, points });
  }
  return [...byMetric].map(([metric, lines]) => smallChart(`${metric.replaceAll("_", " ")} in training`, ["step", metric === "loss" ? "nats per token" : ""], lines));
}

// What was measured after every loop, a line for each quantity and difficulty.
function byLoop(place, metric, keep) {
  const lines = new Map();
  data.quantities.forEach((label, quantity) => {
    if (!label.split(", ").includes(metric) || !keep(label)) return;
    for (const row of quantityRows[quantity].get(place) || []) {
      if (data.loop[row] === null) continue;
      const rest = label.split(", ").filter((word) => word !== metric && word !== "gate").join(", ");
      const name = [rest, difficultyOf(data.difficulty_of[row])].filter(Boolean).join(", ");
      if (!lines.has(name)) lines.set(name, { name, points: [], floor: data.floor[row] });
      lines.get(name).points.push([data.loop[row], data.value[row]]);
    }
  });
  const found = [...lines.values()];
  found.forEach((line) => line.points.sort(([a], [b]) => a - b));
  return found;
}

function details(place) {
  const run = data.runs[place];
  const known = ["task", "k", "n_loops", "width", "objective", "parameters", "step", "lr", "exposures", "train_flops", "cpu_seconds", "status"];
  const numbers = known.filter((name) => fact(name, place) !== null).map((name) =>
    element("div", {}, element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, shown(fact(name, place)))));
  const charts = curvesOf(place);
  const accuracy = byLoop(place, "accuracy", (label) => label.includes("test"));
  if (accuracy.some((line) => line.points.length > 1)) charts.push(smallChart("accuracy by loop", ["loop that is read", ""], accuracy));
  const gate = byLoop(place, "exit_probability", (label) => !label.includes("train"));
  const exits = gate.length ? gate : byLoop(place, "exit_probability", () => true);
  if (exits.length) charts.push(smallChart("exit distribution", ["loop", "share"], exits, true));
  const final = FINAL.flatMap((wanted) => data.quantities.map((label, quantity) => [label, quantity]).filter(([label]) => wanted.test(label))
    .flatMap(([label, quantity]) => rowsOf(quantity, place, null, false).map((row) => element("div", {},
      element("dt", {}, [label.replaceAll("_", " "), difficultyOf(data.difficulty_of[row])].filter(Boolean).join(", ")),
      element("dd", {}, shown(data.value[row]))))));
  const reason = data.reasons[place] ? element("p", { class: "notice" }, data.reasons[place]) : null;
  return [
    element("h3", {}, nameOf(place)), element("p", { class: "note" }, run), reason,
    element("dl", {}, ...final), element("dl", {}, ...numbers), element("div", { class: "charts" }, ...charts),
    data.traces[run] ? stepper(data.traces[run]) : null, ...again(place),
  ].filter(Boolean);
}

// The config, and what repeats the run: alone, and with its grid.
function again(place) {
  const found = [];
  const grid = data.commands[fact("grid", place)];
  if (grid) found.push(element("h4", {}, "Its whole grid again"), element("pre", { class: "command" }, element("code", {}, grid)));
  if (data.config[place]) {
    const [text, seed] = data.config[place], run = data.runs[place];
    const file = `baseline:\n${data.configs[text].split("\n").map((line) => `  ${line}\n`).join("")}  seed: ${seed}\n`;
    const link = element("a", { href: `data:text/yaml;charset=utf-8,${encodeURIComponent(file)}`, download: `${run}.yaml` }, `save as ${run}.yaml`);
    found.push(element("h4", {}, "This run alone"), element("pre", { class: "command" }, element("code", {}, `loopscope run ${run}.yaml --out runs/again`)));
    found.push(element("details", {}, element("summary", {}, "Its config, which is the grid file of that command"), element("p", { class: "note" }, link), element("pre", { class: "config" }, element("code", {}, file))));
  }
  return found;
}

// What the model would answer after each loop of one question.
function stepper(traces) {
  const box = element("section", { class: "stepper", "aria-label": "one question, loop by loop" });
  const questions = element("select", { "aria-label": "question", change: () => draw(1) },
    ...traces.map((trace, i) => element("option", { value: i }, `${trace.question} → ${trace.answer}`)));
  const slider = element("input", { type: "range", min: 1, step: 1, "aria-label": "loop", input: () => draw(Number(slider.value)) });
  const move = (by) => () => draw(Math.min(Number(slider.max), Math.max(1, Number(slider.value) + by)));
  const at = element("output"), body = element("div");
  box.append(element("h4", {}, "One question, loop by loop"), questions,
    element("div", { class: "loops" }, element("button", { type: "button", "aria-label": "loop before", click: move(-1) }, "◀"), slider,
      element("button", { type: "button", "aria-label": "next loop", click: move(1) }, "▶"), at), body);
  function draw(loop) {
    const trace = traces[Number(questions.value)], step = trace.steps[loop - 1];
    [slider.max, slider.value] = [trace.steps.length, loop];
    at.textContent = `after loop ${loop} of ${trace.steps.length}`;
    const row = (text, p, kind, note) => element("tr", { class: kind }, element("th", { scope: "row" }, note ? `${text} (${note})` : text),
      element("td", {}, element("meter", { value: p, max: 1 })), element("td", {}, p.toFixed(3)));
    const kind = (text) => (text === trace.answer ? "answer" : trace.bridges.some(([, token]) => token === text) ? "bridge" : undefined);
    const note = (text) => (text === trace.answer ? "the answer" : trace.bridges.filter(([, token]) => token === text).map(([name]) => `bridge ${name}`).join(", "));
    const table = (title, rows) => element("table", {}, element("caption", {}, title), element("tbody", {}, ...rows));
    const exit = step.exit === null ? [] : [row("leaves after this loop", step.exit), row("has left by now", trace.steps.slice(0, loop).reduce((sum, one) => sum + one.exit, 0))];
    body.replaceChildren(
      table("would answer, with probability", step.candidates.map(([text, p]) => row(text, p, kind(text), note(text)))),
      table("looked for", [["answer", trace.answer, step.answer], ...trace.bridges.map(([name, token], i) => [`bridge ${name}`, token, step.bridges[i]])]
        .map(([name, token, p]) => row(`${name}: ${token}`, p, name === "answer" ? "answer" : "bridge"))),
      ...(exit.length ? [table("exit gate", exit)] : []),
      element("p", { class: "path" }, "loop by loop: ", ...trace.steps.flatMap(({ candidates: [[text]] }, i) =>
        [i ? " → " : "", element(i === loop - 1 ? "strong" : "span", { class: kind(text) }, text)])));
  }
  draw(1);
  return box;
}

function makeFilters() {
  const names = ["grid", "part", "task", "arm", "seed", "difficulty", "objective", "status", ...data.axes];
  for (const name of new Set(names)) {
    const values = sorted((name === "difficulty" ? data.difficulty_of : data.runs.map((_, place) => fact(name, place))).filter((value) => value !== null));
    if (values.length < 2 || values.length > 60) continue;
    state.filters.set(name, new Set());
    const chip = (value) => element("label", {}, element("input", { type: "checkbox", name: `filter ${name}`, value, change: (event) => {
      state.filters.get(name)[event.target.checked ? "add" : "delete"](String(value));
      drawChart();
    } }), shown(value));
    $("filter-list").append(element("fieldset", {}, element("legend", {}, name === "difficulty" ? axisOf("difficulty").label : name), element("div", { class: "chips" }, ...values.map(chip))));
  }
}

function makeControls() {
  const groups = () => [["of the run", axesKnown.filter((axis) => axis.quantity === undefined)], ["measured", axesKnown.filter((axis) => axis.quantity !== undefined)]]
    .map(([label, axes]) => element("optgroup", { label }, ...axes.map((axis) => element("option", { value: axis.key }, axis.label))));
  const best = FINAL.map((wanted) => data.quantities.find((label) => wanted.test(label))).find(Boolean) || data.quantities[0];
  const start = { x: "fact n_loops", y: best ? `measured ${best}` : "fact step", colour: FINAL[0].test(best) ? "difficulty" : "fact arm" };
  for (const [id, key] of Object.entries(start)) {
    $(id).append(...groups());
    $(id).value = axisOf(key) ? key : axesKnown[0].key;
  }
  for (const id of ["x", "y", "colour", "log-x", "log-y"]) $(id).addEventListener("change", drawChart);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("filters").open = innerWidth > 900;
  for (const side of [0, 1]) {
    const run = $(`run-${side}`);
    run.append(...data.runs.map((id, place) => element("option", { value: place }, `${nameOf(place)} · ${id}`)));
    run.addEventListener("change", () => select(side, run.value === "" ? null : Number(run.value)));
  }
  document.querySelectorAll("input[name=active]").forEach((radio) => {
    radio.checked = radio.value === "0";
    radio.addEventListener("change", () => (state.active = Number(radio.value)));
  });
}

unpack($("data").textContent).then((found) => {
  data = found;
  prepare();
  makeControls();
  makeFilters();
  drawChart();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) drawChart();
    width = innerWidth;
  });
  document.body.dataset.ready = "yes";
});
