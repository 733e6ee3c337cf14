"""Run folders without a run: a real search over phases whose rows are drawn. For reports and comparisons.

Every agent is a closed loop; TTFT and speed get worse with the number of agents, so that the search finds a capacity near `knee`. Times
are those of no machine. The same arguments give the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from openagentperf import __version__, planfile, rundir, tables, verify
from openagentperf.corpus.card import card
from openagentperf.corpus.profiles import PROFILES
from openagentperf.corpus.shape import generate
from openagentperf.corpus.tokens import estimate
from openagentperf.load.attempt import attempt
from openagentperf.plan import Endpoint, Plan, Rigor, Search, Tier, TierSet, Workload
from openagentperf.records.phase import Judged, PhaseFacts, PhaseOrder
from openagentperf.records.power import DeviceFacts, IdleSpan, IdleSpans, MeterFacts, Meters, Reading
from openagentperf.records.preflight import Check, ServerFacts
from openagentperf.records.run import RunFacts
from openagentperf.records.turns import ClientSample
from openagentperf.rundir import LedgerLine
from openagentperf.search.step import Step, next_step
from openagentperf.system import Nvml, Price, System
from openagentperf.units import NS_PER_S

TRAJECTORIES, TURNS = 50, 20
"""Of the set: trajectories of so many turns each."""
TIERS = TierSet(
    name="made",
    tier=(Tier(name="30/10", output_speed=30, ttft_s=10), Tier(name="100/5", output_speed=100, ttft_s=5)),
)
Columns = dict[str, Any]
Change = Callable[[Columns, Step], Columns]
"""Rewrites a phase's rows before they are written."""


def plan_of(
    *, limit: int = 64, start: int = 1, tiers: TierSet = TIERS, resolution: float = 0.1, power: bool = True, **more: Any
) -> Plan:
    """A plan whose phases may be as long as their rows, with a metered system."""
    rigor = Rigor(
        preset="quick",
        preliminary=True,
        settle_s=2,
        search_turns=20,
        certify_turns=60,
        trajectories=0,
        trajectories_per_agent=0,
    )
    meters = (Nvml(name="gpus", boundary="accelerator"),) if power else ()
    system = System(
        name="a made system", accelerator="none", accelerators=2, hosts=1, meters=meters, price=Price(usd_per_hour=6.0)
    )
    fields: Columns = {
        "tiers": tiers, "rigor": rigor, "endpoint": Endpoint(url="http://127.0.0.1:1/v1", model="made"), "workload": Workload(),
        "search": Search(start=start, limit=limit, resolution=resolution), "system": system,
    }  # fmt: skip
    return Plan(**(fields | more))


def make_run(
    folder: Path, plan: Plan | None = None, *, turns: int = 400, knee: float = 20.0, seed: int = 1, change: Change | None = None,
    phases: int | None = None, detail: str = "Service Unavailable",
) -> Path:  # fmt: skip
    """A finished run in `folder`.

    turns   rows of each phase, about
    phases  the run is broken off after so many; None: it goes to its end
    detail  the words of its failures
    """
    plan = plan or plan_of()
    folder.mkdir(parents=True, exist_ok=True)

    def write(phase: Path, index: int, step: Step) -> None:
        write_phase(phase, plan, index, step, turns, knee, seed, change, detail)

    return searched(folder, plan, _opening(folder, plan), write, phases=phases)


