"""Weka traces: sub-agents, delays and cuts on traces written here, then all of it on real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import index_rows
from openagentperf.corpus.detect import detect
from openagentperf.corpus.fit import fault
from openagentperf.corpus.formats import weka, weka_lines
from openagentperf.corpus.formats.blocktext import BlockText
from openagentperf.corpus.formats.hashed import Layout, common_blocks
from openagentperf.corpus.prefix import common_bytes
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory, Turn, histories, lines
from openagentperf.units import NS_PER_MS, NS_PER_S
from shared_data import real

EXAMPLES = Path(__file__).parent / "data" / "formats"


def request(t: float, blocks: list[int], *, api: float | None = 2.0, think: float = 0.0, **more: Any) -> dict[str, Any]:
    """A request of whole blocks that brings a tool's result and calls a tool."""
    usual: dict[str, Any] = {
        "t": t,
        "type": "n",
        "in": 64 * len(blocks),
        "out": 10,
        "hash_ids": blocks,
        "input_types": ["tool_result"],
        "output_types": ["tool_use"],
        "stop": "tool_use",
        "think_time": think,
    }
    if api is not None:
        usual["api_time"] = api
    return usual | more


def agent(t: float, duration_ms: float | None, *requests: dict[str, Any], name: str = "agent_001") -> dict[str, Any]:
    found = {
        "t": t,
        "type": "subagent",
        "agent_id": name,
        "tool_tokens": 0,
        "system_tokens": 64,
        "requests": list(requests),
    }
    return found if duration_ms is None else found | {"duration_ms": duration_ms}


def read(*requests: dict[str, Any], skipped: list[Skipped] | None = None, **more: Any) -> Trajectory:
    trace = {"id": "t", "block_size": 64, "hash_id_scope": "local", "tool_tokens": 64, "system_tokens": 64, **more}
    data = json.dumps({**trace, "requests": list(requests)}).encode()
    (session,) = weka.read(data, "f.json", [] if skipped is None else skipped)
    assert fault(session) == ""
    return session


def delays_s(turns: tuple[Turn, ...]) -> list[float | None]:
    return [None if turn.tool_delay_ns is None else turn.tool_delay_ns / NS_PER_S for turn in turns]


def sizes(turn: Turn) -> list[tuple[str, int]]:
    return [(message.role, estimate_message(message)) for message in turn.appended]


def test_the_example() -> None:
    skipped: list[Skipped] = []
    data = (EXAMPLES / "10_weka_agentx.json").read_bytes()
    (session,) = weka.read(data, "10.json", skipped)
    assert detect(data) == "weka"
    assert skipped == []
    assert (session.id, session.model, session.format) == ("trace_demo", "demo-model", "weka")
    first, second = session.turns
    assert sizes(first) == [("system", 64 + 128), ("user", 256 - 192)]
    assert sizes(second) == [("assistant", 40), ("user", 384 - 256 - 40)]
    assert [(turn.input_tokens, turn.output_tokens, turn.tool_calls) for turn in session.turns] == [
        (256, 40, 1),
        (384, 80, 0),
    ]
    (branch,) = session.branches
    assert (branch.name, branch.after, branch.join) == ("sub_1", 0, 1)
    assert branch.delay_ns == 100 * NS_PER_MS  # begins at 2.2; the answer ended at 0.0 + 2.1
    # The next request begins at 5.3, the sub-agent ended at 2.2 + 1.5: its wait is not the tools'.
    assert first.tool_delay_ns == 1_600 * NS_PER_MS
    assert sizes(branch.turns[0]) == [("system", 128), ("user", 64)]


@pytest.mark.parametrize(
    ("kinds", "stop", "want"),
    [
        (["tool_result"], "tool_use", 3.0),
        (["text", "tool_result"], "tool_use", 3.0),
        (["text"], "end_turn", None),  # a person's pause
        (["text"], "tool_use", None),  # interrupted: a person spoke
        ([], "tool_use", None),  # not recorded what is new
    ],
)
def test_only_a_tools_time_is_a_tool_delay(kinds: list[str], stop: str, want: float | None) -> None:
    session = read(request(0, [1, 2, 3], stop=stop), request(5, [1, 2, 3, 4], think=3.0, input_types=kinds))
    assert delays_s(session.turns) == [want, None]


def test_a_stream_without_an_end_still_has_its_delay() -> None:
    # "s" entries may lack `api_time`; the next request's `think_time` is recorded all the same.
    session = read(request(0, [1, 2, 3], api=None, type="s"), request(9, [1, 2, 3, 4], think=3.5))
    assert delays_s(session.turns) == [3.5, None]


def test_sub_agents_of_one_answer_run_beside_each_other() -> None:
    session = read(
        request(0, [1, 2, 3], api=2.0),
        agent(11.5, 9_000, request(0, [7, 8]), request(4, [7, 8, 9], think=1.5), name="a"),  # 2.5 .. 11.5
        agent(14.0, 11_000, request(0, [7, 8, 10]), name="b"),  # 3.0 .. 14.0
        request(15, [1, 2, 3, 4], think=13.0),
    )
    a, b = session.branches
    assert [(one.name, one.after, one.join, (one.delay_ns or 0) / NS_PER_S) for one in (a, b)] == [
        ("a", 0, 1, 0.5),
        ("b", 0, 1, 1.0),
    ]
    assert delays_s(session.turns) == [1.0, None]  # 15.0 - 14.0
    assert delays_s(a.turns) == [1.5, None]
    # The two share their system prompt: blocks 7 and 8.
    assert a.turns[0].appended[0] == b.turns[0].appended[0]


