"""Split a set into a public part to tune on and a part to be sealed, without a task that both sides know.

Two trajectories are of one task where they share any of: the recording's name of the task, the recorded session, everything the user said
before the first answer, or the last thing said before it (40 characters or more: "continue" is no task). What links is transitive. The
same files can still have been read on both sides: how much text they share is counted, not prevented.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from openagentperf.records.trajectory import Branch, Trajectory
from openagentperf.seeds import Stream

ASKED_CHARS = 40
LONG_BYTES = 200
"""Shorter messages ("ok", an empty result) are the same everywhere."""


def keys(trajectory: Trajectory) -> tuple[bytes, ...]:
    """What names the trajectory's task; two that share a key are of one task. 16 bytes each."""
    said = (
        [" ".join(m.content.split()) for m in trajectory.turns[0].appended if m.role == "user"]
        if trajectory.turns
        else []
    )
    session = trajectory.id.partition("~")[0].partition(":")[0]
    found = [f"session {session}"]
    if trajectory.task:
        found.append(f"task {trajectory.task}")
    if any(said):
        found.append("all " + "\n".join(said))
    if said and len(said[-1]) >= ASKED_CHARS:
        found.append(f"last {said[-1]}")
    return tuple(map(_digest, found))


def long_messages(trajectory: Trajectory) -> Iterator[bytes]:
    """16 bytes for each prompt and tool result of LONG_BYTES or more. System prompts are a harness's, the same on purpose."""
    lines: tuple[Trajectory | Branch, ...] = (trajectory, *trajectory.branches)
    for line in lines:
        for turn in line.turns:
            for message in turn.appended:
                if message.role in ("user", "tool") and len(message.content) >= LONG_BYTES:
                    yield _digest(message.content)


def public_places(task_keys: Sequence[tuple[bytes, ...]], share: float, seed: int) -> frozenset[int]:
    """Places of the public part: whole tasks, in seeded order, until `share` (0..1) of the trajectories is reached, or the next task would
    go further beyond it than what is there falls short. Empty for share 0."""
    groups = _groups(task_keys)
    draw = Stream(seed, "split")
    for last in range(len(groups) - 1, 0, -1):
        other = draw.below(last + 1)
        groups[last], groups[other] = groups[other], groups[last]
    wanted = share * len(task_keys)
    public: set[int] = set()
    for group in groups:
        if abs(len(public) + len(group) - wanted) < abs(len(public) - wanted):
            public.update(group)
    return frozenset(public)


def tasks(task_keys: Sequence[tuple[bytes, ...]]) -> int:
    """How many different tasks the set has."""
    return len(_groups(task_keys))


def _groups(task_keys: Sequence[tuple[bytes, ...]]) -> list[list[int]]:
    """Places that share a key, directly or through others; groups and their members in the set's order."""
    parent = list(range(len(task_keys)))

    def find(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[bytes, int] = {}
    for place, found in enumerate(task_keys):
        for key in found:
            a, b = find(first.setdefault(key, place)), find(place)
            parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for place in range(len(task_keys)):
        groups.setdefault(find(place), []).append(place)
    return list(groups.values())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
