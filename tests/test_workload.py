"""What a prompt has in common with others: preambles, cuts and forks, by hand and as a law over trees."""

from __future__ import annotations

import io
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.layout import Compiled, Piece
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Trajectory, Turn
from openagentperf.records.tree import Line
from openagentperf.sim.preambles import Preambles, Shared
from openagentperf.sim.workload import ENDLESS, PlainTurn, Workload
from trajectories import branch, encode, forests, rewritten, session


def written(*trajectories: Trajectory) -> bytes:
    buffer = io.BytesIO()
    compile_corpus(trajectories, encode, CompileOptions(), buffer.write)
    return buffer.getvalue()


def compiled(*trajectories: Trajectory) -> Compiled:
    return Compiled(written(*trajectories))


class Counted(Compiled):
    """Keeps which turns' texts were read."""

    def __init__(self, buffer: bytes) -> None:
        super().__init__(buffer)
        self.read: list[int] = []

    def message_pieces(self, t: int, k: int, phase_nonce: bytes, replay_nonce: bytes) -> list[Piece]:
        self.read.append(k)
        return super().message_pieces(t, k, phase_nonce, replay_nonce)


def test_turns_of_one_line_are_one_segment_behind_a_shared_preamble() -> None:
    work = Workload.of(compiled(session("a"), session("b", turns=2)))
    assert list(work.segment) == [0, 0, 0, 0, 1, 1]
    assert work.chains[0] is work.chains[1]
    ((strand, tokens),) = work.chains[0]
    assert strand < 0
    assert 0 < tokens < 100
    assert list(work.input_tokens) == [100, 150, 200, 250, 100, 150]


def test_other_tools_are_another_preamble() -> None:
    tools = ('{"type":"function"}',)
    work = Workload.of(compiled(session("a"), session("b", tools=tools), session("c", tools=tools)))
    strands = [{strand for strand, _ in chain} for chain in work.chains]
    assert not strands[0] & strands[1]
    assert strands[1] == strands[2]


def test_a_cut_leaves_the_segment_before_it_where_the_kept_messages_end() -> None:
    # Six messages at turn 2 (system, task, then an answer and a result each turn); four of them are kept at turn 3.
    work = Workload.of(compiled(rewritten(session("a", turns=5), 3, "compaction", 4)))
    assert list(work.segment) == [0, 0, 0, 1, 1]
    preamble, (strand, tokens) = work.chains[1]
    assert preamble == work.chains[0][0]
    assert strand == 0
    # Turn 3 has six messages again, 250 tokens; four of them are equal.
    assert 0.5 * 250 < tokens < 0.8 * 250


def test_a_cut_that_moves_the_replay_nonce_shares_what_precedes_it() -> None:
    """Only the system prompt is kept and no user message follows: the nonce then stands in it (corpus.compiler)."""
    work = Workload.of(compiled(rewritten(session("a", turns=5), 3, "compaction", 1)))
    ((strand, tokens),) = work.chains[1]
    assert strand < 0
    assert tokens < work.chains[0][0][1]


def test_a_sub_agent_with_a_session_of_its_own_shares_the_preamble_and_a_fork_the_history() -> None:
    made = session("a", turns=4)
    other = replace(made, branches=(branch("sub", after=1, text="another task"),))
    work = Workload.of(compiled(other))
    assert [strand < 0 for strand, _ in work.chains[1]] == [True]
    # A fork opens with its parent's history at turn 1 (four messages, 150 tokens) and goes on with another.
    history = (*made.turns[0].appended, *made.turns[1].appended)
    first = replace(made.turns[1], appended=(*history, made.turns[2].appended[1]), input_tokens=180)
    fork = replace(branch("fork", after=1), turns=(first, replace(made.turns[3], input_tokens=230)))
    work = Workload.of(compiled(replace(made, branches=(fork,))))
    assert list(work.segment) == [0, 0, 0, 0, 1, 1]
    *_, (strand, tokens) = work.chains[1]
    assert strand == 0
    assert 0.5 * 180 < tokens < 180


