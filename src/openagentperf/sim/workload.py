"""What the simulation may know of a corpus: token counts, delays, lines, and which prompt begins with what others have computed.

A prompt is not text here but a *chain*: the strands (runs of tokens with one content) that it passes through before its own.

    preamble      tools and system prompt, up to the replay nonce: shared by all agents (corpus.sharing, sim.preambles)
    segment       a line's turns without a cut: each prompt is the beginning of the next one's. Content of one replay, found by nobody else
    a cut         a segment that leaves the one before it where the kept messages end
    a sub-agent   one that leaves another line's segment where its first request stops being equal to that line's

Prompts of one segment are beginnings of each other, so (chain, length) names every block of every prompt. Lengths are the corpus's own
counts; positions inside a prompt come from its bytes, by the prompt's own tokens a byte.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from openagentperf.corpus.layout import Compiled, Slot
from openagentperf.corpus.prefix import common_bytes
from openagentperf.records.tree import Line
from openagentperf.sim.preambles import Preambles
from openagentperf.sim.strand import beginning
from openagentperf.units import Ns

Chain: TypeAlias = tuple[tuple[int, int], ...]
"""(strand, tokens from the prompt's start to where it is left), outermost first. Below 0: a preamble that all agents share. From 0: a
segment of the same replay, by its number in the whole set."""

ENDLESS = 1 << 60
"""Block at which a prompt leaves its own strand: never."""
_BYTES_PER_TOKEN = 4


class PlainTurn(NamedTuple):
    """A turn of a workload made by hand."""

    input_tokens: int
    output_tokens: int
    delay_ns: Ns = 0


class Workload:
    """The shape of a corpus (agent.Shape), flat columns and picklable: 40 bytes a turn, whatever text stands behind it."""

    def __init__(self) -> None:
        self.first = array("q", [0])
        """Row of each trajectory's first turn; one entry more than trajectories."""
        self.first_line = array("q", [0])
        self._lines = tuple(array("q") for _ in Line._fields)
        self.input_tokens = array("q")
        self.output_tokens = array("q")
        self.delays_ns = array("q")
        self.request_bytes = array("q")
        """Messages and tools as JSON, without nonces."""
        self.segment = array("q")
        """Of each turn."""
        self.chains: list[Chain] = []
        """Of each segment: what its prompts pass through before its own tokens."""

    # -- agent.Shape ---------------------------------------------------------------------------------------------------------

    @property
    def trajectories(self) -> int:
        return len(self.first) - 1

    @property
    def total_turns(self) -> int:
        return len(self.input_tokens)

    def lines(self, trajectory: int) -> list[Line]:
        rows = range(self.first_line[trajectory], self.first_line[trajectory + 1])
        return [Line(*(column[row] for column in self._lines)) for row in rows]

    def locate(self, number: int) -> tuple[int, int]:
        trajectory = bisect_right(self.first, number) - 1
        return trajectory, number - self.first[trajectory]

    def delay_ns(self, trajectory: int, turn: int) -> Ns:
        return self.delays_ns[self.first[trajectory] + turn]

    def path(self, segment: int, conversation: int, block_tokens: int) -> tuple[tuple[int, int], ...]:
        """The chain of a segment's prompts, its own strand last, in blocks (sim.prefix.Path); keys from 0 differ between conversations."""
        base = conversation * len(self.chains)
        path, at = [], 0
        for strand, tokens in self.chains[segment]:
            leaves = tokens // block_tokens
            if leaves > at:
                path.append((strand if strand < 0 else base + strand, leaves))
                at = leaves
        path.append((base + segment, ENDLESS))
        return tuple(path)

    # -- making one ----------------------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, corpus: Compiled) -> Workload:
        """Of a compiled corpus. Reads every preamble, and both sides of every cut and fork."""
        work, preambles = cls(), Preambles()
        opened: list[tuple[int, Chain | _Fork]] = []
        """Per segment: the number of its preamble, or where it forks from."""
        for trajectory in range(corpus.trajectories):
            segments = _Segments(corpus, trajectory, len(opened), preambles)
            for line in corpus.lines(trajectory):
                work._put_line(line)
                segments.take(line)
            for turn in range(corpus.turns(trajectory)):
                work._put_turn(*segments.turns[turn])
            work._end_trajectory()
            opened += segments.opened
        work._chain(opened, preambles)
        return work

    @classmethod
    def plain(cls, trajectories: Iterable[Sequence[PlainTurn]], shared_tokens: int = 0) -> Workload:
        """Made by hand: one line each, no cuts, prompts that all begin with the same `shared_tokens`."""
        work = cls()
        for turns in trajectories:
            work._put_line(Line(0, len(turns)))
            for turn in turns:
                size = turn.input_tokens * _BYTES_PER_TOKEN
                work._put_turn(turn.input_tokens, turn.output_tokens, turn.delay_ns, size, len(work.chains))
            work.chains.append(((-1, shared_tokens),) if shared_tokens else ())
            work._end_trajectory()
        return work

    def _put_line(self, line: Line) -> None:
        for column, value in zip(self._lines, line, strict=True):
            column.append(value)

    def _put_turn(self, input_tokens: int, output_tokens: int, delay_ns: Ns, request_bytes: int, segment: int) -> None:
        # A recording may count 0: an engine always has one token to compute, and one to give.
        self.input_tokens.append(max(1, input_tokens))
        self.output_tokens.append(max(1, output_tokens))
        self.delays_ns.append(delay_ns)
        self.request_bytes.append(request_bytes)
        self.segment.append(segment)

    def _end_trajectory(self) -> None:
        self.first.append(len(self.input_tokens))
        self.first_line.append(len(self._lines[0]))

    def _chain(self, opened: Sequence[tuple[int, Chain | _Fork]], preambles: Preambles) -> None:
        paths = preambles.paths()
        known: dict[Chain, Chain] = {}
        for preamble, fork in opened:
            if isinstance(fork, _Fork):
                chain = beginning((*self.chains[fork.segment], (fork.segment, fork.tokens)), fork.tokens)
            else:
                chain = tuple((-1 - node, tokens) for node, tokens in paths[preamble])
            self.chains.append(known.setdefault(chain, chain))


class _Fork(NamedTuple):
    segment: int
    tokens: int
    """From the prompt's start to where the two part."""


class _Segments:
    """Cuts one trajectory's lines into segments and finds what each begins with."""

    def __init__(self, corpus: Compiled, trajectory: int, first: int, preambles: Preambles) -> None:
        self._corpus, self._trajectory, self._first, self._preambles = corpus, trajectory, first, preambles
        self.opened: list[tuple[int, Chain | _Fork]] = []
        self.turns: dict[int, tuple[int, int, Ns, int, int]] = {}
        """By turn: the arguments of Workload._put_turn."""
        self._tools: dict[int, bytes] = {}
        """By line."""
        self._last: list[tuple[int, int]] = []
        """Per segment: its line, and its last turn."""

    def take(self, line: Line) -> None:
        corpus, trajectory = self._corpus, self._trajectory
        index = corpus.line_of(trajectory, line.first)
        tools = bytes(corpus.tools(trajectory, index))
        self._tools[index] = tools
        before: Slot | None = None
        for turn in range(line.first, line.first + line.turns):
            slot = corpus.slot(trajectory, turn)
            if before is None or slot.start != before.start:
                self._open(index, turn, slot, before, tools)
                self._last.append((index, turn))
            self._last[-1] = (index, turn)
            size = slot.end - slot.start + len(tools)
            segment = self._first + len(self.opened) - 1
            self.turns[turn] = (slot.input_tokens, slot.output_tokens, slot.delay_ns, size, segment)
            before = slot

    def _open(self, line: int, turn: int, slot: Slot, before: Slot | None, tools: bytes) -> None:
        fork = None
        if before is not None:
            fork = self._fork(slot, turn, [(len(self.opened) - 1, turn - 1)], tools)
        elif line and self._corpus.shared_bytes(self._trajectory, line) - len(tools) > slot.replay_at - slot.start:
            others = [
                (segment, last) for segment, (other, last) in enumerate(self._last) if self._tools[other] == tools
            ]
            fork = self._fork(slot, turn, others, tools)
        if fork is not None:
            self.opened.append((-1, fork))
            return
        rate = slot.input_tokens / max(1, slot.end - slot.start + len(tools))
        head = self._messages(turn)[: slot.replay_at - slot.start]
        self.opened.append((self._preambles.add(tools, head, rate), ()))

    def _fork(self, slot: Slot, turn: int, others: Sequence[tuple[int, int]], tools: bytes) -> _Fork | None:
        """Where the prompt leaves the one of (segment, turn) that it has most in common with; None where that is before the replay nonce
        of either, which the preamble tells better."""
        nonce_at = slot.replay_at - slot.start
        # Only a prompt whose nonce stands at the same place can have it in common; the texts of the others are not read.
        alike = [(segment, theirs) for segment, theirs in others if self._nonce_at(theirs) == nonce_at]
        if not alike:
            return None
        ours, best, found = self._messages(turn), nonce_at, None
        for segment, theirs in alike:
            same = common_bytes(ours, self._messages(theirs))
            if same > best:
                best, found = same, segment
        if found is None:
            return None
        tokens = slot.input_tokens * (best + len(tools)) // max(1, len(ours) + len(tools))
        return _Fork(self._first + found, min(tokens, slot.input_tokens))

    def _nonce_at(self, turn: int) -> int:
        slot = self._corpus.slot(self._trajectory, turn)
        return slot.replay_at - slot.start

    def _messages(self, turn: int) -> bytes:
        return b"".join(self._corpus.message_pieces(self._trajectory, turn, b"", b"")[1:-1])
