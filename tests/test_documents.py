"""One object a file, an array of them, or one a line: all three give the same records."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import Struct

from openagentperf.corpus.formats.documents import documents
from openagentperf.corpus.formats.usage import Counts, counts_of
from openagentperf.records.trajectory import Skipped


class Record(Struct):
    a: str


DECODER = msgspec.json.Decoder(Record)
ONE, TWO = {"a": "1"}, {"a": "2"}


@pytest.mark.parametrize(
    ("data", "want", "lost"),
    [
        (json.dumps(ONE), [("f", "1")], []),
        (json.dumps(ONE, indent=2), [("f", "1")], []),
        (f"\ufeff {json.dumps(ONE)}\r\n", [("f", "1")], []),
        (json.dumps([ONE, TWO], indent=2), [("f[1]", "1"), ("f[2]", "2")], []),
        (f"{json.dumps(ONE)}\n{json.dumps(TWO)}\n", [("f:1", "1"), ("f:2", "2")], []),
        (json.dumps(ONE) + json.dumps(TWO), [("f:1", "1"), ("f:1", "2")], []),  # two objects on one line
        (json.dumps([ONE, 7, TWO]), [("f[1]", "1"), ("f[3]", "2")], ["f[2]"]),
        (f"{json.dumps(ONE)}\n{{\n{json.dumps(TWO)}", [("f:1", "1"), ("f:3", "2")], ["f:2"]),
        (f'{{"a": \n{json.dumps(TWO)}', [("f:2", "2")], ["f:1"]),  # a bad first line
        (r'{"a": "\ud83d"}', [("f:1", "�")], []),  # half an emoji
        ('{\n"a": "\\ud83d"\n}', [("f", "�")], []),
        (r'[{"a": "\ud83d"}]', [("f[1]", "�")], []),
        ('{\n"a": 7\n}', [], ["f"]),  # one object: one reason, not one a line
        ("{\n" * 5, [], ["f"]),
        ("", [], []),
        ("[]", [], []),
    ],
)
def test_records_and_where_they_stand(data: str, want: list[tuple[str, str]], lost: list[str]) -> None:
    skipped: list[Skipped] = []
    got = [(where, record.a) for where, record in documents(data.encode(), "f", skipped, DECODER)]
    assert got == want
    assert [row.where for row in skipped] == lost
    assert all(row.why for row in skipped)


@pytest.mark.parametrize(
    ("recorded", "want"),
    [
        ({"prompt_tokens": 90, "completion_tokens": 5}, Counts(90, 5, None)),
        (
            {"prompt_tokens": 90, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 64}},
            Counts(90, 5, 64),
        ),
        ({"input_tokens": 90, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 64}}, Counts(90, 5, 64)),
        # Anthropic counts apart what its cache read and wrote: 3 + 7 + 80
        (
            {"input_tokens": 3, "output_tokens": 5, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 80},
            Counts(90, 5, 80),
        ),
        # LiteLLM's prompt_tokens hold them already
        ({"prompt_tokens": 90, "completion_tokens": 5, "cache_read_input_tokens": 80}, Counts(90, 5, 80)),
        ({"prompt_tokens": -1, "completion_tokens": 10**12, "prompt_tokens_details": None}, Counts(None, None, None)),
        ({"prompt_tokens": True, "completion_tokens": "5"}, Counts(None, None, None)),
        (None, Counts(None, None, None)),
        ([1], Counts(None, None, None)),
    ],
)
def test_usage(recorded: object, want: Counts) -> None:
    assert counts_of(recorded) == want
