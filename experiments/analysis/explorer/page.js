// Draws points of runs along chosen axes, and two selected runs side by side.
"use strict";

const COLOURS = PALETTE;
const RAMP = [[181, 136, 220], [61, 20, 94]]; // ends of the ramp for what has an order
const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const drawn = ["svg", "g", "path", "circle", "line", "text", "rect"].includes(name);
  const made = drawn ? document.createElementNS($("svg").namespaceURI, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function shown(value) {
  if (typeof value !== "number") return value === null || value === undefined || value === "" ? "–" : String(value);
  const size = Math.abs(value);
  if (value === 0 || (Number.isInteger(value) && size < 1e5)) return value.toLocaleString("en");
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace("e+", "e").replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(3)));
}

let data, facts, quantityRows, axesKnown;
let drawn = [];
const state = { chosen: [null, null], active: 0, filters: new Map() };

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

// The value of a fact of a place: a word or a number, null where it is not known.
function fact(name, place) {
  const column = facts.get(name);
  const value = column ? column.values[place] : null;
  return value === null || !column.words ? value : column.words[value];
}

function prepare() {
  facts = new Map(data.facts.map((column) => [column.name, column]));
  quantityRows = data.quantities.map(() => new Map());
  data.quantity.forEach((quantity, row) => {
    const places = quantityRows[quantity];
    if (!places.has(data.place[row])) places.set(data.place[row], []);
    places.get(data.place[row]).push(row);
  });
  axesKnown = [
    ...data.facts.map(({ name }) => ({ key: `fact ${name}`, name, label: name === "n_loops" ? "loops of the model" : name.replaceAll("_", " ") })),
    { key: "difficulty", label: data.difficulty.length === 1 ? data.difficulty[0] : "difficulty" },
    { key: "loop", label: "loop that is read" },
    ...data.quantities.map((label, quantity) => ({ key: `measured ${label}`, label, quantity })),
  ];
}

const axisOf = (key) => axesKnown.find((axis) => axis.key === key);

const difficultyOf = (value) => (value === null ? "" : `${axisOf("difficulty").label} ${value}`);

// Rows of a quantity of a place that go with a difficulty: those after the last loop, or all.
function rowsOf(quantity, place, difficulty, everyLoop) {
  const rows = quantityRows[quantity].get(place) || [];
  const last = fact("n_loops", place);
  return rows.filter((row) =>
    (difficulty === null || data.difficulty_of[row] === null || data.difficulty_of[row] === difficulty) &&
    (data.loop[row] === null || everyLoop || data.loop[row] === last));
}

function passes(place, difficulty) {
  for (const [name, wanted] of state.filters) {
    if (!wanted.size) continue;
    const value = name === "difficulty" ? difficulty : fact(name, place);
    if (name === "difficulty" && value === null) continue; // what has none is not filtered by it
    if (!wanted.has(String(value))) return false;
  }
  return true;
}

// Every run that can be drawn along x, y and colour: once for each difficulty, and each loop.
function pointsOf(axes) {
  const everyLoop = axes.some((axis) => axis.key === "loop");
  const measured = [axes[1], axes[0], axes[2]].filter((axis) => axis.quantity !== undefined);
  const points = [];
  data.runs.forEach((run, place) => {
    let found = [{ difficulty: null, loop: null, rows: new Map() }];
    for (const axis of new Set(measured)) {
      found = found.flatMap((point) => rowsOf(axis.quantity, place, point.difficulty, everyLoop)
        .filter((row) => point.loop === null || data.loop[row] === null || data.loop[row] === point.loop)
        .map((row) => ({
          difficulty: point.difficulty ?? data.difficulty_of[row],
          loop: point.loop ?? data.loop[row],
          rows: new Map([...point.rows, [axis.key, row]]),
        })));
    }
    for (const point of found) {
      if (!passes(place, point.difficulty)) continue;
      const [x, y, colour] = axes.map((axis) => {
        if (axis.quantity !== undefined) return data.value[point.rows.get(axis.key)];
        return axis.name ? fact(axis.name, place) : point[axis.key];
      });
      const row = point.rows.get(axes[1].key);
      const floor = row === undefined ? null : data.floor[row];
      if (x !== null && y !== null) points.push({ place, difficulty: point.difficulty, loop: point.loop, x, y, colour, floor });
    }
  });
  return points;
}

const sorted = (values) => [...new Set(values)].sort((a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));

