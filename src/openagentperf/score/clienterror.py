"""The client's own error: how much of what was measured is ours and not the server's.

Two questions, for each turn. How late did *we* send it? And, where the stamps are our own (`user`), how late did we *read* it?
With kernel stamps a late reader does little harm to the times: the kernel stamped the bytes when they came. Two harms remain.
Events that wait together in a socket merge and keep the last one's stamp, so a merged first read is stamped late
(`merged_lag_s`). And once the socket's receive buffer is full the server must wait for us (`held_bytes`).

Not every wait before `sent` is ours. A turn that dialled waits for the peer's handshake, and a server whose accept
queue is full makes it wait for seconds: that is an overloaded server, not a late client. Our share of such a wait
is bounded by what the event loop lagged meanwhile, once for each step that the loop had to take.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openagentperf.records.turns import ClientSample
from openagentperf.score.columns import Floats, Ints, Turns
from openagentperf.units import NS_PER_MS, NS_PER_S

DIAL_STEPS = 4
"""Wake-ups of the loop between due and sent on a new connection: the timer, TCP up, two TLS flights."""
BUFFER_BYTES = 64 * 1024
"""What Linux lets a peer send ahead of the reader before any tuning (net.ipv4.tcp_rmem 131072, half of it overhead)."""
CLOCK_STEP_NS = NS_PER_MS
"""Kernel stamps are wall-clock time. NTP slews 0.5 ms/s at most; more than 1 ms from one second to the next is a step."""


class LoopLag:
    """Worst heartbeat lateness of each worker over a span of time. A sample tells of the second that ends at its `t_ns`."""

    def __init__(self, samples: Sequence[ClientSample]) -> None:
        ordered = sorted(samples, key=lambda s: (s.worker, s.t_ns, s.loop_lag_max_ns))
        self._by_worker: dict[int, tuple[Ints, Ints]] = {}
        for worker in sorted({s.worker for s in ordered}):
            own = [s for s in ordered if s.worker == worker]
            times = np.array([s.t_ns for s in own], dtype=np.int64)
            # one entry more than times: a span past the last sample reads the last one
            lags = np.array([*(s.loop_lag_max_ns for s in own), own[-1].loop_lag_max_ns], dtype=np.int64)
            self._by_worker[worker] = (times, lags)

    def worst_ns(self, worker: Ints, start_ns: Ints, end_ns: Ints) -> Ints:
        """Per row, the largest lag of any sample that overlaps start..end; -1 where the worker left no samples."""
        found = np.full(len(worker), -1, dtype=np.int64)
        for number, (times, lags) in self._by_worker.items():
            rows = np.flatnonzero(worker == number)
            first = np.searchsorted(times, start_ns[rows])
            last = np.maximum(np.searchsorted(times, end_ns[rows]), first)
            spans = np.stack([first, last + 1], axis=1).ravel()
            padded = np.append(lags, 0)  # reduceat needs every index to exist; the slice ends before it
            if len(spans):
                found[rows] = np.maximum.reduceat(padded, spans)[::2]
        return found


def own_lateness_s(turns: Turns, lag: LoopLag) -> Floats:
    """Seconds, one a turn: the part of sent - due that is this client's doing.

    A reused connection: sent - due, all of it. A turn that dialled: at most DIAL_STEPS times the worst loop lag meanwhile,
    and all of it where no sample tells, beside what our own pacing of dials held it. A turn never sent waited until closed.
    """
    until = np.where(turns.sent_ns >= 0, turns.sent_ns, turns.closed_ns)
    late = np.maximum(until - turns.due_ns, 0)
    worst = lag.worst_ns(turns.worker, turns.due_ns, until)
    dialled = (turns.connection == "new") | (turns.connection == "redialled") | (turns.sent_ns < 0)
    ours_ns: Ints = np.where(dialled & (worst >= 0), np.minimum(late, DIAL_STEPS * worst + turns.paced_ns), late)
    return ours_ns / NS_PER_S


def stamp_lag_s(turns: Turns, lag: LoopLag, at_ns: Ints, read_lag_ns: Ints) -> Floats:
    """Seconds by which our own stamp at `at_ns` may be late: the loop's worst lag of that second, or the read's measured lag."""
    lag_ns = np.maximum(np.maximum(lag.worst_ns(turns.worker, at_ns, at_ns), read_lag_ns), 0)
    return np.where(at_ns >= 0, lag_ns, 0) / NS_PER_S


def merged_lag_s(turns: Turns, lag: LoopLag) -> Floats:
    """Seconds by which a kernel stamp of the first output may be late, because k > 1 output events came with its read.

    The k - 1 lost stamps are at most k - 1 of the answer's own intervals older, and no older than our loop was late: a
    server that puts two events into one segment merges nothing that we could have told apart. 0 where one event came.
    The last output's stamp is that of the last event in any case.
    """
    at_ns, events = turns.first_output_ns, turns.first_read_events
    late_ns = np.maximum(np.maximum(lag.worst_ns(turns.worker, at_ns, at_ns), turns.first_lag_ns), 0)
    later = turns.output_events - events
    missed_ns = (events - 1) * (turns.last_output_ns - at_ns) / np.maximum(later, 1)
    bound_ns = np.where(later > 0, np.minimum(late_ns, missed_ns), late_ns)
    return np.where((at_ns >= 0) & (events > 1), bound_ns, 0.0) / NS_PER_S


def held_bytes(turns: Turns) -> Floats:
    """Bytes of each answer that waited in the kernel for us at worst: mean rate x longest read lag, at most the whole answer."""
    lag = np.maximum(turns.read_lag_ns, 0)
    span = np.maximum(turns.closed_ns - turns.first_byte_ns, 1)
    held: Floats = turns.response_bytes * np.minimum(lag / span, 1.0)
    return held


def clock_step_ns(samples: Sequence[ClientSample]) -> int:
    """Largest step of a worker's wall clock against its monotonic clock, per second between samples; 0 for fewer than two."""
    worst = 0
    before: ClientSample | None = None
    for sample in sorted(samples, key=lambda s: (s.worker, s.t_ns, s.clock_offset_ns)):
        if before is not None and before.worker == sample.worker:
            seconds = max((sample.t_ns - before.t_ns) / NS_PER_S, 1.0)
            worst = max(worst, round(abs(sample.clock_offset_ns - before.clock_offset_ns) / seconds))
        before = sample
    return worst
