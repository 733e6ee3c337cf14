"""The other side of the workers' frame files: tails them, decodes turns off the measured path, counts what a phase still needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from openagentperf.client.clock import now_ns
from openagentperf.load.spilled import Spilled
from openagentperf.records.phase import PhaseOrder
from openagentperf.records.turncolumns import TurnColumns
from openagentperf.records.turns import ClientSample, Kept, RawTurn, Reads
from openagentperf.rundir import FrameReader, frames_path
from openagentperf.seeds import share
from openagentperf.units import NS_PER_S, Ns
from openagentperf.wire.chat import decode

_KEPT_FAILURES = 100
_KEPT_SHARE = 200


class Collector:
    """All rows of one phase so far, in the order in which the workers wrote them.

    Memory grows by 0.3 KB a turn; the times of its reads, 16 bytes a token, and the raw evidence lie on the phase's disk.
    """

    def __init__(self, order: PhaseOrder, folder: Path, workers: int) -> None:
        self._order = order
        self._readers = [FrameReader(frames_path(folder, k)) for k in range(workers)]
        self.rows = TurnColumns()
        self.reads = Spilled(folder, Reads)
        """Per row."""
        self.samples: list[ClientSample] = []
        self.stamped = False
        """Some row has the kernel's stamps."""
        self.kept = Spilled(folder, Kept)
        """Raw evidence: the first 100 failed turns and one in 200 of the others, chosen by hash."""
        self.measured_turns = 0
        self.completed_trajectories = 0
        self.failed_turns = 0
        self.longest_turn_ns: Ns = 0
        """Of the turns that closed by themselves, from due to closed."""
        self._failures_kept = 0

    def poll(self, budget_ns: Ns | None = None) -> bool:
        """Take in what has come since the last call; True where nothing was left.

        With a budget it stops at the first frame past it. Without one in the load loop, rows that come faster than this process decodes
        them (2,000 streams, the core shared with the server) kept it here for good: no limit ended the phase, and 20 GB were written.
        """
        end_ns = None if budget_ns is None else now_ns() + budget_ns
        # The one that is furthest behind does not wait for the others: each call begins with the next reader.
        self._readers.append(self._readers.pop(0))
        for reader in self._readers:
            for frame in reader.read():
                if isinstance(frame, RawTurn):
                    self._take(frame)
                elif isinstance(frame, ClientSample):
                    self.samples.append(frame)
                if end_ns is not None and now_ns() >= end_ns:
                    return False
        return True

    def _take(self, raw: RawTurn) -> None:
        row = decode(raw)
        self.rows.append(row)
        self.reads.append(Reads(raw.times_ns, raw.sizes))
        self.stamped = self.stamped or row.read_lag_ns is not None
        if row.failure != "aborted":
            self.longest_turn_ns = max(self.longest_turn_ns, row.closed_ns - row.due_ns)
        if row.due_ns >= self._order.window_opens_ns and row.failure != "aborted":  # those came due after the window
            self.measured_turns += 1
            self.completed_trajectories += row.last and row.replay > 0 and not row.failure
            self.failed_turns += bool(row.failure)
        if row.failure and self._failures_kept < _KEPT_FAILURES:
            self._failures_kept += 1
            self.kept.append(Kept(row.failure, raw))
        elif not row.failure and _sampled(raw):
            self.kept.append(Kept("", raw))

    def active_share(self, start_ns: Ns, end_ns: Ns) -> float:
        """Share of the window's seconds in which every worker had all of its agents at work (a turn in hand).

        A sample tells of the second that ends with it, so those up to a second after the window count. 0.0 where there are none: a worker
        that stood still all the while leaves none.
        """
        full = seen = 0
        workers = len(self._readers)
        wanted = {worker: len(share(self._order.agents, worker, workers)) for worker in range(workers)}
        for sample in self.samples:
            if start_ns < sample.t_ns <= end_ns + NS_PER_S:
                full += sample.active_agents >= wanted[sample.worker]
                seen += 1
        return full / seen if seen else 0.0


def _sampled(raw: RawTurn) -> bool:
    key = f"{raw.agent}.{raw.replay}.{raw.turn}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") % _KEPT_SHARE == 0
