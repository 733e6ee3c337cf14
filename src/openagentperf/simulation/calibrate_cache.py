"""Which prefix cache explains the cached tokens that a server reported: replays of its requests through caches of many sizes.

The requests, when each was sent and when each ended are taken as measured; only what would have been found cached is worked out anew.

    slots   a fixed number of places, each with the tokens of the conversation that ran in it last (llama.cpp). A request takes the idle
            place with the longest common prefix, be it only the shared system prompt, else the one that was used longest ago. More agents
            than places, and conversations overwrite each other.
    pool    a number of tokens (vLLM, SGLang, TensorRT-LLM): what runs is pinned, what is idle is forgotten from the end of whatever was
            used longest ago.

The misfit of a replay is sum |cached, replayed - cached, reported| / sum of prompt tokens, over all turns of all levels. A turn's own
prompt is what its line's next turn can find again, never the answer: the next request carries the recorded one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from openagentperf.score.columns import Floats
from openagentperf.simulation.calibrate_rows import Level
from openagentperf.simulation.calibrate_work import prefill_begun_s

Kind: TypeAlias = Literal["slots", "pool", "unlimited"]

SIMILAR = 0.1
"""llama.cpp's default: a place whose common prefix is a smaller share of the request is no better than any other."""
_AS_WELL, _NEARLY = 0.02, 0.05
"""Misfit above that of the best number of slots, and of the best pool. Which of two slots a session takes is decided by a few tokens, so
that a replay of the right number may miss one prompt in twenty of a short phase."""
_GRID = 24
"""Pool sizes tried between the longest request and all there is, then as many around the best."""
_MOST_SLOTS = 64


class Cache(NamedTuple):
    """The cache that explains the reports best."""

    kind: Kind
    size: float
    """Slots, or tokens; of an unlimited one the most that was ever held, a lower limit."""
    misfit: float
    low: float
    """Sizes from `low` to `high` explain the reports equally well: their misfit is at most a tenth (or 0.002) above the best."""
    high: float
    by_slots: tuple[float, ...]
    """Misfit of one slot, two, ...; () where none was tried."""
    others: dict[str, float]
    """Misfit of the best cache of each other kind."""

    def beside(self, answers_at_once: int, is_limit: bool) -> Cache:
        """The same, in the light of how many answers were seen to run at once: there are at least so many slots. And slots instead of a
        pool, where exactly so many answers were the limit and as many slots explain the reports nearly as well: a pool that happens to
        hold as many conversations as its engine runs is the less likely story."""
        if self.kind == "unlimited" or not 0 < answers_at_once <= len(self.by_slots):
            return self
        misfit = self.by_slots[answers_at_once - 1]
        limited = is_limit and misfit <= min(self.misfit + _NEARLY, min(self.by_slots) + _AS_WELL)
        if self.kind == "slots" and not limited:
            return self if answers_at_once <= self.size else self._replace(size=float(answers_at_once), misfit=misfit)
        if not limited:
            return self
        others = {kind: m for kind, m in (self.others | {self.kind: self.misfit}).items() if kind != "slots"}
        good = [n for n, value in enumerate(self.by_slots, 1) if value <= _as_good(misfit)]
        return self._replace(
            kind="slots",
            size=float(answers_at_once),
            misfit=misfit,
            low=float(min(good)),
            high=float(max(good)),
            others=others,
        )


class _Turn(NamedTuple):
    sent_s: float
    begun_s: float
    last_s: float
    line: int
    prompt: float
    shared: float
    tokens: float


def fit_cache(levels: Sequence[Level]) -> Cache | None:
    """None where the server does not report cached tokens."""
    told = [level for level in levels if level.reports_cached]
    if not told:
        return None
    factor = shared_factor(told)
    phases = [_turns(level, factor) for level in told]
    reported = np.concatenate([level.cached for level in told])
    prompts = float(sum(level.prompt.sum() for level in told))

    def misfit(replayed: list[Floats]) -> float:
        return float(np.abs(np.concatenate(replayed) - reported).sum()) / prompts

    most_slots = min(_MOST_SLOTS, max(len({turn.line for turn in turns}) for turns in phases))
    everything = max(_held(turns) for turns in phases)
    longest = max(turn.prompt + turn.tokens for turns in phases for turn in turns)
    slots = {float(n): misfit([replay_slots(t, n) for t in phases]) for n in range(1, most_slots + 1)}
    sizes = np.geomspace(longest, max(everything, 1.001 * longest), _GRID)
    pool = {float(s): misfit([replay_pool(t, s) for t in phases]) for s in sizes}
    near = min(pool, key=lambda s: pool[s])
    for s in np.geomspace(near / (sizes[1] / sizes[0]), near * sizes[1] / sizes[0], _GRID):
        pool[float(s)] = misfit([replay_pool(t, s) for t in phases])
    pool[np.inf] = misfit([replay_pool(t, np.inf) for t in phases])
    found = {"slots": _best(slots), "pool": _best(pool)}
    least = min(misfit for _, misfit, _, _ in found.values())
    misfits = {name: best[1] for name, best in found.items()} | {"unlimited": pool[np.inf]}
    kind: Kind
    if pool[np.inf] <= _as_good(least):  # nothing was lost, or nothing that a smaller cache would explain
        kind, best = "unlimited", (everything, pool[np.inf], everything, np.inf)
    else:
        kind = "slots" if misfits["pool"] > _as_good(misfits["slots"]) else "pool"
        best = found[kind]
    return Cache(kind, *best, tuple(slots.values()), {name: misfit for name, misfit in misfits.items() if name != kind})