def test_a_fork_reads_no_prompt_whose_nonce_stands_elsewhere() -> None:
    """Each of hundreds of sub-agents would read all before it, and their texts are what takes long."""
    made = session("a", turns=4)
    other = branch("sub", after=0)
    system = replace(other.turns[0].appended[0], content="You look things up, and are told so at length.")
    other = replace(
        other, turns=(replace(other.turns[0], appended=(system, *other.turns[0].appended[1:])), *other.turns[1:])
    )
    history = (*made.turns[0].appended, *made.turns[1].appended)
    first = replace(made.turns[1], appended=(*history, made.turns[2].appended[1]), input_tokens=180)
    fork = replace(branch("fork", after=1), turns=(first, replace(made.turns[3], input_tokens=230)))
    corpus = Counted(written(replace(made, branches=(other, fork))))
    work = Workload.of(corpus)
    main, sub, forked = work.lines(0)
    assert work.chains[work.segment[forked.first]][-1][0] == work.segment[main.first]
    assert sub.first + sub.turns - 1 not in corpus.read


def test_a_preambles_node_is_no_longer_than_any_of_its_requests_explains() -> None:
    preambles = Preambles()
    head = b"h" * 512
    for tail, rate in ((b"a", 0.25), (b"b", 0.5), (b"b", 0.3)):
        preambles.add(b"", head + tail * 256, rate)
    preambles.add(b"", head, 0.4)
    one, two, three, short = preambles.paths()
    # 512 bytes at the lowest of all four rates, then 768 at the lowest of those that end there.
    assert [shared.tokens for shared in one] == [128, 192]
    assert two == three
    assert [shared.tokens for shared in two] == [128, 230]
    assert short == one[:1] == (Shared(one[0].node, 128),)


def test_plain_turns() -> None:
    work = Workload.plain([[PlainTurn(100, 5, 7), PlainTurn(130, 6)], [PlainTurn(0, 0)]], shared_tokens=70)
    assert (work.trajectories, work.total_turns) == (2, 3)
    assert work.lines(0) == [Line(0, 2)]
    assert [work.locate(i) for i in range(3)] == [(0, 0), (0, 1), (1, 0)]
    assert work.delay_ns(0, 0) == 7
    assert (work.input_tokens[2], work.output_tokens[2]) == (1, 1)
    assert work.path(0, 3, 64) == ((-1, 1), (6, ENDLESS))
    assert work.path(1, 3, 100) == ((7, ENDLESS),), "a preamble shorter than a block shares none"


def test_a_workload_travels_to_another_process() -> None:
    work = Workload.of(compiled(session("a")))
    again = pickle.loads(pickle.dumps(work))
    assert vars(again) == vars(work)


@given(st.lists(forests(), min_size=1, max_size=3), st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_any_tree_has_sound_chains(made: list[Trajectory], block_tokens: int, conversation: int) -> None:
    made = [
        replace(t, turns=tuple(_sane(turn) for turn in t.turns), branches=tuple(_sane_line(b) for b in t.branches))
        for t in made
    ]
    corpus = compiled_or_none(made)
    if corpus is None:
        return
    work = Workload.of(corpus)
    assert (work.trajectories, work.total_turns) == (corpus.trajectories, corpus.total_turns)
    for t in range(corpus.trajectories):
        assert work.lines(t) == corpus.lines(t)
        own = {work.segment[work.first[t] + k] for k in range(corpus.turns(t))}
        for k in range(corpus.turns(t)):
            slot, row = corpus.slot(t, k), work.first[t] + k
            assert work.locate(row) == corpus.locate(row) == (t, k)
            assert work.delay_ns(t, k) == slot.delay_ns
            assert work.request_bytes[row] == slot.end - slot.start + len(corpus.tools(t, corpus.line_of(t, k)))
            segment = work.segment[row]
            chain = work.chains[segment]
            ends = [end for _, end in chain]
            assert ends == sorted(ends)
            for strand, end in chain:
                assert strand < segment
                assert strand < 0 or strand in own, "content of a replay is found by its own tree alone"
                assert end >= 0
            path = work.path(segment, conversation, block_tokens)
            leaves = [end for _, end in path]
            assert leaves == sorted(set(leaves))
            assert path[-1] == (conversation * len(work.chains) + segment, ENDLESS)
            if k == 0:
                continue
            before = corpus.slot(t, k - 1)
            same_line = corpus.line_of(t, k) == corpus.line_of(t, k - 1)
            assert (work.segment[row - 1] == segment) == (same_line and before.start == slot.start)


def _sane(turn: Turn) -> Turn:
    return replace(turn, input_tokens=turn.input_tokens % 5_000, output_tokens=turn.output_tokens % 500 + 1)


def _sane_line(line: Branch) -> Branch:
    return replace(line, turns=tuple(_sane(turn) for turn in line.turns))


def compiled_or_none(made: list[Trajectory]) -> Compiled | None:
    try:
        return compiled(*made)
    except CorpusError:  # no message with a content
        return None
