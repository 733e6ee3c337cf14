"""Make a trajectory fit what a run asks for: short enough for the model's context, and with a tool delay after every answer.

A tree is as sound, as short and as slow as each of its lines: the main one and every branch are looked at in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from openagentperf.records.trajectory import Branch, Trajectory, Turn, lines
from openagentperf.seeds import Stream
from openagentperf.units import NS_PER_S, Ns, s_to_ns

DELAY_MEDIAN_S = 1.0
DELAY_SIGMA = 1.3
DELAY_FLOOR_NS: Ns = NS_PER_S // 10
DELAY_CAP_NS: Ns = 60 * NS_PER_S
"""Tool delays of recorded sessions: log-normal, median 1 s, sigma 1.3 (docs/methodology.md#workload). Below the floor no tool answers;
above the cap lie people, not tools (0.2 to 3.8 % of recorded delays)."""


def fault(trajectory: Trajectory) -> str:
    """Why no request can be made of this trajectory, in words; "" where it can be."""
    if why := _line_fault(trajectory.turns):
        return why
    sizes = {"": len(trajectory.turns)}
    for branch in trajectory.branches:
        if not branch.name or branch.name in sizes:
            return f"branch {branch.name!r} has no name of its own"
        if why := _branch_fault(branch, sizes.get(branch.parent)) or _line_fault(branch.turns):
            return f"branch {branch.name!r}: {why}"
        sizes[branch.name] = len(branch.turns)
    return ""


def _branch_fault(branch: Branch, parent_turns: int | None) -> str:
    """What is wrong with where a branch hangs; `parent_turns` is None where no line of its parent's name stands before it."""
    if parent_turns is None:
        return f"its parent {branch.parent!r} does not stand before it"
    if not 0 <= branch.after < parent_turns:
        return f"it is spawned by turn {branch.after} of a line with {parent_turns} turns"
    if branch.join is not None and not branch.after < branch.join < parent_turns:
        return f"spawned by turn {branch.after}, it is joined at turn {branch.join} of a line with {parent_turns} turns"
    if branch.delay_ns is not None and branch.delay_ns < 0:
        return f"it is spawned after {branch.delay_ns} ns"
    return ""


def _line_fault(turns: tuple[Turn, ...]) -> str:
    if not turns:
        return "it has no turns"
    size = 0
    for k, turn in enumerate(turns):
        if turn.keep is not None:
            if not 0 <= turn.keep <= size:
                return f"turn {k} keeps {turn.keep} messages of {size}"
            size = turn.keep
        size += len(turn.appended)
        if not size:
            return f"turn {k} has no message"
        if turn.output_tokens < 1 or turn.input_tokens < 0:
            return f"turn {k} has {turn.input_tokens} input and {turn.output_tokens} output tokens"
        if turn.tool_delay_ns is not None and turn.tool_delay_ns < 0:
            return f"turn {k} has a tool delay of {turn.tool_delay_ns} ns"
    return ""


def turns_of(trajectory: Trajectory) -> int:
    """Turns of the whole tree."""
    return sum(len(line.turns) for line in lines(trajectory))


def cut(trajectory: Trajectory, max_context_tokens: int) -> Trajectory | None:
    """Each line's turns before the first whose input + output tokens exceed `max_context_tokens`; None where the very first turn does.

    Later turns may fit again, behind a compaction. They are left out all the same: the agent would never have reached them. With a turn
    goes every branch that its answer spawns, and with a branch its own. A branch of which no turn fits is left out; one that was to be
    joined at a turn that is gone ends in the background.
    """
    turns = _fitting(trajectory.turns, max_context_tokens)
    if not turns:
        return None
    sizes = {"": len(turns)}
    branches: list[Branch] = []
    for branch in trajectory.branches:
        fitting, parent_turns = _fitting(branch.turns, max_context_tokens), sizes.get(branch.parent, 0)
        if not fitting or branch.after >= parent_turns:
            continue
        sizes[branch.name] = len(fitting)
        join = None if branch.join is None or branch.join >= parent_turns else branch.join
        same = fitting is branch.turns and join == branch.join
        branches.append(branch if same else msgspec.structs.replace(branch, turns=fitting, join=join))
    if turns is trajectory.turns and _same(branches, trajectory.branches):
        return trajectory
    return msgspec.structs.replace(trajectory, turns=turns, branches=tuple(branches))


def _fitting(turns: tuple[Turn, ...], max_context_tokens: int) -> tuple[Turn, ...]:
    for k, turn in enumerate(turns):
        if turn.input_tokens + turn.output_tokens > max_context_tokens:
            return turns[:k]
    return turns


def _same(branches: list[Branch], before: tuple[Branch, ...]) -> bool:
    return len(branches) == len(before) and all(a is b for a, b in zip(branches, before, strict=True))


def recorded_delays(trajectory: Trajectory) -> Iterator[Ns]:
    """Every wait that the recording has: tool delays, and those before a branch's first request."""
    for line in lines(trajectory):
        for turn in line.turns:
            if turn.tool_delay_ns is not None:
                yield turn.tool_delay_ns
    for branch in trajectory.branches:
        if branch.delay_ns is not None:
            yield branch.delay_ns


def shorten_delays(trajectory: Trajectory, limit_ns: Ns) -> tuple[Trajectory, int]:
    """The trajectory with every recorded delay above `limit_ns` cut to it, and how many that were."""
    long = sum(delay_ns > limit_ns for delay_ns in recorded_delays(trajectory))
    if not long:
        return trajectory, 0
    branches = tuple(
        msgspec.structs.replace(
            branch,
            turns=_shortened(branch.turns, limit_ns),
            delay_ns=None if branch.delay_ns is None else min(branch.delay_ns, limit_ns),
        )
        for branch in trajectory.branches
    )
    turns = _shortened(trajectory.turns, limit_ns)
    return msgspec.structs.replace(trajectory, turns=turns, branches=branches), long


def _shortened(turns: tuple[Turn, ...], limit_ns: Ns) -> tuple[Turn, ...]:
    return tuple(
        msgspec.structs.replace(turn, tool_delay_ns=limit_ns)
        if turn.tool_delay_ns is not None and turn.tool_delay_ns > limit_ns
        else turn
        for turn in turns
    )


def missing_delays(trajectory: Trajectory) -> int:
    """How many tool delays `with_delays` would draw."""
    return sum(turn.tool_delay_ns is None for line in lines(trajectory) for turn in line.turns[:-1])


def with_delays(trajectory: Trajectory, seed: int, cap_ns: Ns = DELAY_CAP_NS) -> Trajectory:
    """The trajectory with a drawn delay wherever the recording has none; recorded ones stay as they are.

        delay = LogNormal(median 1 s, sigma 1.3), within 0.1 s .. cap_ns (60 s); a cap below 0.1 s wins

    Drawn from (seed, trajectory id, turn), for a branch's turns from its name as well: the same turn waits as long in every run of the
    seed, whatever else is in the corpus. A line's last answer has nothing to wait for, so that its delay, where none is recorded, stays
    None (0 s in the compiled form), as does that before a branch's first request.
    """
    if not missing_delays(trajectory):
        return trajectory
    branches = tuple(
        msgspec.structs.replace(branch, turns=_drawn(branch.turns, seed, cap_ns, trajectory.id, branch.name))
        for branch in trajectory.branches
    )
    turns = _drawn(trajectory.turns, seed, cap_ns, trajectory.id)
    return msgspec.structs.replace(trajectory, turns=turns, branches=branches)


def _drawn(turns: tuple[Turn, ...], seed: int, cap_ns: Ns, *names: str) -> tuple[Turn, ...]:
    """`names` tell the line from every other."""
    made = list(turns)
    for k, turn in enumerate(turns[:-1]):
        if turn.tool_delay_ns is None:
            drawn = s_to_ns(Stream(seed, "tool-delay", *names, k).lognormal(DELAY_MEDIAN_S, DELAY_SIGMA))
            made[k] = msgspec.structs.replace(turn, tool_delay_ns=min(max(drawn, DELAY_FLOOR_NS), cap_ns))
    return tuple(made)
