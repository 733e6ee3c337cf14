"""One measured phase as columns in seconds and in the corpus's tokens: what a fit may know of a server.

A server counts by its own tokenizer and template (1.9 of its tokens to one of the corpus's with llama.cpp's tiny model), and a simulated
cluster replays the corpus by the corpus's counts. So all prompts here are the corpus's counts, and cached tokens the same share of them
that the server reported of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from openagentperf import planfile, rundir, tables, verify
from openagentperf.errors import UsageError
from openagentperf.plan import Plan
from openagentperf.records.phase import Judged, PhaseFacts
from openagentperf.records.run import RunFacts
from openagentperf.score.cache import Sharing
from openagentperf.score.columns import Floats, Ints, Mask, Turns
from openagentperf.units import NS_PER_S

MOST_TURNS = 4_000
"""Of each phase, the first ones: what more of them would add to a fit is less than phases differ, and time grows with them."""


@dataclass(frozen=True, eq=False)
class Level:
    """Turns of one phase that were answered, in the order in which they were sent; times in seconds since the phase's start."""

    facts: PhaseFacts
    turns: Turns
    """Every row of the phase, failed ones too: what is judged when a prediction is held against it."""
    sent_s: Floats
    first_s: Floats
    """First visible output."""
    last_s: Floats
    tokens: Ints
    """Output tokens after those of the first output: one decode step each, where nothing speculates."""
    prompt: Floats
    """Corpus tokens."""
    cached: Floats
    """Corpus tokens found in the prefix cache; 0 where the server did not say."""
    shared: Floats
    """Corpus tokens of the turn's line that other lines send too (corpus.sharing)."""
    line: Ints
    """Number of the line that the turn lies on: equal for turns that carry each other's history."""
    seen_until_s: float
    """Up to here every turn in flight is known whole: later ones were left out, or the phase was broken off."""
    reports_cached: bool
    """At least half of the turns say how many tokens were cached; where not, no cache can be fitted."""
    spoiled: bool = False
    """Its phase was invalid for every tier, and not only too short."""

    def __len__(self) -> int:
        return len(self.sent_s)

    @property
    def agents(self) -> int:
        return self.facts.order.agents

    @property
    def new(self) -> Floats:
        """Prompt tokens that had to be computed."""
        return np.maximum(self.prompt - self.cached, 1.0)


@dataclass(frozen=True, eq=False)
class Observed:
    """A run folder as a fit reads it."""

    run: Path
    plan: Plan
    facts: RunFacts
    levels: tuple[Level, ...]
    """Every judged phase, in the order of the ledger."""

    @property
    def token_ratio(self) -> float:
        """The server's prompt tokens / the corpus's, over all turns."""
        server = sum(float(_answered(level.turns).prompt_tokens.sum()) for level in self.levels)
        corpus = sum(float(_answered(level.turns).corpus_tokens.sum()) for level in self.levels)
        return server / corpus


def read(run: Path) -> Observed:
    """The judged phases of a run folder, finished or not. UsageError where there is nothing that a fit could use."""
    plan = planfile.read(run / "plan.toml")
    facts = verify.read_run_facts(run)
    sharing = Sharing.of(facts.lines, facts.first_turns, facts.shared_bytes)
    levels = []
    for line in rundir.read_ledger(run):
        if line.event == "judged":
            folder = rundir.phase_folder(run, line.index, line.agents)
            turns = Turns.from_columns(tables.read_turns(folder))
            read_one = level(rundir.read_facts(folder), turns, sharing)
            levels.append(replace(read_one, spoiled=_is_spoiled(line.judged)))
    levels = [one for one in levels if len(one)]
    if not levels:
        raise UsageError(
            str(run), "holds no judged phase with an answered turn", "a measured run is needed", "run a plan to its first verdict"
        )  # fmt: skip
    return Observed(run, plan, facts, tuple(levels))


def _is_spoiled(judged: Judged | None) -> bool:
    return judged is not None and all(row.verdict == "invalid" and not row.short for row in judged.verdicts)


def chosen(observed: Observed, agents: Sequence[int]) -> tuple[Level, ...]:
    """The phases at the named levels. UsageError where one of them was not measured."""
    there = sorted({level.agents for level in observed.levels})
    for number in agents:
        if number not in there:
            raise UsageError(
                str(observed.run), f"holds no phase at {number} agents", f"it has {', '.join(map(str, there))}", "name one of these"
            )  # fmt: skip
    return tuple(level for level in observed.levels if level.agents in agents)


def level(facts: PhaseFacts, turns: Turns, sharing: Sharing | None = None) -> Level:
    """Columns of one phase's rows."""
    good = _answered(turns)
    good = _reordered(good, np.argsort(good.sent_ns, kind="stable"))
    until_ns = facts.window_end_ns
    if len(good) > MOST_TURNS:
        until_ns = min(until_ns, int(good.sent_ns[MOST_TURNS]))
        good = good.where(good.sent_ns < until_ns)
    per_token = good.corpus_tokens / good.prompt_tokens
    reported = good.cached_tokens >= 0
    start = facts.order.start_ns
    shared = np.zeros(len(good))
    if sharing is not None and len(good):
        bytes_of = sharing.shared_bytes[sharing.main_line[good.trajectory] + good.line]
        shared = bytes_of * good.corpus_tokens / np.maximum(good.request_bytes, 1)
    return Level(
        facts=facts,
        turns=turns,
        sent_s=(good.sent_ns - start) / NS_PER_S,
        first_s=(good.first_output_ns - start) / NS_PER_S,
        last_s=(good.last_output_ns - start) / NS_PER_S,
        tokens=np.maximum(good.output_tokens - np.maximum(good.first_tokens, 1), 0),
        prompt=good.corpus_tokens.astype(np.float64),
        cached=np.maximum(good.cached_tokens, 0) * per_token,
        shared=shared,
        line=_number(good),
        seen_until_s=(until_ns - start) / NS_PER_S,
        reports_cached=bool(len(good) and 2 * int(reported.sum()) >= len(good)),
    )


def _answered(turns: Turns) -> Turns:
    seen: Mask = (
        ~turns.failed
        & (turns.sent_ns >= 0)
        & (turns.first_output_ns >= 0)
        & (turns.last_output_ns >= turns.first_output_ns)
        & (turns.prompt_tokens > 0)
        & (turns.corpus_tokens > 0)
    )
    return turns.where(seen)


def _reordered(turns: Turns, order: Ints) -> Turns:
    return Turns(**{field.name: getattr(turns, field.name)[order] for field in fields(turns)})


def _number(turns: Turns) -> Ints:
    """One number a (agent, replay, line)."""
    if not len(turns):
        return np.zeros(0, dtype=np.int64)
    key = np.stack([turns.agent, turns.replay, turns.line], axis=1)
    _, number = np.unique(key, axis=0, return_inverse=True)
    return np.asarray(number, dtype=np.int64).reshape(-1)
