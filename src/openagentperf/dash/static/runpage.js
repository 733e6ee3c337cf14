// One run: how it stands, what is known of each tier, the search as a picture, and a phase in its distributions and along time.

import { Chart, mark, rule, shade } from "./charts.js";
import { PhasePane } from "./phasepane.js";
import { NONE, STAGES, STATES, Table, agents, brief, el, figure, percent, say, span, standing } from "./words.js";

const LIVE = ["running", "silent"];
const AGAIN_MS = 3_000;

function phaseName(phase) {
  return `phase ${phase.index}, ${phase.kind}, ${agents(phase.agents)}`;
}

function verdictOf(attempt, tier) {
  return attempt.verdicts.find((verdict) => verdict.tier === tier)?.verdict ?? null;
}

function watts(power) {
  return power.watts === null ? NONE : `${figure(power.watts, "W")} (${power.boundary}, ${power.basis})`;
}

export class RunPage {
  constructor(main, id, api) {
    this.id = id;
    this.api = api;
    this.about = null;
    this.now = null;
    this.closed = new Map();
    this.whys = new Map();
    this.asked = new Set();
    this.chosen = "live";
    this.build(main);
  }

  build(main) {
    this.title = el("h1", {}, "run");
    this.labels = el("ul", { class: "labels", "aria-label": "what the figures are of" });
    this.headline = el("p", { class: "headline", "aria-live": "polite", id: "headline" });
    this.message = el("p", { class: "note" });
    this.times = el("p", { class: "note" });
    this.notes = el("p", { class: "note warn" });
    this.reportOf = el("span");
    this.links = el("p", {}, el("a", { href: `/run/${this.id}/report` }, "report"), this.reportOf);
    this.cards = new Map();
    this.cardList = el("dl", { class: "cards", id: "cards" });

    this.tiers = new Table("What is known of each tier so far", ["tier", "asks for", "standing", "passes at", "fails at", "phases left"], [1, 2]);
    this.results = new Table("The answer", ["tier", "agents", "per accelerator", "agents/MW", "why"], [1, 3, 4]);
    this.resultSection = el("section", { id: "result" }, el("h2", {}, "Result"), this.results.node);
    this.resultSection.hidden = true;

    this.tierSelect = el("select", { id: "tier" });
    this.tierSelect.addEventListener("change", () => this.draw());
    const level = (title, unit) => new Chart(title, { height: 220, x: { title: "agents", log: true }, y: { title: unit, log: true } });
    this.searchTtft = level("P95 TTFT, seconds", "s");
    this.searchSpeed = level("P25 output speed, tokens/s", "tokens/s");

    this.phaseSelect = el("select", { id: "phase" });
    this.phaseSelect.addEventListener("change", () => this.choose(this.phaseSelect.value));
    this.phaseTitle = el("h2", {}, "Phase");
    this.phaseNote = el("p", { class: "note" });
    this.pane = new PhasePane();

    this.phases = new Table("Every attempt, in order",
      ["phase", "agents", "verdicts", "TTFT P95", "speed P25", "tokens/s", "turns", "failed", "cached", "power", "show"], [2, 9]);

    main.replaceChildren(
      this.title, this.labels, this.headline, this.message, this.times, this.notes, this.links, this.cardList, this.resultSection,
      el("section", { id: "tiers" }, el("h2", {}, "Tiers"), this.tiers.node),
      el("section", { id: "search" }, el("h2", {}, "Search"),
        el("p", { class: "controls" }, el("label", { for: "tier" }, "tier"), this.tierSelect),
        el("div", { class: "grid" }, this.searchTtft.node, this.searchSpeed.node),
        el("p", { class: "note" }, "One mark a phase, for the tier above; the shaded levels lie between the largest that passed and the smallest that failed. The table of attempts below has the numbers.")),
      el("section", { id: "phase-now" }, this.phaseTitle,
        el("p", { class: "controls" }, el("label", { for: "phase" }, "phase"), this.phaseSelect), this.phaseNote,
        this.pane.node),
      el("section", { id: "errors" }, el("h2", {}, "Failures"), this.pane.failures),
      el("section", { id: "attempts" }, el("h2", {}, "Phases"), this.phases.node));
  }

