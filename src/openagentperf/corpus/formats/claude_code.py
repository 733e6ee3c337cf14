"""Claude Code session files: JSONL, a line for each content block, linked into a tree.

A request is one API response (`message.id`), spread over several lines that repeat its usage. Input tokens are the sum of
fresh, cache-written and cache-read ones. Output tokens are the largest count of its lines, and at least what its visible text
comes to: versions before about 2.1.200 write the count that stood in the stream's first event, often 1.
Each sub-agent (a sidechain) becomes a trajectory of its own, its turns marked with the branch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from openagentperf.corpus.formats import claude_blocks, injected
from openagentperf.corpus.formats.claude_blocks import Answer
from openagentperf.corpus.formats.claude_lines import Node, nodes
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.mend import Mender, results_first, sentences
from openagentperf.corpus.formats.prefix import prefix
from openagentperf.corpus.formats.tree import branches, main_chain
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory, Turn

FORMAT = "claude-code"
CLEARED = "[Old tool result content cleared]"
"""What microcompaction leaves of a tool result."""


def recognises(head: Head) -> bool:
    """Whether a line of the first ones hangs in the tree."""
    return any({"uuid", "parentUuid", "type", "sessionId"} <= record.keys() for record in head.records)


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """The session's main line, then each sub-agent that the file holds. Raises CorpusError where nothing was answered."""
    by_agent = branches(nodes(data, source, skipped))
    found = False
    for agent, members in by_agent.items():
        notes: Counter[str] = Counter()
        if not agent and len(by_agent) > 1:
            notes["sub-agents kept as trajectories of their own"] += len(by_agent) - 1
        chain, joined = main_chain(members)
        if joined:
            notes["broken parent links joined by file order"] += joined
        left_out = {node.response for node in members} - {node.response for node in chain}
        if left_out:
            notes["requests on abandoned branches left out"] += len(left_out)
        trajectory = _Session(chain, agent, notes).trajectory(source)
        if trajectory is not None:
            found = True
            yield trajectory
    if not found:
        raise CorpusError(
            source,
            "holds no answered request",
            "assistant lines are needed",
            "check that it is a Claude Code session file",
        )


class _Session:
    """One chain of lines on its way to a trajectory.

    `_history` is what the next request would send; the first `_mark` messages of it were sent by the last one, and `_keep`
    is set once a compaction changed one of those.
    """

    def __init__(self, chain: Sequence[Node], agent: str, notes: Counter[str]) -> None:
        self._chain = chain
        self._agent = agent
        self._notes = notes
        self._mender = Mender(notes)
        self._answers = claude_blocks.answers(chain, notes)
        self._result_stamps = claude_blocks.result_stamps(chain)
        self._version = next((node.version for node in chain if node.version), "")
        self._history: list[Message] = []
        self._pending: list[Message] = []
        self._mark = 0
        self._keep: int | None = None
        self._compacted = False
        self._system = ""
        self._turns: list[Turn] = []

    def trajectory(self, source: str) -> Trajectory | None:
        """The session; None if the chain holds no answer."""
        done: set[str] = set()
        for node in self._chain:
            if node.kind == "assistant":
                if node.response not in done:
                    done.add(node.response)
                    self._request(self._answers[node.response])
            elif node.kind == "user":
                self._pending += claude_blocks.user_messages(node, self._notes)
            elif node.kind == "attachment":
                self._inject(node)
            elif node.kind == "compaction":
                self._compact()
            elif node.kind == "microcompaction":
                self._clear(frozenset(node.compacted))
        if not self._turns:
            return None
        session = next((node.session for node in self._chain if node.session), source)
        last = self._turns[-1]
        if last.counted != "estimated":
            share = round(100 * sum(map(estimate_message, self._history[: self._mark])) / last.input_tokens)
            # Signed thinking stays in the provider's context but not in the file; engines get the text that is there.
            self._notes["per cent of the last request's recorded tokens are there as text"] = share
        return Trajectory(
            id=f"{session}:{self._agent}" if self._agent else session,
            turns=tuple(self._turns),
            format=FORMAT,
            source=source,
            language=claude_blocks.file_language(list(self._answers.values())),
            harness=f"claude-code {self._version}".strip(),
            model=next((answer.model for answer in self._answers.values() if answer.model), ""),
            notes=sentences(self._notes),
        )

    def _request(self, answer: Answer) -> None:
        """The request that `answer` answers: everything that came before it."""
        step = results_first(self._pending, self._notes) if self._turns else self._pending
        self._history += self._mender.take(step)
        self._history += self._mender.settle()
        if not self._turns:
            self._open(answer)
        base = self._mark if self._keep is None else self._keep
        output = max(1, answer.output_tokens, answer.visible_tokens)
        known = answer.input_tokens > 0
        counted: Literal["recorded", "output estimated", "estimated"] = "recorded" if known else "estimated"
        if answer.visible_tokens > answer.output_tokens:
            self._notes["output counts below the visible text replaced by its estimate"] += 1
            counted = "output estimated" if known else "estimated"
        self._turns.append(
            Turn(
                appended=tuple(self._history[base:]),
                output_tokens=output,
                input_tokens=answer.input_tokens if known else max(1, sum(map(estimate_message, self._history))),
                counted=counted,
                cached_tokens=answer.cached_tokens if known else None,
                tool_calls=len(answer.message.tool_calls),
                tool_delay_ns=claude_blocks.delay_ns(answer, self._result_stamps),
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
            harness = f"{FORMAT} {self._version}{' sub-agent' if self._agent else ''}"
            self._notes["tokens of system prompt and tools that were not recorded filled in with text of our own"] += (
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
        self._mender = Mender(self._notes)
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
