"""What of a generated set's input a cache could serve: by prefix, and wherever it stands.

    python -m benchmarks.corpus_reuse [--profile stateful] [--count 200]

Counts every request of every main line by where its bytes stood before in the same trajectory:

    harness   system prompt and tools: every session of the set begins with them
    prefix    further bytes of the longest common beginning with any earlier request
    moved     whole lines, 20 characters and more, that an earlier request held somewhere else: no prefix cache serves them, one that
              works on blocks wherever they stand could
    new       the rest

For first requests of a trajectory, for those at which a history starts anew, and for all; `cold` is their share of all that no prefix
serves, moved and new together. By bytes: a token is 3.5 of them throughout.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from openagentperf.corpus.prefix import common_bytes
from openagentperf.corpus.profiles import PROFILES
from openagentperf.corpus.shape import generate
from openagentperf.corpus.tokens import estimate
from openagentperf.records.trajectory import Message, Trajectory, Turn, histories

LINE = 20
WAYS = ("harness", "prefix", "moved", "new")
Table = dict[str, Counter[str]]


def text(message: Message) -> bytes:
    return "\n".join((message.content, *(call.arguments for call in message.tool_calls))).encode()


class Seen:
    """What the requests of one trajectory have held so far."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._tools = sum(len(tool.encode()) for tool in trajectory.tools)
        self._lines: set[bytes] = set()
        self._openings: list[bytes] = []

    def ways(self, turn: Turn, history: Sequence[Message], before_bytes: int, first: bool) -> Counter[str]:
        """Bytes of this request by way; `before_bytes` is the size of the request before."""
        system = self._tools + len(text(history[0]))
        total = self._tools + sum(len(text(message)) for message in history)
        appended = [text(message) for message in turn.appended if message.role != "system"]
        if first or turn.keep is not None:
            (opening,) = appended
            prefix = max((common_bytes(opening, old) for old in self._openings), default=0)
            appended = [opening[prefix:]]
            self._openings.append(opening)
        else:
            prefix = before_bytes - system
        moved = 0
        for piece in appended:
            lines = [line for line in piece.split(b"\n") if len(line) >= LINE]
            moved += sum(len(line) for line in lines if line in self._lines)
            self._lines.update(lines)
        return Counter(harness=system, prefix=prefix, moved=moved, new=total - system - prefix - moved, all=total)


def measure(profile: str, count: int) -> tuple[Table, Counter[str]]:
    """Bytes by kind of request and way; and how many requests of each kind."""
    table: Table = {kind: Counter() for kind in ("first", "anew", "all")}
    requests: Counter[str] = Counter()
    for trajectory in generate(PROFILES[profile], count, 1, estimate):
        seen, before = Seen(trajectory), 0
        for k, (turn, history) in enumerate(zip(trajectory.turns, histories(trajectory), strict=True)):
            ways = seen.ways(turn, history, before, k == 0)
            before = ways["all"]
            kind = "first" if k == 0 else "anew" if turn.keep is not None else ""
            for name in filter(None, (kind, "all")):
                table[name] += ways
                requests[name] += 1
    return table, requests


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.corpus_reuse", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", choices=sorted(PROFILES), default="stateful")
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args(argv)
    table, requests = measure(given.profile, given.count)
    print(f"{given.count} trajectories of {given.profile}")
    print(f"{'requests':>10} {'number':>8} {'tokens':>8} " + " ".join(f"{way:>8}" for way in (*WAYS, "cold")))
    cold = table["all"]["moved"] + table["all"]["new"]
    for kind, ways in table.items():
        if number := requests[kind]:
            shares = " ".join(f"{100 * ways[way] / ways['all']:>7.1f}%" for way in WAYS)
            of_cold = (ways["moved"] + ways["new"]) / cold
            print(f"{kind:>10} {number:>8,} {ways['all'] / number / 3.5:>8,.0f} {shares} {100 * of_cold:>7.1f}%")
    return 0


if __name__ == "__main__":
    sys.exit(main())
