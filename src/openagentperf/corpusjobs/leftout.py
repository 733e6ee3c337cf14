"""What of a corpus could not be used, in words: a line that is silently left out would be another corpus."""

from __future__ import annotations

from openagentperf.corpus.layout import Compiled
from openagentperf.corpusjobs.prepare import Prepared
from openagentperf.records.preflight import Check

NAMED = 5
"""How many are named in a sentence; run.json names every one."""


def check(prepared: Prepared, corpus: Compiled) -> Check:
    """The first line of a preflight: how much is replayed, and a warning where something could not be."""
    skipped = prepared.skipped
    found = f"{corpus.trajectories} trajectories, {corpus.total_turns} turns"
    if not skipped:
        return Check(name="corpus", status="ok", found=found)
    named = "; ".join(f"{s.where}: {s.why}" for s in skipped[:NAMED])
    if len(skipped) > NAMED:
        named += f"; and {len(skipped) - NAMED} more"
    return Check(
        name="corpus",
        status="warning",
        found=f"{found}; {len(skipped)} lines, files or trajectories were left out: {named}",
        needed="a corpus that can be used whole",
        fix="repair or remove them (a run's run.json names every one)",
    )


def note(prepared: Prepared) -> tuple[str, ...]:
    """For the result, which names no path of this machine; empty where nothing was left out."""
    count = len(prepared.skipped)
    if not count:
        return ()
    return (
        f"{count} lines, files or trajectories of the corpus could not be used and were left out: run.json names each",
    )
