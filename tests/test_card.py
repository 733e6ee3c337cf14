import pytest

from openagentperf.cli.card import card_text
from openagentperf.corpus.card import CardMaker, card
from openagentperf.corpus.formats.languages import of_extension
from openagentperf.corpus.shape import PROFILES, generate
from openagentperf.corpus.text.pool import GRAMMARS
from openagentperf.corpus.tokens import estimate, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.card import Card
from openagentperf.records.trajectory import Branch, Message, Trajectory, Turn

SECOND = 1_000_000_000
ASK, ANSWER = Message("user", "x" * 350), Message("assistant", "y" * 35)


def turn(input_tokens: int, output_tokens: int = 100, **fields: object) -> Turn:
    return Turn(appended=(ANSWER,), input_tokens=input_tokens, output_tokens=output_tokens, **fields)  # type: ignore[arg-type]


def described(*turns: Turn, **fields: str) -> Card:
    return card([Trajectory(id="t", turns=turns, **fields)])  # type: ignore[arg-type]


def test_lengths_and_growth() -> None:
    got = described(turn(1000, 10), turn(1400, 30), turn(2000, 50))
    assert (got.trajectories, got.turns) == (1, 3)
    assert (got.input_tokens.min, got.input_tokens.p50, got.input_tokens.max) == (1000, 1400, 2000)
    assert got.input_tokens.mean == pytest.approx(4400 / 3)
    assert got.output_tokens.p95 == pytest.approx(48)  # position 0.95 x 2 = 1.9: 30 + 0.9 x (50 - 30)
    assert got.growth_tokens is not None
    assert (got.growth_tokens.min, got.growth_tokens.max, got.growth_tokens.mean) == (400, 600, 500)


@pytest.mark.parametrize(
    ("turns", "want"),
    [
        ([turn(1000)], 0.0),  # a first turn is cold
        ([turn(1000), turn(1000)], 0.5),  # all of the second is the first
        ([turn(1000), turn(3000)], 0.25),  # 1000 shared of 4000
        # A cut: 500 tokens of which 14 are appended (35 bytes: 10, message: 4), so 486 are old; of 1500 in all.
        ([turn(1000), turn(500, keep=1, cut="compaction")], 486 / 1500),
        # The counts of a recording and of its text need not agree: never below 0, never more than there was.
        ([turn(1000), turn(10, keep=1, cut="compaction")], 0.0),
        ([turn(100), turn(900, keep=1, cut="compaction")], 0.1),
    ],
)
def test_prefix_reuse(turns: list[Turn], want: float) -> None:
    assert estimate_message(ANSWER) == 14
    assert described(*turns).prefix_reuse == pytest.approx(want)


def test_the_last_delay_of_a_trajectory_is_no_tool_delay() -> None:
    got = described(
        turn(1, tool_delay_ns=SECOND), turn(2, tool_delay_ns=3 * SECOND), turn(3, tool_delay_ns=99 * SECOND)
    )
    assert got.tool_delay_s is not None
    assert (got.tool_delay_s.p50, got.tool_delay_s.max, got.tool_delay_missing) == (2.0, 3.0, 0.0)


def test_missing_delays_are_counted_and_not_zero() -> None:
    got = described(turn(1, tool_delay_ns=2 * SECOND), turn(2), turn(3), turn(4))
    assert got.tool_delay_s is not None
    assert got.tool_delay_s.p50 == 2.0
    assert got.tool_delay_missing == pytest.approx(2 / 3)  # of the three that are not the last
    none = described(turn(1), turn(2))
    assert (none.tool_delay_s, none.tool_delay_missing) == (None, 1.0)
    assert {row.figure: row.ratio for row in none.published}["tool delay, median"] is None


def test_calls_and_cuts() -> None:
    got = described(
        turn(1, tool_calls=1),
        turn(2, tool_calls=3),
        turn(3),
        turn(4, keep=0, cut="undeclared"),
        turn(5, keep=0, cut="compaction"),
    )
    assert got.tool_calls_per_turn == pytest.approx(4 / 5)
    assert got.parallel_share == pytest.approx(1 / 2)  # of the two turns that call
    assert got.cuts == {"compaction": 1, "undeclared": 1}
    assert described(turn(1)).parallel_share is None


