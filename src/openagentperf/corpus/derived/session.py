"""A trajectory from a commit, its parent's files, and the numbers of a session.

    task -> list, search, read -> the commit's hunks as edits, tests and reading in between -> diff, tests -> last answer

How many turns, how long answers and results are and how long tools take comes from the numbers (corpus.numbers); what they hold is real.
Lengths follow as far as real content goes: each exchange gets the room up to the planned input of the next turn, so what an edit took too
much is left out of the next readings, and what a result lacked is read more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from openagentperf.corpus.derived import words
from openagentperf.corpus.derived.change import Commit
from openagentperf.corpus.derived.editing import Edit, Editor, edits, grouped
from openagentperf.corpus.derived.looking import Looker
from openagentperf.corpus.derived.opening import Openings
from openagentperf.corpus.derived.reading import Reader
from openagentperf.corpus.derived.step import Step
from openagentperf.corpus.derived.testing import Tests
from openagentperf.corpus.derived.workspace import Files, Workspace
from openagentperf.corpus.formats.languages import main_language, tally_path
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.numbers import SessionShape, TurnShape
from openagentperf.corpus.text.harness import Harness
from openagentperf.corpus.tokens import MESSAGE_TOKENS, estimate, estimate_answer, estimate_message
from openagentperf.records.trajectory import Message, Trajectory
from openagentperf.seeds import Stream
from openagentperf.units import Ns

FORMAT = "derived:git"
EDIT_SHARE = 0.5
"""Of the tokens that answers and results add to a session, at most so much may be its edits."""
_FIRST_EDIT = 0.3
"""Of the exchanges, so many pass before the first edit."""
_SHORT_TOKENS = 48
"""A result this short is none of reading a file."""
_TEST_SHARE = 0.5
"""After so many of the edits, tests are run."""
_TOPPED_TOKENS = 200
_CALL_TOKENS = 24
"""Of a call that looks or reads."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where a session's content comes from."""

    name: str
    """Of the repository."""
    licence: str
    recent: tuple[tuple[str, str], ...] = ()
    """Id and subject of the commits before, newest first."""


def room(shape: SessionShape) -> int:
    """Tokens that a commit's edits may take in a session of these numbers."""
    return int(EDIT_SHARE * sum(turn.answer_tokens + sum(turn.result_tokens) for turn in shape.turns))


def derive(
    commit: Commit, files: Files, origin: Origin, shape: SessionShape, harness: Harness, stream: Stream
) -> Trajectory:
    """The session in which an agent made `commit`, as it may have been.

    Depends on nothing but its arguments. Token counts are estimates of the messages and tools; an answer's count is the drawn one, or its
    text's where that is longer: what is not text was reasoning.
    """
    session = _Session(commit, files, origin, harness, stream)
    notes: Counter[str] = Counter()
    steps = Steps(notes, tools=harness.tools)
    session.play(shape, steps)
    session.note(notes, shape, steps.turns[-1].input_tokens)
    tally: Counter[str] = Counter()
    for change in commit.changes:
        tally_path(change.path, tally)
    return Trajectory(
        id=f"{origin.name}@{commit.id[:12]}",
        turns=steps.turns,
        tools=harness.tools,
        format=FORMAT,
        source=f"{origin.name} {commit.id}",
        task=commit.id,
        licence=origin.licence,
        language=main_language(tally),
        harness=harness.name,
        notes=sentences(notes),
    )


