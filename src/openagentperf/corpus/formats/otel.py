"""OpenTelemetry GenAI spans: batches in OTLP JSON (as the collector's file exporter writes them, one a line), flat traces, single spans.

A chat span is a request, an execute_tool span a tool's time, an invoke_agent span inside another agent's a sub-agent. A session is a
conversation id, or a trace where there is none. Messages stand in spans only where the program opted in: without them a session has the
recorded lengths and text of our own.
"""

from __future__ import annotations

from collections.abc import Iterator

from openagentperf.corpus.formats.head import Head, Keys, first_of
from openagentperf.corpus.formats.otel_spans import spans
from openagentperf.corpus.formats.otel_tree import Spans
from openagentperf.corpus.formats.subagents import grown
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "otel-genai"


def recognises(head: Head) -> bool:
    """Whether its records are batches of spans, traces with their spans, or spans."""
    return any("resourceSpans" in record or _is_trace(record) or _is_span(record) for record in head.records)


def _is_trace(record: Keys) -> bool:
    first = first_of(record, "spans")
    return first is not None and "span_id" in first


def _is_span(record: Keys) -> bool:
    return {"attributes", "start_time"} <= record.keys() and not record.keys().isdisjoint({"span_id", "context"})


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a conversation. Raises CorpusError where no span is a request that can be used."""
    found = False
    for session in Spans(spans(data, source, skipped)).sessions(skipped):
        found = True
        yield grown(
            session.root,
            Trajectory(id=session.name or source, turns=(), format=FORMAT, source=source, harness=session.service),
        )
    if not found:
        raise CorpusError(
            source,
            "holds no answered request",
            "chat spans (gen_ai.operation.name) with messages or token counts are needed",
            "check that the program's GenAI instrumentation was on",
        )
