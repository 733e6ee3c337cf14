"""How tests/data/trajectories was made: `python tests/engines/sessions.py`, once. The files are committed, so that a change of the
generator does not change what the engine's tests measure.

Short sessions for a small CPU: 1.0K to 3.6K tokens by our estimate, which llama.cpp with the tiny model counts as 1.7K to 6.2K. Two
properties make the cliff at its slots steep. A session has 26 to 36 turns, so that few of all requests are the cold first one of a session.
And delays hardly vary, so that five agents on four slots come round in turn, and each finds its slot just taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from openagentperf.corpus.profiles import LogNormal, Profile
from openagentperf.corpus.shape import generate
from openagentperf.corpus.tokens import estimate
from openagentperf.corpusjobs.store import write_set
from openagentperf.records.trajectory import Trajectory

FOLDER = Path(__file__).parent.parent / "data" / "trajectories"
PROFILE = Profile(
    name="engine-test",
    turns=LogNormal(42, 0.1, 34, 50),
    first_input=LogNormal(1300, 0.1, 1040, 1560),
    shared_tokens=450,
    tools=2,
    output=LogNormal(36, 0.35, 18, 64),
    answer_share=0.8,
    answer_low=12,
    result=LogNormal(34, 0.6, 10, 120),
    parallel_share=0.1,
    delay_s=LogNormal(0.12, 0.15, 0.08, 0.17),
    max_context_tokens=3600,
    pool_bytes=24_000,
)


def sessions() -> Iterator[Trajectory]:
    for trajectory in generate(PROFILE, count=8, seed=1, count_tokens=estimate):
        yield msgspec.structs.replace(
            trajectory, source="generated for openagentperf's tests (tests/engines/sessions.py)"
        )


if __name__ == "__main__":
    write_set(FOLDER, sessions())
