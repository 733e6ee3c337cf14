"""Messages as SWE-agent writes them, in its trajectories and in data sets made of those: OpenAI's dialect with keys of its own beside."""

from __future__ import annotations

from collections import Counter

import msgspec

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.chat import ChatMessage, to_message
from openagentperf.records.trajectory import Message


class Item(ChatMessage):
    """One entry of a history."""

    tool_call_ids: list[str] | None = None
    """Stands in a tool message in place of `tool_call_id`; SWE-agent allows one call an answer."""
    is_demo: object = None
    """A demonstration: shown to the model, never answered by it in this session."""
    agent: object = None
    thinking_blocks: object = None
    action: object = None

    @property
    def answers(self) -> bool:
        """Whether a request of this session gave it."""
        return self.role == "assistant" and self.is_demo is not True


DECODER = msgspec.json.Decoder(Item)


def message_of(item: Item, notes: Counter[str]) -> Message:
    """As `chat.to_message`, which see for `notes` and what it raises."""
    message = to_message(item, notes)
    if message.role == "tool" and not message.tool_call_id and item.tool_call_ids:
        return msgspec.structs.replace(message, tool_call_id=item.tool_call_ids[0])
    if message.role == "assistant" and not message.reasoning:
        return msgspec.structs.replace(message, reasoning=_thoughts(item.thinking_blocks))
    return message


def tally(item: Item, message: Message, counts: Counter[str]) -> None:
    """Count the languages of the files that an answer names: in its action or its calls, else (code in the text) in all of it."""
    if isinstance(item.action, str):
        languages.tally_text(item.action, counts)
    elif message.tool_calls:
        for call in message.tool_calls:
            languages.tally_text(call.arguments, counts)
    else:
        languages.tally_text(message.content, counts)


def convert(text: bytes, notes: Counter[str]) -> list[Message]:
    """One message for `snapshots.Snapshots`."""
    return [message_of(DECODER.decode(text), notes)]


def _thoughts(blocks: object) -> str:
    if not isinstance(blocks, list):
        return ""
    texts = (block.get("thinking") for block in blocks if isinstance(block, dict))
    return "\n".join(text for text in texts if isinstance(text, str) and text)
