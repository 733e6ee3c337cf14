"""Token estimates, with their arithmetic."""

from __future__ import annotations

import pytest

from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_message
from openagentperf.records.trajectory import Message, ToolCall


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),  # 1 / 3.5, rounded up
        ("abc", 1),
        ("abcd", 2),  # 4 / 3.5 = 1.14
        ("abcdefg", 2),  # 7 / 3.5, exactly
        ("x" * 3_500, 1_000),
        ("é" * 7, 4),  # 14 bytes
        ("\ud800", 1),  # a lone surrogate, as JSON escapes can give it: 3 bytes
    ],
)
def test_estimate(text: str, tokens: int) -> None:
    assert estimate(text) == tokens


def test_a_message_is_its_content_its_calls_and_its_frame() -> None:
    message = Message("assistant", "x" * 35, reasoning="y" * 3_500, tool_calls=(ToolCall("id", "bash", "z" * 70),))
    # 10 content + 2 name + 20 arguments; reasoning is not sent back, the id costs what the frame allows for
    assert estimate_message(message) == 10 + 2 + 20 + MESSAGE_TOKENS
    assert estimate_message(message, count=len) == 35 + 4 + 70 + MESSAGE_TOKENS
