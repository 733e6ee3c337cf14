"""Aider's two logs: `.aider.chat.history.md`, written by default, and the file of `--llm-history-file`, which holds the exact prompts.

The chat history, Markdown with a session at each "# aider chat started at":

    #### text       what the user typed; a command ("/add x.py") is not sent, but "/ask text" is
    > text          what the program said, among it "> Tokens: 2.6k sent, 412 cache hit, 96 received."
    anything else   an answer, hence a request

System prompt, repository map and files are not in it: as much text of our own as the first count says stands for them (`steps.Steps`).
Counts are rounded to two digits by the program. For the other log see `aider_log`. Neither tells a tool's time from the user's: no tool
delay is taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from openagentperf.corpus.formats import aider_log, counts, languages
from openagentperf.corpus.formats.head import Head
from openagentperf.corpus.formats.mend import sentences
from openagentperf.corpus.formats.steps import Steps
from openagentperf.corpus.formats.usable import usable
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Message, Skipped, Trajectory

FORMAT = "aider"
ROUNDED = "token counts rounded to two digits by the recorder"
COMMANDS = "commands of the user that are not sent to the model left out"

_STARTED = re.compile(r"^# aider chat started at \d{4}-", re.MULTILINE)
_TOKENS = re.compile(
    r"> Tokens: ([\d.]+k?) sent(?:, [\d.]+k? cache write)?(?:, ([\d.]+k?) cache hit)?, ([\d.]+k?) received"
)
_VERSION = re.compile(r"> aider v([\w.]+)", re.IGNORECASE)
_MODEL = re.compile(r"> (?:Main model|Model|Models): (\S+)")
_SENT = re.compile(r"/(?:ask|code|architect|context|help)\s+(.*)", re.DOTALL)
_FORGET = ("/clear", "/reset")
_SAID_AFTER = ("> Tokens: ", "> Applied edit to ", "> Commit ")


def recognises(head: Head) -> bool:
    """Whether it is text with the opening line of a session or of a logged prompt."""
    return bool(_STARTED.search(head.text) or aider_log.OPENING.search(head.text)) and not head.records


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a session with at least one answer. Raises CorpusError where there is none."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    sessions = _chats(text, source) if _STARTED.search(text) else aider_log.sessions(text, source, FORMAT)
    none = CorpusError(
        source,
        "holds no session with an answer",
        'sessions from "# aider chat started at" on, or prompts from "TO LLM" on, are needed',
        "check that it is one of Aider's logs",
    )
    yield from usable(sessions, skipped, "a session without an answer", none)


def _chats(text: str, source: str) -> Iterator[tuple[str, Trajectory | None]]:
    """Each session with where it starts; None for one without an answer."""
    starts = [heading.start() for heading in _STARTED.finditer(text)]
    number = 1
    last = 0
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        number += text.count("\n", last, start)
        last = start
        where = f"{source}:{number}"
        yield where, _Chat(text[start:end]).trajectory(where, source)


class _Chat:
    """One session of the chat history, read line by line."""

    def __init__(self, text: str) -> None:
        self._notes: Counter[str] = Counter()
        self._tally: Counter[str] = Counter()
        version = _VERSION.search(text)
        model = _MODEL.search(text)
        self._harness = f"aider {version[1]}" if version else "aider"
        self._model = model[1] if model else ""
        self._steps = Steps(self._notes, harness=self._harness)
        self._typed: list[list[str]] = []
        """Lines of each thing that the user typed since the last answer."""
        self._told: list[str] = []
        """What the program said since the last answer."""
        self._answer: list[str] = []
        self._read(text)

    def trajectory(self, where: str, source: str) -> Trajectory | None:
        if not self._steps.turns:
            return None
        return Trajectory(
            id=where,
            turns=self._steps.turns,
            format=FORMAT,
            source=source,
            language=languages.main_language(self._tally),
            harness=self._harness,
            model=self._model,
            notes=sentences(self._notes),
        )

    def _read(self, text: str) -> None:
        lines = iter(text.split("\n"))
        next(lines)  # the heading
        # The program ends what it writes with two spaces, except where an editor has stripped them.
        spaced = "  \n" in text
        fenced = continued = typing = False
        for line in lines:
            ended = line.endswith("  ")
            # Inside a code block of an answer such a beginning may be code; only the program's own lines end in two spaces.
            marked = line[:1] in "#>" and (ended or not fenced or line.startswith("> Tokens: "))
            if marked and line.startswith("#### "):
                if not typing:
                    self._close()
                    self._typed.append([])
                self._typed[-1].append(line[5:].rstrip())
                fenced, continued, typing = False, False, True
                continue
            typing = False
            if marked and line.startswith("> "):
                self._program_said(line)
                fenced, continued = False, spaced and not ended
            elif continued:
                self._told.append(line)
                continued = not ended
            elif self._answer or line.strip():
                self._answer.append(line)
                fenced ^= line.lstrip().startswith("```")
        self._close()

    def _program_said(self, line: str) -> None:
        tokens = _TOKENS.match(line)
        if tokens is None:
            self._close()
            if not line.startswith(_SAID_AFTER):
                self._told.append(line[2:].rstrip())
            return
        self._close(_count(tokens[1]), _count(tokens[2]), _count(tokens[3]))

    def _close(self, sent: int | None = None, cached: int | None = None, received: int | None = None) -> None:
        """The answer, if one was being read, is complete."""
        content = "\n".join(self._answer).strip()
        self._answer = []
        if not content:
            return
        self._steps.hear(*self._asked())
        if sent is not None:
            self._notes[ROUNDED] += 1
            if cached is not None and cached > sent:
                sent += cached  # some providers count apart what the cache served
        languages.tally_text(content, self._tally)
        self._steps.answer(
            Message("assistant", content), input_tokens=sent, output_tokens=received, cached_tokens=cached
        )

    def _asked(self) -> list[Message]:
        """What the user typed before an answer; where that is nothing, the program asked again by itself, with what it complained of."""
        asked: list[str] = []
        for lines in self._typed:
            typed = "\n".join(lines).strip()
            sent = _SENT.match(typed)
            if sent is not None:
                asked.append(sent[1])
            elif typed.startswith(_FORGET):
                asked = []
                self._steps.forget()
            elif typed.startswith("/"):
                self._notes[COMMANDS] += 1
            elif typed:
                asked.append(typed)
        told = "\n".join(self._told).strip()
        self._typed, self._told = [], []
        return [Message("user", text) for text in asked or [told or "Continue."]]


def _count(text: str | None) -> int | None:
    """The tokens of "412", "2.6k" or "12k"; None for what is no number."""
    if not text:
        return None
    try:
        return counts.tokens(round(float(text.removesuffix("k")) * (1000 if text.endswith("k") else 1)))
    except (ValueError, OverflowError):
        return None
