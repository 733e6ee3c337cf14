"""How fast each importer reads: MB of recordings a second on one core.

    python -m benchmarks.import_speed [--shared DIR] [--repeats 5] [FORMAT ...]

Real recordings where there are some (DIR/trajectories with its index.jsonl; `../shared` unless told), else a made-up session of 400 turns
in that format, or of 100 where each line repeats the whole history. CPU time of the import alone, median of the repeats: files are in
memory before, nothing is written. `text` is what comes out, the messages' contents.
The bar, for JSONL that holds the text of sessions: 50 MB/s. Hash traces and CSV hold lengths, so that text is made for them: there the
MB/s of text say more. YAML, Markdown and single JSON documents have no bar.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import eventlogs, recordings
from openagentperf.corpus.detect import IMPORTERS, detect
from openagentperf.errors import CorpusError
from openagentperf.records.trajectory import Trajectory, lines

WRITERS = recordings.WRITERS | eventlogs.WRITERS
BAR_MB_S = 50.0
JSONL = frozenset(
    {
        "agentperf-local", "asb", "claude-code", "codex-exec", "codex-rollout", "copilot-cli", "gemini-cli", "lmcache", "openai-chat",
        "opencode", "openhands-completions", "openhands-v1", "otel-genai", "swe-rows",
    }
)  # fmt: skip
"""Formats with a bar."""
WHOLE = frozenset({"agentperf-local", "asb", "lmcache", "openhands-completions", "otel-genai"})
"""Formats of which every line holds the whole history."""


def real(root: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Files by importer. The index names what is a recording."""
    index = root / "trajectories" / "index.jsonl"
    found: dict[str, list[tuple[str, bytes]]] = {}
    for row in index.read_text().splitlines() if index.exists() else ():
        file = json.loads(row)["file"]
        data = (index.parent / file).read_bytes()
        name = detect(data)
        if name is not None:
            found.setdefault(name, []).append((file, data))
    return found


def made(name: str) -> list[tuple[str, bytes]]:
    return [(name, WRITERS[name](recordings.session("s", 100 if name in WHOLE else 400)))]


def imported(name: str, files: Sequence[tuple[str, bytes]]) -> Iterator[Trajectory]:
    for file, data in files:
        try:
            yield from IMPORTERS[name].read(data, file, [])
        except CorpusError:
            continue  # a manifest, which holds nothing


def text_bytes(trajectory: Trajectory) -> int:
    return sum(len(message.content) for line in lines(trajectory) for turn in line.turns for message in turn.appended)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.import_speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help="importers to measure; all where none is named")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(argv)
    recorded = real(given.shared)
    print(f"{'format':<22} {'recordings':>14} {'MB/s in':>8} {'MB/s text':>10}")
    slow = []
    for name in given.formats or sorted(IMPORTERS):
        files = recorded.get(name) or (made(name) if name in WRITERS else [])
        if not files:
            print(f"{name:<22} {'none here':>14}")
            continue
        size, text = sum(len(data) for _, data in files) / 1e6, sum(map(text_bytes, imported(name, files))) / 1e6
        spans = []
        for _ in range(given.repeats):
            began = time.process_time()
            for _ in imported(name, files):
                pass
            spans.append(time.process_time() - began)
        span = statistics.median(spans)
        kind = "real" if name in recorded else "made"
        print(
            f"{name:<22} {kind:>4} {size:>6.1f} MB {size / span:>8.0f} {text / span:>10.0f}{'' if name in JSONL else '  (no bar)'}"
        )
        if name in JSONL and size / span < BAR_MB_S:
            slow.append(name)
    if slow:
        print(f"below {BAR_MB_S:.0f} MB/s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
