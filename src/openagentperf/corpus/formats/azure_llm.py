"""Request lengths as CSV: Azure's LLM inference traces, and BurstGPT. Shape only.

    TIMESTAMP,ContextTokens,GeneratedTokens
    Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type

Rows name neither session nor content, so each is a trajectory of one turn with text of its own, of exactly that many tokens by
corpus.tokens.estimate. Nothing is shared between two of them, hence a prefix cache finds nothing: such a set measures prefill, not
agents. Arrival times are not kept: agents are a closed loop, these traces are open-loop.

The columns are found by the header's names. BurstGPT's form is written from its documentation: no such file has been read here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import msgspec

from openagentperf.corpus.formats.blocktext import BlockText
from openagentperf.corpus.formats.hash_sessions import scope_of
from openagentperf.corpus.formats.hashed import MOST_TOKENS, Layout, Request
from openagentperf.corpus.formats.head import LINES, Head
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Skipped, Trajectory

FORMAT = "azure-llm"
NOTE = "turns of which only the lengths are recorded: text of our own, shared with nothing"

_INPUTS = ("contexttokens", "request tokens")
_OUTPUTS = ("generatedtokens", "response tokens")
_BLOCK_TOKENS = 512


def recognises(head: Head) -> bool:
    """Whether one of its first lines names the columns."""
    return any(_columns(line) is not None for line in head.text.splitlines()[:LINES])


def read(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[Trajectory]:
    """One trajectory a row. Raises CorpusError where no line names the columns, or no row can be used."""
    text: BlockText | None = None
    block = 0
    for number, request, model in _rows(data, source, skipped):
        text = text or BlockText(scope_of(FORMAT, request), _BLOCK_TOKENS)
        blocks = list(range(block, block - (-request.input_tokens // _BLOCK_TOKENS)))
        block += len(blocks)
        turns = tuple(Layout(text).turns([msgspec.structs.replace(request, blocks=blocks)]))
        yield Trajectory(
            id=f"row-{number}", turns=turns, format=FORMAT, source=source, model=model, notes=(f"1 {NOTE}",)
        )
    if text is None:
        raise CorpusError(
            source,
            "holds no usable row",
            "a header (ContextTokens, GeneratedTokens: Azure; Request tokens, Response tokens: BurstGPT) and rows are needed",
            "check that it is such a trace, with its header",
        )


def _rows(data: bytes, source: str, skipped: list[Skipped]) -> Iterator[tuple[int, Request, str]]:
    """Line number, lengths and model of each usable row."""
    columns: tuple[int, int, int] | None = None
    for number, line in enumerate(io.BytesIO(data), 1):
        try:
            text = line.decode().strip("\r\n\ufeff \t")
        except UnicodeDecodeError as error:
            skipped.append(Skipped(f"{source}:{number}", str(error)))
            continue
        if not text:
            continue
        if columns is None:
            columns = _columns(text)
            if columns is None:
                skipped.append(Skipped(f"{source}:{number}", "a line before the header"))
            continue
        found = _request(text, columns)
        if isinstance(found, str):
            skipped.append(Skipped(f"{source}:{number}", found))
        else:
            yield number, *found


def _columns(line: str) -> tuple[int, int, int] | None:
    """Places of input tokens, output tokens and model (-1: none); None where the line is no such header."""
    names = [name.strip().lower() for name in _fields(line)]
    inputs = next((names.index(name) for name in _INPUTS if name in names), -1)
    outputs = next((names.index(name) for name in _OUTPUTS if name in names), -1)
    if inputs < 0 or outputs < 0:
        return None
    return inputs, outputs, names.index("model") if "model" in names else -1


def _request(line: str, columns: tuple[int, int, int]) -> tuple[Request, str] | str:
    """The lengths and the model of a row, or why it cannot be used."""
    fields = _fields(line)
    if len(fields) <= max(columns):
        return f"a row of {len(fields)} fields"
    try:
        tokens, output = int(fields[columns[0]]), int(fields[columns[1]])
    except ValueError:
        return "a row whose lengths are no whole numbers"
    if not 1 <= tokens <= MOST_TOKENS:
        return f"a prompt of {tokens} tokens"
    if not 1 <= output <= MOST_TOKENS:
        return f"an answer of {output} tokens: the request failed, or its length is wrong"
    return Request([], tokens, output), fields[columns[2]].strip() if columns[2] >= 0 else ""


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader((line,)), [])
    except csv.Error:
        return []