def named_slots(slots: int) -> Cache:
    """What is known and not fitted."""
    return Cache("slots", float(slots), float("nan"), float(slots), float(slots), (), {})


def _best(misfits: dict[float, float]) -> tuple[float, float, float, float]:
    """Size, misfit, low, high; of equals the smallest size."""
    size = min(misfits, key=lambda s: (misfits[s], s))
    good = [s for s, misfit in misfits.items() if misfit <= _as_good(misfits[size])]
    return size, misfits[size], min(good), max(good)


def _as_good(misfit: float) -> float:
    return max(1.1 * misfit, misfit + 0.002)


def shared_factor(levels: Sequence[Level]) -> float:
    """Reported cached tokens over the corpus's estimate of what lines share, median over turns that found no more than about that.

    The corpus knows the shared part in bytes, and schemas of tools have other tokens a byte than the rest. 1 where nothing was shared.
    """
    cached, shared = (np.concatenate([getattr(level, name) for level in levels]) for name in ("cached", "shared"))
    only = (cached > 0) & (shared > 0) & (cached < 3 * shared)
    return float(np.median(cached[only] / shared[only])) if only.any() else 1.0


def _turns(level: Level, factor: float = 1.0) -> list[_Turn]:
    begun = prefill_begun_s(level)
    columns = (level.sent_s, begun, level.last_s, level.line, level.prompt, factor * level.shared, level.tokens)
    return [_Turn(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _held(turns: Sequence[_Turn]) -> float:
    """Tokens of all lines at their longest: a cache of this size never forgets."""
    longest: dict[int, float] = {}
    for turn in turns:
        longest[turn.line] = max(longest.get(turn.line, 0.0), turn.prompt + turn.tokens)
    return sum(longest.values())


class _Slot:
    __slots__ = ("busy", "line", "shared", "tokens", "used")

    def __init__(self) -> None:
        self.line, self.tokens, self.shared, self.used, self.busy = -1, 0.0, 0.0, -1.0, False

    def common(self, turn: _Turn) -> float:
        """Tokens of the turn's prompt that lie here from its beginning on."""
        if self.line == turn.line:
            return min(self.tokens, turn.prompt)
        return min(self.shared, turn.shared)


def replay_slots(turns: Sequence[_Turn], count: int) -> Floats:
    """Cached tokens of each turn, in the order given (by the time it was sent), with `count` places and a queue before them."""
    slots = [_Slot() for _ in range(count)]
    cached = np.zeros(len(turns))
    ends: list[tuple[float, int]] = []
    waiting: deque[int] = deque()

    def admit() -> None:
        while waiting and (idle := [s for s in slots if not s.busy]):
            index = waiting.popleft()
            turn = turns[index]
            best = max(idle, key=lambda s: s.common(turn))
            if best.common(turn) <= SIMILAR * turn.prompt:
                best = min(idle, key=lambda s: s.used)
            cached[index] = best.common(turn)
            best.line, best.tokens, best.shared, best.busy = turn.line, turn.prompt, turn.shared, True
            heappush(ends, (turn.last_s, slots.index(best)))

    def end_until(time_s: float) -> None:
        while ends and ends[0][0] <= time_s:
            at, number = heappop(ends)
            slots[number].busy, slots[number].used = False, at
            admit()

    for index, turn in enumerate(turns):
        end_until(turn.sent_s)
        waiting.append(index)
        admit()
    end_until(np.inf)
    return cached


def replay_pool(turns: Sequence[_Turn], size: float) -> Floats:
    """Cached tokens of each turn, in the order given, with a pool of `size` tokens. What lines share is in it once, from its first use."""
    own: OrderedDict[int, float] = OrderedDict()
    """By idle line, what is left of its last prompt behind the shared part; least recently used first."""
    cached = np.zeros(len(turns))
    pinned = idle = shared = 0.0
    ends: list[tuple[float, int]] = []

    def make_room() -> None:
        nonlocal idle
        while own and (over := shared + pinned + idle - size) > 0:
            line, tokens = next(iter(own.items()))
            if over < tokens:
                own[line] = tokens - over
                idle -= over
            else:
                del own[line]
                idle -= tokens

    for index in sorted(range(len(turns)), key=lambda i: turns[i].begun_s):
        turn = turns[index]
        while ends and ends[0][0] <= turn.begun_s:
            other = turns[heappop(ends)[1]]
            behind = max(0.0, other.prompt - other.shared)
            pinned -= behind + other.tokens
            idle += behind - own.pop(other.line, 0.0)
            own[other.line] = behind
            make_room()
        found = own.pop(turn.line, 0.0)
        idle -= found
        cached[index] = min(found + min(shared, turn.shared), turn.prompt)
        shared = max(shared, turn.shared)
        pinned += max(0.0, turn.prompt - turn.shared) + turn.tokens
        heappush(ends, (turn.last_s, index))
        make_room()
    return cached
