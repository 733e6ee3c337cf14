"""What is kept of one request: first raw, as the worker saw it, then decoded, as the judge reads it."""

from __future__ import annotations

from array import array
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from openagentperf.units import Ns

Failure: TypeAlias = Literal[
    "",
    "connect",  # no connection could be made
    "reset",  # the connection died before the answer was complete
    "http",  # a status other than 200
    "overflow",  # a status that says the context is too long
    "timeout",  # the answer was not complete within the turn's limit
    "malformed",  # not the dialect: HTML, broken JSON, an error event inside the stream
    "unterminated",  # the answer ended without the dialect's terminal event
    "no_output",  # complete, and nothing visible in it
    "no_usage",  # complete, and no token count in it
    "wrong_length",  # exact track: complete, but not of the length that was asked for
    "client",  # this host's own limit: file descriptors, ports, memory
    "aborted",  # the phase ended (its limit, or an interrupt) while the turn was open
]
"""Why a turn failed; "" where it did not. All but `client` are the system's under test and count against its SLO."""


class RawTurn(Struct, frozen=True, array_like=True):
    """One request as the worker saw it: times and bytes, nothing parsed.

    `times_ns`, `sizes` and `lags_ns` are packed little-endian int64 arrays, one entry per read of the socket (cast a
    memoryview to "q"); `data` is all reads joined, HTTP headers included.
    """

    worker: int
    agent: int
    replay: int
    """Ordinal of the trajectory in this agent's life; 0 is the partial first one."""
    trajectory: int
    turn: int
    """Numbered through the trajectory's lines (records.tree)."""
    last: bool
    """Its end was the end of its trajectory, of all lines."""
    due_ns: Ns
    sent_ns: Ns | None
    """First byte handed to the kernel; None where no connection came up."""
    closed_ns: Ns
    """Time of the last read of a complete answer, or of the failure."""
    times_ns: bytes
    sizes: bytes
    lags_ns: bytes
    """Per read: when the program read it minus when the kernel had it. Empty where the stamps are the program's own."""
    data: bytes
    failure: Failure
    detail: str
    connection: Literal["", "new", "reused", "redialled"]
    request_bytes: int
    exact_tokens: int = 0
    """Length asked for on the exact track; 0 on the natural one."""
    corpus_tokens: int = 0
    """Prompt tokens by the corpus's own count."""
    line: int = 0
    """Index of its line in the trajectory's tree; 0 is the main one, the others are sub-agents."""
    paced_ns: Ns = 0
    """Of sent - due, how long our own pacing of dials held the turn (load.dials)."""


class TurnRow(Struct, frozen=True, kw_only=True):
    """One request, decoded: a row of `turns.parquet`. Times are ns of the sending host's monotonic clock.

    What is None was never seen. A row with `failure` keeps whatever was seen before it failed.
    """

    worker: int
    agent: int
    replay: int
    trajectory: int
    turn: int
    """Numbered through the trajectory's lines: the main one's first, then those of each sub-agent."""
    line: int = 0
    """0 is the trajectory's main line, the others are sub-agents."""
    last: bool
    """Its end was the end of its trajectory, of all lines."""
    due_ns: Ns
    sent_ns: Ns | None = None
    first_byte_ns: Ns | None = None
    first_output_ns: Ns | None = None
    """First fragment with non-empty text, reasoning, refusal, or tool name or arguments."""
    last_output_ns: Ns | None = None
    closed_ns: Ns
    status: int = 0
    """HTTP status; 0 where none arrived."""
    failure: Failure = ""
    detail: str = ""
    finish: str = ""
    """`finish_reason` of the answer."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt, served from the prefix cache; None where the server does not report it."""
    output_tokens: int | None = None
    """The server's count, reasoning included."""
    reasoning_tokens: int | None = None
    first_tokens: int = 1
    """Tokens paid for by TTFT: those of the first output event where continuous usage tells, else 1."""
    output_events: int = 0
    output_reads: int = 0
    output_chars: int = 0
    burst_share: float = 0.0
    """Largest share of the visible characters that arrived in one read after a silence longer than TTFT; 0 where none did."""
    exact_tokens: int = 0
    """Length asked for on the exact track; 0 on the natural one."""
    corpus_tokens: int = 0
    """Prompt tokens by the corpus's own count; 0 where not known."""
    request_bytes: int = 0
    response_bytes: int = 0
    connection: str = ""
    read_lag_ns: Ns | None = None
    """Longest time a read of this turn waited in the kernel for us; None without kernel stamps."""
    first_lag_ns: Ns | None = None
    last_lag_ns: Ns | None = None
    """The same for the reads of the first and of the last output."""
    first_read_events: int = 0
    last_read_events: int = 0
    """Output events that came with the read of the first and of the last output. Above 1 the kernel's stamp is that of the last of
    them: segments that wait together in a socket are merged, and the stamps of the earlier ones are lost."""
    paced_ns: Ns = 0
    """Of sent - due, how long our own pacing of dials held the turn; 0 for nearly all (docs/plan.md, `load.dials_per_s`)."""


class Reads(Struct, frozen=True, array_like=True):
    """When a turn's reads came and how long each was: packed int64."""

    times_ns: bytes = b""
    sizes: bytes = b""


class Kept(Struct, frozen=True, array_like=True):
    """A turn whose bytes are kept as evidence."""

    failure: Failure
    """As it was judged, which its own may not say."""
    raw: RawTurn


class ClientSample(Struct, frozen=True, kw_only=True):
    """One second of a load worker's own health: a row of `client.parquet`."""

    worker: int
    t_ns: Ns
    loop_lag_max_ns: Ns
    """Worst lateness of a 20 ms heartbeat in this second."""
    cpu_ns: Ns
    """CPU time of the worker process in this second."""
    gc_pause_max_ns: Ns
    active_agents: int
    """Agents with a turn in flight or waiting for its time."""
    in_flight: int
    """Requests; more than agents where sub-agents run."""
    clock_offset_ns: Ns
    """Wall clock minus monotonic clock, relative to the worker's start: a step spoils kernel stamps."""


class Shift(Struct, frozen=True, array_like=True):
    """In a frame file: what is added to the times of all frames behind it, which another host has written. Several add up."""

    ns: Ns


def shifted(frame: RawTurn | ClientSample, by_ns: Ns) -> RawTurn | ClientSample:
    """The same, its times later by so much. A read costs 40 ns; numpy, with which it would be less, no load worker may import."""
    if isinstance(frame, ClientSample):
        return replace(frame, t_ns=frame.t_ns + by_ns)
    return replace(
        frame,
        due_ns=frame.due_ns + by_ns,
        sent_ns=None if frame.sent_ns is None else frame.sent_ns + by_ns,
        closed_ns=frame.closed_ns + by_ns,
        times_ns=array("q", [t + by_ns for t in memoryview(frame.times_ns).cast("q")]).tobytes(),
    )
