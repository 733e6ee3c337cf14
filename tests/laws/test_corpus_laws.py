"""Laws of the corpus: whatever the trajectories, what is sent is what was recorded, and the prefix is stable where it is said to be."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openagentperf.corpus.compiler import CompileOptions, compile_corpus
from openagentperf.corpus.fit import turns_of
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.nonce import NONCE_BYTES, phase_nonce, replay_nonce
from openagentperf.corpus.prefix import Encoded, common_bytes, prove
from openagentperf.corpus.tokens import estimate
from openagentperf.corpusfile import open_corpus
from openagentperf.records.trajectory import Message, Trajectory, histories, lines
from openagentperf.records.tree import NONE, Line
from openagentperf.seeds import Stream
from trajectories import TEXT, encode, forests, trajectories

PHASE, REPLAY = b"<" + b"p" * (NONCE_BYTES - 2) + b">", b"<" + b"r" * (NONCE_BYTES - 2) + b">"


def compiled(corpus: list[Trajectory]) -> bytes:
    file = io.BytesIO()
    summary = compile_corpus(corpus, encode, CompileOptions(about=lambda: b"about"), file.write)
    assert summary.file_bytes == len(file.getvalue())
    return file.getvalue()


def body(corpus: Compiled, t: int, k: int, phase: bytes = PHASE, replay: bytes = REPLAY) -> bytes:
    return b"".join(corpus.message_pieces(t, k, phase, replay))


@given(st.lists(forests(), max_size=4))
def test_what_is_sent_is_the_recorded_history(corpus: list[Trajectory]) -> None:
    read = Compiled(compiled(corpus))
    read.verify()
    assert (read.trajectories, read.total_turns) == (len(corpus), sum(map(turns_of, corpus)))
    assert read.total_lines == sum(1 + len(t.branches) for t in corpus)
    assert read.about == b"about"
    for t, trajectory in enumerate(corpus):
        assert read.turns(t) == turns_of(trajectory)
        k = -1
        for i, line in enumerate(lines(trajectory)):
            assert bytes(read.tools(t, i)) == (b"[%b]" % ",".join(line.tools).encode() if line.tools else b"")
            for turn, messages in zip(line.turns, histories(line), strict=True):
                k += 1
                slot = read.slot(t, k)
                assert read.line_of(t, k) == i
                assert body(read, t, k, b"", b"") == b"[" + b",".join(encode(m).body for m in messages) + b"]"
                assert read.messages_bytes(t, k) == len(body(read, t, k))
                assert (slot.output_tokens, slot.input_tokens) == (turn.output_tokens, turn.input_tokens)
                assert slot.delay_ns == read.delay_ns(t, k) == (turn.tool_delay_ns or 0)


@given(st.lists(forests(), min_size=1, max_size=3))
def test_a_tree_laid_flat_is_the_tree(corpus: list[Trajectory]) -> None:
    read = Compiled(compiled(corpus))
    for t, trajectory in enumerate(corpus):
        main, *others = flat = read.lines(t)
        assert main == Line(0, len(trajectory.turns))
        names = ["", *(branch.name for branch in trajectory.branches)]
        for line, branch in zip(others, trajectory.branches, strict=True):
            parent = flat[line.parent]
            assert names[line.parent] == branch.parent
            assert (line.turns, line.after - parent.first) == (len(branch.turns), branch.after)
            assert line.join == (NONE if branch.join is None else parent.first + branch.join)
            assert line.delay_ns == (branch.delay_ns or 0)
        assert [line.first for line in flat] == [0, *itertools.accumulate(line.turns for line in flat[:-1])]


@given(trajectories())
def test_nonces_open_the_first_message_and_the_first_user_message(trajectory: Trajectory) -> None:
    read = Compiled(compiled([trajectory]))
    for k, messages in enumerate(histories(trajectory)):
        contents = [m["content"] for m in json.loads(body(read, 0, k))]
        phase, replay = PHASE.decode(), REPLAY.decode()
        assert contents[0].startswith(phase)
        (place,) = (i for i, content in enumerate(contents) if content.removeprefix(phase).startswith(replay))
        if trajectory.turns[k].keep is None and k == 0:
            users = [i for i, message in enumerate(messages) if message.role == "user"]
            assert place == (users[0] if users else 0)
        plain = [c.removeprefix(phase).removeprefix(replay) for c in contents]
        assert plain == [message.content for message in messages], "nothing but the two nonces was added"


@given(forests())
def test_with_its_nonces_a_turn_extends_the_one_before_it_on_its_line_unless_cut(trajectory: Trajectory) -> None:
    read = Compiled(compiled([trajectory]))
    for flat, line in zip(read.lines(0), lines(trajectory), strict=True):
        for k, turn in enumerate(line.turns[1:], flat.first + 1):
            if turn.keep is None:
                assert body(read, 0, k).startswith(body(read, 0, k - 1)[:-1])


@given(st.lists(forests(), min_size=1, max_size=4))
def test_locate_counts_through_all_turns_in_order(corpus: list[Trajectory]) -> None:
    read = Compiled(compiled(corpus))
    places = [(t, k) for t, trajectory in enumerate(corpus) for k in range(turns_of(trajectory))]
    assert [read.locate(i) for i in range(read.total_turns)] == places
    for outside in (-1, read.total_turns):
        with pytest.raises(IndexError):
            read.locate(outside)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(trajectories(), min_size=1, max_size=3))
def test_a_mapped_file_reads_like_its_bytes(tmp_path: Path, corpus: list[Trajectory]) -> None:
    data = compiled(corpus)
    (tmp_path / "a.oapc").write_bytes(data)
    mapped, held = open_corpus(tmp_path / "a.oapc"), Compiled(data)
    assert mapped.digest == held.digest
    for t in range(held.trajectories):
        for k in range(held.turns(t)):
            assert (mapped.slot(t, k), body(mapped, t, k)) == (held.slot(t, k), body(held, t, k))


@given(st.lists(forests(), max_size=3), st.integers(0, 7), st.data())
def test_any_flipped_bit_is_noticed(corpus: list[Trajectory], bit: int, data: st.DataObject) -> None:
    spoiled = bytearray(compiled(corpus))
    spoiled[data.draw(st.integers(0, len(spoiled) - 1))] ^= 1 << bit
    with pytest.raises(Exception, match="compiled corpus: ") as caught:
        Compiled(bytes(spoiled)).verify()
    assert type(caught.value).__name__ == "CorpusError"


@given(trajectories())
def test_a_stable_encoder_breaks_only_where_the_recording_was_cut(trajectory: Trajectory) -> None:
    arrays = [b"[" + b",".join(encode(m).body for m in messages) for messages in histories(trajectory)]
    want = []
    for k, (old, new) in enumerate(itertools.pairwise(arrays), 1):
        if not new.startswith(old):
            want.append((k, trajectory.turns[k].cut, common_bytes(old, new), len(old)))
    proof = prove(trajectory, encode)
    assert [(b.turn, b.cause, b.kept_bytes, b.of_bytes) for b in proof.breaks] == want
    assert proof.turns == len(trajectory.turns)


@given(trajectories(min_turns=2), st.integers(0, 3))
def test_an_encoder_that_counts_its_calls_is_caught(trajectory: Trajectory, stable_calls: int) -> None:
    calls = itertools.count()

    def unstable(message: Message) -> Encoded:
        body, at = encode(message)
        number = max(0, next(calls) - stable_calls)
        return Encoded(body[:-1] + b',"n":%d}' % number, at)

    total = sum(len(messages) for messages in histories(trajectory))
    first_turn = len(trajectory.turns[0].appended)
    wiped = any(turn.keep == 0 for turn in trajectory.turns)
    proof = prove(trajectory, unstable)
    # Where every message is encoded within the calls that still agree, or the history starts from nothing, there is nothing to see.
    if not wiped and first_turn + stable_calls < total and first_turn > stable_calls:
        assert proof.encoder


@given(TEXT, TEXT)
def test_common_bytes_is_the_longest_common_beginning(a: str, b: str) -> None:
    x, y = a.encode(), b.encode()
    n = common_bytes(x, y)
    assert x[:n] == y[:n]
    assert n == min(len(x), len(y)) or x[n] != y[n]


@given(st.integers(0, 2**40), st.binary(min_size=1, max_size=64), st.integers(0, 10**6), st.integers(0, 10**6))
def test_nonces_are_lines_of_fixed_length_inside_a_json_string(seed: int, key: bytes, agent: int, replay: int) -> None:
    for nonce in (phase_nonce(Stream(seed, "nonce")).encode("ascii"), replay_nonce(key, agent, replay)):
        assert len(nonce) == NONCE_BYTES
        line = json.loads(b'"%b"' % nonce)
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1


@given(TEXT, TEXT)
def test_estimate_grows_with_the_text_and_splits_cost_at_most_a_token(a: str, b: str) -> None:
    assert estimate(a) + estimate(b) - 1 <= estimate(a + b) <= estimate(a) + estimate(b)
