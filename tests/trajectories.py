"""Hand-made trajectories and strategies for tests of the corpus."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from hypothesis import strategies as st

from openagentperf.corpus.prefix import Encoded
from openagentperf.records.trajectory import Branch, Message, ToolCall, Trajectory, Turn, lines

TEXT = st.text(alphabet='ab é"\\\n\0{[,\U0001f600', max_size=12)
"""What JSON has to escape, and characters of one, two and four bytes."""
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(("system", "user", "assistant", "tool")),
    content=TEXT,
    tool_calls=st.lists(st.builds(ToolCall, id=TEXT, name=TEXT, arguments=TEXT), max_size=1).map(tuple),
)
Cut: TypeAlias = Literal["", "compaction", "microcompaction", "undeclared"]
CUTS: st.SearchStrategy[Cut] = st.sampled_from(("compaction", "microcompaction", "undeclared"))
TOOLS = st.lists(st.sampled_from(('{"type":"function"}', '{"n":"é"}')), max_size=2).map(tuple)


def encode(message: Message) -> Encoded:
    """A plain, stable encoder in which every message has a content."""
    head = b'{"role":"' + message.role.encode() + b'","content":'
    body = head + msgspec.json.encode(message.content)
    if message.tool_calls:
        body += b',"tool_calls":' + msgspec.json.encode(message.tool_calls)
    return Encoded(body + b"}", len(head) + 1)


@st.composite
def trajectories(draw: st.DrawFn, min_turns: int = 1) -> Trajectory:
    """A few turns, some of them cuts of any kind."""
    turns: list[Turn] = []
    size = 0
    for k in range(draw(st.integers(min_turns, 6))):
        keep = draw(st.none() | st.integers(0, size)) if k else None
        cut: Cut = "" if keep is None else draw(CUTS)
        size = size if keep is None else keep
        appended = draw(st.lists(MESSAGES, min_size=0 if size else 1, max_size=3))
        size += len(appended)
        turns.append(
            Turn(
                appended=tuple(appended),
                input_tokens=draw(st.integers(0, 1 << 40)),
                output_tokens=draw(st.integers(1, 1 << 40)),
                tool_delay_ns=draw(st.none() | st.integers(0, 1 << 50)),
                keep=keep,
                cut=cut,
            )
        )
    return Trajectory(id=draw(TEXT), turns=tuple(turns), tools=draw(TOOLS))


@st.composite
def forests(draw: st.DrawFn) -> Trajectory:
    """A trajectory with up to three sub-agents, each on any line before it."""
    made = draw(trajectories())
    branches: list[Branch] = []
    for number in range(draw(st.integers(0, 3))):
        parent = draw(st.sampled_from(lines(msgspec.structs.replace(made, branches=tuple(branches)))))
        after = draw(st.integers(0, len(parent.turns) - 1))
        of = draw(trajectories())
        branches.append(
            Branch(
                name=f"b{number}",
                parent=parent.name if isinstance(parent, Branch) else "",
                after=after,
                join=draw(st.sampled_from([None, *range(after + 1, len(parent.turns))])),
                delay_ns=draw(st.none() | st.integers(0, 1 << 40)),
                turns=of.turns,
                tools=of.tools,
            )
        )
    return msgspec.structs.replace(made, branches=tuple(branches))


def branch(name: str, after: int, join: int | None = None, turns: int = 2, parent: str = "", text: str = "") -> Branch:
    """A sub-agent with a session of its own."""
    return Branch(name=name, parent=parent, after=after, join=join, turns=session(name, turns, text=text).turns)


def session(id: str = "s", turns: int = 4, tools: tuple[str, ...] = (), text: str = "") -> Trajectory:
    """System prompt and task, then an answer and a tool's result at each turn. Turn k: 100 + 50 k tokens in, 10 out."""
    made = [
        Turn(
            appended=(Message("system", "You fix bugs."), Message("user", f"Fix bug {id}. {text}")),
            input_tokens=100,
            output_tokens=10,
        )
    ]
    for k in range(1, turns):
        call = ToolCall(f"c{k}", "bash", '{"command":"ls"}')
        made.append(
            Turn(
                appended=(
                    Message("assistant", "", tool_calls=(call,)),
                    Message("tool", f"file{k}.py", tool_call_id=call.id),
                ),
                input_tokens=100 + 50 * k,
                output_tokens=10,
            )
        )
    return Trajectory(id=id, turns=tuple(made), tools=tools)


def rewritten(trajectory: Trajectory, turn: int, cut: Cut, keep: int) -> Trajectory:
    """The same, with the history cut to `keep` messages at `turn`."""
    turns = list(trajectory.turns)
    turns[turn] = msgspec.structs.replace(turns[turn], keep=keep, cut=cut)
    return msgspec.structs.replace(trajectory, turns=tuple(turns))
