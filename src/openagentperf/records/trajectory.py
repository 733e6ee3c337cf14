"""The native trajectory: one recorded coding session as deltas.

A recording that stores the full message list at every turn grows with the square of its length (200 turns of 131K tokens: 50 MB of
text for 0.5 MB of session). Here turn k stores only what it appended to turn k-1, so a trajectory is as large as its text, and
the byte-stable prefix (docs/methodology.md#prefix) holds by construction wherever `keep` is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from openagentperf.units import Ns

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True):
    """One call of a tool by the assistant; `arguments` is JSON text, byte for byte as recorded."""

    id: str
    name: str
    arguments: str


class Message(Struct, frozen=True, omit_defaults=True):
    """One message of the history, whatever dialect it came from."""

    role: Role
    content: str = ""
    reasoning: str = ""
    """Recorded reasoning. Not sent back as history: engines drop it, and its tokens are paid for once, as output."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """For role `tool`: the call that this answers."""


class Turn(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One LLM request, and the tool delay that follows its answer.

    The request's messages are those of the turn before (its first `keep` ones, if `keep` is not None) + `appended`.
    `appended` therefore opens with the recorded answer to the turn before, then its tool results.
    """

    appended: tuple[Message, ...]
    output_tokens: int
    """Tokens of the recorded answer, reasoning included; >= 1. The length asked for on the `exact` track."""
    input_tokens: int
    """Tokens of the whole request."""
    counted: Literal["recorded", "output estimated", "estimated"] = "estimated"
    """Where the counts come from: the provider's usage, or text length (corpus.tokens). `output estimated`: only the input is recorded,
    as in Claude Code's files before 2.1.200, which hold the output count that stood in the stream's first event."""
    cached_tokens: int | None = None
    """Of the input, served from the provider's prefix cache; None where the recording does not say."""
    tool_calls: int = 0
    """Calls in the recorded answer (parallel calls count each)."""
    tool_delay_ns: Ns | None = None
    """From the answer's end to the next request; None where the recording has no times (the compiler then draws one)."""
    keep: int | None = None
    """None: append-only. Else the history is cut to its first `keep` messages here: a compaction point."""
    cut: Literal["", "compaction", "microcompaction", "undeclared"] = ""
    """Why `keep` is set. `undeclared`: the recording rewrote its history without saying so; the compiler refuses it unless told."""


class Branch(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A sub-agent: a line of requests with a history of its own, started by an answer of its parent line.

        parent's turn `after` is answered -> SPAWN -> delay_ns -> the branch's turns, one after the other -> JOIN -> parent's turn `join`

    Several branches may run at once, and beside their parent. The tool delay of the parent's turn does not hold the wait for a branch
    that joins before the parent's next turn: how long that takes is up to the system that answers the branch.
    """

    name: str
    """Unique in the trajectory, never ""."""
    turns: tuple[Turn, ...]
    parent: str = ""
    """Name of the line that spawned it; "" is the main line. A parent stands before its children in Trajectory.branches."""
    after: int
    """SPAWN: the parent's turn whose answer started it."""
    join: int | None = None
    """JOIN: the parent's first turn that waits for this branch's end, `after` < join < number of the parent's turns. None: in the
    background; the parent goes on, and only the end of the whole tree waits."""
    delay_ns: Ns | None = None
    """From the end of the parent's answer to the branch's first request; None where not recorded (then 0)."""
    tools: tuple[str, ...] = ()
    """As Trajectory.tools; a sub-agent is often offered fewer."""


class Trajectory(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One session: its turns in order, and where it comes from."""

    id: str
    turns: tuple[Turn, ...]
    """The main line."""
    branches: tuple[Branch, ...] = ()
    """Sub-agents. The session is a tree: it has ended when its main line and every branch have."""
    tools: tuple[str, ...] = ()
    """Tool definitions, each the JSON text of one OpenAI `tools` entry, offered at every turn."""
    format: str = ""
    """The importer or generator that made it: `agentperf-local`, `claude-code`, `openai-chat`, `generated:agentperf`."""
    source: str = ""
    """File or data set it came from, or the generator's profile and seed."""
    task: str = ""
    """What was asked, by a name that all recordings of the same task share (a benchmark's instance id); "" where the recording has none.
    Trajectories of one task never stand on both sides of a split (corpus.split)."""
    licence: str = ""
    """SPDX id of the text's licence; "" where unknown."""
    language: str = ""
    """Main programming language of the code worked on; "" where unknown."""
    harness: str = ""
    """Agent program and version."""
    model: str = ""
    """Model that answered in the recording."""
    notes: tuple[str, ...] = ()
    """What the importer filled in or left out, in words."""


class Skipped(Struct, frozen=True):
    """One line or record that an importer could not use. Counted, named, never silently dropped."""

    where: str
    """`file:line`, or the record's path."""
    why: str


def lines(trajectory: Trajectory) -> tuple[Trajectory | Branch, ...]:
    """The main line, then the branches in their order: how the turns of a tree are numbered through (records.tree)."""
    return (trajectory, *trajectory.branches)


def histories(line: Trajectory | Branch) -> Iterator[list[Message]]:
    """The full message list of each turn of one line, in order. The list is reused: copy it to keep it."""
    messages: list[Message] = []
    for turn in line.turns:
        if turn.keep is not None:
            del messages[turn.keep :]
        messages.extend(turn.appended)
        yield messages
