"""Laws of generated text: its length is what was asked for, whatever it is made of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from openagentperf.corpus.fit import fault
from openagentperf.corpus.laws import Geometric, Law, LogNormal, Mixture, count
from openagentperf.corpus.numbers import plan_session
from openagentperf.corpus.profiles import DEMO, Compaction, Profile, Returns, Subagents
from openagentperf.corpus.shape import generate
from openagentperf.corpus.text.fill import fill
from openagentperf.corpus.text.pool import GRAMMARS
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.results import RESULTS
from openagentperf.corpus.tokens import Counter, estimate, estimate_message
from openagentperf.records.trajectory import Trajectory, lines
from openagentperf.seeds import Stream

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400)


@pytest.fixture(scope="module")
def o200k() -> Counter:
    quicktok = pytest.importorskip("quicktok", reason="needs the `tokenizers` extra")
    count: Counter = quicktok.get_encoding("o200k_base").count
    return count


@given(tokens=st.integers(0, 400), text=ANY_TEXT)
def test_fill_is_exact_by_the_estimate_for_any_source(tokens: int, text: str) -> None:
    assert estimate(fill(estimate, tokens, lambda chars: text)) == tokens


@settings(max_examples=60)
@given(tokens=st.integers(0, 200), text=ANY_TEXT)
def test_fill_is_exact_by_a_vocabulary_for_any_source(o200k: Counter, tokens: int, text: str) -> None:
    assert o200k(fill(o200k, tokens, lambda chars: text)) == tokens


@settings(max_examples=60)
@given(
    tokens=st.integers(1, 3_000),
    language=st.sampled_from(sorted(GRAMMARS)),
    kind=st.sampled_from(sorted(RESULTS)),
    seed=st.integers(0, 2**32),
)
def test_every_kind_of_result_is_exact_by_a_vocabulary(
    o200k: Counter, tokens: int, language: str, kind: str, seed: int
) -> None:
    repo = Repo(language, 8_000, Stream(seed))
    assert o200k(fill(o200k, tokens, lambda chars: RESULTS[kind](repo, chars))) == tokens


SMALL_CUTS = replace(
    DEMO,
    name="small-cuts",
    first_input=LogNormal(1_400, 0.12, 1_250, 1_700),
    shared_tokens=1_100,
    tools=10,
    compaction=Compaction(
        at_tokens=LogNormal(1_800, 0.1, 1_500, 2_200),
        order_tokens=60,
        summary=LogNormal(120, 0.5, 30, 400),
        restored=LogNormal(80, 1.0, 10, 300),
    ),
    subagents=Subagents(
        session_share=0.8,
        number=LogNormal(2, 0.6, 1, 4),
        together_share=0.3,
        report=LogNormal(80, 0.6, 20, 300),
        line=replace(DEMO, name="small-agent", turns=LogNormal(3, 0.5, 1, 6)),
    ),
)
SMALL_LIVES = replace(
    DEMO,
    name="small-lives",
    turns=LogNormal(3, 0.5, 1, 6),
    returns=Returns(
        sessions=LogNormal(3, 0.4, 1, 6),
        pause_s=LogNormal(60, 1, 10, 600),
        memory=LogNormal(300, 0.4, 100, 500),
        learnt=LogNormal(40, 0.6, 5, 100),
        edited_share=0.1,
        blocks=8,
        block=LogNormal(60, 0.5, 20, 200),
        retrieved=LogNormal(3, 0.4, 1, 8),
    ),
)
"""All that a profile can ask for, at the size of `demo`."""
SMALL = st.sampled_from((DEMO, SMALL_CUTS, SMALL_LIVES))


def exact(trajectory: Trajectory, count_tokens: Counter) -> bool:
    """Whether every request of every line has the tokens that it says it has."""
    for line in lines(trajectory):
        tools = sum(map(count_tokens, line.tools))
        tokens: list[int] = []
        for turn in line.turns:
            del tokens[len(tokens) if turn.keep is None else turn.keep :]
            tokens.extend(estimate_message(message, count_tokens) for message in turn.appended)
            if turn.input_tokens != tools + sum(tokens):
                return False
    return True


@settings(max_examples=60, deadline=None)
@given(profile=SMALL, seed=st.integers(-(2**63), 2**63 - 1))
def test_a_trajectory_is_its_plan_with_text(profile: Profile, seed: int) -> None:
    shape = plan_session(profile, Stream(seed, "shape", profile.name, 0))
    trajectory = next(generate(profile, 1, seed, estimate))
    planned = [shape.turns, *(agent.turns for turn in shape.turns for agent in turn.agents)]
    told = [line.turns for line in lines(trajectory)]
    numbers = [
        [(turn.input_tokens, turn.output_tokens, turn.delay_ns, len(turn.result_tokens)) for turn in line]
        for line in planned
    ]
    assert numbers == [
        [(turn.input_tokens, turn.output_tokens, turn.tool_delay_ns, turn.tool_calls) for turn in line] for line in told
    ]
    assert exact(trajectory, estimate)
    assert fault(trajectory) == ""


@settings(max_examples=30, deadline=None)
@given(profile=SMALL, seed=st.integers(0, 2**32))
def test_counts_are_exact_by_a_vocabulary(o200k: Counter, profile: Profile, seed: int) -> None:
    assert exact(next(generate(profile, 1, seed, o200k, "o200k")), o200k)


ENDS = st.tuples(st.floats(0.1, 100), st.floats(0, 100)).map(lambda ends: (ends[0], sum(ends)))
LOGNORMALS = st.builds(
    lambda median, sigma, ends: LogNormal(median, sigma, *ends), st.floats(0.01, 1_000), st.floats(0, 3), ENDS
)


@given(law=LOGNORMALS, seed=st.integers(0, 2**32))
def test_a_draw_lies_between_its_ends(law: LogNormal, seed: int) -> None:
    assert law.low <= law.draw(Stream(seed)) <= law.high


@given(parts=st.lists(st.tuples(LOGNORMALS, st.integers(1, 9)), min_size=1, max_size=4), seed=st.integers(0, 2**32))
def test_a_mixture_draws_one_of_its_parts(parts: list[tuple[LogNormal, int]], seed: int) -> None:
    drawn = Mixture(tuple(parts)).draw(Stream(seed))
    assert any(law.low <= drawn <= law.high for law, _ in parts)


@given(low=st.integers(0, 5), over=st.integers(0, 30), more=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_a_geometric_draw_lies_between_its_ends(low: int, over: int, more: float, seed: int) -> None:
    law: Law = Geometric(low, more, low + over)
    assert low <= count(law, Stream(seed)) <= low + over
