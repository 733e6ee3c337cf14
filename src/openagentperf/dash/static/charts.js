// Pictures as SVG, drawn anew at the width that there is. Colours are the page's, by class; what a picture shows stands in its label in words.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 34;

function node(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

function tick(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}

function linearTicks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? 10 * power;
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) ticks.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return ticks;
}

function logTicks(low, high, wanted) {
  const within = (factors) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const factor of factors) found.push(factor * 10 ** power);
    }
    return found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  };
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = within(factors);
    if (ticks.length >= 2 && ticks.length <= wanted) return ticks;
  }
  const decades = within([1]);
  if (decades.length > wanted) return decades.filter((_, i) => i % Math.ceil(decades.length / wanted) === 0);
  return linearTicks(low, high, wanted).filter((value) => value > 0);
}

// A scale from values to pixels. Logarithmic ones need a low above 0.
function scale(low, high, from, to, log) {
  if (log) {
    const a = Math.log(low), b = Math.log(high);
    const at = (value) => from + ((Math.log(value) - a) / (b - a || 1)) * (to - from);
    return Object.assign(at, { low, high, ticks: (wanted) => logTicks(low, high, wanted) });
  }
  const at = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  return Object.assign(at, { low, high, ticks: (wanted) => linearTicks(low, high, wanted) });
}

// Limits that hold all values with some room; a single value gets room on both sides.
function limits(values, log, zero) {
  const good = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!good.length) return log ? [1, 10] : [0, 1];
  let low = Math.min(...good), high = Math.max(...good);
  if (log) return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
  if (zero) low = Math.min(0, low);
  if (low === high) return low === 0 ? [0, 1] : [Math.min(0, low), high * 1.2];
  return [low, high + 0.05 * (high - low)];
}

export class Chart {
  // view: {height, x: {title, log, zero}, y: {...}}; `show` takes {x: values, y: values, marks: draw(svg, x, y), empty, label}
  constructor(title, view) {
    this.view = view;
    this.figure = document.createElement("figure");
    this.caption = document.createElement("figcaption");
    this.caption.textContent = title;
    this.legend = document.createElement("p");
    this.legend.className = "legend";
    this.place = document.createElement("div");
    this.place.className = "chart";
    this.place.setAttribute("role", "img");
    this.figure.append(this.caption, this.legend, this.place);
    this.last = null;
    this.width = 0;
    this.observer = new ResizeObserver(() => {
      if (this.last && Math.abs(this.place.clientWidth - this.width) > 1) this.draw();
    });
    this.observer.observe(this.place);
  }

  get node() { return this.figure; }

  show(data) {
    this.last = data;
    this.draw();
  }

