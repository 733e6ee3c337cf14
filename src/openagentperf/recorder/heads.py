"""Heads of requests: what of them goes to the upstream, what of them is written down, and what an address means.

An agent's request goes on byte for byte, but for what belongs to one connection alone (RFC 9110, 7.6.1), the host, and Accept-Encoding:
identity is asked for, because a compressed stream could be forwarded but not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from openagentperf.records.capture import Dialect

Header: TypeAlias = tuple[bytes, bytes]

ENDINGS: dict[str, Dialect] = {"/chat/completions": "chat", "/responses": "responses", "/messages": "messages"}
"""What the path of a recorded POST ends with."""

_OF_ONE_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer", b"upgrade", b"http2-settings"}
)  # fmt: skip
_OURS = frozenset({b"host", b"accept-encoding"})
_SESSIONS = (
    b"x-claude-code-session-id", b"session-id", b"session_id", b"x-session-id", b"x-session-affinity", b"x-conversation-id",
    b"conversation-id", b"conversation_id", b"thread-id",
)  # fmt: skip
"""Names under which clients send the id of a session, the widest first: Claude Code, Codex, OpenCode, others."""


def dialect_of(method: str, target: str, forced: Dialect | None) -> Dialect | None:
    """The dialect in which a request is recorded; None where it only passes through. `forced` makes every POST one of that dialect."""
    if method != "POST":
        return None
    path = target.partition("?")[0].rstrip("/")
    return forced or next((dialect for ending, dialect in ENDINGS.items() if path.endswith(ending)), None)


def joined(base: str, target: str) -> str:
    """The upstream's path for a client's: below the base path, where that does not stand in it already.

        base            client asks for         upstream gets
        /v1             /v1/models              /v1/models
        /v1             /models                 /v1/models
        /openai/v1      /v1/models              /openai/v1/models
        ""              /v1/models              /v1/models

    Both ways of writing a base URL, with and without /v1, then work in the agent, and an upstream's own folder need not be repeated there.
    """
    parts = base.strip("/").split("/") if base.strip("/") else []
    wanted = target.partition("?")[0].lstrip("/").split("/")
    for overlap in range(len(parts), 0, -1):
        if wanted[:overlap] == parts[-overlap:]:
            return "".join(f"/{part}" for part in parts[:-overlap]) + target
    return "".join(f"/{part}" for part in parts) + target


def upward(method: str, target: str, version: str, host: str, headers: Sequence[Header]) -> bytes:
    """The head of the request that goes to the upstream."""
    dropped = _OF_ONE_CONNECTION | _OURS
    named = {
        name.strip().lower() for key, value in headers if key.lower() == b"connection" for name in value.split(b",")
    }
    lines = [f"{method} {target} HTTP/{version}".encode("latin-1"), b"Host: " + host.encode("latin-1")]
    lines += [key + b": " + value for key, value in headers if key.lower() not in dropped and key.lower() not in named]
    return b"\r\n".join([*lines, b"Accept-Encoding: identity", b"\r\n"])


def value_of(headers: Sequence[Header], name: bytes) -> str:
    """The first header of that name (in lower case), "" where there is none."""
    return next((value.decode("latin-1").strip() for key, value in headers if key.lower() == name), "")


def session_of(headers: Sequence[Header]) -> str:
    """What the client calls its session; "" where it does not say."""
    return next((value for name in _SESSIONS if (value := value_of(headers, name))), "")
