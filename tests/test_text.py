import itertools
import re
from collections.abc import Callable

import msgspec
import pytest

from openagentperf.corpus.profiles import LANGUAGES
from openagentperf.corpus.text import calls, openings
from openagentperf.corpus.text.fill import fill
from openagentperf.corpus.text.grammar import Writer
from openagentperf.corpus.text.memory import Memory
from openagentperf.corpus.text.pool import GRAMMARS, source_pool
from openagentperf.corpus.text.repo import Repo
from openagentperf.corpus.text.results import RESULTS
from openagentperf.corpus.tokens import estimate
from openagentperf.errors import CorpusError
from openagentperf.seeds import Stream

EVERY_LANGUAGE = pytest.mark.parametrize("language", sorted(GRAMMARS))
KNOWN = set("fgtuabcdkpswn") | {"body"}


def repo(language: str = "go") -> Repo:
    return Repo(language, 8_000, Stream(1, "test", language))


def test_profiles_draw_every_grammar() -> None:
    assert {name for name, _ in LANGUAGES} == set(GRAMMARS)
    assert len(GRAMMARS) >= 12


@EVERY_LANGUAGE
def test_templates_use_known_slots_and_leave_none_unfilled(language: str) -> None:
    grammar = GRAMMARS[language]
    for template in (*grammar.heads, *grammar.blocks, *grammar.statements):
        assert set(re.findall(r"@([a-z]+)@", template)) <= KNOWN
    assert not re.search(r"@([a-z]|body)@", source_pool(language, 20_000).text)


@pytest.mark.parametrize(
    "language", ["go", "rust", "c", "cpp", "java", "kotlin", "csharp", "swift", "php", "javascript", "typescript"]
)
def test_blocks_of_braced_languages_are_balanced(language: str) -> None:
    """A block that lost a brace would make all text after it look like the inside of a function."""
    grammar = GRAMMARS[language]
    for template in (*grammar.blocks, *grammar.statements):
        for opening, closing in ("{}", "()", "[]"):
            assert template.count(opening) == template.count(closing), template


def test_python_blocks_compile() -> None:
    """The one language whose parser is at hand: names, bodies and indentation go together."""
    writer = Writer(GRAMMARS["python"], Stream(1, "test"))
    for _ in range(60):
        compile(writer.block(), "generated", "exec")


@pytest.mark.parametrize("kind", sorted(RESULTS))
@EVERY_LANGUAGE
def test_a_result_has_the_characters_asked_for(kind: str, language: str) -> None:
    for chars in (1, 200, 5_000):
        assert len(RESULTS[kind](repo(language), chars)) >= 0.8 * chars


@pytest.mark.parametrize("room", [8, 12, 40, 60, 200, 4_000])
def test_a_call_never_costs_more_than_its_room(room: int) -> None:
    here = repo()
    for _ in range(60):
        call = calls.drawn(here, room, 100, estimate)
        assert call.tokens(estimate) <= room
        assert call.kind in RESULTS


def test_a_repository_reads_on_where_it_stopped() -> None:
    here = repo()
    first, second = here.source(300), here.source(300)
    assert first != second
    assert len(first) >= 300


def test_repositories_rename_what_they_are_about() -> None:
    repos = [Repo("go", 8_000, Stream(seed, "test")) for seed in (1, 2)]
    texts = [
        "\n".join((here.source(8_000), here.prose(8_000), *here.paths, *here.names, *here.messages)) for here in repos
    ]
    assert "edger" not in "".join(texts)  # ledger and Ledger are placeholders: see words.DOMAIN
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", "".join(texts)), "a mark was left (pool.PLACEHOLDERS)"
    assert texts[0] != texts[1]


@EVERY_LANGUAGE
def test_a_pool_finds_its_lines(language: str) -> None:
    """By where they start, which moves when marks stand for words."""
    pool = source_pool(language, 20_000)
    lines = pool.text.split("\n")
    assert len(lines) == len(pool.starts)
    for first, number in ((0, 1), (3, 7), (len(lines) - 2, 1), (len(lines) - 2, 9), (0, len(lines))):
        assert pool.lines(first, number) == "\n".join(lines[first : first + number])


def test_a_larger_repository_has_more_files_and_names() -> None:
    """2.4 MB are four times the 600 KB up to which there are 240 and 300."""
    small, large = (Repo("go", size, Stream(1, "test")) for size in (600_000, 2_400_000))
    assert (len(small.paths), len(small.names), len(small.messages)) == (240, 300, 300)
    assert (len(large.paths), len(large.names), len(large.messages)) == (960, 1_200, 1_200)


@pytest.mark.parametrize("render", [openings.report, openings.repository, openings.summary])
@EVERY_LANGUAGE
def test_an_opening_has_the_characters_asked_for(render: Callable[[Repo, int], str], language: str) -> None:
    for chars in (1, 2_000, 60_000):
        assert len(render(repo(language), chars)) >= 0.8 * chars


@pytest.mark.parametrize("room", [10, 60, 400])
def test_a_prompt_that_does_not_fit_its_call_is_cut(room: int) -> None:
    call = calls.agent(repo(), "Find out why. " * 60, room, estimate)  # 840 characters are 240 tokens
    prompt = msgspec.json.decode(call.arguments)["prompt"]
    assert ("Find out why. " * 60).startswith(prompt)
    assert (len(prompt) == 840) == (room >= 280)
    assert call.tokens(estimate) <= room or prompt == ""


def test_a_memory_grows_at_its_end_and_keeps_its_length() -> None:
    memory = Memory(repo(), (200, 300, 100), 0.0, estimate)
    first, second = memory.front(800, (2, 0)), memory.front(1_200, (0, 1))
    notes = [front.split("\n# Found")[0] for front in (first, second)]
    assert notes[1].startswith(notes[0]), "nothing is reworded at a share of 0"
    assert [estimate(text) for text in notes] == [
        pytest.approx(800, abs=60),
        pytest.approx(1_200, abs=60),
    ]  # a note is 20 to 60
    block = second.split("# Found for this task\n")[1].split("\n\n## ")[0]
    assert first.endswith(block + "\n\n")
    assert estimate(block) == 200


def test_a_memory_without_room_loses_its_newest_notes() -> None:
    """So that what stands before them stays a prefix."""
    memory = Memory(repo(), (), 0.0, estimate)
    first, second = memory.front(800, ()), memory.front(400, ())
    assert first.startswith(second.split("\n# Found")[0])
    assert estimate(second) == pytest.approx(400, abs=60)


@pytest.mark.parametrize(
    ("tokens", "source", "want"),
    [
        (0, "abc", ""),
        (1, "abcdefg", "abc"),  # 3 bytes: ceil(3 / 3.5) = 1, and 4 bytes would be 2
        (2, "abcdefg", "abcdefg"),  # 7 bytes are 2 exactly
    ],
)
def test_fill_by_the_estimate(tokens: int, source: str, want: str) -> None:
    assert fill(estimate, tokens, lambda chars: source) == want


def test_fill_asks_again_until_it_has_enough() -> None:
    pieces = itertools.cycle(["a few words ", "and some more "])
    text = fill(estimate, 30, lambda chars: next(pieces))
    assert estimate(text) == 30
    assert text.startswith("a few words \nand some more ")


def test_fill_makes_up_what_a_dry_source_lacks_with_words() -> None:
    assert estimate(fill(estimate, 5_000, lambda chars: "")) == 5_000


def test_fill_refuses_a_counter_that_cannot_count() -> None:
    with pytest.raises(CorpusError, match="cannot count any text as 3 tokens"):
        fill(lambda text: 7, 3, lambda chars: "text")
