"""Claude Code attachments as the text that the model was shown: reminders that the harness puts between the messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

Attachment: TypeAlias = Mapping[str, object]


def injected_text(attachment: Attachment) -> str:
    """The text of one attachment; "" for those that only the user or the program sees, and for types not known.

    Unknown types are left out rather than guessed: most new ones steer the program (permissions, modes).
    """
    kind = attachment.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    text = reader(attachment) if reader else ""
    if not text or kind == "queued_command":
        return text
    return f"<system-reminder>\n{text}\n</system-reminder>"


def system_prompt(attachment: Attachment) -> str:
    """The recorded system prompt (`prompt_snapshot`, Claude Code 2.1.26x and later), or ""."""
    if attachment.get("type") != "prompt_snapshot":
        return ""
    return _lines(attachment.get("systemPrompt"))


def _lines(value: object) -> str:
    """Text of a string, of a list of strings or of a list of objects that hold some."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for item in value if (text := _lines(item)))
    if isinstance(value, dict):
        return next((text for key in _TEXT_KEYS if (text := _lines(value.get(key)))), "")
    return ""


_TEXT_KEYS = ("text", "content", "file", "subject", "description")


def _content(attachment: Attachment) -> str:
    return _lines(attachment.get("content"))


def _added_lines(attachment: Attachment) -> str:
    return _lines(attachment.get("addedLines"))


def _added_blocks(attachment: Attachment) -> str:
    return _lines(attachment.get("addedBlocks"))


def _named(heading: str, where: str, what: str) -> Callable[[Attachment], str]:
    def read(attachment: Attachment) -> str:
        text = _lines(attachment.get(what))
        return f"{heading} {_lines(attachment.get(where))}:\n{text}" if text else ""

    return read


def _prompt(attachment: Attachment) -> str:
    return _lines(attachment.get("prompt"))


_READERS: dict[str, Callable[[Attachment], str]] = {
    "agent_listing_delta": _added_lines,
    "deferred_tools_delta": _added_lines,
    "edited_text_file": _named("The file was changed:", "filename", "snippet"),
    "file": _named("Contents of", "filename", "content"),
    "hook_additional_context": _content,
    "hook_success": _content,
    "mcp_instructions_delta": _added_blocks,
    "nested_memory": _named("Contents of", "path", "content"),
    "queued_command": _prompt,
    "skill_listing": _content,
    "task_reminder": _content,
    "todo_reminder": _content,
}
