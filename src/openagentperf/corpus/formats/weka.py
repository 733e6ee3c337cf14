"""Weka / AgentX traces (kv-cache-tester): one session a JSON object, of each request its length and the hashes of its blocks.

    {id, block_size, hash_id_scope: "local", tool_tokens, system_tokens, requests: [
        {type: "n" | "s", t, in, out, hash_ids, input_types, output_types, stop, api_time, think_time},
        {type: "subagent", t, duration_ms, agent_id, tool_tokens, system_tokens, requests: [...]}]}

Text is made (`hashed`), its blocks equal where hashes are, within one trace. `t` of a request is its start, `t` of a sub-agent its end, and
the `t` of its requests count from its start. Sub-agents become branches (`weka_lines`).

Tool delay: the `think_time` of the next request, which is all of the client's time between two requests, where a tool's result is new in
that request. A person's pause is none. Before a request that waited for sub-agents: what was left when the last of them had ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats.blocktext import BlockText
from openagentperf.corpus.formats.hashed import Layout
from openagentperf.corpus.formats.head import Head, Keys
from openagentperf.corpus.formats.lines import BAD, decoded
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.usable import usable
from openagentperf.corpus.formats.weka_lines import Line, session
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Skipped, Trajectory, Turn

FORMAT = "weka"
LEAST_BLOCK, MOST_BLOCK = 8, 1_024
"""Tokens. A smaller block has no room for text that tells it from others; 512 is the largest that has been seen."""
LOOSE_BLOCKS = 2
"""In one of 20 turns of recorded sessions the last block or two (at most 128 tokens) of a request do not come back in the next, mostly
where one or two tokens stood in the last block: the template's end, not a message."""


class Trace(Struct):
    requests: list[Raw]
    block_size: int
    id: object = None
    models: object = None
    tool_tokens: object = None
    system_tokens: object = None


_TRACE = msgspec.json.Decoder(Trace)


def recognises(head: Head) -> bool:
    """Whether a record is a trace: requests beside a block size."""
    return any(_is_trace(record) for record in head.records)


def _is_trace(record: Keys) -> bool:
    return {"requests", "block_size"} <= record.keys() and "messages" not in record


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a trace; a file may hold several, one a line. Raises CorpusError where no trace has a usable request."""
    read = ((where, _trajectory(trace, where, source, skipped)) for where, trace in _traces(data, source, skipped))
    none = CorpusError(
        source,
        "holds no trace with a usable request",
        "`requests` with `in`, `out` and `hash_ids`, and a `block_size`, are needed",
        "check that it is a kv-cache-tester trace",
    )
    yield from usable(read, skipped, "a trace without a usable request", none)


def _traces(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[tuple[str, Trace]]:
    """Each trace whose blocks are of a known size, and where it stands."""
    try:
        found = iter([(source, _TRACE.decode(data.removeprefix(b"\xef\xbb\xbf")))])
    except BAD:
        found = ((f"{source}:{number}", trace) for number, trace in decoded(data, source, skipped, _TRACE))
    for where, trace in found:
        if LEAST_BLOCK <= trace.block_size <= MOST_BLOCK:
            yield where, trace
        else:
            sizes = f"{LEAST_BLOCK} to {MOST_BLOCK} are known"
            skipped.append(Skipped(where, f"blocks of {trace.block_size} tokens: {sizes}"))


def _trajectory(trace: Trace, where: str, source: str, skipped: list[Skipped]) -> Trajectory | None:
    notes: Counter[str] = Counter()
    name = trace.id if isinstance(trace.id, str) and trace.id else where
    layout = Layout(BlockText(f"weka {name}", trace.block_size), LOOSE_BLOCKS)
    main = session(trace.requests, where, (trace.system_tokens, trace.tool_tokens), layout, skipped, notes)
    if main is None:
        return None
    turns, names = _turns(main, layout), {""}
    branches = tuple(_branches(main, "", layout, names))
    models = trace.models if isinstance(trace.models, list) else []
    return Trajectory(
        id=name,
        turns=turns,
        branches=branches,
        format=FORMAT,
        source=source,
        model=next((model for model in models if isinstance(model, str)), ""),
        notes=sentences(layout.notes + notes),
    )


def _turns(line: Line, layout: Layout) -> tuple[Turn, ...]:
    return tuple(layout.turns([recorded.request for recorded in line.recorded], line.system_tokens))


def _branches(line: Line, parent: str, layout: Layout, names: set[str]) -> Iterator[Branch]:
    """Depth first, so that a parent stands before its children. Names are made unique: an id may be given twice."""
    for child in line.children:
        name, again = child.name, 1
        while name in names:
            again += 1
            name = f"{child.name}~{again}"
        names.add(name)
        yield Branch(
            name=name,
            turns=_turns(child, layout),
            parent=parent,
            after=child.after,
            join=child.join,
            delay_ns=child.delay_ns,
        )
        yield from _branches(child, name, layout, names)