  hear(kind, value) {
    this[kind] = value;
    if (this.about && this.now) this.draw();
  }

  choose(value) {
    this.chosen = value;
    this.phaseSelect.value = value;
    this.draw();
  }

  // A judged phase from its tables, null until it has come. It does not change: kept from then on. Until then `whys` says why not, and
  // while it is the one that is shown it is asked for again: a server that was busy or wanted a token may give it the next time.
  judged(key) {
    if (!this.closed.has(key) && !this.asked.has(key)) {
      this.asked.add(key);
      if (!this.whys.has(key)) this.whys.set(key, "reading its rows");
      fetch(`${this.api}/phases/${key}`, { cache: "no-store" })
        .then(async (answer) => {
          if (answer.ok) this.closed.set(key, await answer.json());
          else this.whys.set(key, (await answer.text()).slice(0, 300).trim());
        })
        .catch(() => this.whys.set(key, "no connection: trying again"))
        .finally(() => {
          if (!this.closed.has(key)) setTimeout(() => { this.asked.delete(key); this.draw(); }, AGAIN_MS);
          this.draw();
        });
    }
    return this.closed.get(key) ?? null;
  }

  draw() {
    const { about, now } = this;
    if (!about || !now) return;
    document.title = `${about.name.slice(0, 80)} - openagentperf`;
    say(this.title, about.name);
    this.drawLabels();
    this.drawHeadline();
    this.drawCards();
    this.drawTiers();
    this.drawPhases();
    const tier = about.tiers.find((one) => one.tier === this.tierSelect.value) ?? null;
    this.drawSearch(tier);
    this.drawPhase(tier);
  }

  drawLabels() {
    const { about } = this;
    const labels = [["self-reported", false]];
    if (about.target && about.target !== "endpoint") labels.push([about.target, true]);
    if (about.preliminary && about.rigor) labels.push([`rigor ${brief(about.rigor)}: preliminary`, true]);
    else if (about.rigor) labels.push([`rigor ${brief(about.rigor)}`, false]);
    for (const [name, value] of [["model", about.model], ["tiers", about.tier_set], ["track", about.track]]) {
      if (value) labels.push([`${name} ${brief(value)}`, false]);
    }
    const text = JSON.stringify(labels);
    if (this.labelText === text) return;
    this.labelText = text;
    this.labels.replaceChildren(...labels.map(([label, strong]) => el("li", { "data-strong": strong }, label)));
  }

  // Spoken by a screen reader: says what happens, and none of the figures that change each second.
  drawHeadline() {
    const { about, now } = this;
    const phase = now.phase;
    let text = STATES[now.state];
    if (now.state === "finished" && about.result.length) text = `finished: ${about.result.map((tier) => `${tier.tier} ${standing(tier)}`).join(", ")}`;
    else if (LIVE.includes(now.state) && phase) text = `${STATES[now.state]}: ${phaseName(phase)}, ${STAGES[phase.stage]}`;
    say(this.headline, text);
    say(this.reportOf, now.state === "finished" ? "" : " of the run so far");
    say(this.message, now.state === "finished" ? "" : now.message);
    const times = [];
    if (now.elapsed_s !== null) times.push(`${span(now.elapsed_s)} ${now.state === "finished" ? "in all" : "since it was begun"}`);
    if (LIVE.includes(now.state) && phase?.left_s !== null && phase) times.push(`phase ${span(phase.left_s)} left at least`);
    if (now.run_left_s !== null && LIVE.includes(now.state)) times.push(`run about ${span(now.run_left_s)} left`);
    if (now.behind) times.push("rows are still being read in");
    say(this.times, times.join(", "));
    say(this.notes, about.notes.join("\n"));
  }

