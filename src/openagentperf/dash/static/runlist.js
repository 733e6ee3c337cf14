// The runs of the folder, the latest first; those that are ticked can be compared.

import { STATES, brief, el, figure, say, span, standing } from "./words.js";

const MOST = 8;

function facts(run) {
  return [run.target, brief(run.model), run.tier_set && `tiers ${run.tier_set}`, run.rigor && `rigor ${brief(run.rigor)}`, run.rigor && run.preliminary && "preliminary", run.track && `${run.track} track`]
    .filter(Boolean).join(" \u00b7 ");
}

function found(run) {
  if (run.result.length) {
    // The first figure only, and whose it is.
    const first = run.result.find((tier) => tier.per_mw.some((ratio) => ratio.agents_per_mw !== null));
    const per = first?.per_mw.find((ratio) => ratio.agents_per_mw !== null);
    const tiers = run.result.map((tier) => `${tier.tier}: ${standing(tier)}`).join(", ");
    return per ? `${tiers}; ${first.tier}: ${figure(per.agents_per_mw)} ${per.name}` : tiers;
  }
  return run.tiers.map((tier) => tier.bracket).join(", ");
}

function state(run) {
  const words = run.state === "silent" ? `silent for ${span(run.silent_s)}` : STATES[run.state];
  return `${words}, ${run.phases === 1 ? "1 phase" : `${run.phases} phases`} judged`;
}

export class RunList {
  constructor(main) {
    this.items = new Map();
    this.list = el("ul", { class: "runs" });
    this.empty = el("p", { class: "note" }, "No run in this folder yet. `openagentperf run --out FOLDER` makes one; it shows here by itself.");
    this.button = el("button", { type: "button", disabled: true }, "Compare");
    this.button.addEventListener("click", () => this.compare());
    this.hint = el("span", {}, "Tick two runs or more to compare them; the first ticked is the baseline.");
    this.chosen = [];
    main.replaceChildren(el("h1", {}, "Runs"), el("div", { class: "controls" }, this.button, this.hint), this.empty, this.list);
    document.title = "Runs - openagentperf";
  }

  show(runs) {
    const ids = new Set(runs.map((run) => run.id));
    for (const [id, item] of this.items) {
      if (!ids.has(id)) { item.node.remove(); this.items.delete(id); }
    }
    this.chosen = this.chosen.filter((id) => ids.has(id));
    runs.forEach((run, place) => {
      const item = this.items.get(run.id) ?? this.add(run);
      if (this.list.children[place] !== item.node) this.list.insertBefore(item.node, this.list.children[place] ?? null);
      say(item.facts, facts(run));
      say(item.state, state(run));
      say(item.found, found(run));
      say(item.why, run.why);
    });
    this.empty.hidden = runs.length > 0;
    this.offer();
  }

  add(run) {
    const id = encodeURIComponent(run.id);
    const tick = el("input", { type: "checkbox", "aria-label": `compare ${run.name}` });
    tick.addEventListener("change", () => {
      this.chosen = this.chosen.filter((other) => other !== run.id);
      if (tick.checked) this.chosen.push(run.id);
      this.offer();
    });
    const item = { facts: el("p", { class: "facts" }), state: el("p", {}), found: el("p", {}), why: el("p", { class: "note warn" }) };
    const links = el("p", { class: "links" }, el("a", { href: `/run/${id}` }, "figures"), el("a", { href: `/run/${id}/report` }, "report"));
    const name = el("a", { class: "name", href: `/run/${id}` }, run.name);
    item.node = el("li", {}, tick, el("div", { class: "more" }, name, item.state, item.found, item.facts, item.why, links));
    this.items.set(run.id, item);
    return item;
  }

  offer() {
    const few = this.chosen.length < 2, many = this.chosen.length > MOST;
    this.button.disabled = few || many;
    say(this.hint, many ? `At most ${MOST} at once.`
      : few ? "Tick two runs or more to compare them; the first ticked is the baseline." : `${this.chosen.length} runs, the first ticked is the baseline.`);
  }

  compare() {
    location.assign(`/compare?${this.chosen.map((id) => `run=${encodeURIComponent(id)}`).join("&")}`);
  }
}
