"""What a server says when it refuses: its message out of the shapes in use, and whether it means an overlong context."""

from __future__ import annotations

import json
import re

MESSAGE_CHARS = 300
"""A detail is read in a table; a stack trace is not."""

# Seen in: llama.cpp (exceed_context_size_error, "available context size"), OpenAI (context_length_exceeded), vLLM and
# DeepSeek ("maximum context length"), vLLM ("param":"input_tokens"), SGLang ("longer than the model's context length"),
# TensorRT-LLM (max_seq_len), Anthropic-like gateways ("prompt is too long"), TGI ("`inputs` tokens + `max_new_tokens`").
_OVERFLOW = re.compile(
    r"exceed_context_size|context_length_exceeded|context[ _](?:length|size|window)|maximum context|max_model_len"
    r'|max_seq_len|(?:prompt|input) is too long|"param"\s*:\s*"input_tokens"|`inputs` tokens',
    re.IGNORECASE,
)
_OVERFLOW_STATUS = frozenset({400, 413, 422, 500})
"""Not 429: a rate limit counts tokens too."""

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def is_overflow(status: int, body: bytes) -> bool:
    """The status and body say that prompt and answer do not fit the model's context."""
    return status in _OVERFLOW_STATUS and _OVERFLOW.search(body[:10_000].decode("utf-8", "replace")) is not None


def message_of(body: bytes) -> str:
    """The server's words, at most MESSAGE_CHARS characters on one line; "" where it said nothing."""
    if body.lstrip()[:1] == b"<":
        title = _TITLE.search(body[:10_000].decode("utf-8", "replace"))
        return plain(f"HTML page: {title[1].strip()}" if title else "HTML page")
    try:
        said = error_of(json.loads(body))
    except (ValueError, RecursionError):
        said = ""
    return said or plain(body[: 4 * MESSAGE_CHARS].decode("utf-8", "replace"))


def error_of(document: object) -> str:
    """The message in an error document, "" where none is found.

    {"error": {"message": m, "type": t, "code": c}}   OpenAI, vLLM, llama.cpp
    {"error": m}                                      Ollama and many gateways
    {"object": "error", "message": m}                 SGLang, older vLLM
    {"detail": m} or {"detail": [{"loc": l, "msg": m}]}   FastAPI
    {"message": m}
    """
    if isinstance(document, str):
        return plain(document)
    if isinstance(document, list):
        return plain("; ".join(filter(None, map(error_of, document))))
    if not isinstance(document, dict):
        return ""
    for key in ("error", "message", "detail", "msg"):
        if said := error_of(document.get(key)):
            label = document.get("type") or document.get("code")
            # llama.cpp's type and OpenAI's code are often all there is to recognise an error by.
            return plain(f"{said} ({label})") if key == "message" and isinstance(label, str) else said
    return ""


def plain(text: str) -> str:
    """One line, at most MESSAGE_CHARS characters, writable as UTF-8."""
    line = " ".join(text[: 4 * MESSAGE_CHARS].split())
    if len(line) > MESSAGE_CHARS:
        line = line[: MESSAGE_CHARS - 3] + "..."
    return line.encode("utf-8", "replace").decode()
