"""Every recording of the real set is imported, or named with the reason; and each is byte-stable, or is listed with turn and cause."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from index_rows import IMPORTER, MAIN_LINES, lines
from openagentperf.corpus import rewrites
from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.corpus.fit import fault
from openagentperf.corpus.prefix import prove
from openagentperf.corpus.rewrites import cause_of
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory
from openagentperf.wire.chat import encode_message
from shared_data import real

MANIFEST = "is a manifest: it lists traces and holds none, a trace is needed: import the trace files that it lists, or their folder"
UNTEXTED = "a request without text"
SKIPPED = {"1cd047e0a85abdec2d6541575fad58c7": [UNTEXTED] * 3, "2e706747f44d374126a008b5ebed1d37": [UNTEXTED] * 3}
"""By the beginning of the file's name. Requests of screenshots alone: nobody can send them."""
REQUESTS = {
    "1cd047e0a85abdec2d6541575fad58c7": -3,  # without text, see SKIPPED
    "2e706747f44d374126a008b5ebed1d37": -3,
    "e5fcdc73-b9fc-4991-b532-6bf8440fd12d": -1,  # an answer on a branch that the user abandoned
    # An answer that was never counted, yet its call was made and answered: there was a request.
    "019f690c-8f7b-7631-86d1-935c66dbf4f4": 1,
    # An answer whose tools were interrupted before its count was written; the session's total has it.
    "019eef3d-abd1-72e1-ab99-dcdb259027c5": 1,
}
"""Our requests less the index's, by the beginning of the file's name."""
LOWER_BOUND = {"codex-exec-json-events"}
"""The index takes commands + 1 for the requests: the format names no request."""
BREAKS = {
    "agentperf-local": {rewrites.ENDED: 66},  # "Tool-call turn k of 100", in two traces
    "claude-code": {"compaction": 8},
    "codex-rollout": {"compaction": 20},
    "lmcache": {rewrites.ENDED: 5, rewrites.MOVED: 3},  # "Recall we are working on the following request"
    "swe-agent": {rewrites.SHORTENED: 7},  # "Old environment output: (98 lines omitted)", in one file
    "weka": {"compaction": 15, rewrites.REPLACED: 48, rewrites.EDITED: 1},
}
"""Turns that do not begin with the turn before them, by importer and cause. All others of the 31,859 do, byte for byte."""
REWRITTEN = {"agentperf-local": 2, "lmcache": 3, "swe-agent": 1, "weka": 27}
"""Trajectories with an undeclared one among them."""


class Seen(NamedTuple):
    """What became of one file."""

    row: dict[str, Any]
    intact: bool
    """The file is the one that the index speaks of."""
    importer: str | None
    error: str
    skipped: list[str]
    faults: list[str]
    requests: int
    turns: int
    causes: Counter[str]
    rewritten: int


@pytest.fixture(scope="module")
def seen() -> list[Seen]:
    return [look(json.loads(row)) for row in real("index.jsonl").read_text().splitlines()]


def look(row: dict[str, Any]) -> Seen:
    data = real(row["file"]).read_bytes()
    importer, error = detect(data), ""
    skipped: list[Skipped] = []
    faults: list[str] = []
    requests = turns = rewritten = 0
    causes: Counter[str] = Counter()
    try:
        for session in IMPORTERS[importer].read(data, row["file"], skipped) if importer else ():
            faults += [found] if (found := fault(session)) else []
            of_all = sum(len(line.turns) for line in lines([session]))
            turns += of_all
            requests += len(session.turns) if row["format"] in MAIN_LINES else of_all
            broken = broken_of(session)
            causes += broken
            rewritten += any(why in rewrites.CAUSES for why in broken)
    except CorpusError as raised:
        error = str(raised).removeprefix(f"{row['file']}: ")
    intact = hashlib.sha256(data).hexdigest() == row["sha256"]
    return Seen(row, intact, importer, error, [one.why for one in skipped], faults, requests, turns, causes, rewritten)


def broken_of(session: Trajectory) -> Counter[str]:
    """How often each cause breaks the prefix of one session."""
    found = prove(session, encode_message).breaks
    return Counter(
        cause_of(session, one.branch, one.turn) if one.cause == "undeclared" else str(one.cause) for one in found
    )


def of(file: str, listed: dict[str, Any], default: Any) -> Any:
    """What is listed for the beginning of the file's name."""
    return next((value for name, value in listed.items() if Path(file).name.startswith(name)), default)


def test_every_row_is_its_file_and_is_told_as_what_it_is(seen: list[Seen]) -> None:
    assert len(seen) == 287
    assert [one.row["file"] for one in seen if not one.intact] == []
    told = IMPORTER | {"agentperf-local-manifest": "agentperf-local"}
    assert {one.row["file"]: one.importer for one in seen if one.importer != told[one.row["format"]]} == {}


def test_every_row_is_imported_or_says_what_to_import(seen: list[Seen]) -> None:
    for one in seen:
        manifest = one.row["format"] == "agentperf-local-manifest"
        assert one.error == (MANIFEST if manifest else ""), one.row["file"]
        assert (one.turns > 0) is not manifest, one.row["file"]
        assert one.faults == [], one.row["file"]
        assert one.skipped == of(one.row["file"], SKIPPED, []), one.row["file"]


def test_every_row_has_as_many_requests_as_the_index_says(seen: list[Seen]) -> None:
    """Tokens and delays are compared in the tests of the formats."""
    for one in seen:
        if one.row["format"] in LOWER_BOUND:
            assert one.requests >= one.row["n_requests"], one.row["file"]
        elif not one.error:
            assert one.requests - one.row["n_requests"] == of(one.row["file"], REQUESTS, 0), one.row["file"]


def test_every_turn_is_byte_stable_or_is_listed_with_its_cause(seen: list[Seen]) -> None:
    causes: dict[str, Counter[str]] = {}
    rewritten: Counter[str] = Counter()
    for one in seen:
        importer = one.importer or ""
        causes.setdefault(importer, Counter()).update(one.causes)
        rewritten[importer] += one.rewritten
    assert {name: dict(found) for name, found in causes.items() if found} == BREAKS
    assert +rewritten == REWRITTEN
    assert sum(one.turns for one in seen) == 31_859


def test_the_folder_holds_no_recording_that_the_index_does_not_name(seen: list[Seen]) -> None:
    root = real("index.jsonl").parent
    named = {one.row["file"] for one in seen}
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    others = {name for name in found - named if not name.startswith("LICENSES/")}
    assert {name for name in others if detect((root / name).read_bytes()) is not None} == set()
    assert named <= found