def test_sub_agents_count_and_each_line_is_one_of_its_own() -> None:
    def line(*turns: Turn) -> Branch:
        return Branch(name="b", turns=turns, after=0)

    sub_agent = line(turn(100, tool_delay_ns=5 * SECOND), turn(400))
    tree = Trajectory(id="t", turns=(turn(1000, tool_delay_ns=SECOND), turn(1500)), branches=(sub_agent,))
    alone = Trajectory(id="u", turns=(turn(2000),))
    got = card([tree, alone])
    assert (got.turns, got.turns_per_trajectory.max) == (5, 4)
    assert (got.trajectories_with_branches, got.branches, got.branch_turns) == (1, 1, 0.4)
    assert got.growth_tokens is not None
    assert (got.growth_tokens.min, got.growth_tokens.max) == (300, 500), "never from one line to another"
    assert got.tool_delay_s is not None
    assert (got.tool_delay_s.min, got.tool_delay_s.max, got.tool_delay_missing) == (1.0, 5.0, 0.0)
    assert got.prefix_reuse == pytest.approx((1000 + 100) / 5000)  # a sub-agent's first request is cold
    rows = {row[:29].strip(): row[29:].split() for row in card_text(got).split("\n")}
    assert rows["turns of sub-agents"] == ["40.0%"]
    assert "sub-agents" not in card_text(card([alone]))


def test_what_a_set_is_made_of() -> None:
    def one(**fields: str) -> Trajectory:
        return Trajectory(id="t", turns=(turn(1),), **fields)  # type: ignore[arg-type]

    got = card([one(language="go", licence="MIT"), one(language="go"), one(language="c"), one()], "o200k")
    assert got.languages == {"go": 0.5, "c": 0.25, "unknown": 0.25}
    assert list(got.languages) == ["go", "c", "unknown"], "most common first, then by name"
    assert got.licences == {"unknown": 0.75, "MIT": 0.25}
    assert got.counter == "o200k"
    assert {row.figure: row.this for row in got.published}["languages"] == 2, "unknown is not a language"


def test_implied_sigma() -> None:
    """Half of the turns at 150 and a P95 of 2,000: ln(2000 / 150) / 1.6449 = 1.575, as Artificial Analysis's figures imply."""
    got = described(*[turn(1, 150)] * 90, *[turn(1, 2_000)] * 10)
    assert got.output_sigma == pytest.approx(1.575, abs=0.001)


def test_nothing_has_no_card() -> None:
    with pytest.raises(CorpusError, match="holds no turn"):
        CardMaker().card()


def test_a_generated_set_stands_beside_the_published_figures() -> None:
    got = card(generate(PROFILES["agentperf"], 40, 1, estimate), "estimate")
    ratios = {row.figure: row.ratio for row in got.published}
    assert ratios["output, median"] == pytest.approx(1, abs=0.15)  # 1,300 turns: 1.57 / sqrt(1300) x 1.25 = 5 %
    assert ratios["tool delay, longest"] == 1.0
    assert got.counted == {"estimated": 1.0}
    assert 0.9 < got.prefix_reuse < 1


def test_the_table_fits_80_columns_and_names_every_published_figure() -> None:
    got = card(generate(PROFILES["demo"], 5, 1, estimate), "estimate")
    text = card_text(got, 80)
    assert max(map(len, text.split("\n"))) <= 80
    for row in got.published:
        assert row.figure in text
    assert "…" not in text, "a column was cut"


def test_the_table_of_a_recording_without_times_says_so() -> None:
    line = next(
        line for line in card_text(described(turn(1), turn(2))).split("\n") if line.startswith("tool delay, median")
    )
    assert line.split() == ["tool", "delay,", "median", "-", "1.00", "s", "-"]


@pytest.mark.parametrize(
    ("count", "of", "want"),
    [
        (1, 1, "MIT 100%"),
        (2, 3, "MIT 67%, unknown 33%"),
        (199, 200, "MIT 100%, unknown <1%"),
        (999, 1000, "unknown <1%"),
    ],
)  # 1 of 200 is 0.5 %, which rounds to 0 %
def test_what_is_there_is_never_shown_as_nothing(count: int, of: int, want: str) -> None:
    sessions = [Trajectory(id="t", turns=(turn(1),), licence="MIT")] * count
    sessions += [Trajectory(id="t", turns=(turn(1),))] * (of - count)
    (line,) = [line for line in card_text(card(sessions)).split("\n") if line.startswith("licences:")]
    assert line.endswith(want)


def test_estimated_counts_are_named_with_their_counter() -> None:
    turns = [turn(1, counted="recorded"), turn(2, counted="output estimated")]
    assert "token counts: output estimated 50%, recorded 50% (by estimate)" in card_text(
        card([Trajectory(id="t", turns=tuple(turns))], "estimate")
    )
    assert "token counts: recorded 100%\n" in card_text(card([Trajectory(id="t", turns=(turns[0],))], "estimate"))


def test_hours_are_readable() -> None:
    waited = described(turn(1, tool_delay_ns=4_193_520 * SECOND // 1000), turn(2))
    assert "4,193.52 s" in card_text(waited)


def test_generated_and_imported_sets_name_languages_alike() -> None:
    names = {of_extension(grammar.extension) for grammar in GRAMMARS.values()}
    assert len(names) == len(GRAMMARS)
    assert {"Go", "C++", "C#", "TypeScript"} <= names
    (session,) = generate(PROFILES["demo"], 1, 1, estimate)
    assert session.language in names
