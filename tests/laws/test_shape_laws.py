"""Laws of generated text: its length is what was asked for, whatever it is made of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openagentperf.corpus.profiles import DEMO
from openagentperf.corpus.shape import generate, plan_session
from openagentperf.corpus.text.fill import fill
from openagentperf.corpus.text.pool import GRAMMARS
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.results import RESULTS
from openagentperf.corpus.tokens import Counter, estimate, estimate_message
from openagentperf.records.trajectory import histories
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


@settings(max_examples=30)
@given(seed=st.integers(-(2**63), 2**63 - 1))
def test_a_trajectory_is_its_plan_with_text(seed: int) -> None:
    shape = plan_session(DEMO, Stream(seed, "shape", DEMO.name, 0))
    trajectory = next(generate(DEMO, 1, seed, estimate))
    tools = sum(map(estimate, trajectory.tools))
    lengths = [tools + sum(map(estimate_message, history)) for history in histories(trajectory)]
    assert lengths == [turn.input_tokens for turn in shape.turns]
    assert [turn.output_tokens for turn in trajectory.turns] == [turn.output_tokens for turn in shape.turns]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_counts_are_exact_by_a_vocabulary(o200k: Counter, seed: int) -> None:
    trajectory = next(generate(DEMO, 1, seed, o200k, "o200k"))
    tools = sum(map(o200k, trajectory.tools))
    for turn, history in zip(trajectory.turns, histories(trajectory), strict=True):
        assert turn.input_tokens == tools + sum(estimate_message(message, o200k) for message in history)
