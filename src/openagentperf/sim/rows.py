"""The rows of a simulated phase, as columns by the names of records.turns.TurnRow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openagentperf.records.turns import Failure
from openagentperf.sim.spec import ClusterSpec
from openagentperf.sim.workload import Workload

BYTES_PER_TOKEN = 4

OK, OVERFLOW, TIMEOUT, RESET, CONNECT, ABORTED = range(6)
_FAILURES: tuple[Failure, ...] = ("", "overflow", "timeout", "reset", "connect", "aborted")
_DETAILS = (
    "",
    "longer than the context or the KV pool of this system",
    "no complete answer within the turn's limit",
    "its worker was lost",
    "no worker is left",
    "the phase ended while the turn was open",
)
_STATUS = (200, 400, 200, 200, 0, 200)
"""Of an answer that had begun; 0 before its first byte."""

FIELDS = (
    "agent", "replay", "trajectory", "turn", "line", "last", "due_ns", "first_output_ns", "last_output_ns", "closed_ns",
    "failure", "cached_tokens",
)  # fmt: skip


def columns(rows: bytes | bytearray, work: Workload, spec: ClusterSpec) -> dict[str, NDArray[Any]]:
    """Of records.turns.TurnRow, from FIELDS row after row, each an int64. Columns that are alike share memory: not to be written to."""
    table = (
        np.frombuffer(rows, dtype=np.int64).reshape(-1, len(FIELDS)) if rows else np.zeros((0, len(FIELDS)), np.int64)
    )
    order = np.lexsort((table[:, FIELDS.index("agent")], table[:, FIELDS.index("due_ns")]))
    made = {name: table[order, index] for index, name in enumerate(FIELDS)}
    n = len(table)
    code = made["failure"]
    answered = code == OK
    at = np.frombuffer(work.first, dtype=np.int64)[made["trajectory"]] + made["turn"]
    prompt = np.frombuffer(work.input_tokens, dtype=np.int64)[at]
    output = np.frombuffer(work.output_tokens, dtype=np.int64)[at]
    # Tokens of one step come in one event, and each step in a read of its own.
    per_step = spec.workers[-1].costs.tokens_per_step
    events = np.where(answered, 1 + np.ceil((output - 1) / per_step).astype(np.int64), made["first_output_ns"] >= 0)
    status = np.array(_STATUS, np.int64)[code]
    status[(status == _STATUS[OK]) & (made["first_output_ns"] < 0)] = 0
    text_bytes = np.where(answered, output * BYTES_PER_TOKEN, 0)
    zero, none, one = (np.broadcast_to(np.int64(value), n) for value in (0, -1, 1))
    return {
        **made,
        "worker": zero,
        "last": made["last"].astype(np.bool_),
        "sent_ns": made["due_ns"],
        "first_byte_ns": made["first_output_ns"],
        "status": status,
        "failure": np.array(_FAILURES)[code],
        "detail": np.array(_DETAILS, np.object_)[code],
        "finish": np.array(("length", ""))[(~answered).astype(np.int64)],
        "prompt_tokens": np.where(answered, prompt, none),
        "cached_tokens": np.where(answered, made["cached_tokens"], none),
        "output_tokens": np.where(answered, output, none),
        "reasoning_tokens": none,
        "first_tokens": one,
        "output_events": events,
        "output_reads": events,
        "output_chars": text_bytes,
        "burst_share": np.broadcast_to(np.float64(0), n),
        "exact_tokens": output,
        "corpus_tokens": prompt,
        "request_bytes": np.frombuffer(work.request_bytes, dtype=np.int64)[at],
        "response_bytes": text_bytes,
        "connection": np.broadcast_to(np.array("reused"), n),
        "read_lag_ns": zero,
        "first_lag_ns": zero,
        "last_lag_ns": zero,
        "first_read_events": np.minimum(events, 1),
        "last_read_events": np.minimum(events, 1),
        "paced_ns": zero,
    }