@pytest.mark.parametrize(
    ("end", "took", "after", "join"),
    [
        (9.0, 6_500, 0, None),  # 2.5 .. 9.0: the second request began at 4, so that nobody waited
        (9.0, 2_500, 1, 2),  # 6.5 .. 9.0
        (4.9, 2_000, 0, 1),  # 2.9 .. 4.9: `t` of the second is 4, but a whole second: it may be 4.99
        (60.0, 50_000, 2, None),  # 10 .. 60: behind the last request
        (1.0, 900, 0, 1),  # before the session's first answer had ended: no earlier one can have started it
    ],
)
def test_a_sub_agent_hangs_where_its_time_says(end: float, took: float, after: int, join: int | None) -> None:
    session = read(
        request(0, [1, 2, 3], api=2.0),
        request(4, [1, 2, 3, 4], api=2.0),
        request(9, [1, 2, 3, 4, 5], api=1.0),
        agent(end, took, request(0, [7, 8])),
    )
    (branch,) = session.branches
    assert (branch.after, branch.join) == (after, join)


def test_sub_agents_of_sub_agents_and_names_given_twice() -> None:
    inner = agent(4.0, 1_000, request(0, [20, 21]))
    session = read(
        request(0, [1, 2, 3]),
        agent(9.0, 6_500, request(0, [7, 8], api=2.0), inner, request(5, [7, 8, 9])),
        request(10, [1, 2, 3, 4], think=8.0),
    )
    assert [(one.name, one.parent, one.after, one.join) for one in session.branches] == [
        ("agent_001", "", 0, 1),
        ("agent_001~2", "agent_001", 0, 1),
    ]


def test_deep_nesting_is_refused_and_not_recursed_into() -> None:
    nested = request(0, [1])
    entries = [nested]
    for _ in range(12):
        entries = [nested, agent(5, 1_000, *entries)]
    skipped: list[Skipped] = []
    session = read(*entries, skipped=skipped)
    assert len(session.branches) == weka_lines.MOST_DEPTH
    assert [row.why for row in skipped] == ["a sub-agent of level 9"]


def test_another_prompts_requests_between_those_of_the_session_are_a_sub_agents() -> None:
    session = read(
        request(0, [1, 2, 3], api=2.0),
        request(3, [9, 10], api=1.0),
        request(5, [9, 10, 11], api=2.0, think=1.0),
        request(8, [1, 2, 3, 4], think=1.0),
    )
    (branch,) = session.branches
    assert [turn.cut for turn in session.turns] == ["", ""]
    assert (branch.after, branch.join, branch.delay_ns) == (0, 1, 1 * NS_PER_S)
    assert delays_s(branch.turns) == [1.0, None]
    assert delays_s(session.turns) == [1.0, None]
    assert "2 requests of another prompt, between those of the session, taken for a sub-agent's" in session.notes


def test_another_prompt_behind_which_the_session_does_not_go_on_replaces_it() -> None:
    session = read(request(0, [1, 2, 3]), request(3, [9, 10]), request(5, [9, 10, 11]))
    assert session.branches == ()
    assert [(turn.keep, turn.cut) for turn in session.turns] == [(None, ""), (0, "compaction"), (None, "")]


@pytest.mark.parametrize(
    ("second", "cut"),
    [
        ([1, 2, 3, 4, 5], ""),
        ([1, 2, 3, 8, 9], ""),  # one block does not come back: a template's end
        ([1, 2, 7, 8, 9], ""),  # two
        ([1, 6, 7, 8, 9], "undeclared"),  # three
    ],
)
def test_the_last_two_blocks_may_differ(second: list[int], cut: str) -> None:
    session = read(request(0, [1, 2, 3, 4]), request(5, second))
    assert session.turns[1].cut == cut
    assert any("last blocks" in note for note in session.notes) == (second[3] == 8 and not cut)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (request(0, [1, 2], **{"in": 200}), "a request of 200 tokens with 2 hashes of 64"),  # 200 // 64 = 3
        (request(0, [1] * (1 << 18), **{"in": (1 << 24) + 1}), "a prompt of 16777217 tokens"),
        (request(0, [1, 2], **{"in": None}), "a request without `in`"),
        (request(0, [1, 2], **{"in": -5}), "a request without `in`"),
        ({"hash_ids": 7}, "Expected `array`, got `int` - at `$.hash_ids`"),
    ],
)
def test_bad_requests_are_named(entry: dict[str, Any], why: str) -> None:
    skipped: list[Skipped] = []
    session = read(request(0, [1, 2]), entry, skipped=skipped)
    assert len(session.turns) == 1
    assert skipped == [Skipped("f.json: requests[1]", why)]