class _Session:
    def __init__(self, commit: Commit, files: Files, origin: Origin, harness: Harness, stream: Stream) -> None:
        self._commit = commit
        self._harness = harness
        self._stream = stream
        self._workspace = Workspace(files, commit.changes)
        self._edits = edits(commit, self._workspace)
        around = next((e.change.before or e.change.path for e in self._edits if e.what in ("hunk", "write")), "")
        around = around or commit.changes[0].path
        tally: Counter[str] = Counter()
        tally_path(around, tally)
        self._reader = Reader(self._workspace, around, stream)
        self._looker = Looker(self._workspace, commit, around, origin.recent, self._reader, stream)
        self._tests = Tests(self._workspace, around, main_language(tally), stream)
        self._openings = Openings(origin.name, commit, self._workspace, origin.recent, self._reader)
        writes = any('"name":"write_file"' in tool for tool in harness.tools)
        self._editor = Editor(self._workspace, writes, stream)
        self._shared_tokens = estimate_message(harness.system) + sum(map(estimate, harness.tools))
        self._tokens = self._shared_tokens
        """Of the history so far, tools included."""
        self._tested = False

    def play(self, shape: SessionShape, steps: Steps) -> None:
        """All turns, in order."""
        slots = _slots(self._edits, shape.turns)
        steps.hear(self._harness.system)
        self._hear(steps, self._openings.task(shape.turns[0].input_tokens - self._shared_tokens))
        for group in slots.values():
            for edit in group:
                if edit.what == "hunk":
                    document = self._workspace.documents[edit.change.path]
                    self._reader.lead(edit.change.before, document.hunks[edit.hunk].at)
        edited = False
        last = len(shape.turns) - 1
        for k, turn in enumerate(shape.turns):
            if turn.order_tokens and k < last:
                self._hear(steps, self._openings.order())
                self._answer(steps, turn, Message("assistant", words.progress(self._commit, self._workspace.changed)))
                self._forget(steps, shape.turns[k + 1])
                continue
            if k == last:
                self._answer(steps, turn, Message("assistant", words.summary(self._commit, self._tested)))
                break
            left = shape.turns[k + 1].input_tokens - shape.turns[k + 1].order_tokens - self._tokens
            made = self._exchange(k, last, turn, left, slots.get(k, ()), edited)
            edited = k in slots
            self._answer(steps, turn, made[0])
            self._hear(steps, *made[1:])

    def note(self, notes: Counter[str], shape: SessionShape, tokens: int) -> None:
        """What is not the repository's, or not there; `tokens`: input of the last request."""
        if self._tests.runs:
            notes["outputs of test runs made up from the names of real tests: nothing of the repository was run"] += (
                self._tests.runs
            )
        if self._commit.left_out:
            notes["changed files of the commit left out: no text, too large, links or submodules"] += (
                self._commit.left_out
            )
        short = shape.turns[-1].input_tokens - tokens
        if self._reader.dry and short > 0.1 * shape.turns[-1].input_tokens:
            notes["tokens of tool results that the profile asks for are not there: all of the repository was read"] += (
                short
            )

    def _hear(self, steps: Steps, *messages: Message) -> None:
        steps.hear(*messages)
        self._tokens += sum(map(estimate_message, messages))

    def _answer(self, steps: Steps, turn: TurnShape, message: Message) -> None:
        steps.answer(message, output_tokens=max(turn.output_tokens, estimate_answer(message)), delay_ns=turn.delay_ns)
        self._tokens += estimate_message(message)

    def _forget(self, steps: Steps, following: TurnShape) -> None:
        """A compaction: the next request opens with its summary."""
        steps.forget()
        self._tokens = self._shared_tokens
        self._hear(steps, self._openings.summary(following.input_tokens - self._tokens))

    def _exchange(
        self, k: int, last: int, turn: TurnShape, left: int, group: Sequence[Edit], edited: bool
    ) -> tuple[Message, ...]:
        """An answer with its calls, then their results: about `left` tokens together."""
        if group:
            made = self._edited(left, group)
            kind, about = made[0].kind, made[0].about
            sayable = turn.answer_tokens - MESSAGE_TOKENS - sum(step.call_tokens for step in made)
        else:
            sayable = turn.answer_tokens - MESSAGE_TOKENS - _CALL_TOKENS * len(turn.result_tokens)
            said = min(max(sayable, 0), 60)
            results = left - MESSAGE_TOKENS - said - _CALL_TOKENS * len(turn.result_tokens)
            total = max(1, sum(turn.result_tokens))
            made = []
            for index, planned in enumerate(turn.result_tokens):
                kind = self._kind(k, last, edited) if index == 0 else ""
                made.append(self._looked(kind, max(12, results * planned // total), turn.delay_ns))
            missing = results - sum(estimate(step.result) for step in made)
            if k == last - 1 and missing > max(_TOPPED_TOKENS, results // 2):
                # What other results lack, the next one makes up for; after this one none follows.
                made += filter(None, [self._reader.read(missing - _CALL_TOKENS)])
            kind, about = made[0].kind, made[0].about
        text = words.said(kind, about, sayable, self._stream)
        calls = tuple(step.call(f"call_{self._stream.u64():016x}") for step in made)
        return (
            Message("assistant", text, tool_calls=calls),
            *(Message("tool", step.result, tool_call_id=call.id) for step, call in zip(made, calls, strict=True)),
        )

    def _edited(self, left: int, group: Sequence[Edit]) -> list[Step]:
        made = []
        for number, edit in enumerate(group):
            left -= edit.tokens
            made.append(self._editor.make(edit, max(0, left) // (len(group) - number)))
            left -= estimate(made[-1].result)
            if edit.what == "hunk":
                document = self._workspace.documents[edit.change.path]
                self._reader.changed(edit.change.path, document.at(edit.hunk), len(document.hunks[edit.hunk].new))
        return made

    def _kind(self, k: int, last: int, edited: bool) -> str:
        """What an exchange without edits is for; "": to be told by its room."""
        if k == 0:
            return "list"
        if k == 1:
            return "grep"
        changed = bool(self._workspace.changed)
        if changed and ((edited and self._stream.uniform() < _TEST_SHARE) or k == last - 1):
            return "test"
        return ""

    def _looked(self, kind: str, tokens: int, delay_ns: Ns) -> Step:
        """One call of that kind, or of another where there is nothing of it."""
        draw = self._stream.uniform()
        if not kind:
            if tokens < _SHORT_TOKENS:
                kind = "sizes" if draw < 0.35 else "grep" if draw < 0.7 else "log" if draw < 0.8 else "status"
            else:
                kind = "read" if draw < 0.80 else "grep" if draw < 0.92 else "list" if draw < 0.95 else "diff"
        looker, reader = self._looker, self._reader
        if kind == "test":
            step = self._tests.run(tokens, delay_ns)
            self._tested = self._tested or step is not None
        elif kind == "status":
            step = looker.status()
        else:
            looks = {
                "grep": looker.grep,
                "list": looker.listing,
                "sizes": looker.sizes,
                "log": looker.log,
                "diff": looker.diff,
            }
            step = looks.get(kind, reader.read)(tokens)
        return step or reader.read(tokens) or looker.diff(tokens) or looker.grep(tokens) or looker.listing(tokens)


def _slots(planned: Sequence[Edit], turns: Sequence[TurnShape]) -> dict[int, list[Edit]]:
    """Which exchange makes which edits: in those with the longest outputs after the first looks, the largest group in the longest."""
    exchanges = [k for k in range(len(turns) - 1) if not turns[k].order_tokens]
    if not planned or not exchanges:
        return {}
    first = min(int(len(exchanges) * _FIRST_EDIT) + 1, len(exchanges) - 1)
    usable = exchanges[first:-1] or exchanges[-1:]
    wanted = min(len(planned), max(1, (len(usable) + 1) // 2))
    groups = grouped(planned, wanted)
    chosen = sorted(usable, key=lambda k: (-turns[k].output_tokens, k))[: len(groups)]
    moves: list[list[Edit]] = []
    rest: list[list[Edit]] = []
    for group in groups:
        (moves if any(edit.what in ("move", "remove") for edit in group) else rest).append(group)
    rest.sort(key=lambda group: -sum(edit.tokens for edit in group))
    # Moves come first in time, because an edit names a file by its new path; the others go by size.
    early = sorted(chosen)[: len(moves)]
    later = [k for k in chosen if k not in early]
    return dict(sorted([*zip(early, moves, strict=True), *zip(later, rest, strict=True)]))
