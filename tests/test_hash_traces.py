"""Recordings of lengths and block hashes: the text made for them is shared exactly where hashes are, and as long as recorded."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import index_rows
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats import mooncake, qwen_bailian
from openagentperf.corpus.formats.blocktext import BlockText, stream_bytes
from openagentperf.corpus.formats.hashed import LEAST_TOKENS, Layout, Request, common_blocks
from openagentperf.corpus.prefix import common_bytes
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory, Turn, histories
from shared_data import real

EXAMPLES = Path(__file__).parent / "data" / "formats"


# --- text of blocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_tokens", [15, 16, 64, 512])
def test_a_block_has_exactly_its_bytes_wherever_it_is_cut(block_tokens: int) -> None:
    text = BlockText("t", block_tokens)
    blocks = [3, 1, 4, 1, 5]
    whole = text.span(blocks, 0, stream_bytes(5 * block_tokens))
    assert len(whole.encode()) == 5 * block_tokens * 7 // 2
    assert estimate(whole) == 5 * block_tokens
    for start, size in [(0, 1), (53, 100), (len(whole) - 7, 7), (0, len(whole))]:
        assert text.span(blocks, start, size) == whole[start : start + size]
    if block_tokens % 2 == 0:  # of an odd number every other block is a byte longer
        per = block_tokens * 7 // 2
        assert whole[per : 2 * per] == whole[3 * per : 4 * per]


def test_texts_differ_by_hash_and_scope() -> None:
    def texts(scope: str) -> set[str]:
        text = BlockText(scope, 16)
        return {text.span([block], 0, 56) for block in range(20_000)}

    one, other = texts("one"), texts("other")
    assert len(one) == 20_000
    assert one.isdisjoint(other)


def test_real_vocabularies_read_it_at_the_estimate() -> None:
    quicktok = pytest.importorskip("quicktok", reason="needs the `tokenizers` extra")
    for block_tokens, encoding in itertools.product((64, 512), ("o200k_base", "qwen3")):
        text = BlockText("density", block_tokens).span(range(200_000 // block_tokens), 0, 700_000)
        counted = quicktok.get_encoding(encoding).count(text)
        assert counted == pytest.approx(200_000, rel=0.08), (block_tokens, encoding)


# --- the laws -----------------------------------------------------------------------------------------------------


class Recorder:
    """Writes hashes as a server does: one names a block and all that precedes it."""

    def __init__(self, block: int, partial: bool) -> None:
        self.block = block
        self.partial = partial
        """Whether the last block is hashed when it is not full (Mooncake does, Weka does not)."""
        self._numbers: dict[tuple[int, ...], int] = {}

    def request(self, content: list[int]) -> Request:
        """`content`: a number for each token."""
        ends = range(self.block, len(content) + (self.block if self.partial else 1), self.block)
        hashes = [self._numbers.setdefault(tuple(content[:end]), len(self._numbers)) for end in ends]
        return Request(hashes, len(content), 1 + content[-1] % 60)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[int, list[list[Request]]]:
    """Block size, and lines of requests: each goes on from the one before, cut somewhere now and then; a line may begin with part of an
    earlier request."""
    block = draw(st.sampled_from([15, 16, 64]))
    recorder = Recorder(block, draw(st.booleans()))
    fresh = itertools.count(1)
    contents: list[list[int]] = []
    lines: list[list[Request]] = []
    for _ in range(draw(st.integers(1, 3))):
        content: list[int] = []
        if contents and draw(st.booleans()):
            content = draw(st.sampled_from(contents))
            content = content[: draw(st.integers(0, len(content)))]
        line: list[Request] = []
        for _ in range(draw(st.integers(1, 5))):
            if line and draw(st.integers(0, 3)) == 0:
                content = content[: draw(st.integers(0, len(content)))]
                again = False
            else:
                again = bool(line) and draw(st.integers(0, 4)) == 0
            if not again:  # the same request again, or one that is longer by two messages at least, or shorter
                more = draw(st.integers(2 * LEAST_TOKENS, 200))
                if line and 0 < len(content) + more - line[-1].input_tokens < 2 * LEAST_TOKENS:
                    more += 2 * LEAST_TOKENS
                content = content + [next(fresh) for _ in range(more)]
            contents.append(content)
            line.append(recorder.request(content))
        lines.append(line)
    return block, lines


def shared_tokens(a: list[Message], b: list[Message]) -> int:
    """Tokens that two requests have in common in front, role markers included."""
    tokens = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            if one.role == other.role:
                tokens += MESSAGE_TOKENS - (-2 * common_bytes(one.content.encode(), other.content.encode()) // 7)
            break
        tokens += estimate_message(one)
    return tokens


@given(recordings())
def test_requests_are_as_long_as_recorded_and_share_what_their_hashes_share(
    recording: tuple[int, list[list[Request]]],
) -> None:
    block, lines = recording
    layout = Layout(BlockText("law", block))
    seen: list[tuple[Request, list[Message]]] = []
    for line in lines:
        turns = tuple(layout.turns(line))
        assert fault(Trajectory(id="t", turns=turns)) == ""
        assert [turn.input_tokens for turn in turns] == [request.input_tokens for request in line]
        for request, turn, messages in zip(line, turns, histories(Trajectory(id="t", turns=turns)), strict=True):
            assert sum(map(estimate_message, messages)) == request.input_tokens
            assert turn.output_tokens == request.output_tokens
            assert [message.role for message in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"]
            seen.append((request, list(messages)))
    for (a, said), (b, told) in itertools.combinations(seen, 2):
        whole = min(a.input_tokens, b.input_tokens) // block
        assert min(shared_tokens(said, told) // block, whole) == common_blocks(a.blocks[:whole], b.blocks[:whole])


@given(recordings())
def test_history_only_grows_where_hashes_only_grow(recording: tuple[int, list[list[Request]]]) -> None:
    block, lines = recording
    layout = Layout(BlockText("law", block))
    for line in lines:
        turns = tuple(layout.turns(line))
        for before, after, turn in zip(line, line[1:], turns[1:], strict=False):
            whole = before.input_tokens // block
            grows = after.input_tokens >= before.input_tokens and after.blocks[:whole] == before.blocks[:whole]
            assert turn.keep is None or not grows
            if turn.keep is None and turn.appended:
                # The recorded answer, as long as recorded where the growth has room for it, and what came behind it.
                answer, told = turn.appended
                growth = after.input_tokens - before.input_tokens
                want = min(max(before.output_tokens, LEAST_TOKENS), growth - LEAST_TOKENS)
                assert (answer.role, told.role, estimate_message(answer)) == ("assistant", "user", want)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_growth_too_short_for_two_messages_is_made_up_for_by_the_next(growths: list[int]) -> None:
    """The only way to be off: an answer and what follows it need ten tokens."""
    lengths = list(itertools.accumulate(growths))
    requests = [Request(list(range(length // 16)), length, 3) for length in lengths]
    turns = tuple(Layout(BlockText("law", 16)).turns(requests))
    for length, messages in zip(lengths, histories(Trajectory(id="t", turns=turns)), strict=True):
        assert 0 <= sum(map(estimate_message, messages)) - length < 2 * LEAST_TOKENS


# --- cuts, by hand ------------------------------------------------------------------------------------------------


def laid(*requests: Request, system: int = 0, loose: int = 0) -> tuple[Turn, ...]:
    return tuple(Layout(BlockText("t", 64), loose).turns(requests, system))


def sizes(turn: Turn) -> list[tuple[str, int]]:
    return [(message.role, estimate_message(message)) for message in turn.appended]


FIRST = Request([1, 2, 3, 4], 256, 40)
SECOND = Request([1, 2, 3, 4, 5, 6], 384, 20)


@pytest.mark.parametrize(
    ("third", "keep", "cut", "want"),
    [
        # all six blocks come back: the answer (20), the rest of the 80 tokens
        (Request([1, 2, 3, 4, 5, 6, 7], 464, 1), None, "", [("assistant", 20), ("user", 60)]),
        # it breaks where the user's message ends (256): that it ends there is not in the shared blocks any more
        (Request([1, 2, 3, 4, 8, 9], 400, 1), 1, "undeclared", [("user", 272)]),
        # it breaks in the last user message (296..384), at 320: sent again from its start on
        (Request([1, 2, 3, 4, 5, 8], 400, 1), 3, "undeclared", [("user", 104)]),
        # behind the system prompt, and shorter by more than a fifth: a compaction
        (Request([1, 2, 8], 192, 1), 1, "compaction", [("user", 64)]),
        # a fifth less is none yet: 308 > 0.8 * 384 = 307.2
        (Request([1, 2, 8, 9], 308, 1), 1, "undeclared", [("user", 180)]),
        # inside the system message (0..128): it is sent again as long as it was, for nothing says that it got shorter
        (Request([1, 8, 9, 10], 256, 1), 0, "compaction", [("system", 128), ("user", 128)]),
        # the first block already
        (Request([8, 9, 10, 11], 256, 1), 0, "compaction", [("system", 128), ("user", 128)]),
        # back to the first request: nothing to append
        (FIRST, 2, "compaction", []),
        # nothing changes: the same request again
        (SECOND, None, "", []),
    ],
)
def test_a_cut_keeps_whole_messages_and_sends_the_broken_one_again(
    third: Request, keep: int | None, cut: str, want: list[tuple[str, int]]
) -> None:
    first, second, turn = laid(FIRST, SECOND, third, system=128)
    assert sizes(first) == [("system", 128), ("user", 128)]
    assert sizes(second) == [("assistant", 40), ("user", 88)]
    assert (turn.keep, turn.cut) == (keep, cut)
    assert sizes(turn) == want


def test_a_broken_message_is_shared_up_to_the_block_where_it_breaks() -> None:
    *_, before, after = (
        list(m) for m in histories(Trajectory(id="t", turns=laid(FIRST, SECOND, Request([1, 2, 3, 4, 5, 8], 400, 1))))
    )
    assert before[:-1] == after[:-1]
    # The user's message begins at 296; its content at 300; it breaks at 320.
    assert common_bytes(before[-1].content.encode(), after[-1].content.encode()) == (320 - 300) * 7 // 2


@pytest.mark.parametrize(("loose", "cut", "noted"), [(0, "undeclared", 0), (1, "", 1)])
def test_loose_blocks_are_sent_as_the_next_request_has_them(loose: int, cut: str, noted: int) -> None:
    layout = Layout(BlockText("t", 64), loose)
    _, turn = layout.turns([Request([1, 2, 3], 193, 9), Request([1, 2, 4, 5], 257, 9)])
    assert turn.cut == cut
    assert (
        layout.notes["requests whose last blocks do not come back in the next one: sent as that one has them"] == noted
    )


def test_what_no_hash_covers_is_text_of_its_own() -> None:
    (turn,) = laid(Request([], 40, 1))
    assert sizes(turn) == [("user", 40)]


# --- Mooncake -----------------------------------------------------------------------------------------------------


def line(blocks: list[int], tokens: int, output: int = 20, at_ms: object = 0) -> bytes:
    row = {"timestamp": at_ms, "input_length": tokens, "output_length": output, "hash_ids": blocks}
    return json.dumps(row).encode()


def read(*lines: bytes, skipped: list[Skipped] | None = None) -> list[Trajectory]:
    return list(mooncake.read(b"\n".join(lines), "f", [] if skipped is None else skipped))


def test_the_mooncake_example_is_one_session() -> None:
    (session,) = read((EXAMPLES / "11_mooncake.jsonl").read_bytes())
    first, second = session.turns
    assert (session.id, first.tool_delay_ns, second.keep) == (
        "request-1",
        None,
        None,
    )  # 1.2 s lie between, and the answer in them
    assert sizes(first) == [("user", 1536)]
    assert sizes(second) == [("assistant", 52), ("user", 2100 - 1536 - 52)]
    assert (first.output_tokens, second.output_tokens) == (52, 26)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        # lines of one session
        ([([1, 2], 1024), ([1, 2, 3], 1536), ([1, 2, 3, 4], 1600)], [[1, 2, 3]]),
        # the first one's last block was not full: its hash does not come back
        ([([1, 2], 600), ([1, 3], 1024)], [[1, 2]]),
        ([([0, 1], 1024), ([0, 2], 1024)], [[1], [2]]),  # only a system prompt in common
        ([([1, 2], 1024), ([1, 2], 1024)], [[1], [2]]),  # the same request again
        ([([1, 2], 1024), ([1, 2, 3], 1030)], [[1], [2]]),  # six tokens more: no room for an answer and a question
        ([([1, 2], 1024), ([1, 2, 3], 1536), ([1, 2, 4], 1536)], [[1, 2], [3]]),  # asked twice: the first goes on
        # the second asks the first again, and it is the second that goes on
        ([([1, 2], 1024), ([1, 2], 1024), ([1, 2, 3], 1536), ([1, 2, 3, 4], 2048)], [[1], [2, 3, 4]]),
        # 7 was another session's before: that the short request ends with it proves nothing
        ([([7, 1], 1024), ([7, 9], 600), ([7, 3, 4], 1536)], [[1], [2], [3]]),
        ([([1], 40), ([1], 41)], [[1], [2]]),  # less than a block proves nothing
    ],
)
def test_sessions_are_told_by_their_hashes(rows: list[tuple[list[int], int]], want: list[list[int]]) -> None:
    requests = [(0.0, number, Request(blocks, tokens, 9)) for number, (blocks, tokens) in enumerate(rows, 1)]
    found = mooncake.sessions(requests)
    number_of = {id(request): number for _, number, request in requests}
    assert [[number_of[id(request)] for request in session.requests] for session in found] == want
    assert [session.number for session in found] == [numbers[0] for numbers in want]


def test_blocks_that_open_several_sessions_are_their_system_message() -> None:
    one, other, third = read(line([0, 1, 2], 1536), line([0, 1, 3], 1536), line([8, 9], 1000))
    assert sizes(one.turns[0]) == sizes(other.turns[0]) == [("system", 1024), ("user", 512)]
    assert one.turns[0].appended[0] == other.turns[0].appended[0]
    assert sizes(third.turns[0]) == [("user", 1000)]


def test_a_second_continuation_holds_the_messages_of_the_first() -> None:
    # They share the first block; the second block of the first request was not full, and what completes it differs.
    one, other = read(line([1, 2], 700), line([1, 3], 1024), line([1, 4], 1024))
    assert sizes(one.turns[0]) == [("user", 700)]
    assert sizes(other.turns[0]) == [("user", 1024)]
    (here,), (there,) = one.turns[0].appended, other.turns[0].appended
    shared = common_bytes(here.content.encode(), there.content.encode())
    assert (
        stream_bytes(512 - MESSAGE_TOKENS) <= shared < stream_bytes(520)
    )  # two blocks' marks may open with the same letters
    whole = read(line([1, 2], 1024), line([1, 2, 3], 1536), line([1, 2, 3, 5], 2048), line([1, 2, 3, 6], 2048))
    assert [len(session.turns) for session in whole] == [3, 1]
    assert sizes(whole[1].turns[0]) == [("user", 1024), ("assistant", 20), ("user", 1004)]


def test_lines_are_ordered_by_their_arrival() -> None:
    (session,) = read(line([1, 2, 3], 1536, at_ms=900), line([1, 2], 1024, at_ms=100))
    assert [turn.input_tokens for turn in session.turns] == [1024, 1536]
    assert session.id == "request-2"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (line([1], 513), "a request of 513 tokens with 1 hashes of 512"),
        (line([1], 0), "a request without an input length"),
        (line([1], 1 << 40), "a request without an input length"),  # no count of tokens
        (line([1], 1 << 30), "a prompt of 1073741824 tokens"),
        (b'{"hash_ids": ["a"], "input_length": 5}', "Expected `int`, got `str`"),
    ],
)
def test_bad_lines_are_named(bad: bytes, why: str) -> None:
    skipped: list[Skipped] = []
    (session,) = read(line([1], 512), bad, skipped=skipped)
    assert len(session.turns) == 1
    assert [row.where for row in skipped] == ["f:2"]
    assert skipped[0].why.startswith(why)


@pytest.mark.parametrize("module", [mooncake, qwen_bailian])
def test_nothing_usable_is_an_error(module: Any) -> None:
    with pytest.raises(CorpusError, match="holds no usable request"):
        list(module.read(b"{}\n", "f", []))


def test_text_depends_on_the_file_and_not_on_its_name() -> None:
    data = line([1], 512)
    (here,) = mooncake.read(data, "a", [])
    (there,) = mooncake.read(data, "b", [])
    (other,) = mooncake.read(line([1], 511), "a", [])
    assert here.turns == there.turns
    assert other.turns[0].appended[0].content[:100] != here.turns[0].appended[0].content[:100]  # another file's block 1


# --- Qwen-Bailian -------------------------------------------------------------------------------------------------


def test_the_bailian_example_goes_by_its_chat_ids() -> None:
    (session,) = qwen_bailian.read((EXAMPLES / "11b_qwen-bailian.jsonl").read_bytes(), "f", [])
    first, second = session.turns
    assert sizes(first) == [("user", 40)]
    assert sizes(second) == [("assistant", 12), ("user", 18)]  # 70 - 40 - 12
    assert (second.input_tokens, second.output_tokens, first.tool_delay_ns) == (70, 30, None)


def chat(number: int, parent: int, blocks: list[int], tokens: int) -> bytes:
    row = {"chat_id": number, "parent_chat_id": parent, "input_length": tokens, "output_length": 5, "hash_ids": blocks}
    return json.dumps(row).encode()


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([(1, -1, [1], 16), (2, 1, [1, 2], 32), (3, 2, [1, 2, 3], 48)], [[16, 32, 48]]),
        ([(1, -1, [1], 16), (2, 1, [1, 2], 32), (3, 1, [1, 3], 31)], [[16, 32], [31]]),  # two answers to one request
        ([(2, 1, [1, 2], 32)], [[32]]),  # its parent was not recorded
        ([(1, -1, [1], 16), (2, -1, [1, 2], 32)], [[16], [32]]),  # hashes that go on, ids that do not
    ],
)
def test_bailian_sessions(rows: list[tuple[int, int, list[int], int]], want: list[list[int]]) -> None:
    data = b"\n".join(chat(*row) for row in rows)
    sessions = list(qwen_bailian.read(data, "f", []))
    assert [[turn.input_tokens for turn in session.turns] for session in sessions] == want


def test_a_bailian_child_with_other_hashes_rewrites_its_parent() -> None:
    (session,) = qwen_bailian.read(chat(1, -1, [1, 2], 32) + b"\n" + chat(2, 1, [1, 3, 4], 48), "f", [])
    assert (session.turns[1].keep, session.turns[1].cut) == (0, "undeclared")


# --- real traces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["conversation_trace", "synthetic_trace"])
def test_real_mooncake(file: str) -> None:
    (row,) = [row for row in index_rows.rows("mooncake-jsonl") if file in row["file"]]
    turns: list[Turn] = []
    for session in mooncake.read(real(row["file"]).read_bytes(), row["file"], []):
        for turn, messages in zip(session.turns, histories(session), strict=True):
            assert sum(map(estimate_message, messages)) == turn.input_tokens
            assert turn.keep is None
            turns.append(msgspec.structs.replace(turn, appended=()))
    assert index_rows.counts_off(turns, row, share=0.0001) == {}


@pytest.mark.parametrize(
    ("file", "torn"),
    [
        ("synthetic_trace", 0),
        # Requests that ask again for part of an earlier one, and go on as that did: it has no message end where they were answered.
        ("conversation_trace", 14),
    ],
)
def test_real_mooncake_text_has_as_many_different_prefixes_as_the_trace_has_hashes(file: str, torn: int) -> None:
    """What a prefix cache without limit would store: the same number of blocks, but for 14 of 170,899."""
    data = real("mooncake_fast25", f"{file}.jsonl").read_bytes()
    rows = [json.loads(text) for text in data.splitlines()]
    hashes = {block for row in rows for block in row["hash_ids"][: row["input_length"] // 512]}
    prefixes: set[int] = set()
    for session in mooncake.read(data, "f", []):
        for turn, messages in zip(session.turns, histories(session), strict=True):
            prefixes.update(prefix_hashes(messages, turn.input_tokens // 512))
    assert len(prefixes) == len(hashes) + torn


def prefix_hashes(messages: list[Message], blocks: int) -> list[int]:
    """A number for each of the first blocks of 512 tokens and all before it, markers of roles included."""
    stream = bytearray()
    tokens = 0
    for message in messages:
        stream += b" " * (stream_bytes(tokens) - len(stream))
        stream += message.role.encode().ljust(stream_bytes(MESSAGE_TOKENS)) + message.content.encode()
        tokens += estimate_message(message)
    found: list[int] = []
    for index in range(blocks):
        found.append(hash((found[-1] if found else 0, bytes(stream[index * 1792 : (index + 1) * 1792]))))
    return found
