"""What is refused before it is decoded, and what is named of the rest: both bound the memory that a file can take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openagentperf.corpus.formats.crumbs import SMALL_BYTES, too_fine
from openagentperf.corpus.formats.skips import MOST_NAMED, Skips
from openagentperf.corpusjobs.recordings import read_recordings
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped


def filled(item: bytes) -> bytes:
    """So many items that the file is no small one."""
    return item * (SMALL_BYTES // len(item) + 1)


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (b"{},", "objects, lists and strings"),
        (b"[],", "objects, lists and strings"),
        (b'"",', "objects, lists and strings"),
        (b"{}\n", "objects, lists and strings"),
        (b"{}{}", "objects, lists and strings"),
        (b'"a":123,', "keys"),
        (b"1,", "values"),
    ],
)
def test_crumbs_are_told_by_what_they_are(item: bytes, found: str) -> None:
    assert found in too_fine(filled(item))
    assert too_fine(filled(item)[: SMALL_BYTES - 1]) == "", "a small file cannot fill a memory"


@pytest.mark.parametrize(
    "item",
    [
        b"17,18,199,200,",  # hashes of a trace
        b"2023-11-16 18:17:03.97,4808,10\n",  # CSV
        b"5,x,47,18,65,log\n",
        b"a\n",  # no JSON: importers read it a line at a time
        json.dumps({"role": "tool", "content": json.dumps([{"a": 1}] * 50)}).encode()
        + b",",  # a tool that prints crumbs
        json.dumps({"role": "user", "content": "print('a', 'b', [1, 2], {'k': 3})\n"}).encode() + b"\n",
    ],
)
def test_recordings_are_not_told_for_crumbs(item: bytes) -> None:
    assert too_fine(filled(item)) == ""


def test_a_file_of_crumbs_is_an_error_and_in_a_folder_a_skipped_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"[" + filled(b"{},")[:-1] + b"]")
    with pytest.raises(CorpusError, match=r"a.json: holds [\d,]+ objects, lists and strings in [\d,]+ bytes"):
        list(read_recordings(file, [], "openai-chat"))
    (tmp_path / "b.json").write_text('{"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]}')
    skipped: list[Skipped] = []
    assert len(list(read_recordings(tmp_path, skipped))) == 1
    assert [Path(row.where).name for row in skipped] == ["a.json"]


def test_rows_are_named_up_to_a_number_and_counted_from_there() -> None:
    skips = Skips()
    for number in range(MOST_NAMED):
        skips.append(Skipped(f"f:{number}", "bad"))
    assert len(skips) == MOST_NAMED
    skips += [Skipped("g", "bad")] * 1_234
    assert len(skips) == MOST_NAMED + 1
    assert skips[-2].where == f"f:{MOST_NAMED - 1}"
    assert skips[-1] == Skipped("and more", "1,234 others, not named: the first 20,000 are")
    skips.extend([Skipped("h", "bad")])
    assert skips[-1].why.startswith("1,235 others")
