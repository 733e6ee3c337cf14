"""From a plan's corpus to the file that agents replay."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.prepare import Prepared, prepare
from openagentperf.corpusjobs.store import SET_NAME, write_set
from openagentperf.errors import CorpusError, StorageError
from openagentperf.plan import Workload
from openagentperf.records.trajectory import Message, Trajectory, Turn
from openagentperf.records.tree import NONE
from openagentperf.units import NS_PER_S
from shared_data import real
from trajectories import branch, rewritten, session


def prepared(tmp_path: Path, corpus: Path | str, seed: int = 1, **fields: object) -> Prepared:
    workload = msgspec.convert({"corpus": str(corpus), **fields}, Workload)
    return prepare(workload, seed, tmp_path / "compiled")


def native(tmp_path: Path, *corpus: Trajectory) -> Path:
    write_set(tmp_path / "set", corpus)
    return tmp_path / "set"


def long(id: str) -> Trajectory:
    """Its only turn has 401 tokens."""
    return Trajectory(id=id, turns=(Turn(appended=(Message("user", "x"),), input_tokens=400, output_tokens=1),))


def test_a_native_set_becomes_a_file_named_by_its_digest(tmp_path: Path) -> None:
    found = prepared(tmp_path, native(tmp_path, session("a"), session("b")))
    assert found.path == tmp_path / "compiled" / f"{found.digest[:16]}.oapc"
    read = open_corpus(found.path)
    assert (read.digest, read.trajectories, read.total_turns, read.dialect) == (found.digest, 2, 8, "chat")
    assert (found.card.trajectories, found.card.turns) == (2, 8)
    body = json.loads(b"".join(read.message_pieces(0, 3, b"P", b"R")))
    assert body[:3] == [
        {"role": "system", "content": "PYou fix bugs."},
        {"role": "user", "content": "RFix bug a. "},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}}
            ],
        },
    ]


def test_preparing_twice_gives_one_file(tmp_path: Path) -> None:
    source = native(tmp_path, session("a"))
    assert prepared(tmp_path, source) == prepared(tmp_path, source)
    assert len(list((tmp_path / "compiled").iterdir())) == 1


def test_missing_delays_are_drawn_by_seed_and_counted(tmp_path: Path) -> None:
    source = native(tmp_path, session("a"), session("b"))
    one, two = prepared(tmp_path, source, seed=1), prepared(tmp_path, source, seed=2)
    assert one.digest != two.digest
    law = "log-normal, median 1 s, sigma 1.3, 0.1 to 60 s"
    assert one.notes == (f"tool delays drawn where the recording has none: 6 ({law})",)
    delays = [open_corpus(one.path).slot(0, k).delay_ns for k in range(4)]
    assert min(delays[:3]) >= 100_000_000
    assert delays[3] == 0
    assert one.card.tool_delay_missing == 1.0, "the card tells what was recorded"


def test_trajectories_are_cut_to_the_context_and_the_cut_is_told(tmp_path: Path) -> None:
    source = native(tmp_path, session("a", turns=9), session("b", turns=2), long("h"))
    found = prepared(tmp_path, source, max_context_tokens=310)  # turn k of a session has 110 + 50 k tokens: k <= 4
    read = open_corpus(found.path)
    assert [read.turns(t) for t in range(read.trajectories)] == [5, 2]
    assert read.longest_tokens == 310
    assert found.notes[:2] == (
        "trajectories cut to 310 tokens of context: 1 (4 turns left out)",
        "trajectories left out because their first turn is longer than 310 tokens: 1",
    )


def test_sub_agents_are_cut_with_their_trees_and_the_cut_is_told(tmp_path: Path) -> None:
    # Turn k of a line has 110 + 50 k tokens: of the main line turns 0 to 3 stay, and with turn 4 goes the sub-agent it spawned.
    tree = msgspec.structs.replace(
        session("a", turns=6), branches=(branch("kept", after=2, join=4, turns=5), branch("gone", after=4, turns=2))
    )
    found = prepared(tmp_path, native(tmp_path, tree), max_context_tokens=260)
    read = open_corpus(found.path)
    main, kept = read.lines(0)
    assert (main.turns, kept.turns, kept.join) == (4, 4, NONE)
    assert found.notes[0] == (
        "trajectories cut to 260 tokens of context: 1 (5 turns left out, 1 sub-agents among them whole)"
    )
    assert (found.card.turns, found.card.branches, found.card.branch_turns) == (8, 1, 0.5)
    assert found.notes[1].startswith("tool delays drawn where the recording has none: 6 ")  # three a line


def test_a_sub_agent_that_rewrites_its_history_is_named(tmp_path: Path) -> None:
    sub_agent = branch("a7", after=0, turns=3)
    broken = msgspec.structs.replace(sub_agent, turns=rewritten(session("x"), 2, "undeclared", 1).turns)
    (row,) = prepared(
        tmp_path, native(tmp_path, session("a"), msgspec.structs.replace(session("b"), branches=(broken,)))
    ).skipped
    assert row.where.endswith(", b")
    assert row.why.startswith("turn 2 of branch 'a7' rewrites its history without declaring it")


def test_declared_cuts_pass(tmp_path: Path) -> None:
    found = prepared(tmp_path, native(tmp_path, rewritten(session("a"), 2, "compaction", 1)))
    assert found.card.cuts == {"compaction": 1}
    assert not found.skipped


def test_undeclared_rewrites_are_left_out_unless_allowed(tmp_path: Path) -> None:
    source = native(tmp_path, session("a"), rewritten(session("b"), 2, "undeclared", 1))
    found = prepared(tmp_path, source)
    assert open_corpus(found.path).trajectories == 1
    (row,) = found.skipped
    assert "turn 2 rewrites its history without declaring it" in row.why
    allowed = prepared(tmp_path, source, allow_rewritten_history=True)
    assert open_corpus(allowed.path).trajectories == 2
    assert found.notes[0] == "trajectories left out because they rewrite their history without declaring it: 1"
    assert allowed.notes[0] == "trajectories taken that rewrite their history without declaring it: 1 (1 times)"


def test_nothing_left_says_why_and_what_to_do(tmp_path: Path) -> None:
    source = native(tmp_path, long("a"), long("b"))
    with pytest.raises(CorpusError, match=r"\(2 read: 2 too long for the context\).*raise workload.max_context_tokens"):
        prepared(tmp_path, source, max_context_tokens=256)
    with pytest.raises(CorpusError, match=r"1 rewriting their history undeclared\).*set workload.allow_rewritten"):
        prepared(tmp_path, native(tmp_path, rewritten(session("b"), 2, "undeclared", 1)))
    assert list((tmp_path / "compiled").iterdir()) == [], "no half file stays"


def test_broken_lines_are_named(tmp_path: Path) -> None:
    source = native(tmp_path, session("a"))
    with (source / SET_NAME).open("ab") as file:
        file.write(b"{broken\n")
    found = prepared(tmp_path, source)
    assert [row.where for row in found.skipped] == [f"{source / SET_NAME}:2"]


# --- tool delays ------------------------------------------------------------------------------------------------------------


def waiting(*delays_s: float | None) -> Trajectory:
    """A session whose turns wait so long."""
    turns = session("w", turns=len(delays_s)).turns
    return Trajectory(
        id="w",
        turns=tuple(
            msgspec.structs.replace(turn, tool_delay_ns=None if delay is None else round(delay * NS_PER_S))
            for turn, delay in zip(turns, delays_s, strict=True)
        ),
    )


def delays_s(found: Prepared) -> list[float]:
    read = open_corpus(found.path)
    return [read.delay_ns(0, k) / NS_PER_S for k in range(read.turns(0))]


def test_long_recorded_delays_stay_and_are_told(tmp_path: Path) -> None:
    found = prepared(tmp_path, native(tmp_path, waiting(1, 60, 60.5, 7_200, 2)))
    assert delays_s(found) == [1, 60, 60.5, 7_200, 2]
    (note,) = found.notes
    told = "tool delays above 60 s, waited for in full: 2 of 5 recorded (40 %), the longest 7,200.0 s; "
    assert note == told + "--max-tool-delay (workload.max_tool_delay_s) cuts them"


def test_delays_that_any_draw_could_give_are_not_news(tmp_path: Path) -> None:
    assert prepared(tmp_path, native(tmp_path, waiting(1, 60, 2))).notes == ()


def test_a_limit_cuts_longer_delays_and_tells_how_many(tmp_path: Path) -> None:
    found = prepared(tmp_path, native(tmp_path, waiting(1, 30, 30.5, 7_200, 0.1, 40)), max_tool_delay_s=30)
    assert delays_s(found) == [1, 30, 30, 30, 0.1, 30], "an agent waits after a trajectory's last turn, too"
    assert found.notes == ("tool delays cut to 30 s: 3 of 6 recorded (50 %), the longest 7,200.0 s",)
    assert found.card.tool_delay_s is not None
    assert found.card.tool_delay_s.max == 30, "the card shows what is run"


def test_a_limit_that_nothing_reaches_says_nothing(tmp_path: Path) -> None:
    source = native(tmp_path, waiting(1, 90, 2))
    limited = prepared(tmp_path, source, max_tool_delay_s=90)
    assert limited.notes == ()
    assert limited.digest == prepared(tmp_path, source).digest


def test_a_limit_holds_for_drawn_delays(tmp_path: Path) -> None:
    found = prepared(tmp_path, native(tmp_path, waiting(*[None] * 60)), max_tool_delay_s=0.5)
    assert max(delays_s(found)) == 0.5
    assert found.notes == (
        "tool delays drawn where the recording has none: 59 (log-normal, median 1 s, sigma 1.3, 0.1 to 0.5 s)",
    )


def test_cut_delays_are_those_of_the_turns_that_are_left(tmp_path: Path) -> None:
    source = native(tmp_path, waiting(1, 90, 100, 200))  # turn k of a session has 110 + 50 k tokens: k <= 3
    found = prepared(tmp_path, source, max_tool_delay_s=60, max_context_tokens=256)
    assert found.notes == (
        "trajectories cut to 256 tokens of context: 1 (1 turns left out)",
        "tool delays cut to 60 s: 2 of 3 recorded (66.7 %), the longest 100.0 s",
    )


def test_a_compiled_file_with_longer_delays_is_refused(tmp_path: Path) -> None:
    first = prepared(tmp_path, native(tmp_path, waiting(1, 90, 2)))
    assert prepared(tmp_path, first.path, max_tool_delay_s=90).digest == first.digest
    with pytest.raises(
        CorpusError,
        match=r"has a tool delay of 90\.0 s, workload\.max_tool_delay_s allows 89\.5 s: raise it, or prepare",
    ):
        prepared(tmp_path, first.path, max_tool_delay_s=89.5)


# --- sources ----------------------------------------------------------------------------------------------------------------


def test_a_compiled_file_is_taken_as_it_is(tmp_path: Path) -> None:
    first = prepared(tmp_path, native(tmp_path, session("a"), session("b")))
    again = prepared(tmp_path, first.path, seed=99)
    assert (again.path, again.digest, again.card, again.notes) == (first.path, first.digest, first.card, first.notes)


def test_a_compiled_file_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    first = prepared(tmp_path, native(tmp_path, session("a", turns=9)))
    with pytest.raises(
        CorpusError, match=r"has a turn of 510 tokens, input and output together, workload\.max_context"
    ):
        prepared(tmp_path, first.path, max_context_tokens=509)


def test_a_broken_compiled_file_is_refused(tmp_path: Path) -> None:
    path = prepared(tmp_path, native(tmp_path, session("a"))).path
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CorpusError, match="is cut short"):
        prepared(tmp_path, path)
    path.write_bytes(b"x" + data[1:])
    with pytest.raises(CorpusError, match="is not a compiled corpus"):
        prepared(tmp_path, path)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            None,
            "is neither a profile nor a file or folder, one of agentperf, demo, interactive, long, stateful or a path is needed",
        ),
        ({}, "is an empty folder"),
        ({"README.md": b"# hello"}, "holds no usable recording"),
        ({"empty.jsonl": b""}, "holds no usable recording"),
        ({SET_NAME: b""}, "is empty, at least one trajectory is needed"),
    ],
)
def test_a_source_that_yields_nothing_is_an_error(tmp_path: Path, files: dict[str, bytes] | None, found: str) -> None:
    source = tmp_path / "source"
    if files is not None:
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
    with pytest.raises(CorpusError, match=found):
        prepared(tmp_path, source)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty, a recording is needed"),
        (b"# hello", "holds no line of JSON"),
        (b"\x00\xff" * 50, "holds no line of JSON"),
        (b'{"a": 1}\n', "is in no known format"),
    ],
    ids=["empty", "text", "bytes", "other JSON"],
)
def test_a_single_file_that_is_no_recording_is_an_error(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CorpusError, match=found):
        prepared(tmp_path, tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "compiled").write_bytes(b"in the way")
    with pytest.raises(StorageError):
        prepared(tmp_path, native(tmp_path, session("a")))


def test_recordings_are_told_apart_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    (folder / "deep").mkdir(parents=True)
    messages = [{"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")]
    (folder / "deep" / "chat.log").write_text(json.dumps({"messages": messages}) + "\n{broken\n")
    (folder / "LICENCE").write_text("Apache-2.0")
    found = prepared(tmp_path, folder)
    assert found.card.turns == 3
    assert {row.where for row in found.skipped} == {str(folder / "LICENCE"), f"{folder / 'deep' / 'chat.log'}:2"}


def test_the_demo_profile_is_ready_in_seconds_and_fits_its_context(tmp_path: Path) -> None:
    found = prepared(tmp_path, "demo", trajectories=5)
    read = open_corpus(found.path)
    assert (read.trajectories, found.skipped) == (5, ())
    assert read.longest_tokens <= 4_096 + 64
    assert all(read.tools(t) and read.shared_bytes(t) > 350 for t in range(5))


@pytest.mark.parametrize("name", ["claude-code_agentv", "agentperf-local"])
def test_real_recordings_compile(tmp_path: Path, name: str) -> None:
    found = prepared(tmp_path, real(name), allow_rewritten_history=True)
    read = open_corpus(found.path)
    assert read.longest_tokens <= 131_072
    for t in range(read.trajectories):
        for k in range(read.turns(t)):
            assert read.slot(t, k).output_tokens >= 1
        json.loads(b"".join(read.message_pieces(t, read.turns(t) - 1, b"P", b"R")))
