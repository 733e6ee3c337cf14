"""Claude Code session files: JSONL, a line for each content block, linked into a tree.

A request is one API response (`message.id`), spread over several lines that repeat its usage. Input tokens are the sum of
fresh, cache-written and cache-read ones. Output tokens are the largest count of its lines, and at least what its visible text
comes to: versions before about 2.1.200 write the count that stood in the stream's first event, often 1.
Sub-agents that the file holds become branches of the line whose call started them (claude_agents), each with a history of its own; one
whose call is not found, and one that lies in a file of its own, stays a trajectory of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from openagentperf.corpus.formats import claude_agents, claude_blocks, injected
from openagentperf.corpus.formats.claude_agents import Spawn
from openagentperf.corpus.formats.claude_blocks import Answer
from openagentperf.corpus.formats.claude_lines import Node, nodes
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.mend import Mender, results_first, sentences
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.formats.tree import branches, main_chain
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, Trajectory, Turn

FORMAT = "claude-code"
CLEARED = "[Old tool result content cleared]"
"""What microcompaction leaves of a tool result."""


def recognises(head: Head) -> bool:
    """Whether a line of the first ones hangs in the tree."""
    return any({"uuid", "parentUuid", "type", "sessionId"} <= record.keys() for record in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The session with the sub-agents that the file holds. Raises CorpusError where nothing was answered."""
    notes: dict[str, Counter[str]] = {}
    chains: dict[str, list[Node]] = {}
    for agent, members in branches(nodes(data, source, skipped)).items():
        its = notes[agent] = Counter()
        chain, broken = main_chain(members)
        if broken:
            its["broken parent links joined by file order"] += broken
        left_out = {node.response for node in members} - {node.response for node in chain}
        if left_out:
            its["requests on abandoned branches left out"] += len(left_out)
        chains[agent] = chain
    for agent, report in claude_agents.reports(chains).items():
        if agent in chains:
            chains[agent], added = claude_agents.with_last_answer(chains[agent], report)
            notes[agent].update({"last answers of sub-agents taken from the result of their call": 1} if added else {})
    found = claude_agents.spawns({agent: chain for agent, chain in chains.items() if not agent or _answered(chain)})
    joined = frozenset(spawn.call for spawn in found.values() if spawn.joins)
    trees: dict[str, _Tree] = {}
    for agent, chain in chains.items():
        session = _Session(chain, agent, notes[agent], joined)
        if not session.turns:
            continue
        # The line that spawned it stands before it in the file, so that it has been read.
        tree = trees.get(found[agent].line) if agent in found else None
        if tree is None or not tree.add(agent, session, found[agent]):
            tree = _Tree(agent, session)
        trees[agent] = tree
    whole = [tree for agent, tree in trees.items() if tree.root == agent]
    apart = len(whole) - ("" in trees)
    if apart and "" in trees:
        notes[""]["sub-agents kept as trajectories of their own"] += apart
    for tree in whole:
        yield tree.trajectory(source)
    if not whole:
        raise CorpusError(
            source,
            "holds no answered request",
            "assistant lines are needed",
            "check that it is a Claude Code session file",
        )


def _answered(chain: Sequence[Node]) -> bool:
    return any(node.kind == "assistant" for node in chain)


class _Tree:
    """A line and the sub-agents that hang on it, on its way to a trajectory."""

    def __init__(self, root: str, session: _Session) -> None:
        self.root = root
        self._sessions = {root: session}
        self._branches: list[Branch] = []

    def add(self, agent: str, session: _Session, spawn: Spawn) -> bool:
        """Whether the sub-agent has its place: its call's answer must be one of the line's turns."""
        parent = self._sessions[spawn.line]
        after, join = parent.asked.get(spawn.call), parent.came.get(spawn.call)
        if after is None:
            return False
        self._sessions[agent] = session
        self._branches.append(
            Branch(
                name=agent,
                turns=session.turns,
                parent="" if spawn.line == self.root else spawn.line,
                after=after,
                join=join if spawn.joins and join is not None and join > after else None,
                delay_ns=spawn.delay_ns,
            )
        )
        return True

    def trajectory(self, source: str) -> Trajectory:
        root, sessions = self._sessions[self.root], self._sessions.values()
        notes: Counter[str] = Counter()
        for session in sessions:
            notes.update(session.notes)
        if (share := root.text_share()) is not None:
            # Signed thinking stays in the provider's context but not in the file; engines get the text that is there.
            notes["per cent of the last request's recorded tokens are there as text"] = share
        answers = [answer for session in sessions for answer in session.answers.values()]
        return Trajectory(
            id=f"{root.id or source}:{self.root}" if self.root else root.id or source,
            turns=root.turns,
            branches=tuple(self._branches),
            format=FORMAT,
            source=source,
            language=claude_blocks.file_language(answers),
            harness=f"claude-code {root.version}".strip(),
            model=next((answer.model for answer in root.answers.values() if answer.model), ""),
            notes=sentences(notes),
        )