  drawCards() {
    const { about, now } = this;
    const phase = LIVE.includes(now.state) ? now.phase : null;
    const cards = [];
    if (phase) {
      cards.push(
        ["agents", figure(phase.agents), `${figure(phase.active_agents)} active`],
        ["in flight", figure(phase.in_flight), `${figure(phase.waiting)} between requests`],
        ["turns measured", figure(phase.measured_turns), `of ${figure(phase.wanted_turns)} wanted`],
        ["failed", figure(phase.failed_turns), phase.measured_turns ? percent(phase.failed_turns / phase.measured_turns) : ""],
        ["TTFT P95", figure(phase.ttft_p95_s, "s"), `P50 ${figure(phase.ttft_p50_s, "s")}`],
        ["speed P25", figure(phase.speed_p25), `tokens/s; end to end ${figure(phase.e2e_speed_p25)}`],
        ["output", figure(phase.output_tokens_per_s), "tokens/s, of ended turns"],
        ["cache hits", percent(phase.cached_share), "of prompt tokens"]);
    }
    for (const power of now.power) {
      cards.push([`power, ${power.boundary}, ${power.basis}`, figure(power.watts, "W"), power.watts === null ? power.why : `${power.devices} device${power.devices === 1 ? "" : "s"}`]);
    }
    cards.push(["phases judged", figure(about.attempts.filter((attempt) => attempt.event === "judged").length), ""]);
    const names = new Set(cards.map(([name]) => name));
    for (const [name, card] of this.cards) {
      if (!names.has(name)) { card.node.remove(); this.cards.delete(name); }
    }
    cards.forEach(([name, value, more], place) => {
      let card = this.cards.get(name);
      if (!card) {
        const number = el("span"), small = el("small");
        card = { number, small, node: el("div", {}, el("dt", {}, name), el("dd", {}, number, small)) };
        this.cards.set(name, card);
      }
      if (this.cardList.children[place] !== card.node) this.cardList.insertBefore(card.node, this.cardList.children[place] ?? null);
      say(card.number, value);
      say(card.small, more);
    });
  }

  drawTiers() {
    const { about } = this;
    this.tiers.show(about.tiers.map((tier) => ({
      key: tier.tier,
      cells: [tier.tier, `P25 >= ${figure(tier.output_speed)} tokens/s, P95 TTFT <= ${figure(tier.ttft_s, "s")}`, standing(tier), tier.passing ? figure(tier.passing) : NONE,
        figure(tier.failing), figure(tier.phases_left)],
    })));
    const names = about.tiers.map((tier) => tier.tier);
    if (JSON.stringify(names) !== this.tierNames) {
      this.tierNames = JSON.stringify(names);
      const before = this.tierSelect.value;
      this.tierSelect.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
      if (names.includes(before)) this.tierSelect.value = before;
    }
    this.resultSection.hidden = about.result.length === 0;
    this.results.show(about.result.map((row) => ({
      key: row.tier,
      cells: [row.tier, standing(row), figure(row.agents_per_accelerator), row.per_mw.map((ratio) => `${ratio.agents_per_mw === null ? "no" : figure(ratio.agents_per_mw)} ${ratio.name}`).join("; ") || NONE, row.why],
    })));
  }

  drawSearch(tier) {
    const { about, now } = this;
    const judged = about.attempts.filter((attempt) => attempt.event === "judged");
    const open = LIVE.includes(now.state) && now.phase && now.phase.stage !== "judge" ? now.phase : null;
    const legend = [["pass", "passes"], ["fail", "fails"], ["invalid", "invalid"]].concat(open ? [["open", "open phase so far"]] : [])
      .map(([kind, name]) => ({ kind: `dot-${kind}`, name }));
    for (const [chart, field, limit, unit] of [[this.searchTtft, "ttft_p95_s", tier?.ttft_s, "s"], [this.searchSpeed, "speed_p25", tier?.output_speed, "tokens/s"]]) {
      const points = judged.map((attempt) => ({ at: attempt.agents, value: attempt[field], kind: tier ? verdictOf(attempt, tier.tier) : null, about: attempt }))
        .concat(open ? [{ at: open.agents, value: open[field], kind: "open", about: open }] : [])
        .filter((point) => point.kind && point.value !== null && point.value > 0);
      const bracket = tier && tier.failing ? [Math.max(tier.passing, 0.7), tier.failing] : null;
      chart.show({
        x: points.map((point) => point.at),
        y: points.map((point) => point.value).concat(limit ? [limit] : []),
        legend,
        empty: points.length ? "" : "no phase with a figure yet",
        label: `${chart.caption.textContent} by number of agents${tier ? ` for tier ${tier.tier}` : ""}: ${points.length} phases, the limit is ${figure(limit, unit)}. ${tier ? tier.bracket : ""}`,
        marks: (svg, x, y) => {
          if (bracket) shade(svg, x, y, bracket[0], bracket[1], "bracket");
          if (limit) rule(svg, x, y, { level: limit, name: `limit ${figure(limit, unit)}` });
          for (const point of points) mark(svg, x, y, point.at, point.value, point.kind, `${phaseName(point.about)}: ${figure(point.value, unit)}, ${point.kind}`);
        },
      });
    }
  }

