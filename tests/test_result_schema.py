from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from openagentperf.records.result import Result
from openagentperf.score.schema import result_schema
from test_capacity import found

SCHEMA = Path(__file__).parent.parent / "docs" / "result.schema.json"


def test_the_documented_schema_is_current() -> None:
    """If this fails: write the bytes of `openagentperf.score.schema.result_schema()` to docs/result.schema.json."""
    assert SCHEMA.read_bytes() == result_schema()


def test_a_result_validates() -> None:
    document = json.loads(msgspec.json.encode(found()))
    jsonschema.Draft202012Validator.check_schema(json.loads(result_schema()))
    jsonschema.validate(document, json.loads(result_schema()), jsonschema.Draft202012Validator)
    document["results"][0]["standing"] = "splendid"
    with pytest.raises(jsonschema.ValidationError, match="splendid"):
        jsonschema.validate(document, json.loads(result_schema()), jsonschema.Draft202012Validator)


def test_a_result_reads_back_as_it_was_written() -> None:
    data = msgspec.json.encode(found())
    assert msgspec.json.encode(msgspec.json.decode(data, type=Result)) == data
