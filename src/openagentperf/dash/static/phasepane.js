// One phase in its distributions, along time, in percentiles and by cause of failure.

import { Chart, line, rule, shade } from "./charts.js";
import { Table, el, figure, percent, say } from "./words.js";

const KINDS = ["first", "second", "third"];

export class PhasePane {
  constructor() {
    const share = (title, unit) => new Chart(title, { height: 190, x: { title: unit, log: true }, y: { title: "share" } });
    this.ttft = share("TTFT: share of turns at or below", "s");
    this.speed = share("Output speed: share of turns at or below", "tokens/s");
    this.e2e = share("End-to-end speed: share of turns at or below", "tokens/s");
    const time = (title) => new Chart(title, { height: 160, x: { title: "s from the phase's start" }, y: {} });
    this.flight = time("Requests in flight and active agents");
    this.tokens = time("Output, tokens/s");
    this.wait = time("Longest TTFT, seconds");
    this.cache = time("Prompt tokens found cached, share");
    this.power = time("Power, W");
    this.ends = time("Turns ended and failed, 1/s");
    this.errors = new Table("Failed turns by cause", ["cause", "turns", "share of measured"]);
    this.lastError = el("p", { class: "note warn" });
    this.percentiles = new Table("Percentiles", ["", "turns", "P5", "P25", "median", "P75", "P95"]);

    this.node = el("div", {},
      el("div", { class: "grid" }, this.ttft.node, this.speed.node, this.e2e.node, this.flight.node, this.tokens.node, this.wait.node, this.cache.node,
        this.power.node, this.ends.node),
      this.percentiles.node);
    this.failures = el("div", {}, this.errors.node, this.lastError);
  }

  // `phase` may be null; `tier` gives the limits.
  show(phase, tier) {
    const limitTtft = tier ? { at: tier.ttft_s, name: `limit ${figure(tier.ttft_s, "s")}` } : null;
    const limitSpeed = tier ? { at: tier.output_speed, name: `limit ${figure(tier.output_speed)}` } : null;
    this.drawCurve(this.ttft, phase?.ttft, limitTtft, { share: 0.95, name: "P95" }, "s");
    this.drawCurve(this.speed, phase?.speed, limitSpeed, { share: 0.25, name: "P25" }, "tokens/s");
    this.drawCurve(this.e2e, phase?.e2e_speed, null, { share: 0.25, name: "P25" }, "tokens/s");
    const along = phase?.timeline;
    this.drawTime(this.flight, phase, [["requests in flight", along?.in_flight], ["active agents", along?.active]]);
    this.drawTime(this.tokens, phase, [["output tokens/s", along?.output_tokens_per_s]]);
    this.drawTime(this.wait, phase, [["longest TTFT", along?.ttft_max_s]]);
    this.drawTime(this.cache, phase, [["cached share", along?.cached_share]], [0, 1]);
    this.drawTime(this.power, phase, Object.entries(along?.watts ?? {}));
    this.drawTime(this.ends, phase, [["ended", along?.ended_per_s], ["failed", along?.failed_per_s]]);
    this.percentiles.show(phase ? [["TTFT, s", phase.ttft], ["output speed, tokens/s", phase.speed], ["end-to-end speed, tokens/s", phase.e2e_speed]].map(([name, curve]) => ({
      key: name, cells: [name, figure(curve.turns), ...[0.05, 0.25, 0.5, 0.75, 0.95].map((share) => figure(valueAt(curve, share)))],
    })) : []);
    this.errors.show((phase?.errors ?? []).map((row) => ({ key: row.cause, cells: [row.cause, figure(row.turns), percent(row.turns / phase.measured_turns)] })));
    this.errors.node.hidden = !phase?.errors.length;
    say(this.lastError, phase?.last_error ? `last: ${phase.last_error}` : phase && !phase.errors.length ? "None." : "");
    this.lastError.classList.toggle("warn", Boolean(phase?.last_error));
  }

  drawCurve(chart, curve, limit, share, unit) {
    const points = (curve?.points ?? []).filter(([value]) => value > 0);
    chart.show({
      x: points.map(([value]) => value).concat(limit && points.length ? [limit.at] : []),
      y: [0, 1], yLimits: [0, 1],
      empty: points.length ? "" : "no turn with a value yet",
      label: points.length ? `${chart.caption.textContent}, of ${figure(curve.turns)} turns: median ${figure(valueAt(curve, 0.5), unit)}, ${share.name} ${figure(valueAt(curve, share.share), unit)}${limit ? `, ${limit.name}` : ""}` : "no turn yet",
      marks: (svg, x, y) => {
        if (limit) rule(svg, x, y, limit);
        rule(svg, x, y, { level: share.share, name: share.name });
        line(svg, x, y, [[points[0][0], 0], ...points], "first");
      },
    });
  }

  drawTime(chart, phase, columns, yLimits) {
    const given = columns.filter(([, values]) => values?.some((value) => value !== null));
    const step = phase?.timeline.step_s ?? 1;
    const length = Math.max(0, ...given.map(([, values]) => values.length));
    chart.show({
      x: [0, Math.max(length * step, 5)], xLimits: [0, Math.max(length * step, 5)], yLimits,
      y: given.flatMap(([, values]) => values.filter((value) => value !== null)),
      legend: columns.length > 1 || (given.length && columns[0][0].includes(",")) ? given.map(([name], i) => ({ kind: KINDS[i % 3], name })) : [],
      empty: given.length ? "" : "nothing seen yet",
      label: `${chart.caption.textContent} along time. ${given.map(([name, values]) => `${name}: last ${figure(values.findLast((value) => value !== null))}, largest ${figure(Math.max(...values.filter((value) => value !== null)))}`).join("; ")}`,
      marks: (svg, x, y) => {
        const end = phase.left_s === null ? phase.opens_s + phase.shortest_s : Infinity;
        shade(svg, x, y, phase.opens_s, end, "window");
        given.forEach(([, values], i) => line(svg, x, y, values.map((value, k) => [(k + 0.5) * step, value]), KINDS[i % 3]));
      },
    });
  }
}

// The least value that a share of the turns does not exceed; null where it is infinite or not known.
function valueAt(curve, share) {
  const found = curve.points.find(([, at]) => at >= share - 1e-9);
  return found ? found[0] : null;
}
