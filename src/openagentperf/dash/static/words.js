// Elements and figures as text. Every text goes through textContent: nothing that a run says becomes markup.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A text node or an element is replaced only where it says something else: a screen reader and a selection stay where they are.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A name within a line: those of models and tiers come from elsewhere, and may be as long as a page.
export function brief(name) {
  return name.length > 100 ? `${name.slice(0, 97)}...` : name;
}

export const NONE = "-";

export function figure(value, unit = "") {
  if (value === null || value === undefined) return NONE;
  const tail = unit ? ` ${unit}` : "";
  if (Number.isInteger(value)) return value.toLocaleString("en-GB") + tail;
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-GB") + tail;
  return Number(value.toPrecision(3)) + tail;
}

export function percent(value) {
  return value === null || value === undefined ? NONE : `${(100 * value).toFixed(1)} %`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function agents(count) {
  return count === 1 ? "1 agent" : `${figure(count)} agents`;
}

export function standing(capacity) {
  const words = capacity.standing.replace("_", " ");
  if (capacity.agents === null) return words;
  return capacity.standing === "at_least" ? `${words} ${capacity.agents}` : `${capacity.agents} ${words}`;
}

export const STAGES = {
  preparing: "preparing", preflight: "preflight", ramp: "ramping up", settle: "settling", measure: "measuring", drain: "draining",
  judge: "judging", done: "done",
};

export const STATES = {
  preparing: "before its first phase", running: "running", silent: "silent", broken: "broken off", finished: "finished",
};

// Rows of a table keyed by what they are about (columns of `words` hold text, the others numbers): cells are written only where they change, so that the page does not jump or lose its focus.
export class Table {
  constructor(caption, head, words = []) {
    this.body = el("tbody");
    this.rows = new Map();
    this.words = words;
    const titles = head.map((title, i) => el("th", { scope: "col", class: words.includes(i) ? "words" : null }, title));
    const table = el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...titles)), this.body);
    this.node = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
  }

  show(rows) {
    const keys = new Set(rows.map((row) => row.key));
    for (const [key, row] of this.rows) {
      if (!keys.has(key)) { row.remove(); this.rows.delete(key); }
    }
    rows.forEach((row, place) => {
      let line = this.rows.get(row.key);
      if (!line) {
        line = el("tr", {}, ...row.cells.map((_, i) => (i ? el("td", { class: this.words.includes(i) ? "words" : null }) : el("th", { scope: "row" }))));
        this.rows.set(row.key, line);
      }
      if (this.body.children[place] !== line) this.body.insertBefore(line, this.body.children[place] ?? null);
      row.cells.forEach((cell, i) => {
        const node = line.children[i];
        if (typeof cell === "string") say(node, cell);
        else if (node.firstChild?.dataset?.key !== cell.dataset.key) node.replaceChildren(cell);
      });
    });
  }
}
