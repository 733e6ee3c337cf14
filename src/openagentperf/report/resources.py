"""The parts of a report about what a run took: power and cost, failures, the load generator itself."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from openagentperf.records.result import Result
from openagentperf.report import runcharts
from openagentperf.report.figures import Figures
from openagentperf.report.marked import NONE, Marked, number, percent, seconds, usd, watts
from openagentperf.report.page import Cell, Section, Table
from openagentperf.report.phasefigures import total

POWER, FAILURES, CLIENT = "Power and cost", "Failures", "The load generator"


def power(result: Result, marked: Marked) -> list[Section]:
    """Agents per megawatt by boundary and basis, cost, watts by level; a sentence where nothing was read or declared."""
    made = []
    rows = []
    for i, tier in enumerate(result.results):
        for k, row in enumerate(tier.power):
            at = f"results[{i}].power[{k}]"
            cells = (
                marked.cell(f"{at}.agents_per_mw", number), marked.cell(f"{at}.mean_w", watts), marked.cell(f"{at}.p95_w", watts),
                marked.cell(f"{at}.j_per_output_token", number), marked.cell(f"{at}.j_per_turn", number),
                marked.cell(f"{at}.j_per_trajectory", number),
            )  # fmt: skip
            rows.append((tier.tier, row.name, *cells, "; ".join(row.why)))
    if rows:
        head = (
            "tier",
            "figure",
            "agents/MW",
            "mean power",
            "P95 power",
            "J a token",
            "J a turn",
            "J a trajectory",
            "why not",
        )
        made.append(
            Section(
                title="Agents per megawatt",
                text="The boundary (what the watts cover) and the basis (measured, modelled, rated) are part of each figure's name; "
                "figures of different ones are not compared. Mean power: of the tier's certifying phases.",
                table=Table(head=head, rows=tuple(rows), words=(1, 8)),
                group=POWER,
            )
        )
    else:
        text = "No agents/MW: no power meter was read and no rating is declared, or no capacity is established."
        made.append(Section(title="Agents per megawatt", text=text, group=POWER))
    made += _watts(result, marked)
    made += _cost(result, marked)
    return made


def _watts(result: Result, marked: Marked) -> list[Section]:
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    rows: list[tuple[str | Cell, ...]] = []
    for k, judged in enumerate(result.phases):
        for e, energy in enumerate(judged.energy):
            name, at = f"{energy.boundary}, {energy.basis}", f"phases[{k}].energy[{e}]"
            if energy.mean_w is not None:
                lines[name].append((judged.agents, energy.mean_w))
            why = "; ".join(fault.why for fault in energy.faults) or "valid"
            rows.append((f"{judged.index}", f"{judged.agents:,}", name, *(cell for _, cell in marked.row(at)), why))
    if not rows:
        return []
    first = next(f"phases[{k}].energy[0]" for k, judged in enumerate(result.phases) if judged.energy)
    names = tuple(name for name, _ in marked.row(first))
    idle = tuple(
        (row.when, f"{row.boundary}, {row.basis}", marked.cell(f"idle_power[{n}].mean_w", watts))
        for n, row in enumerate(result.idle_power)
    )
    made = [
        Section(
            title="Power by number of agents",
            text="Mean of each phase's measure window, judged; windows whose energy is not valid have no point.",
            svg=partial(runcharts.by_level, lines, "mean power (W)") if lines else "",
            svg_label="Points by number of agents: mean power of each boundary.",
            table=Table(
                head=("phase", "agents", "boundary, basis", *names, "validity"), rows=tuple(rows), words=(2, 3 + len(names))
            ),
            folded=True,
            group=POWER,
        )
    ]  # fmt: skip
    if idle:
        table = Table(head=("when", "boundary, basis", "mean power"), rows=idle, words=(1,))
        text = "Before the first phase and after the last."
        made.append(Section(title="Power without load", text=text, table=table, group=POWER))
    return made


def _cost(result: Result, marked: Marked) -> list[Section]:
    rows = []
    for i, tier in enumerate(result.results):
        if tier.cost is not None:
            at = f"results[{i}].cost"
            rows.append(
                (
                    tier.tier, marked.cell(f"{at}.usd_per_hour", usd), marked.cell(f"{at}.agents_per_usd_hour", number),
                    marked.cell(f"{at}.usd_per_agent_hour", usd), marked.cell(f"{at}.usd_per_million_output_tokens", usd), tier.cost.basis,
                )
            )  # fmt: skip
    if not rows:
        return [
            Section(title="Cost", text="No cost: no price is declared, or no capacity is established.", group=POWER)
        ]
    head = ("tier", "$ an hour", "agents per $/h", "$ an agent-hour", "$ a million output tokens", "priced by")
    table = Table(head=head, rows=tuple(rows), words=(5,))
    return [Section(title="Cost", text="By declared prices, at capacity.", table=table, group=POWER)]


def failures(found: Figures) -> list[Section]:
    """Measured turns by cause."""
    counted = total([phase.failures for phase in found.phases])
    examples: dict[str, str] = {}
    for phase in found.phases:
        for cause, text in phase.examples.items():
            examples.setdefault(cause, text)
    phases = [phase for phase in found.phases if phase.failures]
    if not counted:
        text = (
            "No measured turn failed."
            if not examples
            else "No measured turn failed; outside of the measure windows some did."
        )
        first = tuple((cause, words) for cause, words in examples.items())
        table = Table(head=("cause", "first words"), rows=first, words=(1,)) if first else None
        return [Section(title="Failures by cause", text=text, table=table, group=FAILURES)]
    rows = tuple(
        (
            cause, f"{count:,}", ", ".join(f"{p.index} ({p.failures[cause]:,})" for p in phases if cause in p.failures),
            examples.get(cause.partition(" ")[0], ""),
        )
        for cause, count in counted.items()
    )  # fmt: skip
    return [
        Section(
            title="Failures by cause",
            text="Measured turns that failed. Each counts as an infinite TTFT and a speed of 0; none is left out and none was retried.",
            svg=partial(runcharts.counts, counted, "measured turns"),
            svg_label="Bars: failed measured turns by cause.",
            table=Table(head=("cause", "turns", "in phase (turns)", "first words"), rows=rows, words=(2, 3)),
            group=FAILURES,
        )
    ]


def client(found: Figures, result: Result | None, marked: Marked | None) -> list[Section]:
    """Was it the load generator that was slow? Its own lateness, lag, CPU and pauses, phase by phase."""
    known = [(phase, phase.health) for phase in found.phases if phase.health is not None]
    if not known:
        return []
    at = {judged.index: k for k, judged in enumerate(result.phases)} if result is not None else {}
    lines: dict[str, list[tuple[int, float]]] = {name: [] for name in _LAGS}
    rows: list[tuple[str | Cell, ...]] = []
    for phase, health in known:
        k = at.get(phase.index)
        judged = result.phases[k] if result is not None and k is not None else None
        values = (
            judged.lateness_p99_s if judged else None, judged.read_lag_p99_s if judged else None,
            health.loop_lag_max_s, health.gc_pause_max_s,
        )  # fmt: skip
        for name, value in zip(_LAGS, values, strict=True):
            if value is not None and value > 0:
                lines[name].append((phase.agents, value))
        own: tuple[str | Cell, ...] = (NONE, NONE)
        if marked is not None and k is not None:
            own = (
                marked.cell(f"phases[{k}].lateness_p99_s", seconds),
                marked.cell(f"phases[{k}].read_lag_p99_s", seconds),
            )
        rows.append(
            (
                f"{phase.index}", f"{phase.agents:,}", *own, *(NONE if v is None else seconds(v) for v in values[2:]),
                *(NONE if v is None else percent(v) for v in (health.cpu_share_max, health.cpu_share_mean)),
                NONE if health.clock_step_s is None else seconds(health.clock_step_s), percent(health.active_share),
                str(health.workers), health.stamps, "; ".join(health.faults),
            )
        )  # fmt: skip
    head = (
        "phase", "agents", "late P99", "read lag P99", "loop lag, most", "GC pause, most", "CPU, most", "CPU, mean", "clock step", "active",
        "workers", "stamps", "faults",
    )  # fmt: skip
    drawn = {name: points for name, points in lines.items() if points}
    return [
        Section(
            title="Lateness and pauses by number of agents",
            text="A phase is invalid for a tier where the client's own error is more than 1 % of the tier's limits. Late: sent after "
            "due; read lag: bytes that waited in the kernel for us; loop lag: a heartbeat of 20 ms that came late. CPU: of one worker, "
            "100 % is a core.",
            svg=partial(runcharts.by_level, drawn, "seconds", log=True) if drawn else "",
            svg_label="Points by number of agents: lateness, read lag, loop lag and pauses of the load generator.",
            table=Table(head=head, rows=tuple(rows), words=(12,)),
            folded=True,
            group=CLIENT,
        )
    ]  # fmt: skip


_LAGS = ("late in sending, P99", "late in reading, P99", "loop lag, most", "GC pause, most")
