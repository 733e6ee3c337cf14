"""The compiled form, looked at byte by byte."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openagentperf.corpus.compiler import CompiledSummary, CompileOptions, compile_corpus
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.prefix import Encoded
from openagentperf.corpusfile import is_compiled, open_corpus
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Trajectory, Turn
from openagentperf.wire.chat import encode_message
from trajectories import branch, encode, rewritten, session

TOOL = '{"type":"function","function":{"name":"bash"}}'


def compiled(*corpus: Trajectory, about: bytes = b"", dialect: str = "chat") -> tuple[CompiledSummary, bytes]:
    file = io.BytesIO()
    options = CompileOptions(dialect=dialect, about=lambda: about)
    return compile_corpus(corpus, encode, options, file.write), file.getvalue()


def common(a: bytes, b: bytes) -> int:
    """Length of their common beginning."""
    return next(
        (index for index, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b))
    )


def test_the_history_is_stored_once() -> None:
    """100 turns of one appended message with 10,000 bytes: 1 MB of text, and not the 50 MB of the 100 histories."""
    turns = tuple(Turn(appended=(Message("user", "x" * 10_000),), input_tokens=1, output_tokens=1) for _ in range(100))
    summary, data = compiled(Trajectory(id="t", turns=turns))
    assert summary.file_bytes == len(data) < 1_020_000


def test_a_trajectory_is_written_before_the_next_is_asked_for() -> None:
    """Ten thousand trajectories are never in memory at once."""
    file = io.BytesIO()

    def one_by_one() -> Iterator[Trajectory]:
        for n in range(5):
            before = file.tell()
            yield session(str(n), text="x" * 1_000)
            assert file.tell() > before + 1_000

    compile_corpus(one_by_one(), encode, CompileOptions(), file.write)


def test_equal_tools_are_stored_once() -> None:
    long = TOOL.replace("bash", "b" * 5_000)
    one, _ = compiled(session("a", tools=(long,)))
    two, data = compiled(session("a", tools=(long,)), session("b", tools=(long,)))
    assert two.file_bytes - one.file_bytes < 2_000
    read = Compiled(data)
    assert bytes(read.tools(0)) == bytes(read.tools(1)) == f"[{long}]".encode()


def test_the_replay_nonce_stays_where_it_was_when_a_cut_keeps_its_message() -> None:
    # Turn 1 has no user message before it; the cut at turn 2 keeps both messages, the second of which is now a user's.
    turns = (
        Turn(appended=(Message("system", "s"),), input_tokens=1, output_tokens=1),
        Turn(appended=(Message("user", "u"), Message("user", "v")), input_tokens=1, output_tokens=1),
        Turn(appended=(Message("user", "w"),), keep=2, cut="compaction", input_tokens=1, output_tokens=1),
    )
    read = Compiled(compiled(Trajectory(id="t", turns=turns))[1])
    bodies = [b"".join(read.message_pieces(0, k, b"P", b"R")) for k in range(3)]
    assert bodies[0] == b'[{"role":"system","content":"PRs"}]'
    assert bodies[2].startswith(b'[{"role":"system","content":"PRs"},{"role":"user","content":"u"},')


def test_the_replay_nonce_goes_to_the_summary_when_a_cut_drops_its_message() -> None:
    whole = session(turns=4)
    summary = Message("user", "So far: nothing.")
    turns = (*whole.turns[:3], Turn(appended=(summary,), keep=1, cut="compaction", input_tokens=1, output_tokens=1))
    read = Compiled(compiled(Trajectory(id="t", turns=turns))[1])
    assert b"".join(read.message_pieces(0, 3, b"P", b"R")) == (
        b'[{"role":"system","content":"PYou fix bugs."},{"role":"user","content":"RSo far: nothing."}]'
    )


def test_the_phase_nonce_passes_over_a_message_without_content() -> None:
    """An assistant that only called tools has `content: null` in the chat dialect: nothing can be spliced into it."""
    call = session().turns[1].appended[0]
    turns = (Turn(appended=(call, Message("user", "go on")), input_tokens=1, output_tokens=1),)
    file = io.BytesIO()
    compile_corpus([Trajectory(id="t", turns=turns)], encode_message, CompileOptions(), file.write)
    joined = b"".join(Compiled(file.getvalue()).message_pieces(0, 0, b"P", b"R"))
    assert joined.startswith(b'[{"role":"assistant","content":null,')
    assert joined.endswith(b'{"role":"user","content":"PRgo on"}]')


def test_a_turn_without_any_content_is_refused() -> None:
    with pytest.raises(CorpusError, match="t, turn 0: no message has a content"):
        compile_corpus(
            [Trajectory(id="t", turns=(Turn(appended=(Message("user"),), input_tokens=1, output_tokens=1),))],
            lambda _: Encoded(b"{}", -1),
            CompileOptions(),
            io.BytesIO().write,
        )


def test_the_longest_delay_is_that_of_all_turns() -> None:
    waiting = session("a")
    turns = [
        msgspec.structs.replace(turn, tool_delay_ns=delay)
        for turn, delay in zip(waiting.turns, (5, 70, None, 9), strict=True)
    ]
    assert Compiled(compiled(session("b"))[1]).longest_delay_ns == 0
    middle = msgspec.structs.replace(waiting, turns=tuple(turns))
    assert Compiled(compiled(session("b"), middle, session("c"))[1]).longest_delay_ns == 70


def test_what_is_shared_are_the_tools_and_what_precedes_the_first_user_messages_content() -> None:
    with_system = session(tools=(TOOL, TOOL))
    only_user = Trajectory(
        id="u", turns=(Turn(appended=(Message("user", "x" * 700),), input_tokens=1, output_tokens=1),), tools=(TOOL,)
    )
    read = Compiled(compiled(with_system, only_user)[1])
    for t in (0, 1):
        before, _, _ = b"".join(read.message_pieces(t, 0, b"", b"NONCE")).partition(b"NONCE")
        assert read.shared_bytes(t) == len(before) - len(b"[") + len(read.tools(t))
    assert len(read.tools(0)) == 2 * len(TOOL) + 3


def test_a_sub_agent_may_share_what_another_line_of_its_tree_sends() -> None:
    """All requests of a replay carry the same nonces: a forked sub-agent opens with its parent's history, brothers with the same words."""
    system, task = Message("system", "s" * 350), Message("user", "Look at " + "x" * 342)
    other_task = Message("user", "Look at " + "y" * 342)
    answer = Message("assistant", "a" * 350)

    def alone(name: str, *messages: Message, **more: Any) -> Branch:
        turn = Turn(appended=messages, input_tokens=1, output_tokens=1)
        return Branch(name=name, turns=(turn,), after=0, **more)

    main = session(turns=3, tools=(TOOL,))
    history = [message for turn in main.turns[:2] for message in turn.appended]
    forked = alone("fork", *history, task, tools=(TOOL,))
    brothers = alone("x", system, task), alone("y", system, other_task), alone("z", Message("user", "z"), answer)
    read = Compiled(compiled(msgspec.structs.replace(main, branches=(forked, *brothers)))[1])
    assert read.shared_bytes(0) == Compiled(compiled(main)[1]).shared_bytes(0), (
        "the main line's first request comes before all others"
    )
    parent, fork, x, y = (b"".join(read.message_pieces(0, k, b"", b""))[1:-1] for k in (1, 3, 4, 5))
    assert fork.startswith(parent + b",")
    # The main line goes on after what the fork has of it, and both go on with a message.
    assert read.shared_bytes(0, 1) == common(parent + b',{"role":"', fork) + len(read.tools(0, 1))
    assert [read.shared_bytes(0, line) for line in (2, 3)] == [common(x, y)] * 2
    assert read.shared_bytes(0, 4) == len(b'{"role":"user","content":"'), "what precedes the nonce of any"
    parent, fork = (b"".join(read.message_pieces(0, k, b"P", b"R")) for k in (1, 3))
    assert fork.startswith(parent[:-1] + b","), "with both nonces where its parent has them, it finds that one's cache"