@pytest.mark.parametrize("took", [float("1e300"), -1, True, "5", None])
def test_nonsense_for_times_is_not_known(took: Any) -> None:
    session = read(request(0, [1, 2]), request(5, [1, 2, 3], think_time=took))
    assert delays_s(session.turns) == [None, None]


@pytest.mark.parametrize("block_size", [0, -64, 7, 10_000_000])
def test_a_block_size_that_no_engine_has_is_an_error(block_size: int) -> None:
    skipped: list[Skipped] = []
    with pytest.raises(CorpusError, match="holds no trace with a usable request"):
        list(weka.read(json.dumps({"block_size": block_size, "requests": [request(0, [1])]}).encode(), "f", skipped))
    assert skipped[0].why == f"blocks of {block_size} tokens: 8 to 1024 are known"


def test_an_answer_of_no_tokens_asks_for_one() -> None:
    assert read(request(0, [1], out=0)).turns[0].output_tokens == 1


def test_hashes_are_of_one_trace() -> None:
    one, other = read(request(0, [1, 2])), read(request(0, [1, 2]), id="other")
    assert one.turns[0].appended[0].content[:50] != other.turns[0].appended[0].content[:50]


# --- real traces --------------------------------------------------------------------------------------------------


def rows() -> list[dict[str, Any]]:
    return index_rows.rows("weka-agentx-json")


def test_every_real_trace_agrees_with_the_index() -> None:
    found = {row["file"]: differences(row) for row in rows()}
    assert len(found) == 59
    assert {file: figures for file, figures in found.items() if figures} == {}


def differences(row: dict[str, Any]) -> index_rows.Figures:
    data = real(row["file"]).read_bytes()
    (session,) = index_rows.imported(row, "weka")
    turns = index_rows.turns_of([session], row)
    agents = [branch for branch in session.branches if branch.name.startswith("agent_")]
    counted = index_rows.counts_off(turns, row, share=0)
    if "output sum" in counted:
        # An answer of no tokens asks for one.
        ours, told = counted.pop("output sum")
        assert ours - told == data.count(b'"out":0,')
    return {
        **counted,
        # The index counts every pause of the client, a person's too.
        **index_rows.delays_off(pauses_s(data), row),
        **index_rows.off(
            {
                "sub-agents": (len(agents), row["subagent_calls"], 0),
                "joined": (sum(branch.join == branch.after + 1 for branch in agents), row["subagent_calls"], 0),
            }
        ),
    }


def pauses_s(data: bytes) -> list[float]:
    """The client's time before each request that has one, as the importer read it."""
    trace = json.loads(data)
    entries = weka._TRACE.decode(data).requests
    found: list[float] = []
    waiting = [weka_lines.session(entries, "", (0, 0), Layout(BlockText("t", trace["block_size"])), [], Counter())]
    while waiting:
        line = waiting.pop()
        assert line is not None
        found += [one.think_ns / NS_PER_S for one in line.recorded if one.think_ns is not None]
        waiting += line.children
    return found


def test_real_requests_are_as_long_as_recorded_and_share_what_their_hashes_share() -> None:
    loosened = total = 0
    for row in rows():
        data = real(row["file"]).read_bytes()
        (session,) = weka.read(data, "f", [])
        for line in lines(session):
            for turn, messages in zip(line.turns, histories(line), strict=True):
                assert sum(map(estimate_message, messages)) == turn.input_tokens
                assert messages[-1].role == "user"
        if any(branch.name.startswith("line-") for branch in session.branches):
            continue  # the session's own requests are not those of the file in order
        recorded = [entry for entry in json.loads(data)["requests"] if entry["type"] != "subagent"]
        before: list[Any] = []
        for index, messages in enumerate(histories(session)):
            if index:
                tokens = 0
                for one, other in zip(before, messages, strict=False):
                    if one != other:
                        same = common_bytes(one.content.encode(), other.content.encode())
                        tokens += MESSAGE_TOKENS - (-2 * same // 7) if one.role == other.role else 0
                        break
                    tokens += estimate_message(one)
                # Up to two blocks more where these are loose.
                more = tokens // 64 - common_blocks(recorded[index - 1]["hash_ids"], recorded[index]["hash_ids"])
                assert 0 <= more <= weka.LOOSE_BLOCKS
                loosened += more > 0
                total += 1
            before = list(messages)
    assert (loosened, total) == (201, 3538)


def test_real_sub_agents() -> None:
    """trace_0254: three at once after the second answer, two at once after the 36th."""
    (session,) = weka.read(real("weka_kv-cache-tester", "trace_0254.json").read_bytes(), "f", [])
    assert [(branch.after, branch.join, len(branch.turns)) for branch in session.branches] == [
        (1, 2, 7), (1, 2, 4), (1, 2, 6), (35, 36, 13), (35, 36, 10),
    ]  # fmt: skip
    # The third ended at 149.516, the next request began at 164.0; the recorder's think_time is 112 s.
    assert session.turns[1].tool_delay_ns == 14_484 * NS_PER_MS
    assert session.branches[0].delay_ns == 170 * NS_PER_MS  # 137.013 - 83.993 - (30.0 + 22.85)
