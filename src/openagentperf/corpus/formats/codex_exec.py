"""`codex exec --json`: an event a line. No times, no prompt, and one usage for a whole turn of the user, however many requests it took.

Requests are told from the order of events (`exec_turns`). Over 21 sessions of one harness that reading leaves 18,600 tokens (standard
deviation 4,300) a request for what is not recorded, the same prompt and tools in all of them; without the polls 26,000 and 27,100.

    input of request k     text before it + (usage - sum over all requests of the text before them) / requests
    output of request k    usage x the estimate of what it wrote / the sum of these

Both add up to the turn's usage exactly; every single count is an estimate and marked as one. How much of a request was cached is not told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from openagentperf.corpus.formats import counts, languages
from openagentperf.corpus.formats.exec_turns import Item, Request, Requests, inputs, spread
from openagentperf.corpus.formats.head import Head, Keys, text_of
from openagentperf.corpus.formats.lines import BAD, decoded, why
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.corpus.tokens import estimate_answer, estimate_message
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory

FORMAT = "codex-exec"
PROMPT = Message(role="user", content="[the user's message, not recorded]")


class Usage(Struct):
    input_tokens: object = None
    output_tokens: object = None


class Event(Struct, gc=False):
    type: str = ""
    thread_id: str | None = None
    item: Item | None = None
    usage: Usage | None = None


_EVENT = msgspec.json.Decoder(Event)


def recognises(head: Head) -> bool:
    """Whether a line of the first ones is such an event."""
    return any(map(_is_event, head.records))


def _is_event(record: Keys) -> bool:
    kind = text_of(record, "type")
    if kind == "thread.started":
        return "thread_id" in record
    return kind in ("item.started", "item.completed") and "item" in record


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a thread; a file that several runs were appended to has several. Raises CorpusError where nothing was answered."""
    threads: dict[str, _Thread] = {}
    thread: _Thread | None = None
    for number, event in decoded(data, source, skipped, _EVENT):
        if event.type == "thread.started" or thread is None:
            name = event.thread_id or source
            thread = threads.setdefault(name, _Thread(name))
        try:
            thread.take(event)
        except BAD as error:
            skipped.append(Skipped(f"{source}:{number}", why(error)))
    read = ((source, thread.trajectory(source)) for thread in threads.values())
    none = CorpusError(
        source,
        "holds no answered request",
        "events of what the model wrote are needed",
        "check that it is the output of `codex exec --json`",
    )
    yield from usable(read, skipped, "a session without an answer", none)


class _Thread:
    """One session on its way to a trajectory."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._notes: Counter[str] = Counter()
        self._steps = Steps(self._notes, harness=FORMAT)
        self._turns = 0
        self._turn: Requests | None = None
        self._left: list[Message] = []
        self._text = 0
        """Estimate over all that is recorded so far."""
        self._unrecorded: int | None = None
        """Tokens a request of the first turn that no text accounts for."""
        self._usage = (0, 0)
        self._edited: Counter[str] = Counter()
        self._named: Counter[str] = Counter()

    def take(self, event: Event) -> None:
        """One event."""
        if event.type == "turn.started":
            self._close(None)
        elif event.type in ("turn.completed", "turn.failed"):
            self._close(event.usage)
        elif event.item is not None:
            if self._turn is None:
                self._turn = Requests(self._turns, [*self._left, PROMPT], self._notes)
                self._turns += 1
            if event.type == "item.started":
                self._turn.started(event.item)
            elif event.type == "item.updated":
                self._turn.updated(event.item)
            elif event.type == "item.completed":
                self._turn.completed(event.item)

    def trajectory(self, source: str) -> Trajectory | None:
        """The session; None if it holds no answer."""
        self._close(None)
        if not self._steps.turns:
            return None
        return Trajectory(
            id=self._name,
            turns=tuple(msgspec.structs.replace(turn, counted="estimated") for turn in self._steps.turns),
            format=FORMAT,
            source=source,
            language=languages.main_language(self._edited, self._named),
            harness=FORMAT,
            notes=sentences(self._notes),
        )

    def _close(self, usage: Usage | None) -> None:
        """The end of a turn."""
        if self._turn is None:
            return
        requests, self._left, self._turn = self._turn.requests, self._turn.waiting, None
        if not requests:
            return
        sizes: list[int] = []
        for request in requests:
            self._text += sum(map(estimate_message, request.before))
            sizes.append(self._text)
            self._text += estimate_message(request.answer)
        prompts, outputs = self._counts(usage, requests, sizes)
        for request, prompt, output in zip(requests, prompts, outputs, strict=True):
            self._steps.hear(*request.before)
            self._steps.answer(request.answer, input_tokens=prompt or None, output_tokens=output or None)
            for call in request.calls:
                languages.tally_text(call.arguments, self._edited if call.name == "apply_patch" else self._named)

    def _counts(self, usage: Usage | None, requests: list[Request], sizes: list[int]) -> tuple[list[int], list[int]]:
        """Input and output tokens of each request of a turn; zeros where its usage is not known."""
        whole = (counts.tokens(usage.input_tokens) or 0, counts.tokens(usage.output_tokens) or 0) if usage else (0, 0)
        if not all(whole):
            self._notes["turns without a recorded usage estimated from their text"] += 1
            return [0] * len(requests), [0] * len(requests)
        prompt, output = self._of_turn(whole, sizes)
        return inputs(prompt, sizes), spread(output, [estimate_answer(request.answer) for request in requests])

    def _of_turn(self, whole: tuple[int, int], sizes: list[int]) -> tuple[int, int]:
        """The turn's own usage. A resumed thread may count from its beginning: what is not recorded is as long in each turn, so the reading
        under which it stays nearest to what it was is taken."""
        before, self._usage = self._usage, whole

        def unrecorded(prompt: int) -> int:
            return (prompt - sum(sizes)) // len(sizes)

        if self._unrecorded is None:
            self._unrecorded = unrecorded(whole[0])
        since = (whole[0] - before[0], whole[1] - before[1])
        off_whole, off_since = (abs(unrecorded(prompt) - self._unrecorded) for prompt in (whole[0], since[0]))
        return since if min(since) > 0 and off_since < off_whole else whole
