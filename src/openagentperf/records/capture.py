"""Rows of `capture.jsonl`, the log of `openagentperf record`: what went by, scrubbed, a line an exchange, in the order in which they ended.

A request repeats the whole history, so a line stores what it adds to an earlier one: its items are the first `keep` items of exchange
`base` + `appended`. The log is therefore as large as the text of the sessions, not as the square of it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Raw, Struct

from openagentperf.units import Ns

Dialect: TypeAlias = Literal["chat", "responses", "messages"]
"""OpenAI chat completions, OpenAI Responses, Anthropic Messages."""
Ending: TypeAlias = Literal["", "client left", "upstream cut", "recorder stopped"]


class Started(Struct, frozen=True, kw_only=True, tag_field="row", tag="started"):
    """A recorder began to write here. The numbers, labels and clock of the exchanges behind it are its own."""

    at: str
    """ISO 8601, UTC."""
    upstream: str
    """Scheme, host and base path."""
    version: str
    """Of this program."""
    scrubbed: bool


class Exchange(Struct, frozen=True, kw_only=True, tag_field="row", tag="exchange", omit_defaults=True):
    """One request and its answer."""

    number: int
    """From 1, within its run."""
    dialect: Dialect
    at: str
    """When the request arrived: ISO 8601, UTC. For people; spans come from the monotonic stamps."""
    arrived_ns: Ns
    """The recorder read the request's first byte (monotonic clock of its host)."""
    answered_ns: Ns
    """The recorder had the answer: the read that brought its terminal event or, where it was cut, its last byte."""
    status: int
    """HTTP status; 0 where no answer came."""
    base: int = 0
    """Number of the exchange whose items this one goes on from; 0: none."""
    keep: int = 0
    """So many of them."""
    appended: tuple[Raw, ...] = ()
    """Messages, or items of the Responses dialect, in their dialect's JSON. A system prompt that stood beside them comes first."""
    tools: tuple[Raw, ...] | None = None
    """Tool definitions in their dialect's JSON; None: those of `base`."""
    model: str = ""
    session: str = ""
    """`s1`, `s2`: the same where the client gave the same session id. The id itself is not kept."""
    agent: str = ""
    """The client's User-Agent."""
    previous: str = ""
    """The answer that this request goes on from, by its id (Responses: `previous_response_id`): its items are not repeated here."""
    answer: Raw = Raw(b"null")
    """The answer as its dialect would send it back as history; null where none came."""
    answer_id: str = ""
    finish: str = ""
    input_tokens: int | None = None
    """Of the whole request, cached ones included; None where the server did not say, like the next two."""
    output_tokens: int | None = None
    cached_tokens: int | None = None
    ending: Ending = ""
    """What broke the answer off; "" where it came to its end."""
    error: str = ""
    """What the server said went wrong, or why the body could not be read."""


Row: TypeAlias = Started | Exchange
