"""SWE-agent trajectories (`.traj`): one JSON object a session.

    history      the messages, uncut: every answer that is no demonstration is a request, and what stands before it its input
    trajectory   the steps: action, observation, execution time, and in newer files the messages that the model was really sent

History processors shorten old observations before each request ("last 5 observations"), so that the uncut history is longer than what was
sent, and what was sent is not append-only. Where the steps hold the messages sent (`query`; in files of early 2025 `messages`), these are
taken, and a turn that rewrites earlier ones is marked so (see `snapshots`). Where they do not, the history is taken, and a note says that
the program had shortened it.

The tool delay of a turn is its step's execution time. Token counts are recorded only as sums over the session, hence estimated here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from openagentperf.corpus.formats import counts, languages, swe_history
from openagentperf.corpus.formats.documents import documents, mended
from openagentperf.corpus.formats.head import Head, Keys, first_of, object_of
from openagentperf.corpus.formats.lines import BAD, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.nested import at, text_at
from openagentperf.corpus.formats.snapshots import Snapshots
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.swe_history import Item
from openagentperf.corpus.formats.usable import usable
from openagentperf.corpus.tokens import estimate_answer
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Branch, Message, Skipped, Trajectory, Turn

FORMAT = "swe-agent"
SHORTENED = "requests recorded whole whose old observations the program shortens before it sends them"
REFUSED = "requests that the program counted but did not record: it refused their answers and asked again"
_SHORTENING = (b"last_n_observations", b"Last5Observations")
"""History processors that replace old observations."""


class Step(Struct):
    """One entry of `trajectory`. `state` is an object, or a string in old files; nothing here reads it."""

    action: object = None
    response: object = None
    thought: object = None
    execution_time: object = None
    query: list[Raw] | None = None
    messages: list[Raw] | None = None


class Session(Struct):
    history: list[Raw] = []
    trajectory: list[Raw] | None = None
    info: object = None
    replay_config: Raw = Raw(b"null")
    """The program's configuration: an object, or JSON as text."""
    attempts: list[Raw] | None = None
    """Sessions of their own, if the program was told to try again; the file's own history is a copy of the best one."""


_SESSION = msgspec.json.Decoder(Session)
_STEP = msgspec.json.Decoder(Step)
_NO_STEP = Step()


def recognises(head: Head) -> bool:
    """Whether its records are histories of SWE-agent, or hold its steps."""
    return any(_is_session(record) for record in head.records)


def _is_session(record: Keys) -> bool:
    # OpenHands writes a `history` too: of events, which have no role. Other programs' `trajectory` holds messages.
    said = first_of(record, "history")
    if said is not None:
        return {"role", "content"} <= said.keys()
    step = first_of(record, "trajectory")
    return step is not None and {"action", "observation", "response"} <= step.keys()


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session with at least one answer. Raises CorpusError where there is none."""
    read = (
        (name, _trajectory(attempt, name, source, skipped))
        for where, session in documents(data, source, skipped, _SESSION)
        for name, attempt in _attempts(session, where, skipped)
    )
    none = CorpusError(
        source,
        "holds no session with an answer",
        'a `history` with messages of role "assistant" is needed',
        "check that it is a SWE-agent trajectory",
    )
    yield from usable(read, skipped, "a session without an answer", none)


def _attempts(session: Session, where: str, skipped: list[Skipped]) -> Iterator[tuple[str, Session]]:
    if not session.attempts:
        yield where, session
        return
    for number, raw in enumerate(session.attempts, 1):
        name = f"{where}:attempt-{number}"
        try:
            yield name, mended(_SESSION, raw)
        except BAD as error:
            skipped.append(Skipped(name, why(error)))


def _trajectory(session: Session, name: str, source: str, skipped: list[Skipped]) -> Trajectory | None:
    notes: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    said: list[tuple[Item, Message]] = []
    for number, raw in enumerate(session.history, 1):
        try:
            item = mended(swe_history.DECODER, raw)
            message = swe_history.message_of(item, notes)
        except BAD as error:
            skipped.append(Skipped(f"{name}: history {number}", why(error)))
            continue
        said.append((item, message))
        if item.answers:
            swe_history.tally(item, message, tally)
    config = _config(session.replay_config)
    branches: tuple[Branch, ...] = ()
    steps = _steps(session.trajectory or (), name, skipped)
    if asked := _asked(steps, notes):
        turns = _of_prompts(asked, said, name, notes, skipped)
        missing = (counts.tokens(at(session.info, "model_stats", "api_calls")) or 0) - len(turns)
        if missing > 0:
            notes[REFUSED] += missing
    else:
        turns, branches = _of_history(said, steps, notes)
        if any(processor in bytes(session.replay_config) for processor in _SHORTENING):
            notes[SHORTENED] += len(turns)
    if not turns:
        return None
    version = text_at(session.info, "swe_agent_version")
    return Trajectory(
        id=name,
        turns=turns,
        branches=branches,
        format=FORMAT,
        source=source,
        language=languages.main_language(tally),
        task=text_at(config, "problem_statement", "id"),
        harness=f"swe-agent {version}" if version else "swe-agent",
        model=text_at(config, "agent", "model", "name"),
        notes=sentences(notes),
    )


def _asked(steps: Sequence[Step], notes: Counter[str]) -> list[tuple[Step, list[Raw]]]:
    """Each request's step with the messages that were sent; none where the steps do not hold them."""
    queries = [(step, step.query) for step in steps if step.query and "role" in (object_of(step.query[0]) or {})]
    if queries:
        # The program writes a step of its own where it gives up (cost, context), its query [{}].
        if len(queries) < len(steps):
            notes["steps that asked the model nothing left out"] += len(steps) - len(queries)
        return queries
    lists = [step.messages or [] for step in steps]
    if not lists or not all(lists):
        return []
    answered = [at for at, raw in enumerate(lists[0]) if _is_answer(raw)]
    if answered:
        # Written after the step: they hold its own answer, and are what the next step was sent.
        lists = [lists[0][: answered[-1]], *lists[:-1]]
    return [(step, sent) for step, sent in zip(steps, lists, strict=True) if sent]


