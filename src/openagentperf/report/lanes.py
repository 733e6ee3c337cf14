"""Some agents of a phase, turn by turn: when each wanted to send, got its first token, and had its answer."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from openagentperf.records.phase import PhaseFacts
from openagentperf.report.phasefigures import drawn
from openagentperf.score.columns import Turns
from openagentperf.units import NS_PER_S, Ns

AGENTS = 12
TURNS = 240
"""In all lanes together: the stretch of time that is shown is as long as holds so many."""


class Bar(Struct, frozen=True, kw_only=True):
    """One request. Seconds from the start of the phase; None: never seen."""

    agent: int
    line: int
    """0 is the agent's own, the others are sub-agents that run beside it."""
    trajectory: int
    turn: int
    due_s: float
    first_output_s: float | None
    last_output_s: float | None
    closed_s: float
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    failure: str


class Lanes(Struct, frozen=True, kw_only=True):
    agents: tuple[int, ...]
    """A seeded sample of them."""
    of_agents: int
    from_s: float
    to_s: float
    """The stretch of the measure window that is shown, from its beginning on."""
    bars: tuple[Bar, ...]


def lanes(facts: PhaseFacts, turns: Turns) -> Lanes:
    start, opens, closes = facts.order.start_ns, facts.window_start_ns, facts.window_end_ns
    chosen = drawn(facts.order.agents, AGENTS, facts.order.seed, "lanes")
    rows = np.flatnonzero(np.isin(turns.agent, chosen) & (turns.closed_ns > opens) & (turns.due_ns < closes))
    rows = rows[np.lexsort((turns.agent[rows], turns.due_ns[rows]))]
    to_ns = closes
    if len(rows) > TURNS:
        to_ns = max(int(turns.due_ns[rows[TURNS]]), opens + 1)
        rows = rows[:TURNS]

    def at(ns: Ns) -> float | None:
        return (ns - start) / NS_PER_S if ns >= 0 else None

    def count(value: int) -> int | None:
        return value if value >= 0 else None

    bars = tuple(
        Bar(
            agent=int(turns.agent[i]),
            line=int(turns.line[i]),
            trajectory=int(turns.trajectory[i]),
            turn=int(turns.turn[i]),
            due_s=(int(turns.due_ns[i]) - start) / NS_PER_S,
            first_output_s=at(int(turns.first_output_ns[i])),
            last_output_s=at(int(turns.last_output_ns[i])),
            closed_s=(int(turns.closed_ns[i]) - start) / NS_PER_S,
            prompt_tokens=count(int(turns.prompt_tokens[i])),
            cached_tokens=count(int(turns.cached_tokens[i])),
            output_tokens=count(int(turns.output_tokens[i])),
            failure=str(turns.failure[i]),
        )
        for i in rows.tolist()
    )
    return Lanes(
        agents=tuple(chosen.tolist()),
        of_agents=facts.order.agents,
        from_s=(opens - start) / NS_PER_S,
        to_s=(to_ns - start) / NS_PER_S,
        bars=bars,
    )
