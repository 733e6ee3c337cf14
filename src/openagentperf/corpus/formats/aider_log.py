"""Aider's `--llm-history-file`: every prompt as it was sent, and its answer.

    TO LLM 2026-01-01T10:00:05
    -------
    SYSTEM Act as an expert          each line of a message opens with its role
    -------
    USER fix it
    LLM RESPONSE 2026-01-01T10:00:09
    ASSISTANT Here is the change:

The file goes on through all sessions without a mark between them. A prompt that does not hold the answer before it, as a message of any
role, opens a new one: the program was started anew, or the user had it forget. Prompts hold the files as they are now, the repository map
and a reminder at the end: nearly every turn rewrites what the one before it sent, and is marked so (see `snapshots`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.snapshots import Snapshots
from openagentperf.corpus.tokens import estimate_answer
from openagentperf.records.trajectory import Message, Role, Trajectory

OPENING = re.compile(r"^TO LLM \d{4}-\d\d-\d\dT[\d:]+$", re.MULTILINE)
UNANSWERED = "prompts without an answer left out"

_HEADING = re.compile(r"^(TO LLM|LLM RESPONSE) \d{4}-\d\d-\d\dT[\d:]+$", re.MULTILINE)
_RULE = re.compile(r"^-{7}$\n?", re.MULTILINE)
"""Opens each message. It cannot be text: text opens with its role."""
_ROLES: dict[str, Role] = {"SYSTEM": "system", "ASSISTANT": "assistant"}


class _Exchange(NamedTuple):
    where: str
    prompt: list[tuple[Role, str]]
    answer: str


def sessions(text: str, source: str, format: str) -> Iterator[tuple[str, Trajectory]]:
    """Each session with where it starts; a prompt that nothing answered belongs to none and is noted by the session before or after it."""
    notes: Counter[str] = Counter()
    current: list[_Exchange] = []
    for exchange in _exchanges(text, source):
        if not exchange.answer.strip():
            notes[UNANSWERED] += 1
            continue
        if current and not _goes_on(current[-1].answer, exchange.prompt):
            yield current[0].where, _trajectory(current, source, format, notes)
            notes, current = Counter(), []
        current.append(exchange)
    if current:
        yield current[0].where, _trajectory(current, source, format, notes)


def _goes_on(answer: str, prompt: list[tuple[Role, str]]) -> bool:
    wanted = answer.strip()
    return any(content.strip() == wanted for _, content in prompt)


def _trajectory(exchanges: list[_Exchange], source: str, format: str, notes: Counter[str]) -> Trajectory:
    tally: Counter[str] = Counter()
    snapshots = Snapshots(_convert)
    for exchange in exchanges:
        languages.tally_text(exchange.answer, tally)
        snapshots.add(
            [f"{role}\n{content}".encode() for role, content in exchange.prompt],
            output_tokens=estimate_answer(Message("assistant", exchange.answer)),
        )
    return Trajectory(
        id=exchanges[0].where,
        turns=snapshots.turns,
        format=format,
        source=source,
        language=languages.main_language(tally),
        harness="aider",
        notes=sentences(notes + snapshots.notes),
    )


def _convert(text: bytes, _notes: Counter[str]) -> list[Message]:
    role, _, content = text.decode().partition("\n")
    return [Message(_ROLES.get(role.upper(), "user"), content)]


def _exchanges(text: str, source: str) -> Iterator[_Exchange]:
    """Each prompt with its answer, "" where none follows."""
    headings = list(_HEADING.finditer(text))
    prompt: list[tuple[Role, str]] = []
    where = ""
    number = 1
    last = 0
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    for heading, end in zip(headings, ends, strict=True):
        body = text[heading.end() + 1 : end]
        if heading[1] == "TO LLM":
            if prompt:
                yield _Exchange(where, prompt, "")
            number += text.count("\n", last, heading.start())
            last = heading.start()
            where, prompt = f"{source}:{number}", _messages(body)
        elif prompt:
            yield _Exchange(where, prompt, _unmarked(body)[1])
            prompt = []
    if prompt:
        yield _Exchange(where, prompt, "")


def _messages(body: str) -> list[tuple[Role, str]]:
    return [_unmarked(block) for block in _RULE.split(body)[1:] if block.strip()]


def _unmarked(block: str) -> tuple[Role, str]:
    """The role that opens each line of a message, and its text."""
    lines = block.removesuffix("\n").split("\n")
    name = lines[0].split(" ", 1)[0]
    return _ROLES.get(name, "user"), "\n".join(
        line[len(name) + 1 :] if line.startswith(name) else line for line in lines
    )
