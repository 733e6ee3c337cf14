"""Real recordings through the whole of the corpus code: what is imported is proven stable, or listed with turn and cause."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from openagentperf.cli.card import card_text
from openagentperf.corpus.prefix import BreakCause, prove
from openagentperf.corpusfile import open_corpus
from openagentperf.corpusjobs.describe import describe
from openagentperf.corpusjobs.imports import ImportReport, import_paths
from openagentperf.corpusjobs.prepare import prepare
from openagentperf.corpusjobs.store import read_set
from openagentperf.plan import Workload
from openagentperf.records.trajectory import Branch, Message, Trajectory, histories, lines
from openagentperf.wire.chat import encode_message
from shared_data import real

COMPACTED = {
    "266b3f40": (131,),
    "43b2bd6e": (40, 149),
    "6dccd523": (149,),
    "79e9becd": (131,),
    "ca8cc13b": (74,),
    "deeac353": (108,),
    "eb4bcc15": (97,),
}
"""Claude Code sessions (by the first 8 characters of their id) and the turns at which they compacted their history."""
REWRITTEN = {"django__django-14500": 40, "django__django-15851": 28}
"""agentperf-local traces that end each request with "Tool-call turn k of 100", never sent again, and their turns: all but the first
rewrite the history."""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImportReport]:
    out = tmp_path_factory.mktemp("imported")
    return out, import_paths(
        [real("agentperf-local"), real("claude-code_entire-cli"), real("claude-code_oh-my-posh")], out, None
    )


def breaks_of(trajectory: Trajectory) -> tuple[tuple[int, BreakCause], ...]:
    return tuple((found.turn, found.cause) for found in prove(trajectory, encode_message).breaks)


def expected(trajectory: Trajectory) -> tuple[tuple[int, BreakCause], ...]:
    if trajectory.id in REWRITTEN:
        return tuple((turn, "undeclared") for turn in range(1, REWRITTEN[trajectory.id]))
    return tuple((turn, "compaction") for turn in COMPACTED.get(trajectory.id[:8], ()))


def test_each_trajectory_is_stable_or_is_listed_with_turn_and_cause(imported: tuple[Path, ImportReport]) -> None:
    out, report = imported
    found = {trajectory.id: (breaks_of(trajectory), expected(trajectory)) for trajectory in read_set(out, [])}
    assert len(found) == report.trajectories > 40
    assert {name: pair for name, pair in found.items() if pair[0] != pair[1]} == {}
    listed = {name for name, (breaks, _) in found.items() if breaks}
    assert len(listed) == len(COMPACTED) + len(REWRITTEN), "a listed one that was not imported proves nothing"
    undeclared = {
        (name, turn) for name, (breaks, _) in found.items() for turn, cause in breaks if cause == "undeclared"
    }
    assert {(row.trajectory, row.turn) for row in report.rewritten} == undeclared


def arrays(trajectory: Trajectory | Branch) -> Iterator[bytes]:
    """Each turn's message array without its closing bracket, every message encoded anew: the definition, at the square of the length."""
    for messages in histories(trajectory):
        yield b"[" + b",".join(encode_message(message)[0] for message in messages)


def test_the_proof_says_what_the_bytes_say(imported: tuple[Path, ImportReport]) -> None:
    compared = 0
    for trajectory in read_set(imported[0], []):
        broken = []
        for line in lines(trajectory):
            before = b""
            for turn, now in enumerate(arrays(line)):
                if not now.startswith(before):
                    broken.append(turn)
                before, compared = now, compared + 1
        assert broken == [turn for turn, _ in breaks_of(trajectory)], trajectory.id
    assert compared == imported[1].turns > 3_000
    assert imported[1].branches >= 4


def test_the_rewritten_traces_replace_one_counter_at_their_end(imported: tuple[Path, ImportReport]) -> None:
    """So it is the recorded harness that rewrites, not our reading of it; and a server can still reuse all but the last message."""
    seen = 0
    for trajectory in read_set(imported[0], []):
        if trajectory.id in REWRITTEN:
            before: list[Message] = []
            for turn, messages in zip(trajectory.turns, histories(trajectory), strict=True):
                if turn.keep is not None:
                    (lost,) = before[turn.keep :]
                    assert re.match(r"Tool-call turn \d+ of 100", lost.content)
                    seen += 1
                before = list(messages)
    assert seen == sum(turns - 1 for turns in REWRITTEN.values())


def test_the_card_of_real_sessions_fits_a_terminal(imported: tuple[Path, ImportReport]) -> None:
    described = describe(imported[0])
    assert described.card.trajectories == imported[1].trajectories
    assert described.skipped == ()
    text = card_text(described.card, 80)
    assert max(map(len, text.split("\n"))) <= 80
    assert re.search(r"^formats: claude-code \d+%, agentperf-local \d+%$", text, re.MULTILINE)
    assert set(described.card.counted) == {"recorded", "output estimated"}


def test_hours_of_waiting_are_kept_and_told_and_cut_only_when_asked(
    imported: tuple[Path, ImportReport], tmp_path: Path
) -> None:
    workload = Workload(corpus=str(imported[0]))
    whole = prepare(workload, 1, tmp_path)
    (told,) = [note for note in whole.notes if note.startswith("tool delays above 60 s, waited for in full: ")]
    assert "--max-tool-delay" in told
    assert open_corpus(whole.path).longest_delay_ns > 3_600_000_000_000
    short = prepare(Workload(corpus=workload.corpus, max_tool_delay_s=60), 1, tmp_path)
    assert open_corpus(short.path).longest_delay_ns == 60_000_000_000
    (cut,) = [note for note in short.notes if note.startswith("tool delays cut to 60 s: ")]
    counts = [re.search(r": (\d+) of (\d+) recorded \(.* %\), the longest ([\d,.]+) s", note) for note in (told, cut)]
    assert counts[0] is not None
    assert counts[1] is not None
    assert counts[0].groups() == counts[1].groups()
    assert (short.card.turns, short.card.input_tokens) == (whole.card.turns, whole.card.input_tokens)
