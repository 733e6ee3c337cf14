"""`run.json`: what a run learnt before its first phase and its scoring needs: the corpus's figures and the server's."""

from __future__ import annotations

from msgspec import Struct

from openagentperf.records.preflight import Check, ServerFacts
from openagentperf.records.result import Target
from openagentperf.records.trajectory import Skipped


class RunFacts(Struct, frozen=True, kw_only=True):
    target: Target
    url: str
    urls: tuple[str, ...] = ()
    """Where there were several endpoints: all of them; agent i spoke to number i modulo how many there are."""
    server: ServerFacts
    checks: tuple[Check, ...]
    corpus_digest: str
    sealed_root: str = ""
    """Root of the sealed set that the corpus was compiled from; "" where it is none."""
    corpus_notes: tuple[str, ...]
    lines: tuple[int, ...]
    """Per trajectory: lines of its tree, the main one and those of sub-agents."""
    first_turns: tuple[int, ...]
    """Per line of the set, in order: number of its first turn in its trajectory."""
    shared_bytes: tuple[int, ...]
    """Per line of the set: of its first request, what may be found cached (corpus.sharing)."""
    set_input_tokens_mean: float
    """Over all turns of the set, by the corpus's count."""
    set_output_tokens_mean: float
    corpus_skipped: tuple[Skipped, ...] = ()
    """Every line, file and trajectory of the corpus that could not be used, by name."""