  draw() {
    const { view, last } = this;
    this.width = this.place.clientWidth;
    if (!this.width) return;
    const width = this.width, height = view.height ?? 190;
    this.place.setAttribute("aria-label", last.label);
    this.showLegend(last.legend ?? []);
    const [xLow, xHigh] = last.xLimits ?? limits(last.x, view.x.log, view.x.zero);
    const [yLow, yHigh] = last.yLimits ?? limits(last.y, view.y.log, view.y.zero ?? true);
    const x = scale(xLow, xHigh, LEFT, width - RIGHT, view.x.log);
    const y = scale(yLow, yHigh, height - BOTTOM, TOP, view.y.log);
    const svg = node("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const at of last.empty ? [] : y.ticks(5)) {
      svg.append(node("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(at), y2: y(at) }));
      svg.append(node("text", { class: "tick", x: LEFT - 6, y: y(at) + 4, "text-anchor": "end" }, tick(at)));
    }
    let free = -Infinity;
    for (const at of last.empty ? [] : x.ticks(Math.max(2, Math.floor(width / 70)))) {
      const text = tick(at), half = 3.5 * text.length;
      svg.append(node("line", { class: "axis", x1: x(at), x2: x(at), y1: height - BOTTOM, y2: height - BOTTOM + 4 }));
      if (x(at) - half < free) continue;
      free = x(at) + half + 6;
      const anchor = x(at) + half > width ? "end" : "middle";
      svg.append(node("text", { class: "tick", x: x(at), y: height - BOTTOM + 16, "text-anchor": anchor }, text));
    }
    svg.append(node("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }));
    svg.append(node("text", { class: "title", x: width - RIGHT, y: height - 3, "text-anchor": "end" }, view.x.title));
    if (last.empty) {
      svg.append(node("text", { class: "empty", x: (LEFT + width) / 2, y: height / 2, "text-anchor": "middle" }, last.empty));
    } else {
      last.marks(svg, x, y);
    }
    this.place.replaceChildren(svg);
  }

  showLegend(items) {
    const text = JSON.stringify(items);
    if (this.legendText === text) return;
    this.legendText = text;
    this.legend.replaceChildren(...items.map(({ name, kind }) => {
      const item = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.className = `swatch ${kind}`;
      item.append(swatch, name);
      return item;
    }));
  }
}

// A line through (x, y); a null breaks it, and a value that stands alone is a dot.
export function line(svg, x, y, points, kind) {
  let path = "", alone = null;
  const dot = () => { if (alone) svg.append(node("circle", { class: `dot ${kind}`, cx: alone[0], cy: alone[1], r: 2 })); alone = null; };
  let open = false;
  for (const [at, value] of points) {
    if (value === null || value === undefined || !Number.isFinite(value)) { dot(); open = false; continue; }
    const place = [x(at).toFixed(1), y(value).toFixed(1)];
    path += `${open ? "L" : "M"}${place.join(" ")}`;
    alone = open ? null : place;
    open = true;
  }
  dot();
  svg.append(node("path", { class: `line ${kind}`, d: path, fill: "none" }));
}

// An upright or level rule with its name beside it, inside the picture.
export function rule(svg, x, y, { at, level, name }) {
  if (at !== undefined) {
    if (at < x.low || at > x.high) return;
    svg.append(node("line", { class: "rule", x1: x(at), x2: x(at), y1: y(y.low), y2: y(y.high) }));
    const right = x(at) < x(x.high) - 7 * name.length;
    svg.append(node("text", { class: "rule-name", x: x(at) + (right ? 4 : -4), y: y(y.high) + 24, "text-anchor": right ? "start" : "end" }, name));
    return;
  }
  if (level < y.low || level > y.high) return;
  svg.append(node("line", { class: "rule", x1: x(x.low), x2: x(x.high), y1: y(level), y2: y(level) }));
  const below = y(level) < y(y.high) + 14;
  svg.append(node("text", { class: "rule-name", x: x(x.low) + 4, y: y(level) + (below ? 13 : -4) }, name));
}

export function shade(svg, x, y, from, to, kind) {
  const left = Math.max(x(x.low), x(Math.max(from, x.low))), right = Math.min(x(x.high), x(Math.min(to, x.high)));
  if (right > left) svg.append(node("rect", { class: `shade ${kind}`, x: left, y: y(y.high), width: right - left, height: y(y.low) - y(y.high) }));
}

// One phase of the search: a circle passes, a cross fails, a triangle is invalid, a ring is open. Hovering says which it is.
export function mark(svg, x, y, at, value, kind, title) {
  const cx = x(at), cy = y(value);
  const shapes = {
    pass: () => node("circle", { cx, cy, r: 4.5 }),
    fail: () => node("path", { d: `M${cx - 4} ${cy - 4}l8 8m0 -8l-8 8` }),
    invalid: () => node("path", { d: `M${cx} ${cy - 5}l5 9h-10z` }),
    open: () => node("circle", { cx, cy, r: 6 }),
  };
  const shape = shapes[kind]();
  shape.setAttribute("class", `mark ${kind}`);
  const name = node("title", {});
  name.textContent = title;
  shape.append(name);
  svg.append(shape);
}
