"""How tests/data/trajectories was made: `python tests/engines/sessions.py`, once. The files are committed, so that a change of the
generator does not change what the engine's tests measure.

Short sessions for a small CPU: 1.1K to 3.7K tokens by our estimate, 1.7K to 7.4K by the count of llama.cpp with the tiny model. Two
properties make the cliff at its slots steep. A session has about 55 turns, so that few of all requests are the cold first one of a session:
with 32, one in twenty was, and P95 of TTFT on the good side of the cliff was that of a cold prompt. And delays hardly vary, so that five
agents on four slots come round in turn, and each finds its slot just taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from openagentperf.corpus.laws import LogNormal
from openagentperf.corpus.profiles import Profile
from openagentperf.corpus.shape import generate
from openagentperf.corpus.tokens import estimate
from openagentperf.corpusjobs.store import write_set
from openagentperf.records.trajectory import Trajectory

FOLDER = Path(__file__).parent.parent / "data" / "trajectories"
PROFILE = Profile(
    name="engine-test",
    turns=LogNormal(60, 0.05, 54, 66),
    first_input=LogNormal(1200, 0.1, 960, 1440),
    shared_tokens=450,
    tools=2,
    output=LogNormal(24, 0.3, 16, 40),
    answer_share=0.8,
    answer_low=12,
    result=LogNormal(20, 0.6, 10, 120),
    parallel_share=0.1,
    delay_s=LogNormal(0.15, 0.15, 0.1, 0.21),
    max_context_tokens=3700,
    pool_bytes=24_000,
)


def sessions() -> Iterator[Trajectory]:
    for trajectory in generate(PROFILE, count=8, seed=1, count_tokens=estimate):
        yield msgspec.structs.replace(
            trajectory, source="generated for openagentperf's tests (tests/engines/sessions.py)"
        )


if __name__ == "__main__":
    write_set(FOLDER, sessions())