def searched(
    folder: Path, plan: Plan, records: Mapping[str, object], write: Callable[[Path, int, Step], None], *, phases: int | None = None,
    finish: bool = True,
) -> Path:  # fmt: skip
    """A run folder by a real search over phases that are written and not run.

    records   what a run writes before its first phase, by file name
    write     makes the tables of one phase, given its folder and number and what the search asks for
    phases    it is broken off after so many; None: it goes to its end
    finish    with its result
    """
    rundir.write(folder / "plan.toml", planfile.dump(plan))
    for name, value in records.items():
        rundir.write(folder / name, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    facts, meters = verify.read_run_facts(folder), verify.read_meters(folder, plan.system)
    history: list[Judged] = []
    while (step := next_step(history, plan.tiers, plan.search, plan.rigor)) is not None and len(history) != phases:
        index = len(history)
        begun = LedgerLine(event="begun", index=index, agents=step.agents, kind=step.kind, why=step.why)
        with attempt(folder, begun) as ended:
            phase = rundir.phase_folder(folder, index, step.agents)
            phase.mkdir(parents=True)
            write(phase, index, step)
            history.append(verify.judge_phase(phase, plan, plan.tiers, facts, meters))
            ended(history[-1])
    if step is None and finish:
        result = verify.derive(folder)
        rundir.write(folder / "result.json", msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        rundir.append_line(folder / "ledger.jsonl", LedgerLine(event="finished"))
    return folder


def _opening(folder: Path, plan: Plan) -> dict[str, object]:
    lines, shared = (1,) * TRAJECTORIES, (7_000,) * TRAJECTORIES
    facts = RunFacts(
        target="endpoint", url="http://127.0.0.1:1/v1",
        server=ServerFacts(model="made", context_tokens=131_072, reports_cached=True, prefix_cached=0.99),
        checks=(Check(name="model", status="ok", found="made, context 131,072 tokens"),), corpus_digest="c0" * 32, corpus_notes=(),
        lines=lines, first_turns=(0,) * TRAJECTORIES, shared_bytes=shared, set_input_tokens_mean=9_600.0, set_output_tokens_mean=180.0,
    )  # fmt: skip
    meters = Meters(
        meters=(
            MeterFacts(
                name="gpus", kind="nvml", boundary="accelerator", basis="measured", source="none", period_s=0.5, max_gap_s=3.0, stale_s=3.0,
                devices=tuple(DeviceFacts(device=f"GPU-{k}", name="none", averaged_s=0.0) for k in range(2)),
            ),
        )
    )  # fmt: skip
    made = card(list(generate(PROFILES["demo"], 10, 1, estimate)))
    environment = {"openagentperf": __version__, "python": "3", "platform": "none", "cores": 2}
    records: dict[str, object] = {"run.json": facts, "corpus.card.json": made, "environment.json": environment}
    if plan.system.meters:
        idle = IdleSpans(spans=(IdleSpan(when="before", start_ns=0, end_ns=10 * NS_PER_S),))
        records |= {"meters.json": meters, "idle.json": idle}
        tables.write_readings(
            folder / "idle.parquet", list(_readings(0, 10 * NS_PER_S, 90.0, np.random.default_rng(0)))
        )
    return records


def write_phase(
    folder: Path,
    plan: Plan,
    index: int,
    step: Step,
    turns: int,
    knee: float,
    seed: int,
    change: Change | None,
    detail: str,
) -> None:
    """One closed phase."""
    rng = np.random.default_rng([seed, index])
    start_ns = 1_000 * NS_PER_S * (index + 1)
    columns = _columns(step.agents, turns, knee, start_ns, rng, detail)
    if change is not None:
        columns = change(columns, step)
    end_ns = int(columns["closed_ns"].max())
    opens_ns = start_ns + min(2 * NS_PER_S, (end_ns - start_ns) // 4)
    order = PhaseOrder(
        index=index, agents=step.agents, kind=step.kind, seed=seed * 1_000 + index, phase_nonce="n", nonce_key=b"k", start_ns=start_ns,
        spawn_per_s=20.0, settle_s=2.0, measure_s=6.0, limit_s=36_000.0, turn_timeout_s=600.0,
    )  # fmt: skip
    facts = PhaseFacts(
        order=order, window_start_ns=opens_ns, window_end_ns=max(opens_ns + 1, end_ns - (end_ns - start_ns) // 20), ended_ns=end_ns,
        hit_limit=False, workers=1, stamps="kernel", min_active_share=1.0,
    )  # fmt: skip
    seconds = np.arange(start_ns, end_ns + NS_PER_S, NS_PER_S).tolist()
    samples = [
        ClientSample(
            worker=0, t_ns=t, loop_lag_max_ns=int(rng.integers(200_000, 900_000)), cpu_ns=int(rng.integers(5e7, 2e8)), gc_pause_max_ns=0,
            active_agents=step.agents, in_flight=step.agents, clock_offset_ns=0,
        )
        for t in seconds
    ]  # fmt: skip
    if plan.system.meters:
        watts = 120.0 + 500.0 * min(1.0, step.agents / knee)
        tables.write_readings(
            folder / "power.parquet", list(_readings(start_ns, min(end_ns, start_ns + 600 * NS_PER_S), watts, rng))
        )
    tables.write_columns(folder, facts, columns, samples)


def _readings(start_ns: int, end_ns: int, watts: float, rng: np.random.Generator) -> list[Reading]:
    return [
        Reading(meter="gpus", device=f"GPU-{k}", quantity="power", t_ns=t, value=float(watts * (1 + 0.02 * rng.standard_normal())))
        for k in range(2)
        for t in range(start_ns - NS_PER_S, end_ns + 2 * NS_PER_S, NS_PER_S // 2)
    ]  # fmt: skip


def _columns(agents: int, turns: int, knee: float, start_ns: int, rng: np.random.Generator, detail: str) -> Columns:
    """Rows of closed loops, agent by agent; -1 stands for null."""
    each = max(1, turns // agents)
    shape = (agents, each)
    load = agents / knee
    number = np.arange(each) + rng.integers(0, TURNS, agents)[:, None]
    turn, replay = number % TURNS, number // TURNS
    prompt = 3_000 + 700 * turn
    cached = np.where(turn > 0, prompt - 700, 1_500)
    cached[:, 0] = np.minimum(cached[:, 0], 1_500)
    if load > 1:
        cached = np.where(rng.random(shape) < 0.5 * (load - 1), np.minimum(cached, 1_500), cached)
    output = np.clip(rng.lognormal(np.log(120), 0.9, shape), 2, 2_000).astype(np.int64)
    ttft_s = (0.15 + (prompt - cached) / 8_000 + 4.0 * max(0.0, load - 0.7) ** 2) * rng.lognormal(0, 0.35, shape)
    decode_s = output / (220 / (1 + 2.4 * load) * rng.lognormal(0, 0.15, shape))
    delay_s = np.clip(rng.lognormal(0, 0.8, shape), 0.1, 5)
    whole_s = ttft_s + decode_s + delay_s
    due_s = np.cumsum(whole_s, axis=1) - whole_s + np.arange(agents)[:, None] / 20
    failing = rng.random(shape) < max(0.0, 0.04 * (load - 1))

    def ns(seconds: Any) -> Any:
        return start_ns + np.round(seconds * 1e9).astype(np.int64)

    due, first, last = ns(due_s), ns(due_s + ttft_s), ns(due_s + ttft_s + decode_s)
    events = np.maximum(output // 2, 2)
    columns: Columns = {
        "worker": 0, "agent": np.arange(agents)[:, None], "replay": replay,
        "trajectory": (replay * 7 + np.arange(agents)[:, None]) % TRAJECTORIES,
        "turn": turn, "line": 0, "last": turn == TURNS - 1, "due_ns": due, "sent_ns": due + 50_000,
        "first_byte_ns": np.where(failing, -1, first), "first_output_ns": np.where(failing, -1, first),
        "last_output_ns": np.where(failing, -1, last), "closed_ns": np.where(failing, due + NS_PER_S // 2, last + 100_000),
        "status": np.where(failing, 503, 200), "failure": np.where(failing, "http", ""), "detail": np.where(failing, detail, ""),
        "finish": np.where(failing, "", "stop"), "prompt_tokens": np.where(failing, -1, prompt),
        "cached_tokens": np.where(failing, -1, cached), "output_tokens": np.where(failing, -1, output), "reasoning_tokens": -1,
        "first_tokens": 1, "output_events": np.where(failing, 0, events), "output_reads": np.where(failing, 0, events),
        "output_chars": np.where(failing, 0, 4 * output), "burst_share": 0.0, "exact_tokens": 0, "corpus_tokens": prompt,
        "request_bytes": prompt * 4, "response_bytes": np.where(failing, 0, 200 * events), "connection": "reused", "read_lag_ns": 100_000,
        "first_lag_ns": 100_000, "last_lag_ns": 100_000, "first_read_events": 1, "last_read_events": 1,
    }  # fmt: skip
    return {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}
