// Tables sort by their headings and filter by words. Without this script they are plain tables.
"use strict";

const compare = new Intl.Collator(undefined, { numeric: true }).compare;

// Numbers by value, then words; what was not measured stands last whichever way it is sorted.
function ordered(rows, column, direction) {
  const key = (row) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent : Number(value);
  };
  const rank = (value) => (typeof value === "number" ? 0 : value === "–" || value === "" ? 2 : 1);
  return rows
    .map((row) => [key(row), row])
    .sort(([a], [b]) => {
      if (rank(a) !== rank(b)) return rank(a) - rank(b);
      if (a === b) return 0;
      return direction * (typeof a === "number" ? (a < b ? -1 : 1) : compare(a, b));
    })
    .map(([, row]) => row);
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[heading.ariaSort];
      const way = next === undefined ? "ascending" : next;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      if (way) heading.setAttribute("aria-sort", way);
      const direction = way === "descending" ? -1 : 1;
      body.append(...(way ? ordered(original, column, direction) : original));
    });
  });
}

function makeFilterable(table) {
  const rows = [...table.tBodies[0].rows];
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  label.className = "filter";
  input.type = "search";
  input.setAttribute("aria-label", `Filter the rows of: ${table.caption.textContent}`);
  label.append("Filter ", input, " ", count);
  table.closest(".table").prepend(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll("table.long").forEach(makeFilterable);

// What is folded away on the screen is printed all the same.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => folded.forEach((details) => (details.open = false)));