// A function from values to pixels, with its ticks [value, text].
function scaleOf(values, from, to, logarithmic, most = 7) {
  if (values.some((value) => typeof value === "string")) {
    const words = sorted(values);
    const step = (to - from) / words.length;
    const place = new Map(words.map((word, i) => [word, from + step * (i + 0.5)]));
    return { at: (value) => place.get(value), ticks: words.filter((_, i) => i % Math.ceil(words.length / 12) === 0).map((word) => [word, word]) };
  }
  const known = logarithmic ? values.filter((value) => value > 0).map(Math.log10) : values;
  let low = known.reduce((a, b) => Math.min(a, b), Infinity);
  let high = known.reduce((a, b) => Math.max(a, b), -Infinity);
  if (low > high) [low, high] = [0, 1];
  const room = high > low ? (high - low) * 0.05 : Math.abs(low) * 0.1 || 0.5;
  [low, high] = [low - room, high + room];
  const at = (value) => from + ((logarithmic ? Math.log10(value) : value) - low) / (high - low) * (to - from);
  const ticks = [];
  if (logarithmic) {
    const each = high - low > 3 ? [1] : [1, 2, 5];
    for (let power = Math.floor(low); power <= high; power++)
      for (const digit of each) {
        const value = digit * 10 ** power;
        if (Math.log10(value) >= low && Math.log10(value) <= high) ticks.push([value, shown(value)]);
      }
  } else {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
    if (values.every(Number.isInteger)) step = Math.max(1, Math.round(step));
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push([i * step, shown(Number((i * step).toPrecision(12)))]);
  }
  return { at, ticks };
}

// Colours of the values of an axis, and their legend [text, colour].
function coloursOf(values) {
  const known = sorted(values.filter((value) => value !== null));
  const numbers = known.every((value) => typeof value === "number");
  const ramp = (share) => `rgb(${RAMP[0].map((low, i) => Math.round(low + share * (RAMP[1][i] - low)))})`;
  if (numbers && known.length > 8) {
    const [low, high] = [known[0], known.at(-1)];
    const of = (value) => (value === null ? "#8a8a8a" : ramp((value - low) / (high - low)));
    return { of, legend: [low, (low + high) / 2, high].map((value) => [shown(value), of(value)]) };
  }
  const colour = new Map(known.map((value, i) => [value, COLOURS[i % COLOURS.length]]));
  return { of: (value) => colour.get(value) || "#8a8a8a", legend: known.slice(0, 24).map((value) => [shown(value), colour.get(value)]) };
}

