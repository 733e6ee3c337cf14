"""The recordings that the import benchmark makes are what they are called: a writer that drifts would measure an error's speed."""

from __future__ import annotations

import pytest

from benchmarks.import_speed import JSONL, WRITERS
from benchmarks.recordings import session
from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.records.trajectory import Skipped


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_made_up_session_is_imported_whole(name: str) -> None:
    data = WRITERS[name](session("s", steps=7))
    assert detect(data) == name
    skipped: list[Skipped] = []
    found = list(IMPORTERS[name].read(data, "f", skipped))
    assert skipped == []
    assert sum(len(one.turns) for one in found) == 7


def test_formats_with_a_bar_are_measured() -> None:
    assert WRITERS.keys() >= JSONL