def _is_answer(raw: Raw) -> bool:
    try:
        return swe_history.DECODER.decode(raw).answers
    except BAD:
        return False


def _of_prompts(
    asked: Sequence[tuple[Step, list[Raw]]],
    said: Sequence[tuple[Item, Message]],
    name: str,
    notes: Counter[str],
    skipped: list[Skipped],
) -> tuple[Turn, ...]:
    answers = [message for item, message in said if item.answers]
    snapshots = Snapshots(swe_history.convert)
    for number, (step, sent) in enumerate(asked):
        message = _answer(step, answers[number] if number < len(answers) else None)
        try:
            snapshots.add(
                sent,
                output_tokens=estimate_answer(message),
                tool_calls=len(message.tool_calls),
                delay_ns=counts.seconds_ns(step.execution_time),
            )
        except BAD as error:
            skipped.append(Skipped(f"{name}: request {number + 1}", why(error)))
    notes.update(snapshots.notes)
    return snapshots.turns


def _answer(step: Step, recorded: Message | None) -> Message:
    """The answer of a step: the one of the history, which holds the calls, if it is the same; else from the step's own text."""
    texts = [text for text in (step.response, step.thought) if isinstance(text, str)]
    if recorded is not None and (not texts or recorded.content in texts):
        return recorded
    response = texts[0] if texts else ""
    action = step.action if isinstance(step.action, str) else ""
    return Message(role="assistant", content=response if action in response else f"{response}\n{action}")


def _of_history(
    said: Sequence[tuple[Item, Message]], steps: Sequence[Step], notes: Counter[str]
) -> tuple[tuple[Turn, ...], tuple[Branch, ...]]:
    """The main agent's turns, and those of the agents that it called (versions before 1.0), told by `agent`."""
    lines: dict[str, Steps] = {}
    spawned: dict[str, int] = {}
    times = iter(steps)
    main: str | None = None
    for item, message in said:
        name = item.agent if isinstance(item.agent, str) else main or ""
        main = name if main is None else main
        if name != main and name not in spawned:
            # Nothing can call an agent before the first answer: what stands there belongs to the main one, whatever it is called.
            after = len(lines[main].turns) - 1
            if after < 0:
                name = main
            else:
                spawned[name] = after
        if name not in lines:
            lines[name] = Steps(notes)
        if item.answers:
            lines[name].answer(message, delay_ns=counts.seconds_ns(next(times, _NO_STEP).execution_time))
        elif message.role == "assistant":
            lines[name].recall(message)
        else:
            lines[name].hear(message)
    turns = lines[main].turns if main is not None else ()
    branches = (
        Branch(
            name=name or "agent",
            after=after,
            join=after + 1 if after + 1 < len(turns) else None,
            turns=lines[name].turns,
        )
        for name, after in spawned.items()
        if lines[name].turns
    )
    return turns, tuple(branches)


def _steps(items: Iterable[Raw], name: str, skipped: list[Skipped]) -> list[Step]:
    found: list[Step] = []
    for number, raw in enumerate(items, 1):
        try:
            found.append(mended(_STEP, raw))
        except BAD as error:
            skipped.append(Skipped(f"{name}: step {number}", why(error)))
    return found


def _config(recorded: Raw) -> object:
    """The program's configuration; None where it cannot be read."""
    try:
        config = msgspec.json.decode(recorded)
        return msgspec.json.decode(config) if isinstance(config, str) else config
    except BAD:
        return None
