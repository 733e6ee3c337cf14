"""Sub-agents over real sockets: one agent with several requests in flight, joins kept, its place held until the whole tree is done."""

from __future__ import annotations

import json

import msgspec
import polars as pl
import pytest

from openagentperf import bench, planfile
from openagentperf.corpus.layout import Compiled
from openagentperf.corpus.tokens import estimate_message
from openagentperf.corpusfile import open_corpus
from openagentperf.records.trajectory import Branch, Message, Trajectory
from openagentperf.records.tree import NONE
from openagentperf.units import NS_PER_MS
from small_runs import trajectories, turns, write_corpus, write_plan

pytestmark = pytest.mark.e2e

DELAY_MS = 30


HARNESS = Message("system", "Answer in one line, and touch no file that you were not asked to. " * 90)
"""1,700 tokens that all sessions share."""


def recorded(main: Trajectory) -> Trajectory:
    """With a harness, and counts as recordings have them: twice what is there as text, for reasoning and images count and are not."""
    replace = msgspec.structs.replace
    first, *rest = main.turns
    first = replace(first, appended=(HARNESS, *first.appended[1:]))
    longer = estimate_message(HARNESS)
    return replace(
        main, turns=tuple(replace(turn, input_tokens=2 * (turn.input_tokens + longer)) for turn in (first, *rest))
    )


def trees() -> list[Trajectory]:
    """Five sessions of four turns. Turn 0 spawns a sub-agent that turn 1 waits for, which has one of its own; turn 1 one in the
    background, of more turns than are left of the main line; a sixth session has none."""
    mains = [recorded(main) for main in trajectories(6, turns=4, delay_ms=DELAY_MS)]
    others = trajectories(18, turns=5, delay_ms=DELAY_MS)
    made: list[Trajectory] = []
    for number, main in enumerate(mains[:5]):
        blocking, nested, background = others[3 * number : 3 * number + 3]
        branches = (
            Branch(name="blocking", after=0, join=1, turns=blocking.turns[:3], delay_ns=20 * NS_PER_MS),
            Branch(name="nested", parent="blocking", after=0, join=2, turns=nested.turns[:2]),
            Branch(name="background", after=1, turns=background.turns),
        )
        made.append(msgspec.structs.replace(main, branches=branches))
    return [*made, mains[5]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> bench.Outcome:
    """A whole run against the embedded node, which answers in a few ms and reports what it had cached."""
    folder = tmp_path_factory.mktemp("trees")
    write_corpus(folder, trees())
    path = write_plan(folder, track="exact", start=3, limit=3, measure_s=3, search_measure_s=3, certify_turns=30)
    return bench.run(planfile.load(path, planfile.Overrides()), folder / "runs", lambda _: None)


@pytest.fixture(scope="module")
def corpus(finished: bench.Outcome) -> Compiled:
    (compiled,) = (finished.folder.parent / "corpora").glob("*.oapc")
    return open_corpus(compiled)


@pytest.fixture(scope="module")
def replays(finished: bench.Outcome) -> list[pl.DataFrame]:
    """Whole replays that ended within a phase, each as its turns in the order of their number."""
    found = [
        replay.sort("turn")
        for path in sorted(finished.folder.glob("phases/*/turns.parquet"))
        for _, replay in pl.read_parquet(path).filter(pl.col("replay") > 0).group_by("agent", "replay")
        if replay["last"].any()
    ]
    assert sum(replay["line"].max() == 3 for replay in found) >= 3, "too few whole trees to tell anything from"
    return found


def test_every_turn_of_a_tree_is_sent_once_and_the_last_to_end_ends_it(corpus: Compiled, replays: list[pl.DataFrame]):
    for replay in replays:
        trajectory = replay["trajectory"][0]
        assert replay["failure"].unique().to_list() == [""]
        assert replay["turn"].to_list() == list(range(corpus.turns(trajectory)))
        assert replay["line"].to_list() == [corpus.line_of(trajectory, k) for k in replay["turn"]]
        (last,) = replay.filter(pl.col("last")).iter_rows(named=True)
        assert last["closed_ns"] == replay["closed_ns"].max()


def test_no_turn_is_sent_before_its_causes_have_ended(corpus: Compiled, replays: list[pl.DataFrame]):
    for replay in replays:
        trajectory = replay["trajectory"][0]
        due_ns, closed_ns = replay["due_ns"].to_list(), replay["closed_ns"].to_list()
        lines = corpus.lines(trajectory)
        for line in lines:
            for turn in range(line.first + 1, line.first + line.turns):
                assert due_ns[turn] >= closed_ns[turn - 1] + DELAY_MS * NS_PER_MS
            if line.after != NONE:
                assert due_ns[line.first] == closed_ns[line.after] + line.delay_ns, "SPAWN"
            if line.join != NONE:
                assert due_ns[line.join] >= closed_ns[line.first + line.turns - 1] + DELAY_MS * NS_PER_MS, "JOIN"


def test_an_agent_has_several_requests_in_flight_and_holds_its_place(finished: bench.Outcome):
    rows = turns(finished.folder).filter(pl.col("failure") == "")
    beside = 0
    for _, life in rows.group_by("agent"):
        for row in life.filter(pl.col("line") > 0).iter_rows(named=True):
            others = life.filter(
                (pl.col("line") != row["line"])
                & (pl.col("sent_ns") < row["closed_ns"])
                & (pl.col("closed_ns") > row["sent_ns"])
            )
            beside += len(others)
            assert (others["replay"] == row["replay"]).all(), "the next trajectory waits for the whole tree"
    assert beside > 0, "no two requests of one agent were ever in flight at once"


def test_the_result_counts_agents_and_says_what_ran_beside_them(finished: bench.Outcome):
    (tier,) = finished.result.results
    assert (tier.standing, tier.agents) == ("at_least", 3), "three agents, whatever they had in flight"
    assert finished.result.cache == "cache verified", (
        "a first request finds no more than it shares, whatever was recorded"
    )
    for phase in finished.result.phases:
        assert phase.agents == 3
        assert phase.in_flight_max is not None
        assert phase.in_flight_max > 3
        assert phase.subagent_share is not None
        assert 0.3 < phase.subagent_share < 0.9  # 10 of 14 turns of a tree, none of the sixth session
    assert any("sub-agents run beside their agents" in note for note in finished.result.notes)
    card = json.loads((finished.folder / "corpus.card.json").read_text())
    assert (card["trajectories_with_branches"], card["branches"], card["turns"]) == (5, 15, 5 * 14 + 4)
    assert bench.score(finished.folder) == finished.result
