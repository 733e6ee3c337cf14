"""Rows of published sets of software-engineering trajectories: a conversation with an instance id, a line or array item each.

    SWE-bench/SWE-smith-trajectories                  messages as JSON in a string, in SWE-agent's spelling; traj_id, model, resolved
    SWE-Gym/OpenHands-Sampled-Trajectories            messages and tools as lists; instance_id, run_id
    nebius/SWE-rebench-openhands-trajectories,        the messages are called `trajectory`; tools beside them
    nvidia's OpenHands sets

Every answer that is no demonstration is a request; what stands before it is its input. Such rows hold no times: every tool delay is None,
and token counts are estimates unless an answer carries its own `usage`. Whether the task was solved changes nothing: unsolved ones load an
engine as much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import languages, swe_history, usage
from openagentperf.corpus.formats.chat import tool_texts
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.head import Head, Keys, first_of, object_of, text_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "swe-rows"
_NULL = Raw(b"null")
_IDS = frozenset({"instance_id", "traj_id", "trajectory_id"})


class Row(Struct):
    messages: Raw = _NULL
    trajectory: Raw = _NULL
    tools: Raw = _NULL
    instance_id: object = None
    traj_id: object = None
    trajectory_id: object = None
    run_id: object = None
    model: object = None
    model_name: object = None


_ROW = msgspec.json.Decoder(Row)
_TEXT = msgspec.json.Decoder(str)
_ITEMS = msgspec.json.Decoder(list[swe_history.Item])
_ARRAY = msgspec.json.Decoder(list[Raw])


def recognises(head: Head) -> bool:
    """Whether its records hold messages in a string, or messages beside an instance id."""
    return any(_is_row(record) for record in head.records)


def _is_row(record: Keys) -> bool:
    for name in ("messages", "trajectory"):
        if name not in record:
            continue
        if bytes(record[name])[:1] == b'"':
            first = _first_in(text_of(record, name))
        elif record.keys().isdisjoint(_IDS):
            continue
        else:
            first = first_of(record, name)
        if first is not None and "role" in first and not first.keys().isdisjoint({"content", "tool_calls"}):
            return True
    return False


def _first_in(text: str) -> Keys | None:
    """The first object of an array of JSON text."""
    try:
        items = mended(_ARRAY, text.encode())
    except BAD:
        return None
    return object_of(items[0]) if items else None


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a row with at least one answer. Raises CorpusError where there is none."""
    none = CorpusError(
        source,
        "holds no row with an answer",
        '`messages` or `trajectory` with messages of role "assistant" are needed',
        "check that it is a set of software-engineering trajectories",
    )
    yield from usable(_read(data, source, skipped), skipped, "a row without an answer", none)


def _read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[tuple[str, Trajectory | None]]:
    for where, row in documents(data, source, skipped, _ROW):
        try:
            trajectory = _trajectory(row, where, source)
        except BAD as error:
            skipped.append(Skipped(where, why(error)))
        else:
            yield where, trajectory


def _trajectory(row: Row, where: str, source: str) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    tools = tool_texts(_list(row.tools), notes)
    steps = Steps(notes, tools=tools)
    harness = ""
    for item in mended(_ITEMS, _array(row.messages if row.messages != _NULL else row.trajectory)):
        if item.agent is not None:
            harness = "swe-agent"
        message = swe_history.message_of(item, notes)
        if item.answers:
            swe_history.tally(item, message, tally)
            counted = usage.counts_of(item.usage)
            steps.answer(
                message, input_tokens=counted.input, output_tokens=counted.output, cached_tokens=counted.cached
            )
        elif message.role == "assistant":
            steps.recall(message)
        else:
            steps.hear(message)
    if not steps.turns:
        return None
    task = _word(row.instance_id)
    run = "-".join(filter(None, (task, _word(row.run_id))))
    return Trajectory(
        id=_word(row.traj_id) or _word(row.trajectory_id) or run or where,
        turns=steps.turns,
        tools=tools,
        format=FORMAT,
        source=source,
        task=task,
        language=languages.main_language(tally),
        harness=harness,
        model=_word(row.model) or _word(row.model_name),
        notes=sentences(notes),
    )


def _array(value: Raw) -> bytes:
    """A JSON array, also where it stands in a string."""
    text = bytes(value)
    return mended(_TEXT, text).encode() if text[:1] == b'"' else text


def _list(value: Raw) -> list[Raw]:
    """The items of such an array; none where it is none."""
    try:
        return mended(_ARRAY, _array(value))
    except BAD:
        return []


def _word(value: object) -> str:
    return value if isinstance(value, str) else str(value) if type(value) is int else ""
