"""What `run.json` says of the corpus: the figures that scoring needs, so that a run can be scored where the corpus is not."""

from __future__ import annotations

from openagentperf.corpus.layout import Compiled
from openagentperf.corpusjobs import leftout
from openagentperf.corpusjobs.prepare import Prepared
from openagentperf.records.preflight import Check, ServerFacts
from openagentperf.records.result import Target
from openagentperf.records.run import RunFacts


def run_facts(
    target: Target,
    url: str,
    server: ServerFacts,
    checks: tuple[Check, ...],
    prepared: Prepared,
    corpus: Compiled,
    urls: tuple[str, ...] = (),
) -> RunFacts:
    """Of a run that replays `corpus`, which `prepared` has compiled; `urls` where there are several endpoints."""
    input_mean, output_mean = _means(corpus)
    trees = [corpus.lines(t) for t in range(corpus.trajectories)]
    return RunFacts(
        target=target,
        url=url,
        urls=urls,
        server=server,
        checks=checks,
        corpus_digest=corpus.digest,
        sealed_root=prepared.sealed_root,
        corpus_notes=(*prepared.notes, *leftout.note(prepared)),
        corpus_skipped=prepared.skipped,
        lines=tuple(map(len, trees)),
        first_turns=tuple(line.first for tree in trees for line in tree),
        shared_bytes=tuple(corpus.shared_bytes(t, i) for t, tree in enumerate(trees) for i in range(len(tree))),
        set_input_tokens_mean=input_mean,
        set_output_tokens_mean=output_mean,
    )


def _means(corpus: Compiled) -> tuple[float, float]:
    """Mean input and output tokens over all turns of the set."""
    inputs = outputs = 0
    for i in range(corpus.total_turns):
        slot = corpus.slot(*corpus.locate(i))
        inputs += slot.input_tokens
        outputs += slot.output_tokens
    return inputs / corpus.total_turns, outputs / corpus.total_turns
