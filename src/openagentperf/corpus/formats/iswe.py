"""Trajectories of the iSWE agent, as submitted to SWE-PolyBench: one YAML file an instance.

    localization: {instance_id, trajectory: [{role, content | tool_calls}], tokens_usage_info: [{input_tokens, output_tokens}], ...}
    editing:      the same

Two agents, one after the other: the second has a system prompt of its own and sees of the first only its result, in its first user message.
They share no history, so each becomes a trajectory; both carry the instance's id as their task. `tokens_usage_info` holds the provider's
counts of each answer in order. No times are recorded but that of each whole part.

Of a tool call only the name is recorded, and the argument's text is missing in the history: a request comes out shorter than its count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from openagentperf.corpus.formats import counts, languages, yamldoc
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.lines import why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.nested import at, text_at
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.yamldoc import Node
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Role, Skipped, ToolCall, Trajectory

FORMAT = "iswe"
NAMES_ONLY = "tool calls of which only the name is recorded"

_PARTS = ("localization", "editing")
_PART = re.compile(r"^(localization|editing):[ \t]*\r?$", re.MULTILINE)
_WITHIN = re.compile(r"^[ ]+(instance_id|n_turns|tokens_usage_info|trajectory):", re.MULTILINE)
_ROLES: dict[str, Role] = {"system": "system", "assistant": "assistant", "tool": "tool"}


def recognises(head: Head) -> bool:
    """Whether it is YAML with one of the two parts at its top."""
    return bool(_PART.search(head.text) and _WITHIN.search(head.text)) and not head.records


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a part with at least one answer. Raises CorpusError where there is none."""
    found = False
    try:
        for number, document in enumerate(yamldoc.documents(data)):
            where = f"{source}#{number + 1}" if number else source
            for trajectory in _trajectories(document, where, source, skipped):
                found = True
                yield trajectory
    except ValueError as error:
        skipped.append(Skipped(source, why(error)))
    if not found:
        raise CorpusError(
            source,
            "holds no part with an answer",
            "`localization` or `editing` with a `trajectory` is needed",
            "check that it is an iSWE trajectory, and whole",
        )


def _trajectories(document: Node, where: str, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    parts = {name: part for name in _PARTS if isinstance(part := at(document, name), dict)}
    language = _language(list(parts.values()))
    for name, part in parts.items():
        notes: Counter[str] = Counter()
        steps = _steps(part, f"{where}: {name}", notes, skipped)
        if not steps.turns:
            # An empty part is a stage that the agent never reached.
            if _items(part, "trajectory"):
                skipped.append(Skipped(f"{where}: {name}", "a part without an answer"))
            continue
        task = text_at(part, "instance_id")
        yield Trajectory(
            id=f"{task or where}:{name}",
            turns=steps.turns,
            format=FORMAT,
            source=source,
            task=task,
            language=language,
            harness="iswe",
            model=next(filter(None, (text_at(part, key, "model", "name") for key in _CONFIGS)), ""),
            notes=sentences(notes),
        )


_CONFIGS = ("instance_config", "localization_instance_config", "editing_instance_config")


def _steps(part: Node, where: str, notes: Counter[str], skipped: list[Skipped]) -> Steps:
    steps = Steps(notes)
    usage = iter(_items(part, "tokens_usage_info"))
    for number, said in enumerate(_items(part, "trajectory"), 1):
        if not isinstance(said, dict):
            skipped.append(Skipped(f"{where} {number}", "a message that is no mapping"))
            continue
        role = _ROLES.get(text_at(said, "role"), "user")
        content = text_at(said, "content")
        if role != "assistant":
            steps.hear(Message(role=role, content=content))
            continue
        calls = tuple(ToolCall("", name, "{}") for name in _items(said, "tool_calls") if isinstance(name, str))
        notes.update({NAMES_ONLY: len(calls)} if calls else {})
        counted = next(usage, "")
        steps.answer(
            Message(role=role, content=content, tool_calls=calls),
            input_tokens=_count(counted, "input_tokens"),
            output_tokens=_count(counted, "output_tokens"),
        )
    steps.note_share()
    return steps


def _language(parts: Sequence[Node]) -> str:
    """By the files that were edited, else by those that the answers name."""
    edited: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for part in parts:
        for path in _items(part, "file_names"):
            if isinstance(path, str):
                languages.tally_path(path, edited)
        for said in _items(part, "trajectory"):
            if text_at(said, "role") == "assistant":
                languages.tally_text(text_at(said, "content"), named)
    return languages.main_language(edited, named)


def _count(usage: Node, name: str) -> int | None:
    text = text_at(usage, name)
    # Scalars come as text; 20 digits are no count, and int() of a million of them takes seconds.
    return counts.tokens(int(text)) if text.isdecimal() and len(text) < 20 else None


def _items(node: Node, *path: str) -> list[Node]:
    found = at(node, *path)
    return found if isinstance(found, list) else []
