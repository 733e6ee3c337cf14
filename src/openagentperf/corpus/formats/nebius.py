"""Rows of the data set nebius/SWE-agent-trajectories: SWE-agent sessions of open models, one a row, as text.

    trajectory: [{role: "system" | "user" | "ai", text, system_prompt, mask, cutoff_date}, ...]

Every message of role `ai` is a request. The system message's text stands in `system_prompt`. No times and no counts are recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import languages
from openagentperf.corpus.formats.documents import documents
from openagentperf.corpus.formats.head import Head, Keys, first_of
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Role, Skipped, Trajectory

FORMAT = "nebius-swe-agent"
_ROLES: dict[str, Role] = {"system": "system", "ai": "assistant", "assistant": "assistant"}


class Said(Struct, gc=False):
    role: str
    text: str | None = None
    system_prompt: str | None = None


class Row(Struct):
    trajectory: list[Said]
    instance_id: object = None
    model_name: object = None


_ROW = msgspec.json.Decoder(Row)


def recognises(head: Head) -> bool:
    """Whether its records hold messages with a text of their own spelling."""
    return any(_is_row(record) for record in head.records)


def _is_row(record: Keys) -> bool:
    said = first_of(record, "trajectory")
    return said is not None and "role" in said and not said.keys().isdisjoint({"text", "system_prompt"})


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a row with at least one answer. Raises CorpusError where there is none."""
    read = ((where, _trajectory(row, where, source)) for where, row in documents(data, source, skipped, _ROW))
    none = CorpusError(
        source,
        "holds no row with an answer",
        'a `trajectory` with messages of role "ai" is needed',
        "check that it is made of rows of nebius/SWE-agent-trajectories",
    )
    yield from usable(read, skipped, "a row without an answer", none)


def _trajectory(row: Row, where: str, source: str) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    steps = Steps(notes)
    for said in row.trajectory:
        message = Message(role=_ROLES.get(said.role, "user"), content=said.text or said.system_prompt or "")
        if message.role == "assistant":
            languages.tally_text(message.content, tally)
            steps.answer(message)
        else:
            steps.hear(message)
    if not steps.turns:
        return None
    task = row.instance_id if isinstance(row.instance_id, str) else ""
    return Trajectory(
        id=task or where,
        turns=steps.turns,
        format=FORMAT,
        source=source,
        task=task,
        language=languages.main_language(tally),
        harness="swe-agent",
        model=row.model_name if isinstance(row.model_name, str) else "",
        notes=sentences(notes),
    )
