"""The request in which a program had its history summed up. Recordings hold its answer and perhaps its counts, never its prompt.

It is a request like any other for the server, and the agent waits for it: a branch of one turn, between the last answer before the
compaction and the first request behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from openagentperf.corpus.formats.prefix import MOST_TOKENS, prefix
from openagentperf.corpus.formats.usage import Counts
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_answer, estimate_message
from openagentperf.records.trajectory import Branch, Message, Turn
from openagentperf.units import Ns

UNPLACED = "requests for a summary before the first answer left out"
SUMMED_UP = "requests for a summary, whose prompts were not recorded, rebuilt from the history as branches"

_NAME = "summary"


def summary_branch(
    history: Iterable[Message], summary: Message, counted: Counts, *, after: int, delay_ns: Ns | None
) -> Branch:
    """The branch of one request for `summary`; its join is open: see `joined`. Whoever puts the tree together names it and its parent.

    history   what was summed up: the prompt is its text, cut or filled to the recorded input where that is known
    after     the turn behind whose answer it was asked
    delay_ns  from that answer to the request: the tools ran first
    """
    text = "\n\n".join(map(_told, history)) or " "
    if counted.input:
        text = _fitted(text, max(1, counted.input - MESSAGE_TOKENS))
    prompt = Message(role="user", content=text)
    turn = Turn(
        appended=(prompt,),
        input_tokens=counted.input or estimate_message(prompt),
        output_tokens=counted.output or estimate_answer(summary),
        counted=("recorded" if counted.output else "output estimated") if counted.input else "estimated",
        cached_tokens=counted.cached if counted.input else None,
    )
    return Branch(name=_NAME, turns=(turn,), after=after, delay_ns=delay_ns)


def joined(branches: Sequence[Branch], turns: int) -> tuple[Branch, ...]:
    """The branches, each joining at the turn behind the one that it follows, where its parent of so many turns has one."""
    return tuple(
        msgspec.structs.replace(branch, join=branch.after + 1 if branch.after + 1 < turns else None)
        for branch in branches
    )


def _told(message: Message) -> str:
    calls = "".join(f"\n{call.name}({call.arguments})" for call in message.tool_calls)
    return f"[{message.role}]\n{message.content}{calls}"


def _fitted(text: str, tokens: int) -> str:
    missing = min(tokens - estimate(text), MOST_TOKENS)
    if missing >= 0:
        return text + prefix(_NAME, missing * 7 // 2)
    return text.encode("utf-8", "replace")[: tokens * 7 // 2].decode("utf-8", "ignore") or " "
