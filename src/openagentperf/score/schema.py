"""The JSON Schema of `result.json`, which stands in docs/result.schema.json."""

from __future__ import annotations

import msgspec

from openagentperf.records.result import Result


def result_schema() -> bytes:
    """JSON Schema (2020-12) of `records.result.Result`, indented, with a newline at its end."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "openagentperf result",
        **msgspec.json.schema(Result),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"