def test_reasoning_that_is_not_sent_back_does_not_part_a_fork_from_its_parent() -> None:
    """The parent's file has the reasoning of its answer, the fork's copy of it has none: in both requests stand the same bytes."""
    thinking = Message("assistant", "Done.", reasoning="because " * 100)
    question, last = Message("user", "Is it?"), Message("user", "Check it. " * 50)
    opening = session(turns=1).turns[0]
    then = Turn(appended=(thinking, question, last), input_tokens=200, output_tokens=10)
    copied = (*opening.appended, msgspec.structs.replace(thinking, reasoning=""), question, last)
    fork = Branch(name="fork", after=0, turns=(Turn(appended=copied, input_tokens=200, output_tokens=10),))
    tree = Trajectory(id="t", turns=(opening, then), branches=(fork,))
    read = Compiled(compiled(tree)[1])
    whole = b"".join(read.message_pieces(0, 2, b"", b""))
    assert whole == b"".join(read.message_pieces(0, 1, b"", b""))
    assert read.shared_bytes(0, 1) >= len(whole) - len(b"[]")


def test_text_that_no_utf_8_has_is_compared_as_it_is_sent() -> None:
    """Lone surrogates come out of JSON escapes."""
    odd = Message("user", "half of a pair: \ud83d"), Message("user", "half of a pair: \ud83d!")
    turns = [Turn(appended=(message,), input_tokens=1, output_tokens=1) for message in odd]
    tree = Trajectory(id="t", turns=(turns[0],), branches=(Branch(name="b", after=0, turns=(turns[1],)),))
    file = io.BytesIO()
    compile_corpus([tree], encode_message, CompileOptions(), file.write)
    read = Compiled(file.getvalue())
    main, branch_ = (b"".join(read.message_pieces(0, k, b"", b""))[1:-1] for k in (0, 1))
    assert read.shared_bytes(0, 1) == common(main, branch_)