  // The phase to be shown and, where it comes from its tables, its key: the one that was chosen; while none is, the open one, and once it
  // is judged its tables, which hold its last second too.
  shownPhase() {
    if (this.chosen !== "live") return [this.judged(this.chosen), this.chosen];
    const open = this.now.phase;
    if (open && open.stage !== "judge") return [open, null];
    const last = this.about.attempts.filter((attempt) => attempt.event === "judged").at(-1);
    if (!last || (open && last.index !== open.index)) return [open, null];
    const key = String(last.index);
    return [this.judged(key) ?? open, key];
  }

  drawPhase(tier) {
    const [phase, key] = this.shownPhase();
    const why = phase || key === null ? "" : this.whys.get(key);
    const open = phase && phase === this.now.phase && LIVE.includes(this.now.state) && phase.stage !== "judge";
    say(this.phaseTitle, phase ? phaseName(phase).replace("phase", "Phase") : "Phase");
    say(this.phaseNote, why || (phase ? `${open ? "So far: figures" : "Figures"} are of ${figure(phase.measured_turns)} measured turns; the band along time is the measure window.` : "No phase has been seen yet."));
    this.pane.show(phase, tier);
  }

  drawPhases() {
    const { about } = this;
    const options = [["live", "open phase, or the last"], ...about.attempts.filter((attempt) => attempt.event === "judged").toReversed().map((attempt) => [String(attempt.index), phaseName(attempt)])];
    const text = JSON.stringify(options);
    if (this.optionText !== text) {
      this.optionText = text;
      this.phaseSelect.replaceChildren(...options.map(([value, name]) => el("option", { value }, name)));
      this.phaseSelect.value = this.chosen;
    }
    this.phases.show(about.attempts.map((attempt) => ({
      key: attempt.index,
      cells: [
        `${attempt.index} ${attempt.kind}`, figure(attempt.agents), this.verdicts(attempt),
        figure(attempt.ttft_p95_s, "s"), figure(attempt.speed_p25), figure(attempt.output_tokens_per_s), figure(attempt.measured_turns), figure(attempt.failed_turns),
        percent(attempt.cached_share), attempt.power.map(watts).join("; ") || NONE, this.button(attempt),
      ],
    })));
  }

  verdicts(attempt) {
    if (attempt.event === "begun") return "open";
    if (attempt.event === "broken") return `broken off: ${attempt.why}`;
    const list = el("span", { "data-key": JSON.stringify(attempt.verdicts) });
    list.append(attempt.verdicts.map((verdict) => `${verdict.tier} ${verdict.verdict}`).join(", "));
    const reasons = attempt.verdicts.filter((verdict) => verdict.reasons.length);
    if (reasons.length) {
      const lines = reasons.map((verdict) => el("p", { class: "note" }, `${verdict.tier}: ${verdict.reasons.join("; ")}`));
      list.append(el("details", {}, el("summary", {}, "why"), ...lines));
    }
    return list;
  }

  button(attempt) {
    if (attempt.event !== "judged") return NONE;
    const button = el("button", { type: "button", class: "plain", "data-key": `show ${attempt.index}`, "aria-label": `show phase ${attempt.index}` }, "show");
    button.addEventListener("click", () => {
      this.choose(String(attempt.index));
      this.phaseTitle.scrollIntoView({ block: "start" });
    });
    return button;
  }
}
