"""From a run folder's rows to its result, again: the one way in which any result is made.

`bench.run` writes rows and calls `derive`; `openagentperf score` calls `derive`. Both read the same files, so that a result that does not
follow from its rows cannot come into being.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from openagentperf import __version__, planfile, rundir, tables
from openagentperf.plan import Plan, TierSet
from openagentperf.records.phase import Judged
from openagentperf.records.result import Result
from openagentperf.records.run import RunFacts
from openagentperf.score import capacity
from openagentperf.score.cache import Sharing, token_ratio
from openagentperf.score.capacity import CorpusFacts
from openagentperf.score.columns import Turns
from openagentperf.score.phase import judge
from openagentperf.search.step import standings


def read_run_facts(run: Path) -> RunFacts:
    fix = "name a folder that `openagentperf run` made"
    return rundir.read_record(run / "run.json", RunFacts, "a run folder holds one", fix)


def judge_phase(folder: Path, plan: Plan, tiers: TierSet, facts: RunFacts) -> Judged:
    """One closed phase, judged from its tables."""
    turns = Turns.from_columns(tables.read_turns(folder))
    sharing = Sharing(shared_tokens=np.asarray(facts.shared_tokens, dtype=np.int64), ratio=token_ratio(turns))
    return judge(rundir.read_facts(folder), turns, tables.read_samples(folder), tiers, plan.rigor, sharing)


def history(run: Path, plan: Plan, tiers: TierSet) -> list[Judged]:
    """Every judged attempt of the ledger, in order, judged anew for `tiers`."""
    facts = read_run_facts(run)
    return [
        judge_phase(rundir.phase_folder(run, line.index, line.agents), plan, tiers, facts)
        for line in rundir.read_ledger(run)
        if line.event == "judged"
    ]


def derive(run: Path, tiers: TierSet | None = None) -> Result:
    """The result that a run folder's rows give, for its own tiers or for others. StorageError where a file is missing or broken."""
    plan = planfile.read(run / "plan.toml")
    chosen = tiers or plan.tiers
    judged = history(run, plan, chosen)
    facts = read_run_facts(run)
    return capacity.result(
        msgspec.structs.replace(plan, tiers=chosen) if tiers else plan,
        judged,
        standings(judged, chosen, plan.search, plan.rigor),
        CorpusFacts(
            digest=facts.corpus_digest,
            input_tokens_mean=facts.set_input_tokens_mean,
            output_tokens_mean=facts.set_output_tokens_mean,
        ),
        __version__,
        facts.corpus_notes,
    )
