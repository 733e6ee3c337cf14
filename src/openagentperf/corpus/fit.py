"""Make a trajectory fit what a run asks for: short enough for the model's context, and with a tool delay after every answer."""

from __future__ import annotations

import msgspec

from openagentperf.records.trajectory import Trajectory, Turn
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
    if not trajectory.turns:
        return "it has no turns"
    size = 0
    for k, turn in enumerate(trajectory.turns):
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


def cut(trajectory: Trajectory, max_context_tokens: int) -> Trajectory | None:
    """The turns before the first whose input + output tokens exceed `max_context_tokens`; None where the very first does.

    Later turns may fit again, behind a compaction. They are left out all the same: the agent would never have reached them.
    """
    for k, turn in enumerate(trajectory.turns):
        if turn.input_tokens + turn.output_tokens > max_context_tokens:
            return msgspec.structs.replace(trajectory, turns=trajectory.turns[:k]) if k else None
    return trajectory


def shorten_delays(trajectory: Trajectory, limit_ns: Ns) -> tuple[Trajectory, int]:
    """The trajectory with every recorded tool delay above `limit_ns` cut to it, and how many that were."""
    long = sum(turn.tool_delay_ns is not None and turn.tool_delay_ns > limit_ns for turn in trajectory.turns)
    if not long:
        return trajectory, 0
    turns = tuple(
        msgspec.structs.replace(turn, tool_delay_ns=limit_ns)
        if turn.tool_delay_ns is not None and turn.tool_delay_ns > limit_ns
        else turn
        for turn in trajectory.turns
    )
    return msgspec.structs.replace(trajectory, turns=turns), long


def missing_delays(trajectory: Trajectory) -> int:
    """How many tool delays `with_delays` would draw."""
    return sum(turn.tool_delay_ns is None for turn in trajectory.turns[:-1])


def with_delays(trajectory: Trajectory, seed: int, cap_ns: Ns = DELAY_CAP_NS) -> Trajectory:
    """The trajectory with a drawn delay wherever the recording has none; recorded ones stay as they are.

        delay = LogNormal(median 1 s, sigma 1.3), within 0.1 s .. cap_ns (60 s); a cap below 0.1 s wins

    Drawn from (seed, trajectory id, turn): the same turn waits as long in every run of the seed, whatever else is in the corpus. The
    last answer has nothing to wait for, so that its delay, where none is recorded, stays None (0 s in the compiled form).
    """
    if not missing_delays(trajectory):
        return trajectory
    inner, last = trajectory.turns[:-1], trajectory.turns[-1]
    turns = tuple(
        turn if turn.tool_delay_ns is not None else _with_delay(turn, seed, trajectory.id, k, cap_ns)
        for k, turn in enumerate(inner)
    )
    return msgspec.structs.replace(trajectory, turns=(*turns, last))


def _with_delay(turn: Turn, seed: int, trajectory_id: str, k: int, cap_ns: Ns) -> Turn:
    drawn = s_to_ns(Stream(seed, "tool-delay", trajectory_id, k).lognormal(DELAY_MEDIAN_S, DELAY_SIGMA))
    return msgspec.structs.replace(turn, tool_delay_ns=min(max(drawn, DELAY_FLOOR_NS), cap_ns))