def test_an_index_error_names_a_line_that_is_not_there() -> None:
    read = Compiled(compiled(session(), msgspec.structs.replace(session(), branches=(branch("a", after=0),)))[1])
    assert len(read.lines(0)) == 1
    for outside in ((0, 1), (1, 2), (0, -1), (-1, 0)):
        with pytest.raises(IndexError):
            read.tools(*outside)


def test_a_file_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "old.oapc"
    path.write_bytes(b"OAPcorp1" + compiled(session())[1][8:-8] + b"OAPcorp1")
    assert is_compiled(path)
    with pytest.raises(
        CorpusError, match=r"old\.oapc: was compiled by another version \(its form is 1, this version reads 2\)"
    ):
        open_corpus(path)


def test_the_digest_names_the_work_and_not_its_description() -> None:
    plain, _ = compiled(session())
    described, data = compiled(session(), about=b'{"card": 1}')
    assert plain.digest == described.digest == Compiled(data).digest
    assert Compiled(data).about == b'{"card": 1}'
    others = [compiled(session(text="!"))[0], compiled(rewritten(session(), 2, "compaction", 1))[0]]
    others.append(compiled(session(), dialect="responses")[0])
    assert len({plain.digest, *(other.digest for other in others)}) == 4


def test_the_longest_turn_is_known() -> None:
    summary, data = compiled(session(turns=4), session(turns=6), session(turns=2))
    assert summary.longest_tokens == Compiled(data).longest_tokens == 100 + 50 * 5 + 10


@pytest.mark.parametrize(("t", "k"), [(0, 4), (0, -1), (1, 0), (-1, 0)])
def test_a_turn_that_is_not_there_is_an_index_error(t: int, k: int) -> None:
    read = Compiled(compiled(session(turns=4))[1])
    with pytest.raises(IndexError):
        read.slot(t, k)


@pytest.mark.parametrize("lost", [1, 8, 100, 400])
def test_a_cut_copy_is_refused(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "cut.oapc"
    path.write_bytes(compiled(session())[1][:-lost])
    assert is_compiled(path)
    with pytest.raises(CorpusError, match=r"cut\.oapc: is cut short, a whole file"):
        open_corpus(path)


def test_a_changed_byte_is_found_when_asked_for(tmp_path: Path) -> None:
    data = bytearray(compiled(session())[1])
    data[data.index(b"You fix")] ^= 1
    path = tmp_path / "changed.oapc"
    path.write_bytes(data)
    open_corpus(path, verify=False)
    with pytest.raises(CorpusError, match="has changed since it was written"):
        open_corpus(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "No such file"), (b"", "empty file"), (b"{}\n" * 100, "is not a compiled corpus")],
)
def test_what_is_no_compiled_corpus_is_refused(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "x.oapc"
    if content is not None:
        path.write_bytes(content)
    assert not is_compiled(path)
    with pytest.raises(CorpusError, match=found):
        open_corpus(path)