class _Session:
    """The requests of one chain of lines.

    `_history` is what the next request would send; the first `_mark` messages of it were sent by the last one, and `_keep`
    is set once a compaction changed one of those.
    """

    def __init__(self, chain: Sequence[Node], agent: str, notes: Counter[str], joined: frozenset[str]) -> None:
        self._agent = agent
        self.notes = notes
        self._mender = Mender(notes)
        self._joined = joined
        self.answers = claude_blocks.answers(chain, notes)
        self._result_stamps = claude_blocks.result_stamps(chain)
        self.id = next((node.session for node in chain if node.session), "")
        self.version = next((node.version for node in chain if node.version), "")
        self._history: list[Message] = []
        self._pending: list[Message] = []
        self._mark = 0
        self._keep: int | None = None
        self._compacted = False
        self._system = ""
        self._turns: list[Turn] = []
        self.asked: dict[str, int] = {}
        """For each call: the turn whose answer made it."""
        self.came: dict[str, int] = {}
        """For each result: the first turn that sent it."""
        self._walk(chain)

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    def text_share(self) -> int | None:
        """Per cent of the last request's recorded tokens that are there as text; None where none are recorded."""
        last = self._turns[-1]
        if last.counted == "estimated":
            return None
        return round(100 * sum(map(estimate_message, self._history[: self._mark])) / last.input_tokens)

    def _walk(self, chain: Sequence[Node]) -> None:
        done: set[str] = set()
        for node in chain:
            if node.kind == "assistant":
                if node.response not in done:
                    done.add(node.response)
                    self._request(self.answers[node.response])
            elif node.kind == "user":
                self._pending += claude_blocks.user_messages(node, self.notes)
            elif node.kind == "attachment":
                self._inject(node)
            elif node.kind == "compaction":
                self._compact()
            elif node.kind == "microcompaction":
                self._clear(frozenset(node.compacted))

    def _request(self, answer: Answer) -> None:
        """The request that `answer` answers: everything that came before it."""
        step = results_first(self._pending, self.notes) if self._turns else self._pending
        for message in step:
            if message.role == "tool":
                self.came.setdefault(message.tool_call_id, len(self._turns))
        for call in answer.message.tool_calls:
            self.asked.setdefault(call.id, len(self._turns))
        self._history += self._mender.take(step)
        self._history += self._mender.settle()
        if not self._turns:
            self._open(answer)
        base = self._mark if self._keep is None else self._keep
        output = max(1, answer.output_tokens, answer.visible_tokens)
        known = answer.input_tokens > 0
        counted: Literal["recorded", "output estimated", "estimated"] = "recorded" if known else "estimated"
        if answer.visible_tokens > answer.output_tokens:
            self.notes["output counts below the visible text replaced by its estimate"] += 1
            counted = "output estimated" if known else "estimated"
        self._turns.append(
            Turn(
                appended=tuple(self._history[base:]),
                output_tokens=output,
                input_tokens=answer.input_tokens if known else max(1, sum(map(estimate_message, self._history))),
                counted=counted,
                cached_tokens=answer.cached_tokens if known else None,
                tool_calls=len(answer.message.tool_calls),
                tool_delay_ns=claude_blocks.delay_ns(answer, self._result_stamps, self._joined),
                keep=self._keep,
                cut="" if self._keep is None else "compaction" if self._compacted else "microcompaction",
            )
        )
        self._mark = len(self._history)
        self._keep = None
        self._compacted = False
        self._pending = []
        self._history += self._mender.take([answer.message])

    def _open(self, answer: Answer) -> None:
        """Put the system prompt in front: the recorded one, or a stand-in as long as the first request says it was."""
        text = self._system
        missing = answer.input_tokens - sum(map(estimate_message, self._history)) - estimate(text) - MESSAGE_TOKENS
        if missing > 0:
            harness = f"{FORMAT} {self.version}{' sub-agent' if self._agent else ''}"
            self.notes["tokens of system prompt and tools that were not recorded filled in with text of our own"] += (
                missing
            )
            filled = prefix(harness, missing * 7 // 2)
            text = f"{text}\n{filled}" if text else filled
        if text:
            self._history.insert(0, Message(role="system", content=text))

    def _inject(self, node: Node) -> None:
        if prompt := injected.system_prompt(node.attachment):
            self._system = self._system or prompt
        elif text := injected.injected_text(node.attachment):
            self._pending.append(Message(role="user", content=text))

    def _compact(self) -> None:
        """Forget everything but the system message; the summary follows as the next user message."""
        systems = 1 if self._history and self._history[0].role == "system" else 0
        del self._history[systems:]
        self._pending = []
        self._mender = Mender(self.notes)
        if self._turns:
            self._keep = systems
            self._compacted = True

    def _clear(self, calls: frozenset[str]) -> None:
        """Replace the results of `calls`, in the middle of the history: what follows the first of them is sent anew."""
        for index, message in enumerate(self._history):
            if message.tool_call_id in calls and message.role == "tool" and message.content != CLEARED:
                self._history[index] = _cleared(message)
                if index < self._mark and (self._keep is None or index < self._keep):
                    self._keep = index
        self._pending = [
            _cleared(message) if message.role == "tool" and message.tool_call_id in calls else message
            for message in self._pending
        ]


def _cleared(message: Message) -> Message:
    return Message(role="tool", content=CLEARED, tool_call_id=message.tool_call_id)