function axisLines(svg, x, y, box, labels) {
  for (const [value, text] of y.ticks) {
    const at = y.at(value);
    svg.append(element("line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "rule" }));
    svg.append(element("text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, text.slice(0, 9)));
  }
  const room = (box.right - box.left) / Math.max(1, x.ticks.length) / 7;
  for (const [value, text] of x.ticks) {
    const cut = text.length > room && room > 2 ? `${text.slice(0, Math.max(2, room - 1))}…` : text;
    svg.append(element("text", { x: x.at(value), y: box.bottom + 16, "text-anchor": "middle" }, cut));
  }
  svg.append(element("text", { x: box.right, y: box.bottom + 33, "text-anchor": "end", class: "faint" }, labels[0]));
  svg.append(element("text", { x: 0, y: 12, class: "faint" }, labels[1]));
}

// Sideways shift in pixels that tells points apart where few values stand across: by colour, then by run.
function spreadOf(axis, points, box) {
  const values = new Set(points.map((point) => point.x)).size;
  if (axis.quantity !== undefined || values > 12) return () => 0;
  const room = Math.min(40, (box.right - box.left) / values * 0.4);
  const colours = sorted(points.map((point) => point.colour));
  const order = new Map(colours.map((colour, i) => [colour, (i + 0.5) / colours.length - 0.5]));
  return (point) => room * (order.get(point.colour) + ((point.place * 0.618) % 1 - 0.5) / colours.length * 0.8);
}

function drawChart() {
  const axes = ["x", "y", "colour"].map((id) => axisOf($(id).value));
  drawn = pointsOf(axes);
  const logs = [$("log-x").checked, $("log-y").checked];
  drawn = drawn.filter((point) => (!logs[0] || !(point.x <= 0)) && (!logs[1] || !(point.y <= 0)));
  const width = Math.max(280, $("chart").clientWidth), height = Math.min(460, Math.max(300, width * 0.55));
  const box = { left: 58, right: width - 12, top: 26, bottom: height - 40 };
  const x = scaleOf(drawn.map((point) => point.x), box.left, box.right, logs[0], width < 500 ? 4 : 8);
  const y = scaleOf(drawn.map((point) => point.y), box.bottom, box.top, logs[1]);
  const colours = coloursOf(drawn.map((point) => point.colour));
  const label = `${axes[1].label} against ${axes[0].label}, ${drawn.length} points`;
  const svg = element("svg", { width, height, role: "img", "aria-label": label, click: choose, mousemove: hover, mouseleave: () => ($("hover").textContent = "") });
  axisLines(svg, x, y, box, [axes[0].label, axes[1].label]);
  const floors = new Set(drawn.map((point) => point.floor));
  if (floors.size === 1 && ![...floors].includes(null) && axes[1].quantity !== undefined) {
    const at = y.at([...floors][0]);
    if (at <= box.bottom && at >= box.top) svg.append(element("line", { x1: box.left, x2: box.right, y1: at, y2: at, class: "floor" }));
  }
  const spread = spreadOf(axes[0], drawn, box);
  for (const point of drawn) {
    [point.px, point.py] = [x.at(point.x) + spread(point), y.at(point.y)];
    const asked = data.traces[data.runs[point.place]] ? " asked" : "";
    svg.append(element("circle", { cx: point.px, cy: point.py, r: 4.5, fill: colours.of(point.colour), class: `point${asked}` }));
  }
  svg.append(element("g", { id: "marks" }));
  $("chart").replaceChildren(svg);
  $("legend").replaceChildren(...colours.legend.map(([text, fill]) =>
    element("li", {}, element("svg", { viewBox: "0 0 10 10" }, element("circle", { cx: 5, cy: 5, r: 5, fill })), text)));
  const runs = new Set(drawn.map((point) => data.runs[point.place])).size;
  const asked = Object.keys(data.traces).length ? "; points with a dark ring can be stepped through, loop by loop" : "";
  $("count").textContent = `${drawn.length} points of ${runs} runs${asked}`;
  mark();
}

function mark() {
  const marks = state.chosen.flatMap((chosen, side) => drawn.filter((point) => chosen === point.place).flatMap((point) => [
    element("circle", { cx: point.px, cy: point.py, r: 8, class: "chosen" }),
    element("text", { x: point.px + 9, y: point.py - 7 }, "LR"[side]),
  ]));
  $("marks").replaceChildren(...marks);
}

const nameOf = (place) => [fact("arm", place), fact("part", place) || fact("task", place), `seed ${shown(fact("seed", place))}`].filter(Boolean).join(", ");

// The nearest points; several runs may lie in one place.
function near(event) {
  const area = event.currentTarget.getBoundingClientRect();
  const [left, top] = [event.clientX - area.left, event.clientY - area.top];
  const far = drawn.map((point) => [Math.hypot(point.px - left, point.py - top), point]);
  const least = far.reduce((a, [distance]) => Math.min(a, distance), Infinity);
  return least > 28 ? [] : far.filter(([distance]) => distance <= least + 0.5).map(([, point]) => point);
}

function hover(event) {
  const points = near(event), [point] = points;
  const more = points.length > 1 ? `; ${points.length - 1} more here, which further clicks reach` : "";
  const where = point ? [nameOf(point.place), difficultyOf(point.difficulty), point.loop === null ? null : `loop ${point.loop}`] : [];
  const floor = point && point.floor !== null ? `, floor ${shown(point.floor)}` : "";
  $("hover").textContent = point ? `${where.filter(Boolean).join(", ")}: ${shown(point.x)}, ${shown(point.y)}${floor}${more}` : "";
}

function choose(event) {
  const places = [...new Set(near(event).map((point) => point.place))];
  if (!places.length) return;
  const before = places.indexOf(state.chosen[1 - state.active]);
  select(state.active, places[(before + 1) % places.length]);
  state.active = 1 - state.active;
  document.querySelector(`input[name=active][value="${state.active}"]`).checked = true;
}

function select(side, place) {
  state.chosen[side] = place;
  $(`run-${side}`).value = place === null ? "" : String(place);
  $(`details-${side}`).replaceChildren(...(place === null ? [] : details(place)));
  mark();
}
