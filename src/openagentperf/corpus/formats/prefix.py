"""What a recording left out in front: the harness's system prompt and tool definitions, filled in with text of our own.

Claude Code does not record them, yet its first request counts 25,000 to 60,000 input tokens. Without that prefix a replay
would be 30 % too short and would miss the part that all sessions of a harness share in the cache. The text depends on the
harness and its version alone, so two sessions of one version share it up to the shorter one's length.
"""

from __future__ import annotations

from functools import lru_cache

from openagentperf.seeds import Stream

_SEED = 20
"""Any constant: changing it changes every imported prefix, hence every digest of a corpus made from such recordings."""
_BLOCK_BYTES = 16_384
MOST_TOKENS = 1 << 21
"""2.1 million: no program's prompt and tools are longer, whatever a recording counts."""

_SUBJECTS = (
    "The agent", "A tool call", "The working tree", "Every edit", "The shell", "A test run", "The search tool", "A long output",
    "The plan", "Each file path", "The user's request", "A failing command", "The diff", "A background task", "The review",
)  # fmt: skip
_VERBS = (
    "must name", "should keep", "reports", "never replaces", "waits for", "reads", "returns", "leaves alone", "checks",
    "describes", "limits", "confirms",
)  # fmt: skip
_OBJECTS = (
    "the exact lines it changed", "one directory at a time", "the absolute path", "at most 2000 lines", "the exit status",
    "files that it has not read", "the smallest change that works", "the reason in one sentence", "secrets in the environment",
    "the project's own formatter", "the branch that was checked out", "a timeout in milliseconds", "the order of the imports",
)  # fmt: skip
_CLOSINGS = (
    "before it writes anything.", "unless the user asked otherwise.", "and stops at the first error.", "so that a reader can follow.",
    "even where the tests pass.", "when several calls do not depend on each other.", "and says so in its answer.",
)  # fmt: skip
_NAMES = (
    "path",
    "pattern",
    "command",
    "offset",
    "limit",
    "timeout",
    "content",
    "query",
    "glob",
    "label",
    "target",
    "mode",
)
_TYPES = ("string", "integer", "boolean", "array", "number")


def prefix(harness: str, size: int) -> str:
    """The first `size` bytes (all ASCII) of the text that belongs to `harness`, a name with its version."""
    blocks = [_block(harness, index) for index in range(-(-size // _BLOCK_BYTES))]
    return "".join(blocks)[:size]


@lru_cache(maxsize=256)
def _block(harness: str, index: int) -> str:
    """Block `index` of the endless text: rules in prose, and a tool's parameters after every sixth of them."""
    draw = Stream(_SEED, "prefix", harness, index)
    parts: list[str] = []
    size = 0
    rule = 0
    while size < _BLOCK_BYTES:
        rule += 1
        if rule % 7:
            text = (
                f"- {_pick(draw, _SUBJECTS)} {_pick(draw, _VERBS)} {_pick(draw, _OBJECTS)} {_pick(draw, _CLOSINGS)}\n"
            )
        else:
            name = _pick(draw, _NAMES)
            text = (
                f'\n{{"name": "{_pick(draw, _NAMES)}_{draw.below(1000)}", "parameters": {{"{name}": '
                f'{{"type": "{_pick(draw, _TYPES)}", "description": "{_pick(draw, _SUBJECTS)} {_pick(draw, _VERBS)} '
                f'{_pick(draw, _OBJECTS)}"}}}}, "required": ["{name}"]}}\n\n'
            )
        parts.append(text)
        size += len(text)
    return "".join(parts)[:_BLOCK_BYTES]


def _pick(draw: Stream, words: tuple[str, ...]) -> str:
    return words[draw.below(len(words))]
