"""CPU time of other processes, from /proc: of one, and of a whole tree while it runs."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from openagentperf.units import NS_PER_S, Ns

PERIOD_S = 0.1


def cpu_s(pid: int) -> float:
    """User and system time of a process so far. OSError where there is none."""
    return sum(_fields(pid)[11:13]) / os.sysconf("SC_CLK_TCK")


def tree_cpu_s(root: int) -> tuple[float, list[int]]:
    """The same of a process and all below it, with those that have ended and been waited for; and who is alive.

    Below it is who descends from it, and who is in its session: a child whose parent ended belongs to nobody else.
    """
    alive: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                alive[int(entry.name)] = _fields(int(entry.name))
    found = {pid for pid, fields in alive.items() if pid == root or fields[3] == root}
    grown = True
    while grown:
        more = {pid for pid, fields in alive.items() if fields[1] in found} - found
        grown = bool(more)
        found |= more
    return sum(sum(alive[pid][11:15]) for pid in found) / os.sysconf("SC_CLK_TCK"), sorted(found)


def _fields(pid: int) -> list[int]:
    """Of /proc/PID/stat from the state on, which stands as 0: 1 is the parent, 3 the session, 11 to 14 the times in ticks."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, *(int(word) for word in words[1:15])]


class Watch(threading.Thread):
    """Looks at a tree's CPU time ten times a second until `over`."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._over = threading.Event()
        self._seen: list[tuple[Ns, float]] = [(time.perf_counter_ns(), 0.0)]
        self.alive: list[int] = [root]

    def run(self) -> None:
        while not self._over.wait(PERIOD_S):
            spent, alive = tree_cpu_s(self._root)
            if alive:
                self._seen.append((time.perf_counter_ns(), spent))
                self.alive = alive

    def over(self) -> None:
        self._over.set()
        self.join()

    def at(self, t_ns: Ns) -> float:
        """CPU seconds spent until then, on a straight line between two looks; the last look's afterwards.

        Of trees whose processes end without being waited for it can fall: the most so far counts.
        """
        before_ns, before = self._seen[0]
        for then_ns, spent in self._seen:
            spent = max(before, spent)
            if then_ns >= t_ns:
                span_ns = max(1, then_ns - before_ns)
                return before + (spent - before) * max(0, t_ns - before_ns) / span_ns
            before_ns, before = then_ns, spent
        return before

    @property
    def seconds(self) -> float:
        """Since it began to look."""
        return (time.perf_counter_ns() - self._seen[0][0]) / NS_PER_S
